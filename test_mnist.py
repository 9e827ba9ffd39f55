"""Train and score any backend's GLN on MNIST, one digit against the rest or all ten, in one pass over the training set.

From the shell: `gln-mnist --help`, or `python test_mnist.py --help` in a checkout. This module is a tool that people
import and run; the tests of this project are in `tests/`.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import importlib
import sys
import time
import zipfile
from collections.abc import Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.stats import zscore
from sklearn.datasets import make_moons
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support
from tqdm import tqdm

from gln_features import Standardizer, orientation_features
from gln_sklearn import fastest_backend, linear_rate

__all__ = [
    "BACKENDS",
    "TenDigits",
    "deskew",
    "fastest_backend",
    "get_mnist_metrics",
    "get_ten_digits_metrics",
    "linear_rate",
    "load_mnist",
    "main",
]

# Backends, and what the framework of each is installed as.
BACKENDS = {"numpy": "numpy", "torch": "torch", "tf": "tensorflow", "jax": "jax", "numba": "numba"}
SIDE = 28  # pixels
PIXELS = SIDE * SIDE
CHUNK = 512  # digits that a stream is cut into, for the progress bar
SAVED_EVERY = 10_000  # digits
PASS = {"hits", "step", "sha256"}  # what a model saved on the way has as its `extra`, beside a Standardizer's state
Digits = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def load_mnist(deskew: bool = True, path: str | Path | None = None) -> Digits:
    """The MNIST digits, from the data embedded in this project or from a file of the same arrays.

    Args:
        deskew: whether to shear every digit upright, see `deskew`.
        path: an `.npz` file with `x_train` and `x_test`, (N, 28, 28) or (N, 784) of uint8, and `y_train` and `y_test`,
            (N,) of integers 0 ... 9. None takes the embedded digits: 60,000 to train, 10,000 to test.

    Returns:
        x_train, y_train, x_test, y_test: images (N, 784) float32 in [0, 1], labels (N,) int64.

    Raises:
        ValueError: the file is missing, cut, or holds something else; the message names it and says what was expected.
    """
    file = Path(str(resources.files("gln_mnist_data") / "mnist.npz")) if path is None else Path(path)
    digits: list[np.ndarray] = []
    try:
        with np.load(file, allow_pickle=False) as arrays:  # never unpickle: a foreign file could run code
            for part in ("train", "test"):
                digits += _checked(file, part, arrays[f"x_{part}"], arrays[f"y_{part}"])
    except FileNotFoundError as error:
        raise _not_mnist(file, "no such file") from error
    except (OSError, EOFError, KeyError, TypeError, AttributeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise _not_mnist(file, f"{type(error).__name__}: {error}") from error
    except ValueError as error:
        raise (error if str(file) in str(error) else _not_mnist(file, error)) from error
    if deskew:
        digits[0], digits[2] = _deskewed(digits[0]), _deskewed(digits[2])
    return digits[0], digits[1], digits[2], digits[3]


def _not_mnist(file: Path, came: object) -> ValueError:
    return ValueError(f"{file}: expected an .npz file with the arrays x_train, y_train, x_test, y_test, got {came}")


def _checked(file: Path, part: str, images: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    if images.dtype != np.uint8 or images.ndim not in (2, 3) or images.shape[1:] not in ((SIDE, SIDE), (PIXELS,)):
        raise _not_mnist(
            file, f"x_{part} of dtype {images.dtype} and shape {images.shape}, not uint8 (N, {SIDE}, {SIDE})"
        )
    if len(images) == 0:
        raise _not_mnist(file, f"x_{part} without a digit")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1] or (labels > 9).any() or (labels < 0).any():
        raise _not_mnist(file, f"y_{part} that is not {len(images)} integers 0 to 9")
    return [images.reshape(-1, PIXELS).astype(np.float32) / np.float32(255), labels.astype(np.int64)]


def deskew(images: np.ndarray) -> np.ndarray:
    """Shear every digit upright about its centre of mass, and move that to the middle of the image.

    The shear is the one that makes the covariance of rows and columns vanish, with the pixels' intensities as mass, as
    in the MNIST experiments of the GLN paper. Between pixels the intensity is interpolated linearly.

    Args:
        images: (N, 784), finite, at least 0; an empty image stays empty.

    Returns:
        (N, 784) float32, in the range of the images.

    Raises:
        ValueError: another shape, a negative intensity, NaN or infinity.
    """
    images = np.asarray(images)
    if images.ndim != 2 or images.shape[1] != PIXELS or images.dtype.kind not in "biuf":
        raise ValueError(f"images: expected numbers of shape (N, {PIXELS}), got {images.dtype} of shape {images.shape}")
    if not (np.isfinite(images).all() and (images >= 0).all()):
        raise ValueError("images: expected finite intensities of at least 0, got NaN, infinity or a negative one")
    return _deskewed(images.astype(np.float32, copy=False))


def _deskewed(images: np.ndarray, block: int = 2000) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    upright = np.empty_like(images)
    for start in range(0, len(images), block):  # blocks, for the coordinates take far more memory than the images
        image = images[start : start + block].reshape(-1, SIDE, SIDE)
        mass = image.sum(axis=(1, 2), keepdims=True)
        mass[mass == 0] = 1
        row = (image * rows).sum(axis=(1, 2), keepdims=True) / mass  # the centre of mass, (block, 1, 1)
        column = (image * columns).sum(axis=(1, 2), keepdims=True) / mass
        covariance = (image * (rows - row) * (columns - column)).sum(axis=(1, 2), keepdims=True)
        variance = (image * (rows - row) ** 2).sum(axis=(1, 2), keepdims=True)
        shear = covariance / np.where(variance > 0, variance, 1)
        # Where each pixel of the new images comes from; the first coordinate is the image.
        down, right = rows - SIDE / 2, columns - SIDE / 2
        which = np.broadcast_to(np.arange(len(image)).reshape(-1, 1, 1), image.shape)
        source = [which, row + down, column + right + shear * down]
        upright[start : start + block] = ndimage.map_coordinates(image, source, order=1).reshape(-1, PIXELS)
    return upright


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
        model: anything with `predict(inputs, context_inputs, targets=None)` on columns of 784 pixels that returns one
            probability a column, from whichever backend.
        mnist_class: the digit, 0 to 9, that is told from the others.
        batch_size: images that the model predicts and learns at a time, at least 1; 1 is exact online learning.
        digits: what `load_mnist` returned, to load it once for many models; None loads the embedded, deskewed digits.
        seed: of the order of the training images.
        verbose: whether to show a progress bar, in batches, for either set.

    Returns:
        accuracy: on the test set, in percent.
        conf_mat: DataFrame of counts, a row for what a digit is and a column for what it was taken for.
        prfs: DataFrame of precision, recall, F-score and support, a column for each of the two classes.

    Raises:
        ValueError: a digit or a batch size outside its range, or a model that does not return one probability a column.
    """
    if mnist_class not in range(10):
        raise ValueError(f"mnist_class: expected an integer from 0 to 9, got {mnist_class!r}")
    _check_batch_size(batch_size)
    x_train, y_train, x_test, y_test = load_mnist() if digits is None else digits
    order = np.random.default_rng(seed).permutation(len(x_train))
    for batch in tqdm(_chunks(order, batch_size), disable=not verbose):
        columns = x_train[batch].T
        _probabilities(model.predict(columns, columns, y_train[batch] == mnist_class), batch.shape)
    predicted = np.empty(len(x_test), bool)
    for batch in tqdm(_chunks(np.arange(len(x_test)), batch_size), disable=not verbose):
        columns = x_test[batch].T
        predicted[batch] = _probabilities(model.predict(columns, columns), batch.shape) >= 0.5
    actual, names = y_test == mnist_class, [f"not_{mnist_class}", f"is_{mnist_class}"]
    counts = confusion_matrix(actual, predicted, labels=[False, True])
    scores = precision_recall_fscore_support(actual, predicted, labels=[False, True], zero_division=0)
    return (
        100 * float((actual == predicted).mean()),
        pd.DataFrame(counts, index=names, columns=names),
        pd.DataFrame(np.stack(scores), index=["precision", "recall", "fscore", "support"], columns=names),
    )


