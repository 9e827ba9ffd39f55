"""Networks that predict the same target, and how their predictions are combined."""
