"""Classes that each learn from their own samples alone (`negatives=False`)."""
