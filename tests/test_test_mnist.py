"""The module `test_mnist`: the embedded digits, deskewing, the metrics and the command line."""

from __future__ import annotations

import hashlib
import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import test_mnist
from gln_features import Standardizer
from gln_numpy import GLN
from test_mnist import deskew, get_mnist_metrics, get_ten_digits_metrics, linear_rate, load_mnist

DATA = Path(test_mnist.__file__).parent / "gln_mnist_data"


@pytest.fixture(scope="module")
def few() -> tuple[np.ndarray, ...]:
    """2,000 digits to train on and 500 to test on, deskewed."""
    x_train, y_train, x_test, y_test = load_mnist(deskew=False)
    return deskew(x_train[:2000]), y_train[:2000], deskew(x_test[:500]), y_test[:500]


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


def test_load_mnist():
    x_train, y_train, x_test, y_test = load_mnist(deskew=False)
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
    with pytest.raises(ValueError, match=r"got no such file$"):
        load_mnist(path=tmp_path / "missing.npz")


def moments(image: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.mgrid[:28, :28]
    mass = image.sum()
    row, column = (image * rows).sum() / mass, (image * columns).sum() / mass
    covariance = (image * (rows - row) * (columns - column)).sum() / mass
    return row, column, covariance, (image * (rows - row) ** 2).sum() / mass


def test_deskew_is_an_affine_transform_of_each_image():
    images = load_mnist(deskew=False)[2][:100].reshape(-1, 28, 28)
    upright = deskew(images.reshape(-1, 784)).reshape(-1, 28, 28)
    for image, ours in zip(images, upright, strict=True):
        row, column, covariance, variance = moments(image.astype(np.float64))
        matrix = np.array([[1, 0], [covariance / variance, 1]])
        offset = np.array([row, column]) - matrix @ np.array([14, 14])
        np.testing.assert_allclose(ours, ndimage.affine_transform(image, matrix, offset=offset, order=1), atol=1e-4)


def test_deskewed_digits_are_upright_and_central():
    upright = deskew(load_mnist(deskew=False)[2][:500]).reshape(-1, 28, 28)
    found = np.array([moments(image.astype(np.float64)) for image in upright])
    off = np.abs(np.column_stack([found[:, 0] - 14, found[:, 1] - 14, found[:, 2] / found[:, 3]]))
    # Not all digits: a very slanted one loses ink over the border, and its centre of mass moves by that.
    assert (np.quantile(off, 0.95, axis=0) < [0.01, 0.03, 0.03]).all(), np.quantile(off, 0.95, axis=0)
    assert upright.min() >= 0
    assert upright.max() <= 1


def test_deskew_of_images_without_a_shape():
    images = np.zeros((3, 784), np.float32)
    images[1, 14 * 28 + 14] = 1  # one pixel has no variance
    images[2, 14 * 28 : 14 * 28 + 29] = 1  # nor has a single row, but for one pixel
    out = deskew(images)
    np.testing.assert_array_equal(out[:2], images[:2])
    assert np.isfinite(out).all()
    assert deskew(np.empty((0, 784))).shape == (0, 784)


@pytest.mark.parametrize(
    "images", [np.zeros(784), np.zeros((2, 783)), np.full((1, 784), np.nan), -np.ones((1, 784)), np.full((1, 784), "a")]
)
def test_deskew_refuses_what_is_no_image(images):
    with pytest.raises(ValueError, match=r"images: expected .*, got "):
        deskew(images)


def test_metrics_of_a_model_that_knows(few):
    """A stand-in that is wrong on chosen digits, so that every number of the tables is known."""

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
            return np.where((labels == 3) | (labels == 8), 0.5, 0.49)  # takes every 8 for a 3

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


def test_metrics_of_every_backend(backend, few, capsys):
    model = backend.GLN([4, 1], 784, 784, seed=0)
    accuracy, conf_mat, _ = get_mnist_metrics(model, mnist_class=3, batch_size=16, digits=few)
    assert accuracy > 96  # one answer for all digits would give 91
    assert conf_mat.to_numpy().sum() == 500
    bars = capsys.readouterr().err
    assert "125/125" in bars  # the bars count batches
    assert "32/32" in bars


def test_metrics_are_repeatable_and_shuffled(few):
    def run(seed: int) -> float:
        model = GLN([2, 1], 784, 784, seed=0)
        get_mnist_metrics(model, 3, 100, digits=few, seed=seed, verbose=False)
        return float(model.get_state()["weights.2"].sum())

    assert run(0) == run(0)
    assert run(0) != run(1)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [({"mnist_class": 10}, "mnist_class"), ({"mnist_class": "3"}, "mnist_class"), ({"batch_size": 0}, "batch_size")],
)
def test_metrics_refuse_bad_arguments(few, arguments, name):
    with pytest.raises(ValueError, match=f"{name}: expected .*, got "):
        get_mnist_metrics(GLN([1], 784, 784), digits=few, **arguments)


