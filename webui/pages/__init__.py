"""The pages, one noun a file. A view parses, calls a service or a reader, and renders."""