def _check_batch_size(batch_size: Any) -> None:
    if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise ValueError(f"batch_size: expected an integer of at least 1, got {batch_size!r}")


class TenDigits(NamedTuple):
    """What `get_ten_digits_metrics` measures; but for `online_hits` and `seconds` on the test set."""

    accuracy: float  # percent
    online_hits: np.ndarray  # (N,) bool, of the training digits in their order, each predicted before it was learned
    conf_mat: pd.DataFrame  # counts, a row for what a digit is and a column for what it was taken for
    prfs: pd.DataFrame  # precision, recall, F-score and support, a column for each digit
    log_loss: float  # nats, of the heads' probabilities brought to sum to one
    calibration_error: float  # how far from the share of hits those of the predicted digits are, on average
    seconds: float  # of the pass, compiling included
    standardizer: Standardizer | None  # of what the model was given, None if not standardised


def get_ten_digits_metrics(
    model: Any,
    batch_size: int = 1,
    *,
    digits: Digits | None = None,
    standardize: bool = True,
    halfspace_samples: int = 1000,
    seed: int | None = 0,
    save: str | Path | None = None,
    verbose: bool = True,
) -> TenDigits:
    """Train a model of ten heads on one pass over the MNIST training set, then score it on the test set.

    Args:
        model: a `GLN` of any backend, with `num_classes=10`.
        batch_size: digits that the model predicts and learns at a time, at least 1; 1 is exact online learning.
        digits: what `load_mnist` returned, or the same with other features than pixels, (N, F) in [0, 1]; None loads
            the embedded, deskewed digits.
        standardize: whether the digits are standardised online, see `gln_features.Standardizer`.
        halfspace_samples: the halfspaces become bisectors of so many digits, the first of the stream; 0 leaves them, as
            it has to be with a model that has learned before.
        seed: of the order of the training digits.
        save: a file where the model is saved after every 10,000 digits and at the end, with what the pass needs. What
            `GLN.load` makes of it goes on with the pass, if the other arguments are those of the first time; other
            digits, or another order of them, are refused.
        verbose: whether to show a progress bar, with the accuracy so far.

    Raises:
        ValueError: an argument outside its range, a model of another size, one that has learned before, or one that was
            saved on the way through other digits.
        OSError: the model cannot be saved.
    """
    _check_batch_size(batch_size)
    if model.num_classes != 10:
        raise ValueError(f"model: expected one of 10 classes, got one of {model.num_classes}")
    x_train, y_train, x_test, y_test = load_mnist() if digits is None else digits
    order = np.random.default_rng(seed).permutation(len(x_train))
    resumed = set(model.extra) >= PASS
    of_digits = (x_train, y_train, order) if resumed or save is not None else ()  # they take long to go through
    sha256 = _sha256(*of_digits)
    standardizer, hits = Standardizer(x_train.shape[1]), np.empty(0, bool)
    if resumed:
        hits = _hits_before(model, standardizer, sha256)
    elif halfspace_samples:
        if int(model.step) > 0:
            expected = "one that has not learned yet, or halfspace_samples=0"
            raise ValueError(f"model: expected {expected}, got one after {int(model.step)} samples")
        first = x_train[order[:halfspace_samples]].T
        model.fit_hyperplanes(Standardizer(len(first)).learn(first) if standardize else first)
    start = time.perf_counter()
    with tqdm(total=len(order), initial=len(hits), unit=" digits", disable=not verbose) as bar:
        for chunk in _chunks(order[len(hits) :], batch_size * max(1, CHUNK // batch_size)):
            z = standardizer.learn(x_train[chunk].T) if standardize else x_train[chunk].T
            p = _probabilities(model.predict_online(z, z, y_train[chunk], batch_size), (10, len(chunk)))
            hits = np.append(hits, p.argmax(axis=0) == y_train[chunk])
            bar.update(len(chunk))
            bar.set_postfix(accuracy=f"{100 * hits.mean():.2f}")
            if save is not None and (len(hits) % SAVED_EVERY < len(chunk) or len(hits) == len(order)):
                extra = {"hits": hits, "step": int(model.step), "sha256": sha256}
                model.save(save, {**extra, **standardizer.get_state()})
    seconds = time.perf_counter() - start
    p = np.empty((10, len(x_test)))
    for chunk in _chunks(np.arange(len(x_test)), CHUNK):
        z = standardizer.transform(x_test[chunk].T) if standardize else x_test[chunk].T
        p[:, chunk] = _probabilities(model.predict(z, z), (10, len(chunk)))
    p /= p.sum(axis=0)
    predicted, names = p.argmax(axis=0), [str(digit) for digit in range(10)]
    scores = precision_recall_fscore_support(y_test, predicted, labels=range(10), zero_division=0)
    return TenDigits(
        100 * float((predicted == y_test).mean()),
        hits,
        pd.DataFrame(confusion_matrix(y_test, predicted, labels=range(10)), index=names, columns=names),
        pd.DataFrame(np.stack(scores), index=["precision", "recall", "fscore", "support"], columns=names),
        float(log_loss(y_test, p.T, labels=range(10))),
        _calibration_error(p.max(axis=0), predicted == y_test),
        seconds,
        standardizer if standardize else None,
    )


def _sha256(*arrays: np.ndarray) -> np.ndarray:  # -> (32,) uint8
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ravel(array).data)
    return np.frombuffer(digest.digest(), np.uint8)


def _hits_before(model: Any, standardizer: Standardizer, sha256: np.ndarray) -> np.ndarray:
    """Hits of the pass that the model was saved on the way through; the standardizer gets what it had counted."""
    if int(model.step) != model.extra["step"]:
        raise ValueError(
            f"model: expected one as it was saved, after {model.extra['step']} digits, got one after {int(model.step)}"
        )
    if not np.array_equal(model.extra["sha256"], sha256):
        raise ValueError(
            "digits, seed: expected the training digits of the pass that was saved, in that order, got others "
            "(other data or features, deskewed or not, another order)"
        )
    standardizer.set_state({name: model.extra[name] for name in standardizer.get_state()})
    return model.extra["hits"]


def _calibration_error(confidence: np.ndarray, hit: np.ndarray, bins: int = 15) -> float:  # (N,), (N,)
    """Expected calibration error: in each of `bins` equal parts of [0, 1], mean confidence against share of hits.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 2.
    """
    part = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(part, confidence - hit, minlength=bins)
    return float(np.abs(gaps).sum() / len(hit))


def _chunks(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[i : i + size] for i in range(0, len(order), size)]


def _probabilities(output: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A model's output as NumPy, from whichever framework and device."""
    array = np.asarray(output.detach().cpu() if hasattr(output, "detach") else output)
    if array.shape != shape:
        raise ValueError(f"model: expected predictions of shape {shape}, got shape {array.shape}")
    return array


# What the two kinds of run take where the command line says nothing else.
ONE_DIGIT: dict[str, Any] = {"layer_sizes": [4, 4, 1], "halfspaces": 4, "batch_size": 8, "seed": 0, "digit": 3}
TEN_DIGITS: dict[str, Any] = {"layer_sizes": [64, 32], "halfspaces": 6, "batch_size": 1, "seed": 0}


def _defaults(name: str) -> str:
    one, ten = (" ".join(map(str, np.ravel(defaults[name]))) for defaults in (ONE_DIGIT, TEN_DIGITS))
    return f"{one}, with --all-classes {ten}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gln-mnist",
        description="Train a GLN on MNIST, to tell one digit from the rest or all ten, in one pass, and score it on "
        "the test set.",
    )
    parser.add_argument("--all-classes", action="store_true", help="ten heads, a head a digit, instead of one")
    parser.add_argument(
        "--features",
        choices=["pixels", "orientations"],
        default="pixels",
        help="what the network sees: pixels, or histograms of gradient orientations",
    )
    parser.add_argument(
        "--digit", type=int, choices=range(10), help=f"the digit told from the others: {ONE_DIGIT['digit']}"
    )
    parser.add_argument(
        "--backend",
        choices=["auto", *BACKENDS, "all"],
        default="auto",
        help="which implementation to run; auto: the fastest of numba, jax and numpy that is installed; all: each of "
        "them, as a table",
    )
    parser.add_argument(
        "--layer-sizes", type=int, nargs="+", metavar="N", help=f"neurons of each layer: {_defaults('layer_sizes')}"
    )
    parser.add_argument("--halfspaces", type=int, metavar="K", help=f"halfspaces a neuron: {_defaults('halfspaces')}")
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="B",
        help=f"digits learned at a time, 1 for exact online learning: {_defaults('batch_size')}",
    )
    parser.add_argument(
        "--seed", type=int, help=f"of the halfspaces and of the order of the images: {ONE_DIGIT['seed']}"
    )
    parser.add_argument("--no-deskew", dest="deskew", action="store_false", help="take the digits as they are")
    parser.add_argument("--data", metavar="FILE", help="an .npz file of other digits than the embedded MNIST")
    parser.add_argument(
        "--save", metavar="FILE", help="with --all-classes: where to save the model, on the way and at the end"
    )
    parser.add_argument(
        "--resume",
        metavar="FILE",
        help="with --all-classes: go on with the pass that was saved there; progress is kept only with --save too",
    )
    parser.add_argument("--plot", metavar="FOLDER", help="with --all-classes: where to write pictures of the pass")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    return parser


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    given = {name for name, value in vars(options).items() if value is not None}
    if given & {"save", "resume", "plot"} and (not options.all_classes or options.backend == "all"):
        parser.error("--save, --resume and --plot are for --all-classes with one backend")
    if options.all_classes and "digit" in given:
        parser.error("--digit is not for --all-classes, which tells all ten apart")
    if "resume" in given and given & {"layer_sizes", "halfspaces", "seed"}:
        parser.error("--layer-sizes, --halfspaces and --seed stand in the file of --resume")
    for name, default in (TEN_DIGITS if options.all_classes else ONE_DIGIT).items():
        if name not in given:
            setattr(options, name, default)
    return options


