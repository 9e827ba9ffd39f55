"""Pictures of models: halfspaces, regions, explanations, intervals, calibration, weights, refits. Needs Matplotlib.

Every function returns a Matplotlib figure. A notebook shows it if the call is the last line of a cell, and
`figure.savefig("picture.png")` saves it. Figures are narrow and their text is large enough to be read on a phone.

Every function raises ValueError for shapes that do not match, nothing to draw, numbers that are not finite, and labels
that are no classes.

Shapes: B samples, C classes, D values of a sample.
"""
# ruff: noqa: N803 - X is scikit-learn's name

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import issparse
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array, check_X_y

try:
    from matplotlib import colormaps
    from matplotlib.axes import Axes
    from matplotlib.colors import TwoSlopeNorm
    from matplotlib.figure import Figure
    from matplotlib.textpath import TextPath
except ImportError as error:
    raise ImportError("gln.plots needs Matplotlib: pip install matplotlib") from error

from gln.engine.batches import check_integer
from gln.engine.model.targets import sum_to_one
from gln.engine.preprocessing.category_codes import as_pandas
from gln.engine.types import Fitted, MatrixLike, State, VectorLike

__all__ = [
    *("plot_calibration", "plot_contributions", "plot_explanations", "plot_halfspaces", "plot_intervals"),
    *("plot_learning", "plot_refit", "plot_weights"),
]

BLUE_TO_RED = "RdBu_r"  # below zero, zero, above
BLUE_AND_RED = "#2166ac", "#b2182b"  # the same, a little lighter
OF_MEAN, OF_BAND, OF_SAMPLES = "#d55e00", "#56b4e9", "#444444"  # distinct for the colour-blind, and in greyscale
MARKS = "o^sDvP*X"  # of classes, which are not told apart by colours alone
PLACES = 400  # points of a line at which a model predicts
SIDE = 150  # points along each side of a plane at which a model predicts
# Inches: a phone shows text of 10 points in a picture of this width at about 9 pixels.
WIDTH = 5.4
COLUMNS = 5  # images per row
NO_TICKS: State = {"xticks": (), "yticks": ()}


def plot_explanations(images: MatrixLike, weights: VectorLike, inputs: MatrixLike, titles: Sequence[str]) -> Figure:
    """Images, and below each one its pixels' contributions to the logit of a class: red for, blue against.

    Args:
        images: (D, B), square images.
        weights: (D, B), from `GLN.explain`, for the class to explain.
        inputs: (D, B), the inputs that the GLN got for these images.
        titles: B strings, one for each image, such as its true and its predicted class.
    """
    images = np.asarray(images)
    weights = np.asarray(weights)
    inputs = np.asarray(inputs)
    side = _side(images)
    count = images.shape[1]
    if not images.shape == weights.shape == inputs.shape:
        came = f"{images.shape}, {weights.shape} and {inputs.shape}"
        raise ValueError(f"images, weights, inputs: expected (D, B) three times, got {came}")
    if isinstance(titles, str) or len(titles) != count:
        raise ValueError(f"titles: expected a sequence of {count} strings, got {titles!r}")
    contributions = weights * inputs
    figure, pairs = _paired_panels(titles)
    norm = _around_zero(contributions)
    for b, (title, (above, below)) in enumerate(zip(titles, pairs, strict=True)):
        above.imshow(images[:, b].reshape(side, side), cmap="gray_r")
        above.set_title(_text(title), fontsize=10)
        shown = below.imshow(contributions[:, b].reshape(side, side), cmap=BLUE_TO_RED, norm=norm)
    label = "contribution to the logit: red for, blue against"
    figure.colorbar(shown, ax=figure.axes, location="bottom", aspect=40, label=label)
    return figure


