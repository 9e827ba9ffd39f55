"""Samples of a file or a pipe, in each format."""
