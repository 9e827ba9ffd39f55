"""The command `gln-stream`: learn from a file or a pipe."""
