"""The digits that this project is measured on, and what the command `gln-mnist` is made of."""

from gln.mnist.digits import PIXELS, SIDE, Digits, deskew, load_mnist

__all__ = ["PIXELS", "SIDE", "Digits", "deskew", "load_mnist"]