def _check_outputs(options: argparse.Namespace) -> None:
    """What would fail after a pass fails before it."""
    if options.save is not None:
        file = Path(options.save)
        if file.is_dir() or not file.parent.is_dir():
            raise ValueError(f"--save: expected a file in a folder that exists, got {options.save!r}")
    if options.plot is not None:
        importlib.import_module("gln_plots")  # only who draws needs Matplotlib
        try:
            Path(options.plot).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"--plot: expected a folder that is there or can be made, got {error}") from error


def _model(backend: str, options: argparse.Namespace, digits: Digits) -> Any:
    """A new network, or the one that was saved."""
    gln = importlib.import_module(f"gln_{backend}").GLN
    size = digits[0].shape[1]
    network = {"context_map_size": options.halfspaces, "seed": options.seed}
    if not options.all_classes:
        return gln(options.layer_sizes, size, size, **network)
    rate = functools.partial(linear_rate, samples=len(digits[0]))
    if options.resume is None:
        return gln(options.layer_sizes, size, size, num_classes=10, learning_rate=rate, **network)
    model = gln.load(options.resume, learning_rate=rate)
    if model.num_classes != 10 or not set(model.extra) >= PASS:
        raise ValueError(f"--resume: expected a file that gln-mnist --save wrote, got another GLN in {options.resume}")
    return model


