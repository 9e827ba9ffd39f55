"""Learning a table: validation, folds, training, stacking."""
