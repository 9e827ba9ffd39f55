"""Classes that each learn from their own samples alone."""
