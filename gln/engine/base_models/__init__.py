"""Models that predict before the networks do: hashed linear models, least squares, means of bins."""
