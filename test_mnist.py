"""Train and score any backend's GLN on MNIST, one digit against the rest or all ten, in one pass over the training set.

On the command line: `gln-mnist --help`, or `python test_mnist.py --help` in a checkout. This module is a tool to import
and run; the tests of this project are in `tests/`.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

try:
    from gln.backends import load_backend
except ModuleNotFoundError as missing:
    raise ImportError(f"test_mnist needs the package gln: {missing}; pip install . in its folder") from missing

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support
from sklearn.utils import gen_batches
from tqdm import tqdm

from gln.engine.batches import SampleBatch, check_integer
from gln.engine.model.targets import sum_to_one
from gln.engine.tabular.model import TableModel
from gln.features import Standardizer
from gln.mnist import PIXELS, Digits, deskew, fit_windows, load_mnist
from gln.mnist.options import check, load_digits, make_network, parse, text_of_one, text_of_ten
from gln.rates import linear_rate

__all__ = ["TenDigits", "deskew", "get_mnist_metrics", "get_ten_digits_metrics", "load_mnist", "main"]

CHUNK = 512  # digits learned between updates of the progress bar


def get_mnist_metrics(
    model: Any,
    mnist_class: int = 0,
    batch_size: int = 1,
    *,
    digits: Digits | None = None,
    seed: int | None = 0,
    verbose: bool = True,
) -> tuple[float, pd.DataFrame, pd.DataFrame]:
    """Train a model on one pass over the MNIST training set, then score it on the test set.

    Args:
        model: any object with `predict(inputs, context_inputs, targets=None)` that takes columns of 784 pixels and
            returns one probability per column, in any framework.
        mnist_class: the digit, 0 to 9, to distinguish from the others.
        batch_size: images in a call, at least 1. It has no influence on what is learned; more take less time.
        digits: the result of `load_mnist`, to load it once for many models; None loads the embedded, deskewed digits.
        seed: seed for the order of the training images.
        verbose: whether to show a progress bar, in batches, for each set.

    Returns:
        accuracy: on the test set, in percent.
        conf_mat: DataFrame of counts; rows are true classes, columns predicted ones.
        prfs: DataFrame of precision, recall, F-score and support, one column per class.

    Raises:
        ValueError: mnist_class or batch_size is out of range, or the model does not return one probability per column.
    """
    if mnist_class not in range(10):
        raise ValueError(f"mnist_class: expected an integer from 0 to 9, got {mnist_class!r}")
    check_integer("batch_size", batch_size, 1)
    x_train, y_train, x_test, y_test = load_mnist() if digits is None else digits
    order = np.random.default_rng(seed).permutation(len(x_train))
    for batch in tqdm(list(gen_batches(len(order), batch_size)), disable=not verbose):
        columns, labels = x_train[order[batch]].T, y_train[order[batch]]
        _probabilities(model.predict(columns, columns, labels == mnist_class), labels.shape)
    predicted = np.empty(len(x_test), bool)
    for batch in tqdm(list(gen_batches(len(x_test), batch_size)), disable=not verbose):
        columns = x_test[batch].T
        predicted[batch] = _probabilities(model.predict(columns, columns), columns.shape[1:]) >= 0.5
    actual, names = y_test == mnist_class, [f"not_{mnist_class}", f"is_{mnist_class}"]
    return (100 * float((actual == predicted).mean()), *_tables(actual, predicted, [False, True], names))


class TenDigits(NamedTuple):
    """The results of `get_ten_digits_metrics`, on the test set except `online_hits` and `seconds`."""

    accuracy: float  # percent
    online_hits: np.ndarray  # (N,) bool: whether each training digit was predicted correctly before it was learned
    conf_mat: pd.DataFrame  # counts; rows are true digits, columns predicted ones
    prfs: pd.DataFrame  # precision, recall, F-score and support, one column per digit
    log_loss: float  # nats, of the heads' probabilities normalised to sum to one
    calibration_error: float  # mean distance between the predicted digits' probabilities and their share of hits
    seconds: float  # for the pass, including compilation
    standardizer: Standardizer | None  # of the inputs, None if not standardised


def get_ten_digits_metrics(
    model: Any,
    *,
    digits: Digits | None = None,
    standardize: bool = True,
    halfspace_samples: int = 1000,
    halfspace_window: int | None = 6,
    seed: int | None = 0,
    save: str | Path | None = None,
    verbose: bool = True,
) -> TenDigits:
    """Train a model with ten heads on one pass over the MNIST training set, then score it on the test set.

    Args:
        model: a `GLN` of any backend, with `num_classes=10`.
        digits: the result of `load_mnist`, or the same with features other than pixels, (N, F) in [0, 1]; None loads
            the embedded, deskewed digits.
        standardize: whether to standardise the digits online, see `gln.features.Standardizer`.
        halfspace_samples: number of digits, the first of the stream, whose bisectors become the halfspaces; 0 keeps the
            halfspaces, which is required for a model that has already learned.
        halfspace_window: side of the window of pixels that a halfspace sees, 1 to 28, see `gln.mnist.fit_windows`; None
            is the whole image. With other features a halfspace sees all of them.
        seed: seed for the order of the training digits.
        save: file to save the model to after the pass, with the standardizer's state as `extra`.
        verbose: whether to show a progress bar, with the accuracy so far.

    Raises:
        ValueError: an argument is out of range, or the model has another size or has already learned.
        OSError: the model cannot be saved.
    """
    if model.config.num_classes != 10:
        raise ValueError(f"model: expected one of 10 classes, got one of {model.config.num_classes}")
    x_train, y_train, x_test, y_test = load_mnist() if digits is None else digits
    order = np.random.default_rng(seed).permutation(len(x_train))
    standardizer = Standardizer(x_train.shape[1]) if standardize else None
    if halfspace_samples:
        _lay_halfspaces(model, x_train[order[:halfspace_samples]].T, standardize, halfspace_window)
    learner = TableModel.of_network(model, standardizer, model.learning_rate)
    hits, start = np.empty(len(order), bool), time.perf_counter()
    with tqdm(total=len(order), unit=" digits", disable=not verbose) as bar:
        for part in gen_batches(len(order), CHUNK):
            labels = y_train[order[part]]
            [p] = learner.learn(SampleBatch.of(x_train[order[part]].T), labels)
            hits[part] = p.argmax(axis=0) == labels
            bar.update(len(labels))
            bar.set_postfix(accuracy=f"{100 * hits[: part.stop].mean():.2f}")
    seconds = time.perf_counter() - start
    if save is not None:
        model.save(save, standardizer.get_state() if standardizer else None)
    scores = _test_scores(sum_to_one(learner.predict(SampleBatch.of(x_test.T))), y_test)
    return TenDigits(online_hits=hits, seconds=seconds, standardizer=standardizer, **scores)


def calibration_error(confidence: np.ndarray, hits: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error: the mean distance between the probability and the fraction of hits in a bin.

    Bins are of equal width. Shapes: (n,) in [0, 1], (n,) of bools. Source: Guo et al., On Calibration of Modern Neural
    Networks, ICML 2017, section 2.
    """
    bin_numbers = np.minimum((confidence * bins).astype(int), bins - 1)
    return float(np.abs(np.bincount(bin_numbers, confidence - hits)).sum() / len(hits))


