"""Keeps pytest from taking `test_mnist.py`, which people import and run, for a test."""

collect_ignore = ["test_mnist.py"]
