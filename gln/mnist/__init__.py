"""The MNIST digits, and features and halfspaces for images."""

from gln.mnist.digits import PIXELS, SIDE, Digits, deskew, load_mnist
from gln.mnist.orientations import orientation_features
from gln.mnist.windows import fit_windows

__all__ = ["PIXELS", "SIDE", "Digits", "deskew", "fit_windows", "load_mnist", "orientation_features"]
