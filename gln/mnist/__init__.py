"""The digits that this project is measured on, and what the command `gln-mnist` is made of."""

from gln.mnist.digits import PIXELS, SIDE, Digits, deskew, load_mnist
from gln.mnist.windows import fit_windows

__all__ = ["PIXELS", "SIDE", "Digits", "deskew", "fit_windows", "load_mnist"]
