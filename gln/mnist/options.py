"""The options of the command `gln-mnist`, the networks and digits that they ask for, and the text of the results."""

from __future__ import annotations

import argparse
import importlib
import math
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from gln.backends import BACKENDS, load_backend
from gln.mnist.digits import PIXELS, Digits, load_mnist, not_mnist
from gln.mnist.orientations import orientation_features

__all__ = ["check", "compare", "load_digits", "make_network", "parse", "text_of_one", "text_of_ten"]

# The features of images, (N, 784) -> (N, F), by the names that `--features` takes.
FEATURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"pixels": np.asarray, "orientations": orientation_features}


# Defaults, which differ for all ten digits and for one.
TEN_DIGITS = {"layer_sizes": [64, 32], "halfspaces": 6, "batch_size": 1}
ONE_DIGIT = {"layer_sizes": [4, 4, 1], "halfspaces": 4, "batch_size": 8}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the options; `digit` is None for all ten. Errors and `--help` end the program."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.backend == "all" or options.digit is not None:
        for name in ("save", "plot"):
            if getattr(options, name) is not None:
                parser.error(f"--{name} needs all ten digits and a single backend")
    for name, value in (TEN_DIGITS if options.digit is None else ONE_DIGIT).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gln-mnist",
        description="Train a GLN on the MNIST digits, in one pass, and score it on the test set.",
    )
    task = parser.add_mutually_exclusive_group()
    task.add_argument("--digit", type=int, choices=range(10), help="tell this digit from the others (default: all ten)")
    task.add_argument("--all-classes", action="store_true", help=argparse.SUPPRESS)  # the default since 1.1
    parser.add_argument(
        "--features",
        choices=list(FEATURES),
        default="pixels",
        help="inputs of the network: pixels, or histograms of gradient orientations (default: %(default)s)",
    )
    parser.add_argument(
        "--backend",
        choices=["auto", *BACKENDS, "all"],
        default="auto",
        help="implementation to run; auto: the fastest of numba, jax and numpy that is installed; all: each installed "
        "one, as a table (default: %(default)s)",
    )
    for name, metavar, nargs, text in (
        ("layer_sizes", "N", "+", "neurons in each layer"),
        ("halfspaces", "K", None, "halfspaces per neuron"),
        ("batch_size", "B", None, "digits learned at a time, 1 for exact online learning"),
    ):
        text += f" (default: {TEN_DIGITS[name]}, with --digit {ONE_DIGIT[name]})"
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, nargs=nargs, metavar=metavar, help=text)
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of the halfspaces and of the order of the images (default: %(default)s)",
    )
    parser.add_argument("--no-deskew", dest="deskew", action="store_false", help="use the digits as they are")
    parser.add_argument("--data", metavar="FILE", help=".npz file of digits to use instead of the embedded MNIST")
    parser.add_argument("--save", metavar="FILE", help="file to save the model of ten digits to after the pass")
    parser.add_argument("--plot", metavar="FOLDER", help="folder to write pictures of ten digits to")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser


def check(options: argparse.Namespace) -> None:
    """Raise errors that would otherwise occur only after loading the digits, or after a pass over them.

    Raises:
        ImportError: `--plot` is given and Matplotlib is not installed.
        ValueError: a number is out of range, or a file or folder cannot be read or written.
    """
    for name, numbers, low, high in (
        ("--layer-sizes", options.layer_sizes, 1, math.inf),
        ("--halfspaces", [options.halfspaces], 0, 30),
        ("--batch-size", [options.batch_size], 1, math.inf),
        ("--seed", [options.seed], 0, math.inf),
    ):
        for number in numbers:
            if not low <= number <= high:
                expected = f"of at least {low}" if high == math.inf else f"from {low} to {high}"
                raise ValueError(f"{name}: expected an integer {expected}, got {number}")
    if options.data is not None and not Path(options.data).exists():
        raise not_mnist(Path(options.data), "no such file")
    if options.save is not None:
        file = Path(options.save)
        if file.is_dir() or not file.parent.is_dir():
            raise ValueError(f"--save: expected a file in a folder that exists, got {options.save!r}")
    if options.plot is not None:
        importlib.import_module("gln.plots")  # raises ImportError without Matplotlib
        try:
            Path(options.plot).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"--plot: expected a folder that exists or can be created, got {error}") from error


def load_digits(options: argparse.Namespace) -> Digits:
    x_train, y_train, x_test, y_test = load_mnist(options.deskew, options.data)
    seen = FEATURES[options.features]
    return seen(x_train), y_train, seen(x_test), y_test


def make_network(backend: ModuleType, options: argparse.Namespace) -> Any:
    """A new `GLN` of the backend. It needs no digits, so errors in options are raised before these are loaded."""
    size = FEATURES[options.features](np.zeros((1, PIXELS))).shape[1]
    return backend.GLN(
        options.layer_sizes,
        size,
        size,
        num_classes=10 if options.digit is None else 2,
        context_map_size=options.halfspaces,
        seed=options.seed,
    )


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


def compare(options: argparse.Namespace, digits: Digits, score: Callable[..., Any]) -> pd.DataFrame:
    """One row per installed backend. The seconds are for the whole pass and testing, including compilation.

    Args:
        score: called with a network, the options and the digits; the first entry of its result is the accuracy.
    """
    rows = {}
    for name, distribution in BACKENDS.items():
        try:
            backend = load_backend(name)
        except ImportError as error:
            print(f"gln-mnist: left out {name}: {error}", file=sys.stderr)
            continue
        start = time.perf_counter()
        accuracy = score(make_network(backend, options), options, digits)[0]
        seconds = time.perf_counter() - start
        samples = (len(digits[0]) + len(digits[2])) / seconds
        rows[name] = [metadata.version(distribution), f"{accuracy:.2f}", f"{seconds:.1f}", f"{samples:.0f}"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=["version", "accuracy", "seconds", "samples/s"])
