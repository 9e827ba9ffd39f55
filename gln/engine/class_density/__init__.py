"""`negatives=False`: each class learns from its own samples alone."""
