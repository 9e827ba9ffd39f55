"""Keeps pytest from collecting `test_mnist.py`, which is a module to import and run, not a test."""

collect_ignore = ["test_mnist.py"]
