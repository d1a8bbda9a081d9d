"""What a trained model says about a picture, and why; torch is imported when the first picture comes."""
