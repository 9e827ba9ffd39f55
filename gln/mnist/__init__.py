"""The MNIST digits, halfspaces for them, and the command `gln-mnist`."""

from gln.mnist.digits import PIXELS, SIDE, Digits, deskew, load_mnist
from gln.mnist.windows import fit_windows

__all__ = ["PIXELS", "SIDE", "Digits", "deskew", "fit_windows", "load_mnist"]
