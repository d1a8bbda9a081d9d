"""What updates and the model give away, measured: privacy bounds, membership, reconstruction."""