def test_metrics_refuse_a_model_of_ten_heads(few):
    with pytest.raises(ValueError, match="model: expected predictions of shape"):
        get_mnist_metrics(GLN([1], 784, 784, num_classes=10), digits=few, verbose=False)


def small_file(folder: Path, few: tuple[np.ndarray, ...]) -> Path:
    file = folder / "small.npz"
    images = [np.rint(255 * few[part]).astype(np.uint8) for part in (0, 2)]
    np.savez(file, x_train=images[0], y_train=few[1], x_test=images[1], y_test=few[3])
    return file


def test_command_line(tmp_path, few):
    script = Path(test_mnist.__file__)
    command = [sys.executable, str(script), "--data", str(small_file(tmp_path, few)), "--no-deskew", "--seed", "1"]
    shown = subprocess.run([*command, "--digit", "7"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert re.search(r"^Accuracy: 9\d\.\d\d$", shown.stdout, re.MULTILINE)
    assert re.search(r"^Confusion matrix:\n +not_7 +is_7\nnot_7 +\d+ +\d+\nis_7 +\d+ +\d+$", shown.stdout, re.MULTILINE)
    assert re.search(r"^precision +0\.\d+ +0\.\d+$", shown.stdout, re.MULTILINE)
    assert "250/250" in shown.stderr
    quiet = subprocess.run(
        [*command, "--digit", "7", "--quiet"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert quiet.stdout == shown.stdout
    assert quiet.stderr == ""


@pytest.mark.parametrize(
    "arguments", [["--layer-sizes", "0"], ["--batch-size", "0"], ["--data", "missing.npz"], ["--seed", "-1"]]
)
def test_command_line_says_what_is_wrong(arguments, capsys):
    assert test_mnist.main([*arguments, "--quiet"]) == 2
    assert re.search(r"^gln-mnist: .*: expected .*, got ", capsys.readouterr().err)


def test_ten_digits(few):
    model = GLN([16, 8], 784, 784, num_classes=10, seed=0)
    first_digits = Standardizer(784).learn(few[0][np.random.default_rng(0).permutation(2000)[:300]].T)
    fitted = GLN([16, 8], 784, 784, num_classes=10, seed=0)
    fitted.fit_hyperplanes(first_digits)
    ten = get_ten_digits_metrics(model, digits=few, halfspace_samples=300, verbose=False)
    np.testing.assert_array_equal(model.get_state()["hyperplanes.1"], fitted.get_state()["hyperplanes.1"])
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
    again = get_ten_digits_metrics(fitted, 7, digits=few, halfspace_samples=0, seed=1, verbose=False)
    assert 85 < again.accuracy < 95
    with pytest.raises(ValueError, match="batch_size"):
        get_ten_digits_metrics(model, 0, digits=few)


def test_calibration_error_of_known_cases():
    sure, half = np.ones(10), np.full(10, 0.55)
    hits = np.arange(10) < 5
    assert test_mnist._calibration_error(sure, hits) == pytest.approx(0.5)
    assert test_mnist._calibration_error(half, hits) == pytest.approx(0.05)
    assert test_mnist._calibration_error(np.concatenate([sure, half]), np.append(hits, hits)) == pytest.approx(0.275)


def test_linear_rate():
    assert [linear_rate(t, 4, 10, 0) for t in (0, 1, 4, 9)] == [10, 7.5, 0, 0]


def test_command_line_all_classes(few, tmp_path, capsys):
    file = tmp_path / "few.npz"
    names = ("x_train", "y_train", "x_test", "y_test")
    np.savez(
        file, **{n: np.rint(a * 255).astype(np.uint8) if n[0] == "x" else a for n, a in zip(names, few, strict=True)}
    )
    options = [
        "--all-classes",
        "--data",
        str(file),
        "--no-deskew",
        "--quiet",
        "--layer-sizes",
        "8",
        "--halfspaces",
        "2",
    ]
    assert test_mnist.main([*options, "--features", "orientations"]) == 0
    with_orientations, _ = capsys.readouterr()
    assert test_mnist.main(options) == 0
    shown, seconds = capsys.readouterr()
    better, worse = (re.findall(r"^Accuracy: (.*)$", text, re.MULTILINE) for text in (with_orientations, shown))
    assert float(better[0]) > float(worse[0])
    assert re.search(r"^Accuracy: (8\d|9\d)\.\d\d$", shown, re.MULTILINE)
    assert all(
        word in shown for word in ("online", "Confusion matrix", "support", "Log-loss: 0.", "Calibration error: 0.")
    )
    assert re.search(r"^Seconds, with gln_\w+: \d+\.\d$", seconds, re.MULTILINE)


def test_a_pass_that_was_stopped_goes_on(few, tmp_path, monkeypatch):
    class StoppedError(Exception):
        pass

    def network() -> GLN:
        return GLN([8, 4], 784, 784, num_classes=10, seed=3, learning_rate=2.0)

    whole = get_ten_digits_metrics(network(), digits=few, halfspace_samples=300, verbose=False)
    monkeypatch.setattr(test_mnist, "SAVED_EVERY", 1000)
    stopped, save = network(), GLN.save

    def save_and_stop(*arguments: Any) -> None:
        save(*arguments)
        raise StoppedError

    monkeypatch.setattr(GLN, "save", save_and_stop)
    with pytest.raises(StoppedError):
        get_ten_digits_metrics(stopped, digits=few, halfspace_samples=300, save=tmp_path / "m", verbose=False)
    monkeypatch.setattr(GLN, "save", save)
    resumed = GLN.load(tmp_path / "m")
    assert resumed.step == 1024
    ten = get_ten_digits_metrics(resumed, digits=few, halfspace_samples=300, save=tmp_path / "m", verbose=False)
    np.testing.assert_array_equal(ten.online_hits, whole.online_hits)
    np.testing.assert_allclose(ten.log_loss, whole.log_loss, rtol=1e-6)
    at_the_end = GLN.load(tmp_path / "m")
    assert at_the_end.step == 2000
    again = get_ten_digits_metrics(at_the_end, digits=few, verbose=False)
    assert (again.accuracy, again.online_hits.tolist()) == (ten.accuracy, ten.online_hits.tolist())


def test_a_model_that_has_learned_is_no_pass_to_go_on_with(few, tmp_path):
    digits = (few[0][:100], few[1][:100], few[2][:20], few[3][:20])
    model = GLN([2], 784, 784, num_classes=10, seed=0)
    get_ten_digits_metrics(model, digits=digits, save=tmp_path / "m", verbose=False)
    with pytest.raises(ValueError, match=r"model: expected one that has not learned yet, .* after 100 samples"):
        get_ten_digits_metrics(model, digits=digits, verbose=False)
    get_ten_digits_metrics(model, digits=digits, halfspace_samples=0, verbose=False)
    assert model.step == 200
    resumed = GLN.load(tmp_path / "m")
    resumed.predict(digits[0][0], digits[0][0], digits[1][0])
    with pytest.raises(ValueError, match="model: expected one as it was saved, after 100 digits, got one after 101"):
        get_ten_digits_metrics(resumed, digits=digits, verbose=False)
    with pytest.raises(ValueError, match="model: expected one of 10 classes, got one of 2"):
        get_ten_digits_metrics(GLN([2], 784, 784), digits=digits)


def test_a_pass_goes_on_with_the_same_digits_only(few, tmp_path):
    x_train, y_train, x_test, y_test = few[0][:100], few[1][:100], few[2][:20], few[3][:20]
    model = GLN([2], 784, 784, num_classes=10, seed=0)
    get_ten_digits_metrics(model, digits=(x_train, y_train, x_test, y_test), save=tmp_path / "m", verbose=False)
    resumed = GLN.load(tmp_path / "m")
    assert (resumed.extra["sha256"].dtype, resumed.extra["sha256"].shape) == (np.uint8, (32,))
    others = [
        (np.roll(x_train, 1, axis=1), y_train),
        (x_train, 9 - y_train),
        (x_train[:99], y_train[:99]),
        (x_train[:, :588], y_train),
    ]
    for images, labels in others:
        with pytest.raises(ValueError, match="digits, seed: expected the training digits of the pass"):
            get_ten_digits_metrics(resumed, digits=(images, labels, x_test, y_test), verbose=False)
    with pytest.raises(ValueError, match=r"digits, seed: expected .* in that order"):
        get_ten_digits_metrics(resumed, digits=(x_train, y_train, x_test, y_test), seed=1, verbose=False)
    columns_first = np.asfortranarray(x_train)  # the same digits, otherwise in memory
    assert len(get_ten_digits_metrics(resumed, digits=(columns_first, y_train, *few[2:]), verbose=False)[1]) == 100


@pytest.fixture
def ten_options(tmp_path) -> list[str]:
    """A command line that takes no time: --all-classes with five empty images, fewer than a picture shows in a row."""
    np.savez(tmp_path / "few.npz", **arrays_of(5))
    data = str(tmp_path / "few.npz")
    return ["--all-classes", "--data", data, "--no-deskew", "--quiet", "--backend", "numpy"]


def pictures_or_skip() -> None:
    if not os.environ.get("GLN_REQUIRE_BACKENDS"):
        pytest.importorskip("matplotlib")


def test_command_line_saves_resumes_and_draws(tmp_path, ten_options, capsys):
    pictures_or_skip()
    file = tmp_path / "model.gln"
    assert test_mnist.main([*ten_options, "--layer-sizes", "3", "--seed", "6", "--save", str(file)]) == 0
    first, _ = capsys.readouterr()
    assert GLN.load(file, learning_rate=1).seed == 6
    pictures = tmp_path / "new" / "pictures"
    assert test_mnist.main([*ten_options, "--resume", str(file), "--plot", str(pictures)]) == 0
    drawn = ["confusion.png", "explanations.png", "halfspaces.png", "learning_curve.png", "two_moons.png"]
    assert sorted(os.listdir(pictures)) == drawn
    assert capsys.readouterr()[0] == first
    assert test_mnist.main([*ten_options, "--resume", str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr()[1]


def test_without_halfspaces_none_are_drawn(tmp_path, ten_options):
    pictures_or_skip()
    options = [*ten_options, "--layer-sizes", "3", "--halfspaces", "0"]
    assert test_mnist.main([*options, "--plot", str(tmp_path / "p")]) == 0
    drawn = ["confusion.png", "explanations.png", "learning_curve.png", "two_moons.png"]
    assert sorted(os.listdir(tmp_path / "p")) == drawn


def test_results_are_printed_before_pictures_fail(tmp_path, ten_options, monkeypatch, capsys):
    pictures_or_skip()

    def fail(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(test_mnist, "_draw", fail)
    assert test_mnist.main([*ten_options, "--layer-sizes", "3", "--plot", str(tmp_path / "p")]) == 2
    shown, said = capsys.readouterr()
    assert shown.startswith("\nAccuracy: ")
    assert said.endswith("gln-mnist: no space left\n")


@pytest.fixture
def _no_training(monkeypatch) -> None:
    def train(*_: Any, **__: Any) -> None:
        pytest.fail("trained before what was wrong was said")

    monkeypatch.setattr(test_mnist, "get_ten_digits_metrics", train)


@pytest.mark.usefixtures("_no_training")
@pytest.mark.parametrize(
    ("option", "place", "message"),
    [
        ("--save", "none/m", "--save: expected a file in a folder that exists, got '.*none/m'"),
        ("--save", "", "--save: expected a file in a folder that exists, got '"),
        ("--plot", "few.npz", "--plot: expected a folder that is there or can be made, got .*few.npz"),
        ("--plot", "few.npz/p", "--plot: expected a folder"),
    ],
)
def test_outputs_are_checked_before_training(tmp_path, ten_options, capsys, option, place, message):
    if option == "--plot":
        pictures_or_skip()
    assert test_mnist.main([*ten_options, option, str(tmp_path / place)]) == 2
    assert re.fullmatch(f"gln-mnist: {message}.*\n", capsys.readouterr()[1])


@pytest.mark.usefixtures("_no_training")
def test_matplotlib_is_looked_for_before_training(tmp_path, ten_options, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "gln_plots", raising=False)
    for module in ("matplotlib", "matplotlib.colors", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, module, None)
    assert test_mnist.main([*ten_options, "--plot", str(tmp_path / "p")]) == 2
    assert capsys.readouterr()[1].startswith("gln-mnist: gln_plots needs Matplotlib")
    assert not (tmp_path / "p").exists()


@pytest.mark.usefixtures("_no_training")
@pytest.mark.parametrize("classes", [2, 10])
def test_resume_refuses_other_models(tmp_path, ten_options, capsys, classes):
    GLN([1], 784, 784, num_classes=classes, seed=0).save(tmp_path / "other", {"count": 3})
    assert test_mnist.main([*ten_options, "--resume", str(tmp_path / "other")]) == 2
    said = capsys.readouterr()[1]
    assert re.fullmatch(r"gln-mnist: --resume: expected a file that gln-mnist --save wrote, got .*other\n", said)


def test_resume_refuses_other_digits(tmp_path, ten_options, capsys):
    file = str(tmp_path / "m")
    assert test_mnist.main([*ten_options, "--layer-sizes", "2", "--save", file]) == 0
    capsys.readouterr()
    assert test_mnist.main([*ten_options, "--resume", file, "--features", "orientations"]) == 2
    shown, said = capsys.readouterr()
    assert shown == ""
    assert re.fullmatch("gln-mnist: digits, seed: expected the training digits of the pass .*, got others .*\n", said)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume", "m"], "--save, --resume and --plot are for --all-classes with one backend"),
        (["--all-classes", "--digit", "3"], "--digit is not for --all-classes"),
        (["--all-classes", "--resume", "m", "--seed", "0"], "--seed stand in the file of --resume"),
        (["--all-classes", "--resume", "m", "--layer-sizes", "4", "1"], "--layer-sizes, .* stand in the file"),
        (["--all-classes", "--resume", "m", "--halfspaces", "6"], "--halfspaces and .* stand in the file"),
    ],
)
def test_options_that_do_not_go_together(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        test_mnist.main(arguments)
    assert stop.value.code == 2
    assert re.search(message, capsys.readouterr()[1])


def test_help_says_what_is_taken_where_nothing_is_said(capsys):
    with pytest.raises(SystemExit):
        test_mnist.main(["--help"])
    shown = " ".join(capsys.readouterr()[0].split())
    for words in (
        "neurons of each layer: 4 4 1, with --all-classes 64 32",
        "the digit told from the others: 3",
        "auto: the fastest of numba, jax and numpy that is installed;",
        "progress is kept only with --save too",
        "on the way and at the end",
    ):
        assert words in shown


def test_an_interrupted_pass_says_where_it_was_saved(tmp_path, ten_options, monkeypatch, capsys):
    save = GLN.save

    def save_and_interrupt(*arguments: Any) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    options = [*ten_options, "--layer-sizes", "2", "--save", str(tmp_path / "m")]
    monkeypatch.setattr(GLN, "save", interrupt)
    assert test_mnist.main(options) == 130
    assert capsys.readouterr() == ("", "gln-mnist: interrupted\n")
    monkeypatch.setattr(GLN, "save", save_and_interrupt)
    assert test_mnist.main(options) == 130
    assert capsys.readouterr() == ("", f"gln-mnist: interrupted; what was last saved is in {tmp_path / 'm'}\n")