def _scores(model: Any, options: argparse.Namespace, digits: Digits) -> Any:
    """What `get_mnist_metrics` or `get_ten_digits_metrics` measures; the first is the accuracy."""
    passing = {"digits": digits, "seed": model.seed, "verbose": not options.quiet}
    if options.all_classes:
        return get_ten_digits_metrics(model, options.batch_size, save=options.save, **passing)
    return get_mnist_metrics(model, options.digit, options.batch_size, **passing)


def _text(scores: Any) -> str:
    if not isinstance(scores, TenDigits):
        accuracy, conf_mat, prfs = scores
        return f"Accuracy: {accuracy:.2f}\nConfusion matrix:\n{conf_mat}\nPrec-Rec-F:\n{prfs}"
    lines = [
        f"Accuracy: {scores.accuracy:.2f}",
        f"Accuracy online, of each digit before it was learned: {100 * scores.online_hits.mean():.2f}",
        f"Confusion matrix:\n{scores.conf_mat}",
        f"Prec-Rec-F:\n{scores.prfs.T.astype({'support': int}).round(4)}",
        f"Log-loss: {scores.log_loss:.4f}",
        f"Calibration error: {scores.calibration_error:.4f}",
    ]
    return "\n".join(lines)


def _draw(folder: Path, model: Any, ten: TenDigits, digits: Digits) -> None:
    """Pictures of a pass over standardised digits; of pixels also what halfspaces cut and what speaks for a digit.

    MNIST cannot be drawn in a plane, so how regions form is shown on two moons, by a network of the same backend.
    """
    import gln_plots

    moons, labels = make_moons(1000, noise=0.2, random_state=0)
    of_two = type(model)([64, 32], input_size=2, context_size=2, context_bias=1.0, seed=0)
    figures = {
        "two_moons": gln_plots.plot_regions(of_two, zscore(moons).T, labels),
        "confusion": gln_plots.plot_confusion(ten.conf_mat),
        "learning_curve": gln_plots.plot_learning_curves({"one pass": ten.online_hits}),
    }
    x_test, y_test = digits[2:]
    if x_test.shape[1] == PIXELS and ten.standardizer is not None:
        some = x_test[:1000].T
        z = ten.standardizer.transform(some)
        if model.context_map_size > 0:
            figures["halfspaces"] = gln_plots.plot_halfspaces(model, some, z, shown=min(6, some.shape[1]))
        of_each = np.unique(y_test[:1000], return_index=True)[1]  # the first of each digit
        p = _probabilities(model.predict(z[:, of_each], z[:, of_each]), (10, len(of_each)))
        taken_for, weights = p.argmax(axis=0), model.explain(z[:, of_each], z[:, of_each]).weights
        figures["explanations"] = gln_plots.plot_explanations(
            some[:, of_each],
            np.stack([weights[head, :, b] for b, head in enumerate(taken_for)], axis=1),
            z[:, of_each],
            [f"{head}: {p[head, b]:.2f}" for b, head in enumerate(taken_for)],
        )
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=120)


