"""Pictures show what they were given, and their text fits. Their looks were checked by eye."""

from __future__ import annotations

import importlib
import io
import itertools
import os
import re
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_wine
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from gln_numpy import GLN

if not os.environ.get("GLN_REQUIRE_BACKENDS"):
    for package in ("matplotlib", "river"):
        pytest.importorskip(package)

from matplotlib import colormaps
from matplotlib.text import Text

from gln import plots, river
from gln.sklearn import GLNClassifier, GLNRegressor


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coarser grids, which are faster to draw."""
    monkeypatch.setattr(plots, "SIDE", 60)


@pytest.fixture(scope="module")
def learned() -> tuple[GLN, np.ndarray, np.ndarray]:
    """A network that has learned two classes, the samples as columns (2, 40) and their labels."""
    samples = np.random.default_rng(0).standard_normal((2, 40)).astype(np.float32)
    labels = (samples[0] * samples[1] > 0).astype(int)
    model = GLN([8, 1], 2, 2, context_bias=1.0, seed=0)
    model.predict_online(samples, samples, labels)
    return model, samples, labels


@pytest.fixture(scope="module")
def thirds() -> tuple[np.ndarray, np.ndarray]:
    """Samples as rows (60, 2) in three clusters, and their class numbers."""
    labels = np.arange(60) % 3
    places = np.array([[-3, 0], [3, 0], [0, 4]])
    return places[labels] + np.random.default_rng(0).standard_normal((60, 2)), labels


@pytest.mark.slow
def test_a_notebook_shows_a_figure_once(monkeypatch):
    if not os.environ.get("GLN_REQUIRE_BACKENDS"):
        for package in ("nbclient", "ipykernel"):
            pytest.importorskip(package)
    nbclient, v4 = importlib.import_module("nbclient"), importlib.import_module("nbformat.v4")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    plot = "plots.plot_calibration([0, 1], [[0, 1], [0, 1]], [0.1, 0.9])"
    sources = ["from gln import plots\n" + plot, "%matplotlib inline\n" + plot]  # without and with the inline backend
    notebook = v4.new_notebook(cells=[v4.new_code_cell(source) for source in sources])
    nbclient.NotebookClient(notebook, timeout=300).execute()
    for cell in notebook.cells:
        assert [sorted(output.get("data", output)) for output in cell.outputs] == [["image/png", "text/plain"]]


def test_explanations_show_contributions():
    rng = np.random.default_rng(0)
    images, weights, inputs = rng.random((3, 16, 2))
    figure = plots.plot_explanations(images, weights, inputs, ["a", "b"])
    first, first_parts, second, second_parts = figure.axes[:4]
    assert [axes.get_title() for axes in (first, second)] == ["a", "b"]
    np.testing.assert_array_equal(first.images[0].get_array(), images[:, 0].reshape(4, 4))
    np.testing.assert_allclose(second_parts.images[0].get_array(), (weights * inputs)[:, 1].reshape(4, 4))
    assert first_parts.images[0].norm is second_parts.images[0].norm
    (label,) = (axes.get_xlabel() for axes in figure.axes if axes.get_xlabel())
    assert label == "contribution to the logit: red for, blue against"
    for titles in (["a"], "ab"):
        with pytest.raises(ValueError, match="titles: expected a sequence of 2 strings"):
            plots.plot_explanations(images, weights, inputs, titles)
    with pytest.raises(ValueError, match="images, weights, inputs: expected"):
        plots.plot_explanations(images, weights, inputs[:, :1], ["a", "b"])
    for bad in (images[:15], images[:, 0], images[:, :0]):
        with pytest.raises(ValueError, match="images: expected"):
            plots.plot_explanations(bad, bad, bad, ["a", "b"])


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (4, 4), (5, 5), (6, 3), (7, 4), (10, 5)])
def test_explanations_stand_below_their_images_in_rows_of_up_to_five(count, columns):
    images = np.random.default_rng(0).random((4, count))
    titles = [f"true {b}\npredicted {b}" for b in range(count)]
    figure = plots.plot_explanations(images, images, images, titles)
    figure.draw_without_rendering()
    assert figure.get_figwidth() < 6
    *drawn, bar = figure.axes
    assert [axes.get_title() for axes in drawn[::2]] == titles
    for b, (above, below) in enumerate(zip(drawn[::2], drawn[1::2], strict=True)):
        np.testing.assert_array_equal(below.images[0].get_array().ravel(), images[:, b] ** 2)
        box, upper, lower = above.title.get_window_extent(), above.get_window_extent(), below.get_window_extent()
        assert lower.x0 == pytest.approx(upper.x0)
        assert lower.y1 < upper.y0
        assert box.x0 >= 0
        assert box.y1 <= (figure.bbox.y1 if b < columns else drawn[2 * (b - columns) + 1].get_window_extent().y0)
    assert bar.get_tightbbox().y0 >= 0
    assert bar.get_tightbbox().y1 < lower.y0


def test_halfspaces_show_the_images_far_on_either_side():
    model = GLN([2, 1], 9, 9, context_map_size=2, seed=0)
    images = np.eye(9)
    plane = model.get_state()["hyperplanes.1"][1, 0]
    axes = plots.plot_halfspaces(model, images, images, neuron=1, shown=2).axes
    assert len(axes) == 2 * 5
    order = plane.argsort()
    shown = [axes[i].images[0].get_array().ravel().argmax() for i in (0, 1, 3, 4)]
    assert shown == [order[0], order[1], order[-2], order[-1]]
    np.testing.assert_allclose(axes[2].images[0].get_array().ravel(), plane)
    with pytest.raises(ValueError, match="context_inputs"):
        plots.plot_halfspaces(model, images, images[:8])
    with pytest.raises(ValueError, match="images: expected"):
        plots.plot_halfspaces(model, images[:, 0], images[:, 0])
    assert len(plots.plot_halfspaces(model, images, images, shown=9).axes) == 2 * 19
    refused: list[Any] = [0, 10, -1, 1.5]
    for count in refused:
        with pytest.raises(ValueError, match="shown: expected an integer from 1 to 9"):
            plots.plot_halfspaces(model, images, images, shown=count)


def border_of(axes) -> np.ndarray:
    """The line between two classes, (2, P)."""
    _, line = (artist for artist in axes.collections if artist.get_array() is not None)
    return line.get_paths()[0].vertices.T


def place_at(axes, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The centre (2,) and colour (3,) of the grid cell that contains a point (2,)."""
    corners, colours = axes.collections[0].get_coordinates(), np.array(axes.collections[0].get_array())
    column, row = (
        np.searchsorted(ends, at) - 1 for ends, at in zip((corners[0, :, 0], corners[:, 0, 1]), point, strict=True)
    )
    return (corners[row, column] + corners[row + 1, column + 1]) / 2, colours[row, column]


