"""What one does to a network of any backend: growing, learning rates, counts of its gates, files."""