def _compare(options: argparse.Namespace, digits: Digits) -> pd.DataFrame:
    """A row for each installed backend. The seconds are those of the whole pass and test, compiling included."""
    rows = {}
    for backend, distribution in BACKENDS.items():
        try:
            importlib.import_module(f"gln_{backend}")
        except ImportError as error:
            print(f"gln-mnist: left out {backend}: {error}", file=sys.stderr)
            continue
        start = time.perf_counter()
        accuracy = _scores(_model(backend, options, digits), options, digits)[0]
        seconds = time.perf_counter() - start
        samples = (len(digits[0]) + len(digits[2])) / seconds
        rows[backend] = [metadata.version(distribution), f"{accuracy:.2f}", f"{seconds:.1f}", f"{samples:.0f}"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=["version", "accuracy", "seconds", "samples/s"])


def _run(options: argparse.Namespace) -> None:
    _check_outputs(options)
    digits = load_mnist(options.deskew, options.data)
    if options.features == "orientations":
        digits = (orientation_features(digits[0]), digits[1], orientation_features(digits[2]), digits[3])
    if options.backend == "all":
        print(_compare(options, digits))
        return
    backend = fastest_backend() if options.backend == "auto" else options.backend
    start = time.perf_counter()
    model = _model(backend, options, digits)
    scores = _scores(model, options, digits)
    print(f"\n{_text(scores)}", flush=True)  # before anything can go wrong with the pictures
    if options.all_classes:  # apart from the result, which is the same each time
        print(f"Seconds, with gln_{backend}: {time.perf_counter() - start:.1f}", file=sys.stderr)
    if options.plot is not None:
        _draw(Path(options.plot), model, scores, digits)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = _options(arguments)
    try:
        _run(options)
        return 0
    except (ImportError, OSError, ValueError) as error:
        print(f"gln-mnist: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass  # what comes below is printed when the progress bar has gone with the traceback
    kept = f"; what was last saved is in {options.save}" if options.save and Path(options.save).exists() else ""
    print(f"gln-mnist: interrupted{kept}", file=sys.stderr)
    return 130


if __name__ == "__main__":
    sys.exit(main())
