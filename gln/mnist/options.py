"""The options of the command `gln-mnist`, the networks and digits that they ask for, and the text of the results."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from gln.backends import BACKENDS
from gln.engine.types import Network
from gln.mnist.digits import PIXELS, Digits, load_mnist
from gln.mnist.orientations import orientation_features

# The features of images, (N, 784) -> (N, F), by the names that `--features` takes.
FEATURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"pixels": np.asarray, "orientations": orientation_features}
# Defaults, which differ for all ten digits and for one.
TEN_DIGITS = {"layer_sizes": [64, 32], "halfspaces": 6}
ONE_DIGIT = {"layer_sizes": [4, 4, 1], "halfspaces": 4}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the options; `digit` is None for all ten. Errors and `--help` end the program."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.digit is not None and options.save is not None:
        parser.error("--save needs all ten digits")
    for name, value in (TEN_DIGITS if options.digit is None else ONE_DIGIT).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gln-mnist", description="Train a GLN on the MNIST digits, in one pass, and score it on the test set."
    )
    parser.add_argument(
        "--digit", type=int, choices=range(10), help="tell this digit from the others (default: all ten)"
    )
    features = "inputs of the network: pixels, or histograms of gradient orientations (default: %(default)s)"
    parser.add_argument("--features", choices=list(FEATURES), default="pixels", help=features)
    fastest = "the fastest of numba, jax and numpy that is installed (default: %(default)s)"
    backend = f"implementation: {', '.join(BACKENDS)}, the FILE.py of another, or auto: {fastest}"
    parser.add_argument("--backend", default="auto", help=backend)
    for name, metavar, nargs, text in (
        ("layer_sizes", "N", "+", "neurons in each layer"),
        ("halfspaces", "K", None, "halfspaces per neuron"),
    ):
        text += f" (default: {TEN_DIGITS[name]}, with --digit {ONE_DIGIT[name]})"
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, nargs=nargs, metavar=metavar, help=text)
    parser.add_argument(
        "--seed", type=int, default=0, help="for halfspaces and the order of the images (default: %(default)s)"
    )
    parser.add_argument("--no-deskew", dest="deskew", action="store_false", help="use the digits as they are")
    parser.add_argument("--data", metavar="FILE", help=".npz file of digits to use instead of the embedded MNIST")
    parser.add_argument("--save", metavar="FILE", help="file to save the model of ten digits to after the pass")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser


def check(options: argparse.Namespace) -> None:
    """Raise errors that would otherwise occur only after loading the digits, or after a pass over them."""
    if options.save is not None:
        file = Path(options.save)
        if file.is_dir() or not file.parent.is_dir():
            raise ValueError(f"--save: expected a file in a folder that exists, got {options.save!r}")


def load_digits(options: argparse.Namespace) -> Digits:
    x_train, y_train, x_test, y_test = load_mnist(options.deskew, options.data)
    seen = FEATURES[options.features]
    return seen(x_train), y_train, seen(x_test), y_test


def make_network(backend: ModuleType, options: argparse.Namespace) -> Network:
    """A new `GLN` of the backend. It needs no digits, so errors in options are raised before these are loaded."""
    size = FEATURES[options.features](np.zeros((1, PIXELS))).shape[1]
    sizes = (options.layer_sizes, size, size)
    classes = 10 if options.digit is None else 2
    return backend.GLN(*sizes, num_classes=classes, context_map_size=options.halfspaces, seed=options.seed)


def text_of_one(accuracy: float, conf_mat: pd.DataFrame, prfs: pd.DataFrame) -> str:
    """The result of `test_mnist.get_mnist_metrics` as text."""
    return f"Accuracy: {accuracy:.2f}\nConfusion matrix:\n{conf_mat}\nPrec-Rec-F:\n{prfs}"


def text_of_ten(scores: Any) -> str:
    """The result of `test_mnist.get_ten_digits_metrics` as text."""
    lines = [
        f"Accuracy: {scores.accuracy:.2f}",
        f"Progressive accuracy (each digit is predicted, then learned): {100 * scores.online_hits.mean():.2f}",
        f"Confusion matrix:\n{scores.conf_mat}",
        f"Prec-Rec-F:\n{scores.prfs.T.astype({'support': int}).round(4)}",
        f"Log-loss: {scores.log_loss:.4f}",
        f"Calibration error: {scores.calibration_error:.4f}",
    ]
    return "\n".join(lines)