def plot_halfspaces(
    model: Fitted, images: MatrixLike, context_inputs: MatrixLike, layer: int = 1, neuron: int = 0, shown: int = 4
) -> Figure:
    """The halfspaces of a neuron, one per row: its hyperplane, and on each side the images farthest from it.

    Of a hyperplane that sees a part of the image, such as a window, only this part is shown.

    Args:
        model: a GLN whose side information is square images.
        images: (D, B), square images.
        context_inputs: (D, B), the side information that the model got for these images.
        layer: counts from 1.
        neuron: counts from 0.
        shown: images on each side, from 1 to B.
    """
    images = np.asarray(images)
    context = np.asarray(context_inputs)
    state = model.get_state()
    side = _side(images)
    if context.shape != images.shape or len(context) != model.config.context_size:
        raise ValueError(f"context_inputs: expected ({model.config.context_size}, B), like images, got {context.shape}")
    planes = state[f"hyperplanes.{layer}"][neuron]  # (k, D)
    bias = state[f"hyperplane_bias.{layer}"][neuron]  # (k,)
    if not isinstance(shown, (int, np.integer)) or not 1 <= shown <= images.shape[1]:
        raise ValueError(f"shown: expected an integer from 1 to {images.shape[1]}, got {shown!r}")
    figure = _Figure(figsize=(0.65 * (2 * shown + 1) + 0.3, 0.7 * len(planes) + 0.5), layout="constrained")
    axes = figure.subplots(len(planes), 2 * shown + 1, squeeze=False, subplot_kw=NO_TICKS)
    for row, plane, distance in zip(axes, planes, planes @ context - bias[:, None], strict=True):
        order = np.argsort(distance)
        far = [*order[:shown], None, *order[len(order) - shown :]]
        for axis, b in zip(row, far, strict=True):
            if b is None:
                _draw_plane(axis, plane.reshape(side, side))
            else:
                axis.imshow(images[:, b].reshape(side, side), cmap="gray_r")
    axes[0, (shown - 1) // 2].set_title("bit 0", fontsize=11)
    axes[0, shown].set_title("hyperplane", fontsize=9)
    axes[0, shown + 1 + shown // 2].set_title("bit 1", fontsize=11)
    return figure


def plot_learning(model: Fitted, samples: MatrixLike, labels: VectorLike, after: Iterable[int] | None = None) -> Figure:
    """Decision regions of a network after different numbers of samples, each learned once.

    Args:
        model: a GLN that has learned nothing yet, with two inputs that are also its side information. A copy of it
            learns; the model is not changed.
        samples: (2, B), standardised.
        labels: (B,), class numbers.
        after: increasing numbers of samples from 1 to B, one for each panel. None: those of 10, 30, 100 and 1,000 that
            are below B, and B.
    """
    if int(model.step) > 0:
        raise ValueError(f"model: expected one that has learned nothing yet, got step {int(model.step)}")
    points, labels = check_X_y(np.transpose(samples), labels)
    points = points.T
    ends = _ends(after, len(labels))
    learner = copy.deepcopy(model)
    grid = np.stack(np.meshgrid(*(_around(row, 0.15, SIDE) for row in points))).reshape(2, -1)
    columns = min(len(ends), 2)
    rows = math.ceil(len(ends) / columns)
    figure = _Figure(figsize=(2.7 * columns, 2.6 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, subplot_kw=NO_TICKS)
    for axis, (start, end) in zip(axes.flat[: len(ends)], itertools.pairwise([0, *ends]), strict=True):
        learner.predict_online(points[:, start:end], points[:, start:end], labels[start:end])
        p = sum_to_one(learner.predict_arrays(*learner.prepare(grid, grid)[:2]))
        _draw_regions(axis, grid, p, points[:, :end], labels[:end])
        axis.set_title(_samples(end), fontsize=11)
    for axis in axes.flat[len(ends) :]:
        axis.remove()
    looks = {"loc": "outside lower center", "title": "true class", "markerscale": 2, "frameon": False}
    figure.legend(*axes[0, 0].get_legend_handles_labels(), ncols=COLUMNS, **looks)
    return figure


def plot_intervals(model: Fitted, X: MatrixLike, y: VectorLike, after: Iterable[int] | None = None) -> Figure:
    """Predicted mean and interval of a regressor of one feature, after different numbers of samples, each learned once.

    Each panel shows the samples learned so far, the predicted mean, and the interval from the lowest to the highest
    predicted quantile. Its title gives the number of samples learned and the share of the following samples, not yet
    learned, that the interval covers. If none follow, it is the share of all samples, which were learned.

    Args:
        model: an estimator of one feature with `partial_fit`, `predict` and `predict_quantiles`, such as
            `GLNRegressor` with `quantiles`. A copy of it learns; the model is not changed.
        X: (B, 1), in the order of learning. The name of a DataFrame's column becomes the axis label.
        y: (B,). The name of a Series becomes the axis label.
        after: increasing numbers of samples from 1 to B, one for each panel. None: those of 10, 30, 100 and 1,000 that
            are below B, and B.
    """
    x, targets = check_X_y(X, y, dtype=np.float64, y_numeric=True)
    if x.shape[1] != 1:
        raise ValueError(f"X: expected one feature, got {x.shape[1]}")
    ends = _ends(after, len(x))
    names = getattr(X, "columns", None)
    learner = copy.deepcopy(model)
    rows = x if names is None else pd.DataFrame(x, columns=names)  # an estimator checks the names
    line = _around(x, 0.05, PLACES)[:, None]
    grid = line if names is None else pd.DataFrame(line, columns=names)
    figure = _Figure(figsize=(WIDTH, 2.3 * len(ends) + 0.6), layout="constrained")
    axes = figure.subplots(len(ends), 1, squeeze=False, sharex=True, sharey=True)
    for axis, (start, end) in zip(axes.flat, itertools.pairwise([0, *ends]), strict=True):
        learner.partial_fit(rows[start:end], targets[start:end])
        _draw_interval(axis, line[:, 0], _band(learner, grid), learner.predict(grid), x[:end, 0], targets[:end])
        axis.set_title(_coverage(learner, rows, targets, end), fontsize=10)
        axis.set_ylabel(_text(getattr(y, "name", None) or ""))
    # Limits include all samples, but not the intervals: one that is still far off would dwarf the samples.
    axes[0, 0].set(xlim=line[[0, -1], 0], ylim=_around(targets, 0.05, 2))
    axes[-1, 0].set_xlabel("" if names is None else _text(names[0]))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def plot_calibration(y: VectorLike, quantiles: MatrixLike, levels: Sequence[float]) -> Figure:
    """The share of targets below each predicted quantile, plotted against its level. If densities are calibrated, both
    are equal.

    Even then they differ by chance: 95% of the shares lie within the grey band.

    Args:
        y: (B,), targets that were not learned when their quantiles were predicted.
        quantiles: (B, Q), in the units of y.
        levels: the Q levels, increasing, in (0, 1); many are best, such as `numpy.arange(0.05, 1, 0.05)`.
    """
    targets = check_array(y, ensure_2d=False)
    predicted = check_array(quantiles)
    if predicted.shape != (*targets.shape, len(levels)):
        expected = f"(B,) and (B, {len(levels)})"
        raise ValueError(f"y, quantiles: expected shapes {expected}, got {targets.shape} and {predicted.shape}")
    below = (targets[:, None] <= predicted).mean(axis=0)
    figure = _Figure(figsize=(4, 4), layout="constrained")
    axes = figure.subplots()
    ends = np.linspace(0, 1, 101)
    chance = 1.96 * np.sqrt(ends * (1 - ends) / len(targets))
    axes.fill_between(ends, ends - chance, ends + chance, color="#bbbbbb", linewidth=0, label="95% by chance")
    axes.plot([0, 1], [0, 1], color=OF_SAMPLES, linewidth=0.8)
    axes.set_title("Calibration of quantiles", fontsize=11)
    axes.plot(levels, below, "o-", color=OF_MEAN, markersize=4, label=f"{len(targets):,} targets")
    axes.set(xlabel="level of the quantile", ylabel="share of targets below", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", frameon=False)
    return figure


def plot_contributions(
    model: Fitted, X: MatrixLike, most: int = 8, *, y: VectorLike = None, class_: Any = None
) -> Figure:
    """The contributions of features to the prediction for each sample: red bars increase it, blue bars decrease it.

    Each panel shows one sample, with the values of its features, largest contributions first. Contributions and the
    constant in the title add up to the prediction, or for a classifier to the logit of a class.

    Args:
        model: a fitted `GLNClassifier`, a `GLNRegressor` of one target, or a `Pipeline` that ends in one. For a
            pipeline, the features are those that the steps before the last one produce.
        X: (B, D), a few samples as rows, as the model takes them.
        most: features that get their own bar, at least 1; one more bar is the sum of the others.
        y: (B,), true labels or targets, shown beside the predictions. None: they are unknown.
        class_: one of `classes_`, to whose logit features contribute. None: the predicted class of each sample.
    """
    last = model[-1] if isinstance(model, Pipeline) else model
    if not hasattr(last, "explain") or len(getattr(last, "targets_shape_", ())) > 0:
        kinds = "a GLNClassifier, a GLNRegressor of one target, or a fitted Pipeline that ends in one"
        raise ValueError(f"model: expected {kinds}, got {model!r}")
    check_integer("most", most, 1)
    classes = np.asarray(getattr(last, "classes_", ())).tolist()
    if class_ is not None and class_ not in classes:
        raise ValueError(f"class_: expected None or one of the classes {classes}, got {class_!r}")
    features, names = _features(model, last, X)
    values = pd.DataFrame(features.toarray() if issparse(features) else as_pandas(features))
    contributions, titles = _explained(last, features, y, class_)
    names = [f"feature {i}" for i in range(values.shape[1])] if names is None else names
    parts = [
        _largest(own, [f"{_text(n)} = {_short(v)}" for n, v in zip(names, row, strict=True)], most)
        for own, (_, row) in zip(contributions, values.iterrows(), strict=True)
    ]
    under = "contribution to the prediction"
    if hasattr(last, "classes_"):
        under = f"contribution to the logit of {'the predicted class' if class_ is None else _short(class_)}"
    # Titles are above the bars; the label below may also extend to the left of them.
    beside = _inches([label for part in parts for label, _ in part]) + max(_inches(titles), 2) + 0.4
    height = (0.27 * len(parts[0]) + 0.75) * len(parts) + 0.3
    figure = _Figure(figsize=(max(WIDTH, beside, _inches([under]) + 0.2), height), layout="constrained")
    axes = figure.subplots(len(parts), 1, squeeze=False, sharex=True)[:, 0]
    for axis, part, title in zip(axes, parts, titles, strict=True):
        _draw_bars(axis, *zip(*part, strict=True))
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_title(title, fontsize=10)
    axes[-1].set_xlabel(under, loc="right")
    return figure


def plot_weights(weights: VectorLike) -> Figure:
    """The weights by which the last neuron mixes networks, linear models and a constant: now, or over time.

    Args:
        weights: an estimator of `gln.river` or `gln.sklearn` that has learned, or its `weights_` at several times: a
            dictionary by number of samples, or by date.
    """
    history = weights if isinstance(weights, Mapping) else {0: getattr(weights, "weights_", {})}
    table = pd.DataFrame(list(history.values()), index=list(history))
    if table.empty:
        raise ValueError(f"weights: expected a model that has learned and mixes networks, got {weights!r}")
    figure = _Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    if isinstance(weights, Mapping):
        for name, mark in zip(table, itertools.cycle(MARKS), strict=False):
            axes.plot(table.index, table[name], marker=mark, markersize=5, markevery=0.12, label=name)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set(xlabel="samples" if pd.api.types.is_numeric_dtype(table.index) else "", ylabel="weight")
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
    else:
        _draw_bars(axes, table.columns, table.iloc[0])
        axes.set_xlabel("weight in the last neuron")
    return figure


def plot_refit(comparison: Any, most: int = 8) -> Figure:
    """The losses of a model and of its refit by day, their means so far, and the columns that differ most between them.

    Args:
        comparison: from `gln.monitoring.compare_refit`.
        most: columns that are shown, at least 1.
    """
    check_integer("most", most, 1)
    days = comparison.days
    columns = comparison.columns[:most]
    figure = _Figure(figsize=(WIDTH, 3.6 + 0.27 * len(columns)), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(2.6, 0.27 * len(columns) + 0.4))
    kind = days.index.dtype.kind
    x = days.index if kind in "biufM" else range(1, 1 + len(days))
    for name, colour, mark in zip(("model", "refit"), (OF_MEAN, BLUE_AND_RED[0]), MARKS, strict=False):
        so_far = (days["rows"] * days[name]).cumsum() / days["rows"].cumsum()
        label = f"{name}, mean so far"
        above.plot(x, days[name], color=colour, linewidth=0.8, alpha=0.4)
        above.plot(x, so_far, color=colour, linewidth=2, marker=mark, markevery=0.12, label=label)
    above.set_title(f"gain of the refit: {comparison.gain:.3g} ± {comparison.error:.2g}", fontsize=11)
    above.set(xlabel="" if kind == "M" else "day", ylabel="loss")
    above.tick_params(axis="x", rotation=30 if kind == "M" else 0)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    below.barh([_text(name) for name in columns.index], columns, color=OF_BAND)
    below.invert_yaxis()
    below.set_xlabel("mean difference of contributions")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _samples(count: int) -> str:
    return f"{count:,} sample" + "s" * (count != 1)


def _text(value: object) -> str:
    """A name, label or title as a figure shows it: `$` begins no formula, control characters are escaped."""
    escaped = (c if c.isprintable() or c.isspace() else repr(c)[1:-1] for c in str(value))
    return "".join(escaped).replace("$", r"\$")


def _short(value: object) -> str:
    """A feature's value, which is text if it is a category, or a label."""
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else _text(value)


class _Figure(Figure):
    """A figure that a notebook shows, whether or not Matplotlib's inline backend is active."""

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self.savefig(png, format="png")
        return png.getvalue()


def _paired_panels(titles: Sequence[str]) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """A figure with two panels for each title, one below the other."""
    rows = math.ceil(len(titles) / COLUMNS)
    columns = math.ceil(len(titles) / rows)  # rows of nearly the same length
    lines = max(title.count("\n") + 1 for title in titles)
    figure = _Figure(figsize=(max(1.08 * columns, 3.6), rows * (2.35 + 0.18 * lines) + 0.8), layout="compressed")
    first = [1 + b // columns * 2 * columns + b % columns for b in range(len(titles))]
    pairs = [[figure.add_subplot(2 * rows, columns, i, **NO_TICKS) for i in (b, b + columns)] for b in first]
    return figure, [(above, below) for above, below in pairs]


def _features(model: Fitted, last: Any, X: MatrixLike) -> tuple[Any, Any]:
    """The features (B, D) that a model, or the last step of a pipeline, explains, and their names, if they have any."""
    names = getattr(last, "feature_names_in_", None)
    if last is model or len(model) == 1:
        return X, names
    before = model[:-1]
    if names is None:
        with contextlib.suppress(AttributeError):  # a step need not name what it produces
            names = before.get_feature_names_out()
    return before.transform(X), names


def _inches(texts: Iterable[str]) -> float:
    """The width of the longest line of these texts."""
    return max(TextPath((0, 0), line).get_extents().width for text in texts for line in text.split("\n")) / 72


def _largest(contributions: np.ndarray, labels: list[str], most: int) -> list[tuple[str, float]]:
    """Labels and lengths of bars: the largest contributions (D,), and the sum of the others."""
    order = np.abs(contributions).argsort()[::-1]
    others = len(labels) - most
    rest = [(f"{others} other features", contributions[order[most:]].sum())] if others > 0 else []
    return [*((labels[i], contributions[i]) for i in order[:most]), *rest]


def _explained(model: Fitted, X: MatrixLike, y: VectorLike, class_: Any) -> tuple[np.ndarray, list[str]]:
    """For each sample the contributions (B, D) to its prediction, or to the logit of a class, and a title."""
    contributions, constants = model.explain(X)
    predictions = model.predict(X)
    samples = np.arange(len(contributions))
    truth = [""] * len(samples) if y is None else [f" (true: {_short(value)})" for value in y]
    if hasattr(model, "classes_"):
        shown = np.searchsorted(model.classes_, predictions if class_ is None else [class_] * len(samples))
        if len(model.classes_) == 2:  # contributions are to the logit of the second class
            signs = np.where(shown == 1, 1, -1)
            contributions = contributions * signs[:, None]
            constants = constants * signs
        else:
            contributions = contributions[samples, shown]
            constants = constants[samples, shown]
        name = "logit" if class_ is None else f"logit of {_short(class_)}:"
        sums = [f"{name} {s:.2f}" for s in contributions.sum(axis=1) + constants]
    else:
        sums = [_short(number) for number in predictions]
    titles = [
        f"predicted {_short(prediction)}{true}\n{total} = {constant:.3g} + contributions"
        for prediction, true, total, constant in zip(predictions, truth, sums, constants, strict=True)
    ]
    return contributions, titles


def _side(images: np.ndarray) -> int:
    if images.ndim != 2 or images.size == 0 or math.isqrt(len(images)) ** 2 != len(images):
        raise ValueError(f"images: expected (side * side, B), B at least 1, got {images.shape}")
    return math.isqrt(len(images))


def _around_zero(values: np.ndarray) -> TwoSlopeNorm:
    """White at 0, the strongest colours at the 99.5% quantile, so that a single value does not fade the others."""
    most = max(float(np.quantile(np.abs(values), 0.995)), 1e-9)
    return TwoSlopeNorm(0, -most, most)


def _ends(after: Iterable[int] | None, count: int) -> list[int]:
    if after is None:
        after = [*(end for end in (10, 30, 100, 1000) if end < count), count]
    after = list(after)
    ends = list(map(int, after))
    rising = all(start < end for start, end in itertools.pairwise([0, *ends]))
    if not ends or ends != after or not rising or ends[-1] > count:
        raise ValueError(f"after: expected increasing counts from 1 to {count}, got {after}")
    return ends


def _around(x: np.ndarray, margin: float, count: int) -> np.ndarray:  # (B,) -> (count,)
    """Numbers spread evenly over those in x, with a margin on both sides, relative to their range."""
    low = float(x.min())
    high = float(x.max())
    beyond = margin * (high - low) or 1
    return np.linspace(low - beyond, high + beyond, count)


def _coverage(model: Fitted, rows: MatrixLike, targets: np.ndarray, end: int) -> str:  # (B, 1), (B,)
    """How many of the samples after the learned ones the interval covers; of all if none follow."""
    first = end if end < len(targets) else 0
    low, high = _band(model, rows[first:])
    share = ((low <= targets[first:]) & (targets[first:] <= high)).mean()
    which = f"the next {len(targets) - end:,}" if first else "them"
    return f"{_samples(end)}: the interval covers {share:.1%} of {which}"


def _band(model: Fitted, rows: MatrixLike) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest predicted quantile: (B, 1) -> (B,), (B,)."""
    quantiles = np.asarray(model.predict_quantiles(rows))  # (B, Q)
    return quantiles.min(axis=1), quantiles.max(axis=1)


def _draw_interval(
    axes: Axes, line: np.ndarray, band: tuple[np.ndarray, np.ndarray], mean: np.ndarray, x: np.ndarray, y: np.ndarray
) -> None:
    """Shapes: (PLACES,), two of (PLACES,), (PLACES,), and of samples (B,), (B,)."""
    size = float(np.clip(150 / math.sqrt(len(x)), 3, 12))
    plain = {"alpha": 0.5, "linewidth": 0}
    axes.fill_between(line, *band, color=OF_BAND, label="interval", **plain)
    axes.scatter(x, y, s=size, color=OF_SAMPLES, label="samples learned", **plain)
    axes.plot(line, mean, color=OF_MEAN, linewidth=2, label="predicted mean")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_regions(axes: Axes, grid: np.ndarray, p: np.ndarray, points: np.ndarray, labels: np.ndarray) -> None:
    """Shapes: (2, SIDE * SIDE), (C, SIDE * SIDE), (2, B), (B,)."""
    x, y = grid.reshape(2, SIDE, SIDE)
    shades, colours = _shades(p)
    axes.pcolormesh(x, y, shades.reshape(SIDE, SIDE, 3), alpha=0.6, rasterized=True)
    for c in range(1, len(p)):  # each boundary belongs to one of these
        lead = p[c] - np.delete(p, c, axis=0).max(axis=0)
        if lead.min() < 0 < lead.max():
            axes.contour(x, y, lead.reshape(SIDE, SIDE), levels=[0], colors="black", linewidths=1)
    for c, colour in enumerate(colours):
        looks = {"color": colour, "marker": MARKS[c % len(MARKS)], "linewidths": 0.3, "edgecolors": "white"}
        axes.scatter(*points[:, labels == c], s=16, label=str(c), **looks)


def _draw_plane(axes: Axes, plane: np.ndarray) -> None:  # (side, side)
    axes.imshow(plane, cmap=BLUE_TO_RED, norm=_around_zero(plane))
    axes.spines[:].set_linewidth(2)
    seen = np.argwhere(plane)
    if 4 * len(seen) < plane.size:  # of a window: drawn larger
        top, left = seen.min(axis=0)
        bottom, right = seen.max(axis=0)
        axes.set(xlim=(left - 1, right + 1), ylim=(bottom + 1, top - 1))


def _draw_bars(axes: Axes, labels: VectorLike, lengths: VectorLike) -> None:
    """Bars from the top down, blue to the left of 0 and red to the right."""
    axes.barh(labels, lengths, color=np.where(np.array(lengths) < 0, *BLUE_AND_RED))
    axes.axvline(0, color="black", linewidth=0.8)
    axes.invert_yaxis()


def _shades(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours of grid points by their probabilities, and colours of the classes: (C, P) -> (P, 3), (C, 3)."""
    count = len(p)
    if count == 2:
        blue_to_red = colormaps[BLUE_TO_RED]
        return blue_to_red(p[1])[:, :3], blue_to_red([0.0, 1.0])[:, :3]
    palette = colormaps["tab10"](range(count)) if count <= 10 else colormaps["hsv"](np.arange(count) / count)
    colours = palette[:, :3]
    # 0 if all are equally probable, 1 if one is certain; rounding may exceed this, which Matplotlib rejects.
    sure = ((count * p.max(axis=0) - 1) / (count - 1)).clip(0, 1)
    return 1 - sure[:, None] * (1 - colours[p.argmax(axis=0)]), colours
