"""The digits that this project is measured on, and what the command `gln-mnist` is made of."""

from gln.mnist.digits import PIXELS, Digits, deskew, load_mnist

__all__ = ["PIXELS", "Digits", "deskew", "load_mnist"]
