"""Tools for a network of any backend: surgery, learning rates, head sampling, gate counts, halfspaces, files."""
