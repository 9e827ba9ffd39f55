"""The module `test_mnist`: the embedded digits, deskewing, the metrics and the command line."""

from __future__ import annotations

import hashlib
import importlib
import re
import struct
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import ROOT, assert_same_state
from scipy import ndimage

import test_mnist
from gln.features import Standardizer
from gln.mnist import Digits, fit_windows
from gln.rates import linear_rate
from gln_numpy import GLN
from test_mnist import TenDigits, calibration_error, deskew, get_mnist_metrics, get_ten_digits_metrics, load_mnist

DATA = Path(str(resources.files("gln.mnist")))
NAMES = ("x_train", "y_train", "x_test", "y_test")


@pytest.fixture(scope="module")
def mnist() -> Digits:
    """All digits, not deskewed."""
    return load_mnist(deskew=False)


@pytest.fixture(scope="module")
def few(mnist) -> Digits:
    """2,000 digits to train on and 500 to test on, deskewed."""
    x_train, y_train, x_test, y_test = mnist
    return deskew(x_train[:2000]), y_train[:2000], deskew(x_test[:500]), y_test[:500]


@pytest.fixture(scope="module")
def few_file(few, tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("few") / "few.npz"
    arrays = [np.rint(255 * part).astype(np.uint8) if part.ndim == 2 else part for part in few]
    np.savez(file, **dict(zip(NAMES, arrays, strict=True)))
    return str(file)


def idx_bytes(array: np.ndarray) -> bytes:
    """The array as an uncompressed IDX file of unsigned bytes, the format in which MNIST was published."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def test_embedded_digits_are_the_published_ones():
    listed = dict(re.findall(r"\| (\S+-ubyte) \| ([0-9a-f]{32}) \|", (DATA / "PROVENANCE.md").read_text()))
    names = {
        "x_train": "train-images-idx3-ubyte",
        "y_train": "train-labels-idx1-ubyte",
        "x_test": "t10k-images-idx3-ubyte",
        "y_test": "t10k-labels-idx1-ubyte",
    }
    with np.load(DATA / "mnist.npz", allow_pickle=False) as arrays:
        sums = {names[key]: hashlib.md5(idx_bytes(arrays[key]), usedforsecurity=False).hexdigest() for key in names}
    assert sums == listed


def test_load_mnist(mnist):
    x_train, y_train, x_test, y_test = mnist
    assert (x_train.shape, y_train.shape, x_test.shape, y_test.shape) == (
        (60000, 784),
        (60000,),
        (10000, 784),
        (10000,),
    )
    assert x_train.dtype == x_test.dtype == np.float32
    assert y_train.dtype.kind == y_test.dtype.kind == "i"
    assert (x_train.min(), x_train.max()) == (0, 1)
    assert np.bincount(y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    with np.load(DATA / "mnist.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(np.rint(x_test * 255).reshape(-1, 28, 28), arrays["x_test"])


def arrays_of(count: int = 3) -> dict[str, Any]:
    images, labels = np.zeros((count, 28, 28), np.uint8), np.arange(count)
    return {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}


def test_load_mnist_takes_a_users_own_file(tmp_path):
    file = tmp_path / "own.npz"
    arrays = arrays_of()
    arrays["x_train"][1, 2, 3] = 51
    arrays["x_test"] = arrays["x_test"].reshape(-1, 784)
    np.savez(file, **arrays)
    x_train, y_train, x_test, y_test = load_mnist(deskew=False, path=file)
    assert x_train[1, 2 * 28 + 3] == pytest.approx(0.2)
    assert y_train.tolist() == y_test.tolist() == [0, 1, 2]
    assert x_test.shape == (3, 784)
    assert load_mnist(path=str(file))[0].shape == (3, 784)


BAD_ARRAYS = {
    "no y_test": {"y_test": None},
    "float images": {"x_train": np.zeros((3, 28, 28))},
    "other size": {"x_test": np.zeros((3, 32, 32), np.uint8)},
    "flat images": {"x_test": np.zeros(784, np.uint8)},
    "too few labels": {"y_train": np.arange(2)},
    "label 10": {"y_train": np.array([0, 1, 10])},
    "negative label": {"y_train": np.array([0, 1, -1])},
    "text labels": {"y_test": np.array(["a", "b", "c"])},
    "objects": {"y_test": np.array([0, 1, None], dtype=object)},
    "nothing to train on": {"x_train": np.zeros((0, 28, 28), np.uint8), "y_train": np.arange(0)},
    "nothing to test on": {"x_test": np.zeros((0, 784), np.uint8), "y_test": np.arange(0)},
}


@pytest.mark.parametrize("change", BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_load_mnist_refuses_other_arrays(tmp_path, change):
    file = tmp_path / "bad.npz"
    np.savez(file, **{name: array for name, array in {**arrays_of(), **change}.items() if array is not None})
    with pytest.raises(ValueError, match=r"bad\.npz: expected an \.npz file with the arrays x_train"):
        load_mnist(path=file)


def test_load_mnist_refuses_what_takes_all_memory(tmp_path):
    np.savez_compressed(tmp_path / "bomb.npz", x_train=np.zeros((30_000, 784), np.uint8))
    with pytest.raises(ValueError, match="over 100 times the size of the file"):
        load_mnist(path=tmp_path / "bomb.npz")


def test_the_file_alone_says_how_to_install_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "gln.backends", None)
    monkeypatch.delitem(sys.modules, "test_mnist", raising=False)
    with pytest.raises(ImportError, match=r"^test_mnist needs the package gln: .*; pip install \. in its folder$"):
        importlib.import_module("test_mnist")


def test_load_mnist_refuses_other_files(tmp_path):
    whole = (DATA / "mnist.npz").read_bytes()
    files = {
        "empty": b"",
        "text": b"these are no digits",
        "cut": whole[: len(whole) // 2],
        "damaged": whole[:5_000_000] + bytes(1000) + whole[5_001_000:],
        "pickle": b"\x80\x04N.",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    np.save(tmp_path / "single.npy", np.zeros(3))
    for name in [*files, "single.npy", "missing.npz", "."]:
        with pytest.raises(ValueError, match=r"expected an \.npz file") as error:
            load_mnist(path=tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
    with pytest.raises(ValueError, match=r"got .*No such file"):
        load_mnist(path=tmp_path / "missing.npz")


def moments(image: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.mgrid[:28, :28]
    mass = image.sum()
    row, column = (image * rows).sum() / mass, (image * columns).sum() / mass
    covariance = (image * (rows - row) * (columns - column)).sum() / mass
    return row, column, covariance, (image * (rows - row) ** 2).sum() / mass


def test_deskew_is_an_affine_transform_of_each_image(mnist):
    images = mnist[2][:100].reshape(-1, 28, 28)
    upright = deskew(images.reshape(-1, 784)).reshape(-1, 28, 28)
    for image, ours in zip(images, upright, strict=True):
        row, column, covariance, variance = moments(image.astype(np.float64))
        matrix = np.array([[1, 0], [covariance / variance, 1]])
        offset = np.array([row, column]) - matrix @ np.array([14, 14])
        np.testing.assert_allclose(ours, ndimage.affine_transform(image, matrix, offset=offset, order=1), atol=1e-4)


def test_deskew_of_images_without_a_shape():
    images = np.zeros((3, 784), np.float32)
    images[1, 14 * 28 + 14] = 1  # one pixel has no variance
    images[2, 14 * 28 : 14 * 28 + 29] = 1  # a row and one more pixel has almost none
    out = deskew(images)
    np.testing.assert_array_equal(out[:2], images[:2])
    assert np.isfinite(out).all()
    assert deskew(np.empty((0, 784))).shape == (0, 784)


@pytest.mark.parametrize(
    "images", [np.zeros(784), np.zeros((2, 783)), np.full((1, 784), np.nan), -np.ones((1, 784)), np.full((1, 784), "a")]
)
def test_deskew_refuses_invalid_images(images):
    with pytest.raises(ValueError, match=r"images: expected .*, got "):
        deskew(images)


def test_metrics_of_a_model_with_known_mistakes(few):
    """A stand-in that is wrong on chosen digits, so that every number in the tables is known."""

    class Oracle:
        def __init__(self) -> None:
            self.learned, self.tested = 0, 0

        def predict(self, inputs: Any, context_inputs: Any, targets: Any = None) -> Any:
            assert inputs is context_inputs
            if targets is not None:
                self.learned += len(targets)
                return np.full(len(targets), 0.5)
            labels = few[3][self.tested : self.tested + inputs.shape[1]]
            self.tested += len(labels)
            return np.where((labels == 3) | (labels == 8), 0.5, 0.49)  # predicts that every 8 is a 3

    oracle = Oracle()
    accuracy, conf_mat, prfs = get_mnist_metrics(oracle, 3, 7, digits=few, verbose=False)
    threes, eights = int((few[3] == 3).sum()), int((few[3] == 8).sum())
    assert (oracle.learned, oracle.tested) == (2000, 500)
    assert accuracy == pytest.approx(100 * (1 - eights / 500))
    assert conf_mat.to_dict() == {
        "not_3": {"not_3": 500 - threes - eights, "is_3": 0},
        "is_3": {"not_3": eights, "is_3": threes},
    }
    assert list(prfs.index) == ["precision", "recall", "fscore", "support"]
    assert list(prfs.columns) == ["not_3", "is_3"]
    assert prfs.loc["precision", "is_3"] == pytest.approx(threes / (threes + eights))
    assert prfs.loc["recall", "is_3"] == 1
    assert prfs.loc["support", "not_3"] == 500 - threes


@pytest.mark.compiles
def test_metrics_of_every_backend(backend, few, capsys):
    model = backend.GLN([4], 784, 784, seed=0)
    accuracy, conf_mat, _ = get_mnist_metrics(model, mnist_class=3, batch_size=16, digits=few)
    assert accuracy > 96  # always predicting the same class would give 91
    assert conf_mat.to_numpy().sum() == 500
    bars = capsys.readouterr().err
    assert "125/125" in bars  # the bars count batches
    assert "32/32" in bars


def test_metrics_are_repeatable_and_shuffled(few):
    digits = (few[0][:500], few[1][:500], few[2][:10], few[3][:10])

    def run(seed: int) -> float:
        model = GLN([2, 1], 784, 784, seed=0)
        get_mnist_metrics(model, 3, 100, digits=digits, seed=seed, verbose=False)
        return float(model.get_state()["weights.2"].sum())

    assert run(0) == run(0)
    assert run(0) != run(1)


def test_metrics_refuse_bad_arguments(few):
    model = GLN([1], 784, 784)
    for wrong in (10, "3"):
        with pytest.raises(ValueError, match=r"mnist_class: expected .*, got "):
            get_mnist_metrics(model, wrong, digits=few)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"batch_size: expected .*, got 0"):
        get_mnist_metrics(model, batch_size=0, digits=few)
    with pytest.raises(ValueError, match="model: expected predictions of shape"):
        get_mnist_metrics(GLN([1], 784, 784, num_classes=10), digits=few, verbose=False)


@pytest.fixture(scope="module")
def after_pass(few, tmp_path_factory) -> tuple[GLN, TenDigits, Path]:
    """A network with ten heads after one pass over the few digits, its scores, and the file that it was saved to."""
    model, file = GLN([16, 8], 784, 784, num_classes=10, seed=0), tmp_path_factory.mktemp("pass") / "model.gln"
    return model, get_ten_digits_metrics(model, digits=few, halfspace_samples=300, save=file, verbose=False), file


def test_ten_digits(few, after_pass):
    model, ten, _ = after_pass
    assert model.step == 2000
    assert ten.online_hits.shape == (2000,)
    assert 85 < 100 * ten.online_hits.mean() < ten.accuracy < 95
    assert ten.online_hits[:100].mean() < ten.online_hits[-100:].mean()
    assert ten.accuracy == pytest.approx(100 * np.trace(ten.conf_mat) / 500)
    counts, scores = ten.conf_mat.to_numpy(), ten.prfs.to_numpy()
    np.testing.assert_array_equal(counts.sum(axis=1), np.bincount(few[3]))
    np.testing.assert_array_equal(scores[3], np.bincount(few[3]))
    np.testing.assert_allclose(scores[1], np.diag(counts) / counts.sum(axis=1))
    assert 0 < ten.calibration_error < 0.1
    assert 0.1 < ten.log_loss < 0.6


def test_calibration_error_is_that_of_a_slow_loop():
    rng = np.random.default_rng(0)
    confidence = np.append(rng.random(500), [0.0, 1.0])
    hits = rng.random(502) < confidence**2
    gap = 0.0
    for i in range(15):
        low, high = i / 15, (i + 1) / 15
        inside = (confidence >= low) & ((confidence < high) | (i == 14))
        gap += abs(confidence[inside].sum() - hits[inside].sum()) / 502
    assert calibration_error(confidence, hits) == pytest.approx(gap)
    assert calibration_error(np.ones(3), np.ones(3, bool)) == 0


def first_of_stream(digits: Digits, count: int) -> np.ndarray:  # (F, count)
    order = np.random.default_rng(0).permutation(len(digits[0]))
    return Standardizer(digits[0].shape[1]).learn(digits[0][order[:count]].T)


def test_halfspaces_of_ten_digits_come_from_the_first_of_them(few, after_pass):
    fitted = GLN([16, 8], 784, 784, num_classes=10, seed=0)
    fit_windows(fitted, first_of_stream(few, 300))
    planes = fitted.get_state()["hyperplanes.1"]
    np.testing.assert_array_equal(after_pass[0].get_state()["hyperplanes.1"], planes)
    again = get_ten_digits_metrics(fitted, digits=few, halfspace_samples=0, seed=1, verbose=False)
    np.testing.assert_array_equal(fitted.get_state()["hyperplanes.1"], planes)
    assert 85 < again.accuracy < 95


@pytest.mark.parametrize("size", [784, 588])
def test_halfspaces_of_ten_digits_see_all_of_an_image_or_of_other_features(few, size):
    digits = (few[0][:50, :size], few[1][:50], few[2][:5, :size], few[3][:5])
    model, fitted = (GLN([2], size, size, num_classes=10, seed=0) for _ in range(2))
    window = None if size == 784 else 6
    get_ten_digits_metrics(model, digits=digits, halfspace_window=window, verbose=False)
    fitted.fit_hyperplanes(first_of_stream(digits, 50))
    for name in ("hyperplanes.1", "hyperplane_bias.1"):
        np.testing.assert_array_equal(model.get_state()[name], fitted.get_state()[name])


def slow_windows(rng: np.random.Generator, shape: tuple[int, int], images: np.ndarray, window: int) -> tuple:
    """`fit_windows` as a plain loop over halfspaces, from images (B, 28, 28) in float64: (n, k, 28, 28), (n, k)."""
    tries = []
    for _ in range(10):
        row, column = rng.integers(0, 29 - window, shape), rng.integers(0, 29 - window, shape)
        first = rng.integers(0, len(images), shape)
        tries.append((row, column, first, (first + 1 + rng.integers(0, len(images) - 1, shape)) % len(images)))
    planes, bias = np.zeros((*shape, 28, 28)), np.zeros(shape)
    for j, i in np.ndindex(shape):
        for row, column, first, second in tries:
            inside = slice(row[j, i], row[j, i] + window), slice(column[j, i], column[j, i] + window)
            x, y = images[first[j, i]][inside], images[second[j, i]][inside]
            if (x != y).any():
                break
        normal = x - y if (x != y).any() else np.ones_like(x)
        normal = normal / np.linalg.norm(normal)
        planes[j, i][inside], bias[j, i] = normal, (normal * (x + y) / 2).sum()
    return planes, bias


@pytest.mark.parametrize("window", [1, 6, 9, 28])
def test_windows_are_bisectors_of_two_digits(few, window):
    samples = first_of_stream(few, 30)
    images = samples.T.reshape(-1, 28, 28).astype(np.float64)
    network = GLN([5, 3], 784, 784, num_classes=10, context_map_size=2, seed=4)
    before = network.get_state()
    fit_windows(network, samples, window)
    state, rng = network.get_state(), np.random.default_rng(4)
    for layer, n in ((1, 5), (2, 3)):
        planes, bias = slow_windows(rng, (n, 2), images, window)
        found = state[f"hyperplanes.{layer}"]
        np.testing.assert_allclose(found, planes.reshape(n, 2, 784), atol=1e-7)
        np.testing.assert_allclose(state[f"hyperplane_bias.{layer}"], bias, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, rtol=1e-6)
        for plane in found.reshape(-1, 28, 28):
            assert all(np.ptp(np.flatnonzero(plane.any(axis=axis))) < window for axis in (0, 1))
        np.testing.assert_array_equal(state[f"weights.{layer}"], before[f"weights.{layer}"])


def test_windows_of_equal_digits():
    network = GLN([3], 784, 784, context_map_size=2, seed=0)
    fit_windows(network, np.full((784, 4), 0.5), 3)
    state = network.get_state()
    np.testing.assert_allclose(np.sort(state["hyperplanes.1"])[..., -9:], 1 / 3, rtol=1e-6)
    assert (np.sort(state["hyperplanes.1"])[..., :-9] == 0).all()
    np.testing.assert_allclose(state["hyperplane_bias.1"], 1.5015, rtol=1e-6)  # beside the digits, not on them


def test_windows_refuse_bad_arguments_and_change_nothing(few):
    network, samples = GLN([2], 784, 784, seed=0), few[0][:5].T
    before = network.get_state()
    infinite = samples.copy()
    infinite[3, 2] = np.inf
    for wrong in (samples.T, samples[:, :1], samples[:, 0], infinite, np.full((784, 2), "a")):
        with pytest.raises(ValueError, match=r"samples: .*expected .*, got "):
            fit_windows(network, wrong)
    for side in (0, 29, 2.0, True, "6"):
        with pytest.raises(ValueError, match=r"^window.*: expected "):
            fit_windows(network, samples, side)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="network: expected a context_size of 784, got 783"):
        fit_windows(GLN([2], 784, 783), samples)
    assert_same_state(network, before)
    network.predict(samples, samples, np.zeros(5))
    before = network.get_state()
    with pytest.raises(RuntimeError, match="network: expected one before its first update, got step 5"):
        fit_windows(network, samples)
    assert_same_state(network, before)


def test_ten_digits_are_saved_with_the_standardizer(few, after_pass):
    model, ten, file = after_pass
    loaded = GLN.load(file)
    assert_same_state(loaded, model)
    standardizer = Standardizer(784)
    standardizer.set_state(loaded.extra)
    digits = few[2][:50].T
    np.testing.assert_array_equal(standardizer.transform(digits), ten.standardizer.transform(digits))
    assert (standardizer.count == 2000).all()


def test_ten_digits_that_are_not_standardised(few, tmp_path):
    digits = (few[0][:100], few[1][:100], few[2][:20], few[3][:20])
    model = GLN([2], 784, 784, num_classes=10, seed=0)
    ten = get_ten_digits_metrics(model, digits=digits, standardize=False, save=tmp_path / "m", verbose=False)
    assert ten.standardizer is None
    assert not GLN.load(tmp_path / "m").extra
    other, order = GLN([2], 784, 784, num_classes=10, seed=0), np.random.default_rng(0).permutation(100)
    stream = digits[0][order].T
    fit_windows(other, stream)
    other.predict_online(stream, stream, digits[1][order])
    assert_same_state(other, model)


def test_ten_digits_refuse_bad_arguments(few, after_pass):
    digits = (few[0][:100], few[1][:100], few[2][:20], few[3][:20])
    model = GLN.load(after_pass[2])
    with pytest.raises(ValueError, match=r"model: expected one that has not learned yet, .* after 2000 samples"):
        get_ten_digits_metrics(model, digits=digits, verbose=False)
    with pytest.raises(ValueError, match=r"window: expected an integer of at least 1, got 0"):
        get_ten_digits_metrics(GLN([2], 784, 784, num_classes=10), digits=digits, halfspace_window=0)
    with pytest.raises(ValueError, match="model: expected one of 10 classes, got one of 2"):
        get_ten_digits_metrics(GLN([2], 784, 784), digits=digits)
    get_ten_digits_metrics(model, digits=digits, halfspace_samples=0, verbose=False)
    assert model.step == 2100


def test_linear_rate():
    assert [linear_rate(t, 4, 10, 0) for t in (0, 1, 4, 9)] == [10, 7.5, 0, 0]


@pytest.mark.slow
def test_command_line(few_file, tmp_path, capsys):
    """A script in another folder with progress bars, then quiet: the same result, and Matplotlib is not loaded."""
    options = ["--data", few_file, "--no-deskew", "--seed", "1", "--digit", "7", "--backend", "numpy"]
    script = [sys.executable, "-X", "importtime", str(ROOT / "test_mnist.py"), *options]
    shown = subprocess.run(script, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert re.search(r"^Accuracy: 9\d\.\d\d$", shown.stdout, re.MULTILINE)
    assert re.search(r"^Confusion matrix:\n +not_7 +is_7\nnot_7 +\d+ +\d+\nis_7 +\d+ +\d+$", shown.stdout, re.MULTILINE)
    assert re.search(r"^precision +0\.\d+ +0\.\d+$", shown.stdout, re.MULTILINE)
    assert re.search(r"100%.* (\d+)/\1 ", shown.stderr)
    assert re.search(r"^import time: .* gln\.mnist$", shown.stderr, re.MULTILINE)
    assert "matplotlib" not in shown.stderr
    assert test_mnist.main([*options, "--quiet"]) == 0
    assert capsys.readouterr() == (shown.stdout, "")


def test_command_line_ten_digits(few_file, capsys):
    options = ["--data", few_file, "--no-deskew", "--quiet", "--layer-sizes", "8", "--halfspaces", "2"]
    assert test_mnist.main([*options, "--features", "orientations"]) == 0
    with_orientations, _ = capsys.readouterr()
    assert test_mnist.main(options) == 0
    shown, seconds = capsys.readouterr()
    better, worse = (re.findall(r"^Accuracy: (.*)$", text, re.MULTILINE) for text in (with_orientations, shown))
    assert float(better[0]) > float(worse[0])
    assert re.search(r"^Accuracy: (8\d|9\d)\.\d\d$", shown, re.MULTILINE)
    assert all(
        word in shown
        for word in ("Progressive", "Confusion matrix", "support", "Log-loss: 0.", "Calibration error: 0.")
    )
    assert re.search(r"^Seconds, with gln_\w+: \d+\.\d$", seconds, re.MULTILINE)


@pytest.fixture
def ten_options(tmp_path) -> list[str]:
    """Options for a fast run: five empty images, fewer than a picture shows in a row."""
    np.savez(tmp_path / "empty.npz", **arrays_of(5))
    options = ["--no-deskew", "--quiet", "--layer-sizes", "3", "--backend", "numpy"]
    return ["--data", str(tmp_path / "empty.npz"), *options]


@pytest.mark.parametrize("halfspaces", [6, 0])
def test_command_line_saves(tmp_path, ten_options, capsys, halfspaces):
    file, options = tmp_path / "model.gln", [*ten_options, "--seed", "6", "--halfspaces", str(halfspaces)]
    assert test_mnist.main([*options, "--save", str(file)]) == 0
    assert capsys.readouterr()[0].startswith("\nAccuracy: ")
    loaded = GLN.load(file, learning_rate=1)
    assert (loaded.config.seed, loaded.step, loaded.config.layer_sizes, loaded.config.context_map_size) == (
        6,
        5,
        (3,),
        halfspaces,
    )


@pytest.fixture
def _no_digits(monkeypatch) -> None:
    def load(*_: Any, **__: Any) -> None:
        pytest.fail("loaded the digits before reporting the error")

    monkeypatch.setattr("gln.mnist.options.load_mnist", load)


WRONG = {
    "layer size": ("--layer-sizes 4 0", r"layer_sizes\[1\]: expected .*"),
    "too many halfspaces": ("--halfspaces 31", "context_map_size: expected .*"),
    "seed": ("--seed -1", "seed: expected .*"),
    "too large": (
        "--halfspaces 30 --layer-sizes 99999",
        "layer_sizes, .*: expected a network within .*, got one of .*",
    ),
    "saved in no folder": ("--save none/m", "--save: expected a file in a folder that exists, got 'none/m'"),
    "saved as a folder": ("--save .", r"--save: expected a file in a folder that exists, got '\.'"),
}


@pytest.mark.usefixtures("_no_digits")
@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG.keys())
def test_errors_are_reported_before_digits_are_loaded(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert test_mnist.main(["--backend", "numpy", *options.split()]) == 2
    assert re.fullmatch(f"gln-mnist: {message}\n", capsys.readouterr()[1])


def test_options_that_do_not_go_together(capsys):
    with pytest.raises(SystemExit, match="2"):
        test_mnist.main(["--digit", "3", "--save", "x"])
    assert capsys.readouterr()[1].endswith("gln-mnist: error: --save needs all ten digits\n")


def test_an_interrupted_pass_saves_nothing(tmp_path, ten_options, monkeypatch, capsys):
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(GLN, "predict_arrays", interrupt)
    assert test_mnist.main([*ten_options, "--save", str(tmp_path / "m")]) == 130
    assert capsys.readouterr() == ("", "gln-mnist: interrupted\n")
    assert not (tmp_path / "m").exists()