def _lay_halfspaces(model: Any, digits: np.ndarray, standardize: bool, window: int | None) -> None:  # (F, N)
    if int(model.step) > 0:
        expected = "one that has not learned yet, or halfspace_samples=0"
        raise ValueError(f"model: expected {expected}, got one after {int(model.step)} samples")
    digits = Standardizer(len(digits)).learn(digits) if standardize else digits
    if window is not None and len(digits) == PIXELS:
        fit_windows(model, digits, window)
    else:
        model.fit_hyperplanes(digits)


def _test_scores(p: np.ndarray, labels: np.ndarray) -> dict[str, Any]:  # (10, N), (N,)
    """The fields of `TenDigits` for the test set."""
    predicted = p.argmax(axis=0)
    conf_mat, prfs = _tables(labels, predicted, range(10), [str(digit) for digit in range(10)])
    return {
        "accuracy": 100 * float((predicted == labels).mean()),
        "conf_mat": conf_mat,
        "prfs": prfs,
        "log_loss": float(log_loss(labels, p.T, labels=range(10))),
        "calibration_error": calibration_error(p.max(axis=0), predicted == labels),
    }


def _tables(
    actual: np.ndarray,  # (N,)
    predicted: np.ndarray,  # (N,)
    labels: Sequence[int],
    names: list[str],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Confusion matrix, and precision, recall, F-score and support, for classes with these labels and names."""
    counts = confusion_matrix(actual, predicted, labels=labels)
    scores = precision_recall_fscore_support(actual, predicted, labels=labels, zero_division=0)
    return (
        pd.DataFrame(counts, index=names, columns=names),
        pd.DataFrame(np.stack(scores), index=["precision", "recall", "fscore", "support"], columns=names),
    )


def _probabilities(output: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A model's output as a NumPy array, from any framework and device."""
    array = np.asarray(output.detach().cpu() if hasattr(output, "detach") else output)
    if array.shape != shape:
        raise ValueError(f"model: expected predictions of shape {shape}, got shape {array.shape}")
    return array


def _score(model: Any, options: argparse.Namespace, digits: Digits) -> Any:
    """The result of `get_mnist_metrics` or `get_ten_digits_metrics`; its first entry is the accuracy."""
    passing = {"digits": digits, "seed": options.seed, "verbose": not options.quiet}
    if options.digit is not None:
        return get_mnist_metrics(model, options.digit, CHUNK, **passing)
    model.learning_rate = functools.partial(linear_rate, samples=len(digits[0]))
    return get_ten_digits_metrics(model, save=options.save, **passing)


def _run(options: argparse.Namespace) -> None:
    check(options)
    backend = load_backend(options.backend)
    model = make_network(backend, options)
    digits = load_digits(options)
    start = time.perf_counter()
    scores = _score(model, options, digits)
    text = text_of_ten(scores) if options.digit is None else text_of_one(*scores)
    print(f"\n{text}")
    if options.digit is None:  # on stderr, because the output is reproducible without it
        print(f"Seconds, with {backend.__name__}: {time.perf_counter() - start:.1f}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parse(arguments)
    try:
        _run(options)
        return 0
    except (ImportError, OSError, ValueError) as error:
        print(f"gln-mnist: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass  # reported below, once the exception has closed the progress bar
    print("gln-mnist: interrupted", file=sys.stderr)
    return 130


if __name__ == "__main__":
    sys.exit(main())
