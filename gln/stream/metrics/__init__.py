"""How well a stream is predicted."""
