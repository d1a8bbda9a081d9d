"""What other people would write to serve the same model: an application in FastAPI, and one in Gradio."""