def points_of(axes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By the name of each class, its samples (B, 2) and their colour (3,)."""
    drawn = [artist for artist in axes.collections if artist.get_array() is None]
    return {str(a.get_label()): (np.asarray(a.get_offsets()), np.array(a.get_facecolor())[0, :3]) for a in drawn}


def test_regions_are_those_of_the_network(learned):
    model, samples, labels = learned
    fresh = GLN([8, 1], 2, 2, context_bias=1.0, seed=0)
    (axes,) = plots.plot_learning(fresh, samples, labels, after=[40]).axes
    border, step = border_of(axes), np.array([[0.05], [0.05]])
    sides = [model.predict(border + sign * step, border + sign * step) > 0.5 for sign in (-1, 1)]
    assert border.shape[1] > 10
    assert (sides[0] != sides[1]).mean() > 0.5
    for point in samples.T:
        middle, colour = place_at(axes, point)
        np.testing.assert_allclose(colour, colormaps["RdBu_r"](model.predict(middle, middle))[:3], atol=0.02)
    for label, (points, colour) in points_of(axes).items():
        np.testing.assert_array_equal(points, samples[:, labels == int(label)].T)
        np.testing.assert_allclose(colour, colormaps["RdBu_r"](float(label))[:3])


def test_regions_of_three_classes_fade_where_the_network_is_unsure(thirds):
    rows, labels = thirds
    model, fresh = (GLN([8, 1], 2, 2, num_classes=3, context_bias=1.0, seed=0) for _ in range(2))
    model.predict_online(rows.T, rows.T, labels)
    (axes,) = plots.plot_learning(fresh, rows.T, labels, after=[60]).axes
    points, sure = points_of(axes), []
    assert list(points) == ["0", "1", "2"]
    for label, (drawn, colour) in points.items():
        np.testing.assert_allclose(drawn, rows[labels == int(label)])
        np.testing.assert_allclose(colour, colormaps["tab10"](int(label))[:3])
    for point in np.concatenate([rows, 0.3 * rows]):
        middle, colour = place_at(axes, point)
        p = model.predict(middle, middle)
        p = p / p.sum()
        sure.append((3 * p.max() - 1) / 2)
        of_class = points[str(p.argmax())][1]
        np.testing.assert_allclose(colour, 1 - sure[-1] * (1 - of_class), atol=1e-4)
    assert min(sure) < 0.4 < 0.8 < max(sure)


def test_regions_without_border_or_extent_are_drawn():
    same = np.ones((2, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for classes in (2, 3):
            plots.plot_learning(GLN([2, 1], 2, 2, num_classes=classes), same, [1, 1, 1]).draw_without_rendering()


def test_learning_is_drawn_of_a_copy(learned):
    model, samples, labels = learned
    fresh = GLN([8, 1], 2, 2, context_bias=1.0, seed=0)
    before = fresh.get_state()
    first, last = plots.plot_learning(fresh, samples, labels, after=np.array([5, 40])).axes
    for name, array in fresh.get_state().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
    assert [axes.get_title() for axes in (first, last)] == ["5 samples", "40 samples"]
    assert [sum(len(points) for points, _ in points_of(axes).values()) for axes in (first, last)] == [5, 40]
    (whole,) = plots.plot_learning(fresh, samples, labels, after=[40]).axes
    np.testing.assert_array_equal(last.collections[0].get_array(), whole.collections[0].get_array())
    assert (first.collections[0].get_array() != whole.collections[0].get_array()).any()
    with pytest.raises(ValueError, match="model: expected one that has learned nothing yet, got step 40"):
        plots.plot_learning(model, samples, labels)


@pytest.mark.parametrize(
    ("count", "after"), [(3, ["3"]), (30, ["10", "30"]), (1000, ["10", "30", "100", "1,000"]), (40, ["10", "30", "40"])]
)
def test_learning_is_drawn_up_to_the_last_sample(count, after):
    samples = np.random.default_rng(0).standard_normal((2, count))
    figure = plots.plot_learning(GLN([1], 2, 2), samples, np.arange(count) % 2)
    assert [axes.get_title() for axes in figure.axes] == [f"{end} samples" for end in after]
    (legend,) = figure.legends
    assert legend.get_title().get_text() == "true class"
    assert [text.get_text() for text in legend.get_texts()] == ["0", "1"]
    assert figure.get_figwidth() < 6


def test_learning_raises_errors():
    samples, labels = np.zeros((2, 3)), [0, 1, 1]
    refused: list[Any] = [
        (samples.T, labels, "inconsistent numbers of samples"),
        (samples + np.nan, labels, "Input X contains NaN"),
        (samples, [0, 1, 2], "targets: expected"),
        (samples[:1], labels, "inputs: expected"),
        (samples[:, :0], [], "minimum of 1 is required"),
    ]
    for columns, numbers, message in refused:
        with pytest.raises(ValueError, match=message):
            plots.plot_learning(GLN([1], 2, 2), columns, numbers)


class SeenSoFar:
    """An estimator with simple predictions: the mean of its targets plus x; as quantiles, their lowest, mean and
    highest times |x|."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self.names: list[Any] = []

    def partial_fit(self, X, y):  # noqa: N803 - scikit-learn's name
        self.seen, self.names = [*self.seen, *y], [*self.names, getattr(X, "columns", None)]

    def predict(self, X):  # noqa: N803
        return np.mean(self.seen) + np.asarray(X)[:, 0]

    def predict_quantiles(self, X):  # noqa: N803
        self.names.append(getattr(X, "columns", None))
        return np.array([min(self.seen), np.mean(self.seen), max(self.seen)]) * np.abs(np.asarray(X))


def interval_of(axes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean (2, P), the corners of the band (V, 2) and the samples (B, 2) in a picture."""
    band = next(artist for artist in axes.collections if artist.get_label() == "interval")
    samples = next(artist for artist in axes.collections if artist.get_label() == "samples learned")
    (mean,) = axes.lines
    return np.array(mean.get_data()), band.get_paths()[0].vertices, np.asarray(samples.get_offsets())


@pytest.fixture(scope="module")
def waves() -> tuple[np.ndarray, np.ndarray]:
    """Samples as rows (200, 1), and their targets (200,), whose noise grows with the distance from 0."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (200, 1))
    return x, np.sin(3 * x[:, 0]) + (0.1 + 0.4 * np.abs(x[:, 0])) * rng.standard_normal(200)


def test_intervals_are_those_of_a_copy_after_so_many_samples(waves):
    X, y = waves  # noqa: N806
    model = SeenSoFar()
    figure = plots.plot_intervals(model, X, y, after=np.array([5, 50, 200]))
    assert model.seen == []
    for axes, end in zip(figure.axes, (5, 50, 200), strict=True):
        mean, corners, samples = interval_of(axes)
        np.testing.assert_array_equal(samples, np.column_stack([X, y])[:end])
        np.testing.assert_allclose(mean[1], y[:end].mean() + mean[0])
        low, high = y[:end].min() * abs(mean[0]), y[:end].max() * abs(mean[0])
        for x, bottom, top in zip(mean[0], low, high, strict=True):
            at = corners[corners[:, 0] == x, 1]
            np.testing.assert_allclose([at.min(), at.max()], [bottom, top])
        later = slice(end if end < 200 else 0, 200)
        reach = abs(X[later, 0])
        share = ((y[:end].min() * reach <= y[later]) & (y[later] <= y[:end].max() * reach)).mean()
        which = f"the next {200 - end}" if end < 200 else "them"
        assert axes.get_title() == f"{end} samples: the interval covers {share:.1%} of {which}"
        assert mean[0].min() < X.min() < X.max() < mean[0].max()
        assert axes.get_ylim()[0] < y.min() < y.max() < axes.get_ylim()[1]
    assert len({axes.get_title().split()[5] for axes in figure.axes}) == 3
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(legend) == ["interval", "predicted mean", "samples learned"]


def test_intervals_have_the_names_of_a_table(waves):
    table, target = pd.DataFrame(waves[0], columns=["width"]), pd.Series(waves[1], name="height")
    model = SeenSoFar()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("copy.deepcopy", lambda model: model)  # so that its calls can be inspected
        first, last = plots.plot_intervals(model, table, target, after=[7, 9]).axes
    assert [axes.get_xlabel() for axes in (first, last)] == ["", "width"]
    assert [axes.get_ylabel() for axes in (first, last)] == ["height", "height"]
    assert [list(names) for names in model.names] == 6 * [["width"]]
    (plain,) = plots.plot_intervals(SeenSoFar(), waves[0], waves[1], after=[9]).axes
    assert (plain.get_xlabel(), plain.get_ylabel()) == ("", "")
    for array, expected in zip(interval_of(plain), interval_of(last), strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    ("count", "after"), [(3, ["3"]), (40, ["10", "30", "40"]), (1000, ["10", "30", "100", "1,000"])]
)
def test_intervals_are_drawn_up_to_the_last_sample_without_overlap(count, after):
    rng = np.random.default_rng(0)
    figure = plots.plot_intervals(SeenSoFar(), rng.standard_normal((count, 1)), rng.standard_normal(count))
    assert [axes.get_title().split()[0] for axes in figure.axes] == after
    figure.draw_without_rendering()
    titles = [axes.title.get_window_extent() for axes in figure.axes]
    assert all(figure.bbox.x0 <= title.x0 and title.x1 <= figure.bbox.x1 for title in titles)
    assert all(a.get_tightbbox().y0 > b.get_tightbbox().y1 for a, b in itertools.pairwise(figure.axes))
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 > 0
    assert legend.x1 < figure.bbox.x1
    assert all(legend.y1 <= axes.get_tightbbox().y0 for axes in figure.axes)


def test_intervals_without_extent_are_drawn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.plot_intervals(SeenSoFar(), np.ones((3, 1), int), [True, True, True]).draw_without_rendering()


def test_calibration_is_the_share_of_targets_below_each_quantile():
    y, quantiles = np.arange(10.0), np.tile([0.5, 4.0, 99.0], (10, 1))
    (axes,) = plots.plot_calibration(y, quantiles, (0.1, 0.6, 0.9)).axes
    np.testing.assert_allclose(axes.lines[-1].get_xydata(), [[0.1, 0.1], [0.6, 0.5], [0.9, 1.0]])


def test_calibration_raises_errors():
    y, quantiles = np.zeros(3), np.zeros((3, 2))
    refused: list[Any] = [
        (y, quantiles, (0.5,), r"y, quantiles: expected shapes \(B,\) and \(B, 1\), got \(3,\) and \(3, 2\)"),
        (y[:2], quantiles, (0.1, 0.9), "y, quantiles: expected shapes"),
        (y[:0], quantiles[:0], (0.1, 0.9), "minimum of 1 is required"),
        (y + np.nan, quantiles, (0.1, 0.9), "Input contains NaN"),
        (y, quantiles + np.inf, (0.1, 0.9), "Input contains infinity"),
    ]
    for targets, predicted, levels, message in refused:
        with pytest.raises(ValueError, match=message):
            plots.plot_calibration(targets, predicted, levels)


def test_intervals_raise_errors():
    X, y = np.zeros((3, 1)), np.zeros(3)  # noqa: N806
    refused: list[Any] = [
        (X[:, 0], y, "Expected 2D array"),
        (np.zeros((3, 2)), y, "X: expected one feature, got 2"),
        (X, y[:2], "inconsistent numbers of samples"),
        (X[:0], y[:0], "minimum of 1 is required"),
        (X + np.nan, y, "Input X contains NaN"),
        (X, y - np.inf, "Input y contains infinity"),
    ]
    for samples, targets, message in refused:
        with pytest.raises(ValueError, match=message):
            plots.plot_intervals(SeenSoFar(), samples, targets)
    counts: list[Any] = [[], [4], [0, 1], [2, 2], np.array([2, 1]), [1.5]]
    for after in counts:
        with pytest.raises(ValueError, match="after: expected increasing counts from 1 to 3"):
            plots.plot_intervals(SeenSoFar(), X, y, after)


# ---- Contributions ---------------------------------------------------------------------------------------------------


def bars_of(axes: Any) -> dict[str, float]:
    labels = [label.get_text() for label in axes.get_yticklabels()]
    return dict(zip(labels, [bar.get_width() for bar in axes.patches], strict=True))


@pytest.mark.parametrize("classes", [*(pytest.param(count, marks=pytest.mark.slow) for count in (0, 2)), 3])
def test_contributions_add_up_to_what_is_predicted(classes):
    X, y = load_wine(return_X_y=True, as_frame=True)  # noqa: N806
    options: dict[str, Any] = {"layer_sizes": [8, 4], "n_epochs": 2, "backend": "numpy", "random_state": 0}
    if classes == 0:
        model = GLNRegressor(**options).fit(X.drop(columns="hue"), X["hue"])
        X = X.drop(columns="hue")  # noqa: N806
    else:
        model = GLNClassifier(**options).fit(X, np.array(["a", "b", "c"])[np.minimum(y, classes - 1)])
    some = X.iloc[[0, 70, 150]]
    truth = ["x", "y", "z"]
    figure = plots.plot_contributions(model, some, most=4, y=truth)
    assert len(figure.axes) == 3
    for axes, before in zip(figure.axes, plots.plot_contributions(model, some, most=4).axes, strict=True):
        assert before.get_title() == re.sub(r" \(true: .\)", "", axes.get_title())
    expected, labels = model.predict(some), model.predict(some)
    if classes:
        logits = model.decision_function(some)
        logits = np.stack([-logits, logits], axis=1) if classes == 2 else logits
        expected = logits.max(axis=1)
    for axes, number, label, true, (_, row) in zip(figure.axes, expected, labels, truth, some.iterrows(), strict=True):
        bars, (title, equation) = bars_of(axes), axes.get_title().split("\n")
        assert len(bars) == 5
        assert list(bars)[-1] == f"{some.shape[1] - 4} other features"
        assert all(f"{name} = {row[name]:.4g}" in bars for name in (bar.split(" = ")[0] for bar in list(bars)[:4]))
        assert np.abs(list(bars.values())[:4]).tolist() == sorted(np.abs(list(bars.values())[:4]), reverse=True)
        total, constant = equation.removeprefix("logit ").removesuffix(" + contributions").split(" = ")
        assert sum(bars.values()) + float(constant) == pytest.approx(number, rel=1e-2, abs=0.02)
        assert title == f"predicted {label if classes else f'{number:.4g}'} (true: {true})"
        assert float(total) == pytest.approx(number, abs=0.02)


def test_contributions_of_features_without_names():
    X, y = load_wine(return_X_y=True)  # noqa: N806
    model = GLNClassifier([2], n_epochs=1, backend="numpy").fit(X[:, :3], y)
    (axes,) = plots.plot_contributions(model, X[:1, :3]).axes
    assert sorted(name.split(" = ")[0] for name in bars_of(axes)) == ["feature 0", "feature 1", "feature 2"]
    for bad, message in (
        ({"most": 0}, "most: expected an integer of at least 1, got 0"),
        ({"X": X}, "13 features"),
        ({"y": [1, 2]}, "is longer than"),
    ):
        with pytest.raises(ValueError, match=message):
            plots.plot_contributions(**{"model": model, "X": X[:1, :3], **bad})
    two = GLNRegressor([2], n_epochs=1, backend="numpy").fit(X, X[:, :2])
    for other in (two, object()):
        with pytest.raises(
            ValueError, match="model: expected a GLNClassifier, a GLNRegressor of one target, or a fitted"
        ):
            plots.plot_contributions(other, X[:1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["{}", "{} of the household in the year before the last one", "WWWWWWWW {}"])
@pytest.mark.parametrize("class_", [None, "more than a neighbour of the same age"])
def test_contributions_of_features_with_long_names_are_whole(name, class_):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {name.format(f"marital-status {i}"): ["Married-civ-spouse", "Divorced"] * 20 for i in range(6)}
    )
    frame[name.format("$")] = rng.normal(size=40)
    labels = np.where(rng.random(40) < 0.5, "more than a neighbour of the same age", "less")
    model = GLNClassifier([2], n_epochs=1, backend="numpy", random_state=0).fit(frame, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Matplotlib's, if there is no room for axes
        figure = plots.plot_contributions(model, frame[:2], y=labels[:2], class_=class_)
        figure.draw_without_rendering()
    everything = figure.get_tightbbox()  # inches
    assert (everything.x0, everything.y0) >= (0, 0)
    assert everything.x1 <= figure.get_figwidth()
    assert everything.y1 <= figure.get_figheight()
    assert min(axes.get_window_extent().width for axes in figure.axes) > 1.8 * figure.dpi


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 3])
def test_contributions_to_the_logit_of_a_class(classes):
    X, y = load_wine(return_X_y=True)  # noqa: N806
    labels = np.array(["a", "b", "c"])[np.minimum(y, classes - 1)]
    model = GLNClassifier([2], n_epochs=1, backend="numpy", random_state=0).fit(X[:, :3], labels)
    some = X[[0, 70, 150], :3]
    logits = model.decision_function(some)
    logits = np.stack([-logits, logits], axis=1) if classes == 2 else logits
    for name, expected in zip(model.classes_, logits.T, strict=True):
        figure = plots.plot_contributions(model, some, class_=name)
        assert figure.axes[-1].get_xlabel() == f"contribution to the logit of {name}"
        for axes, number in zip(figure.axes, expected, strict=True):
            total = axes.get_title().split(f"logit of {name}: ")[1].split(" = ")[0]
            assert float(total) == pytest.approx(number, abs=0.02)
    with pytest.raises(ValueError, match=r"class_: expected None or one of the classes \['a', 'b'.*\], got 'd'"):
        plots.plot_contributions(model, some, class_="d")
    regressor = GLNRegressor([2], n_epochs=1, backend="numpy").fit(X[:, :3], X[:, 3])
    with pytest.raises(ValueError, match=r"class_: expected None or one of the classes \[\], got 'a'"):
        plots.plot_contributions(regressor, some, class_="a")


def test_contributions_in_a_pipeline_are_those_of_what_its_last_step_gets():
    frame = pd.DataFrame({"size": [1.0, 2.0, np.nan, 4.0] * 10, "colour": ["red", "blue", "red", "green"] * 10})
    columns = ColumnTransformer([("one", OneHotEncoder(), ["colour"]), ("fill", SimpleImputer(), ["size"])])
    model = make_pipeline(columns, GLNClassifier([2], n_epochs=1, backend="numpy", random_state=0))
    model.fit(frame, np.array(["a", "b"] * 20))
    (axes,) = plots.plot_contributions(model, frame[1:2]).axes
    expected, _ = model[-1].explain(columns.transform(frame[1:2]))
    names = columns.get_feature_names_out()
    found = {label.split(" = ")[0]: length for label, length in bars_of(axes).items()}
    signed = expected[0] if model.predict(frame[1:2]) == "b" else -expected[0]
    assert found == pytest.approx(dict(zip(names, signed, strict=True)), abs=1e-6)
    assert {"one__colour_blue = 1", "fill__size = 2"} < set(bars_of(axes))
    (alone,) = plots.plot_contributions(model[-1:], columns.transform(frame[1:2])).axes  # of one step
    assert list(bars_of(alone).values()) == pytest.approx(list(bars_of(axes).values()))


def test_contributions_in_a_pipeline_of_words_and_of_a_step_without_names():
    texts, labels = ["good fine", "bad poor", "fine good", "poor bad"] * 5, [1, 0, 1, 0] * 5
    classifier = GLNClassifier([2], n_epochs=1, backend="numpy", random_state=0)
    model = make_pipeline(CountVectorizer(), classifier).fit(texts, labels)  # sparse
    (axes,) = plots.plot_contributions(model, ["good"]).axes
    assert sorted(bars_of(axes)) == ["bad = 0", "fine = 0", "good = 1", "poor = 0"]
    model = make_pipeline(FunctionTransformer(np.log1p), classifier).fit(np.eye(4), [1, 0, 1, 0])
    (axes,) = plots.plot_contributions(model, np.eye(4)[:1]).axes
    assert sorted(bars_of(axes))[0] == "feature 0 = 0.6931"
    with pytest.raises(ValueError, match="or a fitted Pipeline that ends in one, got Pipeline"):
        plots.plot_contributions(make_pipeline(CountVectorizer(), LogisticRegression()), texts)


# ---- Weights of the last neuron --------------------------------------------------------------------------------------


STREAMS: dict[str, tuple[Any, Any]] = {
    "classes": (river.GLNClassifier, lambda number: number > 0),
    "numbers": (river.GLNRegressor, lambda number: number),
    "labels": (river.GLNMultiLabelClassifier, lambda number: {"u": number > 0, "v": number < 1}),
}


@pytest.mark.parametrize("kind", STREAMS)
def test_weights_of_a_stream_are_those_that_mix(kind):
    cls, target = STREAMS[kind]
    model, history = cls(layer_sizes=(4,), seed=0), {}
    assert model.weights_ == {}
    for count, number in enumerate(np.random.default_rng(0).normal(size=60).tolist(), 1):
        names = {"b": "even" if count % 2 else "odd"} if count > 20 else {}
        model.learn_one({"a": number} | names, target(number))
        history[count] = model.weights_
    first, last = history[1], history[60]
    constant = [] if kind == "numbers" else ["constant"]
    assert list(first) == ["slow", "fast", "shallow", "linear", *constant]
    assert list(last) == ["slow", "fast", "shallow", "linear", "crosses", *constant]
    weights = model._stream.learner.means.combination.weights.mean(axis=0)
    np.testing.assert_allclose([*last.values()], weights[: len(last)])
    (axes,) = plots.plot_weights(model).axes
    assert bars_of(axes) == pytest.approx(last)
    (axes,) = plots.plot_weights(history).axes
    lines = {line.get_label(): line.get_xydata() for line in axes.lines[:-1]}
    assert set(lines) == set(last)
    for name, points in lines.items():
        known = points[np.isfinite(points[:, 1])]  # crosses come with the first category
        assert dict(known.tolist()) == {count: weights[name] for count, weights in history.items() if name in weights}
    assert axes.get_xlabel() == "samples"


def test_weights_of_a_table_are_those_that_mix():
    X, y = load_wine(return_X_y=True)  # noqa: N806
    model = GLNClassifier([4], n_epochs=1, backend="numpy", random_state=0).fit(X, y)
    assert list(model.weights_) == ["columns", "expanded", "constant"]
    model.learner_.means.combination.weights[:] = -1, 0.5, 2
    (axes,) = plots.plot_weights(model).axes
    assert bars_of(axes) == {"columns": -1, "expanded": 0.5, "constant": 2}
    dates = pd.date_range("2024-05-01", periods=2)
    (axes,) = plots.plot_weights(dict.fromkeys(dates, model.weights_)).axes
    assert axes.get_xlabel() == ""


def test_weights_of_what_has_learned_nothing_are_an_error():
    nothing: list[Any] = [GLNClassifier(), river.GLNClassifier(), {}, {0: {}}, object()]
    for model in nothing:
        with pytest.raises(ValueError, match="weights: expected a model that has learned and mixes networks, got"):
            plots.plot_weights(model)
    with pytest.raises(NotFittedError):
        _ = GLNClassifier().weights_


# ---- Refits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [pd.date_range("2026-05-01", periods=3), [1, 2, 3], ["1 May", "2 May", "3 May"]])
def test_a_refit_has_its_losses_by_day_and_the_columns_that_differ_most(days):
    losses = pd.DataFrame({"rows": [10, 30, 10], "model": [1.0, 2.0, 3.0], "refit": 0.5}, index=days)
    columns = pd.Series({"a$": 0.9, "b": 0.5, "c": 0.1})
    figure = plots.plot_refit(SimpleNamespace(days=losses, columns=columns, gain=1.5, error=0.25), most=2)
    above, below = figure.axes
    assert [line.get_ydata().tolist() for line in above.lines[:2]] == [[1, 2, 3], [1, 1.75, 2]]
    assert above.get_title() == "gain of the refit: 1.5 ± 0.25"
    assert bars_of(below) == {r"a\$": 0.9, "b": 0.5}
    assert {"model, mean so far", "refit, mean so far", "a$"} <= shown_by(figure)
    with pytest.raises(ValueError, match="most: expected an integer of at least 1"):
        plots.plot_refit(SimpleNamespace(days=losses, columns=columns), most=0)


# ---- Names -----------------------------------------------------------------------------------------------------------


ODD = ["$_$ in $", "cost {$^$}", "red \x1b[31m", "\x07", "\\$_$"]  # no formulas, and codes for a terminal


def shown_by(figure: Any) -> set[str]:
    """The texts of a figure as they are drawn. It raises an error for a formula, or if a glyph is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for form in ("png", "svg"):
            figure.savefig(io.BytesIO(), format=form)
    texts = [text for text in figure.findobj(Text) if text.get_text()]
    assert not any(text._preprocess_math(text.get_text())[1] for text in texts)
    return {text._preprocess_math(text.get_text())[0] for text in texts}


def test_names_are_shown_as_they_are():
    names = [name.replace("\x1b", "\\x1b").replace("\x07", "\\x07") for name in ODD]
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 5)), columns=ODD)
    labels = np.array(ODD)[np.arange(60) % 5]
    image = np.ones((4, 6))
    assert shown_by(plots.plot_explanations(image, image, image, [*ODD, "\ud800"])) >= {*names, "\\ud800"}
    classifier = GLNClassifier((2,), n_networks=1, n_epochs=1, random_state=0, backend="numpy").fit(frame, labels)
    bars = {f"{name} = {value:.4g}" for name, value in zip(names, frame.iloc[0], strict=True)}
    shown = shown_by(plots.plot_contributions(classifier, frame[:1], y=labels[:1], class_=ODD[0]))
    assert shown >= {*bars, f"contribution to the logit of {names[0]}"}
    for name, escaped in zip(ODD, names, strict=True):
        y = pd.Series(np.random.default_rng(1).normal(size=20), name=name)
        regressor = GLNRegressor((2,), quantiles=(0.1, 0.9), n_networks=1, random_state=0, backend="numpy")
        x = frame[[name]][:20]
        assert escaped in shown_by(plots.plot_intervals(regressor, x, y, after=[20]))
