"""Pictures of a GLN: what its halfspaces cut, why it decides, how well it learns. Needs Matplotlib, the extra `plots`.

Every function gives a Matplotlib figure. As the last line of a notebook's cell it shows itself, and
`figure.savefig("picture.png")` saves it.

Shapes: B samples, C classes, D values of a sample.
"""
# ruff: noqa: N803 - X is scikit-learn's name

from __future__ import annotations

import copy
import io
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

try:
    from matplotlib import colormaps
    from matplotlib.axes import Axes
    from matplotlib.colors import TwoSlopeNorm
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter
except ImportError as error:
    raise ImportError('gln.plots needs Matplotlib: pip install "gated-linear-networks[plots]"') from error

from gln.learner import sum_to_one
from gln.levels import as_pandas

__all__ = [
    *("plot_calibration", "plot_confusion", "plot_contributions", "plot_explanations", "plot_fan", "plot_halfspaces"),
    *("plot_intervals", "plot_learning", "plot_learning_curves", "plot_regions"),
]

BLUE_TO_RED = "RdBu_r"  # below zero, zero, above
BLUE_AND_RED = "#2166ac", "#b2182b"  # its ends, a little lighter
OF_MEAN, OF_BAND, OF_SAMPLES = "#d55e00", "#56b4e9", "#444444"  # told apart by the colour-blind, and in grey
PLACES = 400  # along a line, at which a model is asked
SIDE = 150  # places along either side of a plane, of which a model is asked
TICKS = [float(f"{digit}e{power}") for power in range(-9, 16) for digit in (1, 3)]  # of logarithmic axes


def plot_explanations(images: Any, weights: Any, inputs: Any, titles: Sequence[str]) -> Figure:
    """Each image beside what its pixels contribute to a prediction's logit: red speaks for the class, blue against it.

    Args:
        images: (D, B), square images.
        weights: (D, B), of `GLN.explain`, for the head in question.
        inputs: (D, B), what the GLN was given of these images.
        titles: B strings, one for each image.

    Raises:
        ValueError: shapes that do not agree, images that are not square, or none, or titles that are one string.
    """
    images, weights, inputs = np.asarray(images), np.asarray(weights), np.asarray(inputs)
    side, count = _side(images), images.shape[1]
    if not images.shape == weights.shape == inputs.shape:
        raise ValueError(
            f"images, weights, inputs: expected (D, B) three times, got {images.shape}, {weights.shape} "
            f"and {inputs.shape}"
        )
    if isinstance(titles, str) or len(titles) != count:
        raise ValueError(f"titles: expected a sequence of {count} strings, got {titles!r}")
    contributions = weights * inputs
    figure = _Figure(figsize=(1.6 * count + 0.8, 3.6), layout="constrained")
    axes = figure.subplots(2, count, squeeze=False)
    norm = _around_zero(contributions)
    for b, title in enumerate(titles):
        axes[0, b].imshow(images[:, b].reshape(side, side), cmap="gray_r")
        axes[0, b].set_title(title, fontsize=10)
        shown = axes[1, b].imshow(contributions[:, b].reshape(side, side), cmap=BLUE_TO_RED, norm=norm)
    _no_ticks(axes)
    figure.colorbar(shown, ax=axes, shrink=0.6, label="contribution to the logit")
    return figure


def plot_halfspaces(
    model: Any, images: Any, context_inputs: Any, layer: int = 1, neuron: int = 0, shown: int = 6
) -> Figure:
    """What the halfspaces of a neuron cut: a row for each, the hyperplane between images far on either side of it.

    Args:
        model: a GLN whose side information is square images.
        images: (D, B), square images.
        context_inputs: (D, B), the side information that the model was given of them.
        layer: from 1 on.
        neuron: from 0 on.
        shown: images on either side, from 1 to B.

    Raises:
        ValueError: shapes that do not agree, no such neuron, a neuron without halfspaces, or `shown` out of range.
    """
    images, context, state = np.asarray(images), np.asarray(context_inputs), model.get_state()
    side = _side(images)
    if not (1 <= layer <= len(model.layer_sizes) and 0 <= neuron < model.layer_sizes[layer - 1]):
        raise ValueError(f"layer, neuron: expected one of layer_sizes {model.layer_sizes}, got {layer} and {neuron}")
    if context.shape != images.shape or len(context) != model.context_size:
        raise ValueError(f"context_inputs: expected ({model.context_size}, B) as images, got {context.shape}")
    planes, bias = state[f"hyperplanes.{layer}"][neuron], state[f"hyperplane_bias.{layer}"][neuron]  # (k, D), (k,)
    if len(planes) == 0:
        raise ValueError("model: expected halfspaces, context_map_size of at least 1, got 0")
    if not isinstance(shown, (int, np.integer)) or not 1 <= shown <= images.shape[1]:
        raise ValueError(f"shown: expected an integer from 1 to {images.shape[1]}, got {shown!r}")
    figure = _Figure(figsize=(0.8 * (2 * shown + 1) + 0.6, 0.85 * len(planes) + 0.5), layout="constrained")
    axes = figure.subplots(len(planes), 2 * shown + 1, squeeze=False)
    for row, plane, distance in zip(axes, planes, planes @ context - bias[:, None], strict=True):
        order = np.argsort(distance)
        far = [*order[:shown], None, *order[len(order) - shown :]]
        for axis, b in zip(row, far, strict=True):
            if b is None:
                axis.imshow(plane.reshape(side, side), cmap=BLUE_TO_RED, norm=_around_zero(plane))
            else:
                axis.imshow(images[:, b].reshape(side, side), cmap="gray_r")
    axes[0, shown // 2].set_title("bit 0", fontsize=10)
    axes[0, shown].set_title("hyperplane", fontsize=8)
    axes[0, shown + 1 + shown // 2].set_title("bit 1", fontsize=10)
    _no_ticks(axes)
    return figure


def plot_confusion(counts: Any) -> Figure:
    """A confusion matrix as `test_mnist` gives it, a row for what is and a column for what it was taken for.

    Args:
        counts: (C, C), a DataFrame, which names the classes, or an array. Shares are shown with two decimals.

    Raises:
        ValueError: a table that is not square, or that is empty.
    """
    shape = np.shape(counts)
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise ValueError(f"counts: expected (C, C), C at least 1, got {shape}")
    table, size = pd.DataFrame(counts), len(counts)
    columns, rows = [str(name) for name in table.columns], [str(name) for name in table.index]
    longest = max(map(len, columns + rows))
    room = 0.08 * max(longest - 3, 0)  # inches, for names that are longer than those of digits
    figure = _Figure(figsize=(0.5 * size + 1.5 + room, 0.5 * size + 1.2 + room), layout="constrained")
    axes = figure.subplots()
    values = table.to_numpy(float)
    mistakes = np.nan_to_num(values) * (1 - np.eye(size))  # NaN: shares of a class that never came
    axes.imshow(mistakes, cmap="Reds", vmax=1.3 * (mistakes.max() or 1))
    decimals = 0 if (values % 1 == 0).all() else 2
    for (i, j), value in np.ndenumerate(values):
        colour = "black" if i != j else "gray"
        axes.text(j, i, f"{value:.{decimals}f}", ha="center", va="center", fontsize=8, color=colour)
    slant = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if longest > 3 else {}
    axes.set_xticks(range(size), columns, **slant)
    axes.set_yticks(range(size), rows)
    axes.set_xlabel("taken for")
    axes.set_ylabel("is")
    return figure


def plot_learning_curves(hits: Mapping[str, Any], per_decade: int = 4) -> Figure:
    """Errors of one pass or of several, each sample predicted before it was learned, over samples seen: log-log.

    Args:
        hits: of each curve its name, and (N,) bools, whether each sample was predicted right.
        per_decade: points of a curve for each power of ten, at least 1. Each is the mean since the point before. A
            rest of less than half such a step counts towards the last point. Means of zero have no place on a
            logarithmic axis and are left out.

    Raises:
        ValueError: no curve, one that is not (N,) with N of at least 1, or `per_decade` below 1.
    """
    if not hits:
        raise ValueError(f"hits: expected at least one curve, got {hits!r}")
    if not per_decade >= 1:
        raise ValueError(f"per_decade: expected at least 1, got {per_decade!r}")
    figure = _Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    seen: list[float] = []
    wrong: list[float] = []
    for name, right in hits.items():
        right = np.asarray(right, float)
        if right.ndim != 1 or len(right) == 0:
            raise ValueError(f"hits[{name!r}]: expected (N,) bools, N at least 1, got shape {right.shape}")
        steps = round(math.log10(len(right)) * per_decade)
        ends = np.unique([*(10 ** (np.arange(per_decade, steps) / per_decade)).astype(int), len(right)])
        errors = [100 * (1 - part.mean()) for part in np.split(right, ends[:-1])]
        axes.loglog(ends, errors, marker="o", markersize=3, label=name, nonpositive="mask")
        seen, wrong = [*seen, *ends], [*wrong, *filter(None, errors)]
    axes.set_autoscale_on(False)  # which warns where there is not one error
    axes.set_xlim(*_plain_ticks(axes.xaxis, seen))
    axes.set_ylim(*_plain_ticks(axes.yaxis, wrong or [1, 100]))
    axes.set_xlabel("samples seen")
    axes.set_ylabel("error, % of samples not yet learned")
    axes.grid(which="both", alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def plot_regions(model: Any, samples: Any, labels: Any, *, ax: Axes | None = None) -> Figure:
    """Decision regions of a model of two inputs, drawn as the model is: it learns nothing here, and is not changed.

    With two classes the probability is a colour, from blue to red. With more each class has a colour, which fades
    where the model is unsure. Borders are black, and samples have the colours of their classes.

    Args:
        model: a GLN of two inputs, which are its side information too, or a classifier of two features as scikit-learn
            has them, `GLNClassifier` among them, which was fitted and has `predict_proba`.
        samples: each as the model takes them: for a GLN columns, (2, B); for a classifier rows, (B, 2), and the names
            of a DataFrame's columns stand along the axes.
        labels: (B,), for a GLN numbers of classes, for a classifier any of its `classes_`.
        ax: where to draw. Without it a figure is made.

    Returns:
        The figure, which is that of `ax` if that was given. A notebook shows the figures of pyplot by itself: there, a
        semicolon at the end of the line keeps it from showing such a figure twice.

    Raises:
        ValueError: shapes that do not agree, samples that are no finite numbers, labels of no class, another model, or
            `ax` that is none.
    """
    if not (ax is None or isinstance(ax, Axes)):
        raise ValueError(f"ax: expected Axes or None, got {type(ax).__name__}")
    names = None
    if hasattr(model, "predict_proba"):
        names = getattr(samples, "columns", None)
        points = _points(samples, labels, rows=True)
        grid = _grid(points)
        # A classifier that was fitted to names of features looks for them again.
        p = np.asarray(model.predict_proba(grid.T if names is None else pd.DataFrame(grid.T, columns=names))).T
        classes = model.classes_
    else:
        _check_inputs(model)
        points = _points(samples, labels)
        grid = _grid(points)
        p, classes = _probabilities(model, grid), range(model.num_classes)
    members = _members(labels, classes)
    axes = _Figure(figsize=(4.8, 4), layout="constrained").subplots() if ax is None else ax
    _draw_regions(axes, grid, p, points, members, classes)
    if names is not None:
        axes.set(xlabel=names[0], ylabel=names[1])
    axes.legend(fontsize=8, markerscale=2)
    return axes.figure.figure  # of a figure within a figure, the outer


def plot_learning(model: Any, samples: Any, labels: Any, after: Iterable[int] | None = None) -> Figure:
    """Decision regions as a network learns one sample after another: a picture each time that some more are learned.

    Args:
        model: a GLN of two inputs, which are its side information too, that has learned nothing yet. A copy of it
            learns, and it stays as it is.
        samples: (2, B), standardised.
        labels: (B,), numbers of classes.
        after: rising counts of samples, each from 1 to B; a picture is drawn when so many have been learned. None:
            those of 10, 30, 100 and 1,000 that are less than B, and B.

    Raises:
        ValueError: shapes that do not agree, samples that are no finite numbers, labels of no class, another model, one
            that has learned, or counts out of range.
    """
    _check_inputs(model)
    if int(model.step) > 0:
        raise ValueError(f"model: expected one that has learned nothing yet, got step {int(model.step)}")
    points, classes = _points(samples, labels), range(model.num_classes)
    members, labels = _members(labels, classes), np.asarray(labels)
    ends = _ends(after, len(labels))
    grid, learner = _grid(points), copy.deepcopy(model)
    figure = _Figure(figsize=(3 * len(ends), 2.8), layout="constrained")
    axes = figure.subplots(1, len(ends), squeeze=False)
    for axis, (start, end) in zip(axes.flat, itertools.pairwise([0, *ends]), strict=True):
        learner.predict_online(points[:, start:end], points[:, start:end], labels[start:end])
        _draw_regions(axis, grid, _probabilities(learner, grid), points[:, :end], members[:, :end], classes)
        axis.set_title(f"after {end:,}", fontsize=10)
    _no_ticks(axes)
    return figure


def plot_intervals(model: Any, X: Any, y: Any, after: Iterable[int] | None = None) -> Figure:
    """Predictions of one number from another, with their interval, as an estimator learns one sample after another.

    Each picture shows the samples learned so far, the predicted mean as a line, and a band from the lowest to the
    highest quantile. Its title says how many samples were learned, and of the later ones, which were not, the share
    that lies within the band; where none come later it is the share of all samples, which were learned.

    Args:
        model: an estimator of one feature with `partial_fit`, `predict` and `predict_quantiles`, such as
            `GLNRegressor` with `quantiles`. A copy of it learns, and it stays as it is.
        X: (B, 1), in the order in which they are learned. The name of a DataFrame's column stands along the axis.
        y: (B,), and so does the name of a Series.
        after: rising counts of samples, each from 1 to B; a picture is drawn when so many have been learned. None:
            those of 10, 30, 100 and 1,000 that are less than B, and B.

    Raises:
        ValueError: shapes that do not agree, samples or targets that are no finite numbers, another model, or counts
            out of range.
    """
    for method in ("partial_fit", "predict", "predict_quantiles"):
        if not hasattr(model, method):
            raise ValueError(
                f"model: expected partial_fit, predict, predict_quantiles, got {model!r}, without {method}"
            )
    x, targets = _pairs(X, y)
    ends, names, learner = _ends(after, len(x)), getattr(X, "columns", None), copy.deepcopy(model)
    rows = x if names is None else pd.DataFrame(x, columns=names)  # in which an estimator looks for the names again
    line = _line(x)
    places = line if names is None else pd.DataFrame(line, columns=names)
    figure = _Figure(figsize=(max(3.2 * len(ends), 4.8), 3.4), layout="constrained")
    axes = figure.subplots(1, len(ends), squeeze=False, sharex=True, sharey=True)
    for axis, (start, end) in zip(axes.flat, itertools.pairwise([0, *ends]), strict=True):
        learner.partial_fit(rows[start:end], targets[start:end])
        _draw_interval(axis, learner, places, line[:, 0], x[:end, 0], targets[:end])
        first = end if end < len(x) else 0  # of the samples that are counted
        low, high = _band(learner, rows[first:])
        share = ((low <= targets[first:]) & (targets[first:] <= high)).mean()
        which = f"the {len(x) - end:,} to come" if first else f"these {end:,}"
        axis.set_title(f"after {end:,}\nband holds {share:.1%} of {which}", fontsize=9)
        axis.set_xlabel("" if names is None else str(names[0]))
    # Of all samples: a band that is still far off would make them small.
    axes[0, 0].set(xlim=line[[0, -1], 0], ylim=_line(targets)[[0, -1], 0], ylabel=str(getattr(y, "name", None) or ""))
    legend = {"loc": "outside lower center", "ncols": 3, "frameon": False, "fontsize": 9}
    figure.legend(*axes[0, 0].get_legend_handles_labels(), **legend)
    return figure


def plot_fan(y: Any, quantiles: Any, levels: Sequence[float]) -> Figure:
    """Targets along a stream, as dots, with bands between the quantiles that were predicted for them.

    Each band lies between a pair of quantiles, the outermost and so on inwards; where their number is odd the middle
    one is a line.

    Args:
        y: (B,), in the order of time.
        quantiles: (B, Q) of at least two levels, each in the units of y, predicted before y was learned.
        levels: the Q levels, rising, in (0, 1).

    Raises:
        ValueError: shapes that do not agree, values that are no finite numbers, or levels that do not rise.
    """
    targets, predicted, ranks = _quantiles(y, quantiles, levels)
    figure = _Figure(figsize=(7.2, 3.4), layout="constrained")
    axes, count = figure.subplots(), len(ranks)
    times, bands = np.arange(1, len(targets) + 1), count // 2
    for number in range(bands):
        share = ranks[-1 - number] - ranks[number]
        looks = {"color": OF_BAND, "alpha": 0.25 + 0.35 * number / max(1, bands - 1), "linewidth": 0}
        ends = predicted[:, number], predicted[:, -1 - number]
        axes.fill_between(times, *ends, label=f"{100 * share:.3g} % interval", **looks)
    axes.scatter(
        times, targets, s=float(np.clip(2000 / len(targets), 2, 12)), color=OF_SAMPLES, label="target", linewidths=0
    )
    if count % 2:
        axes.plot(times, predicted[:, bands], color=OF_MEAN, linewidth=1.2, label=f"{ranks[bands]:.3g} quantile")
    axes.set_title("Intervals predicted before each target", fontsize=10)
    axes.set(xlabel="sample", ylabel=str(getattr(y, "name", None) or "target"), xlim=(1, max(2, len(targets))))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2 + bands, frameon=False, fontsize=9)
    return figure


def plot_calibration(y: Any, quantiles: Any, levels: Sequence[float]) -> Figure:
    """Of each quantile the share of targets below it, over its level; where densities are right both are the same.

    The grey band is where 95 % of such shares lie by chance if they are.

    Args:
        y: (B,), targets that were not learned when their quantiles were predicted.
        quantiles, levels: as in `plot_fan`, best of many levels, such as `numpy.arange(0.05, 1, 0.05)`.

    Raises:
        ValueError: as in `plot_fan`.
    """
    targets, predicted, ranks = _quantiles(y, quantiles, levels)
    below = (targets[:, None] <= predicted).mean(axis=0)
    figure = _Figure(figsize=(3.8, 3.8), layout="constrained")
    axes = figure.subplots()
    ends = np.linspace(0, 1, 101)
    chance = 1.96 * np.sqrt(ends * (1 - ends) / len(targets))
    axes.fill_between(ends, ends - chance, ends + chance, color="#bbbbbb", linewidth=0, label="by chance, 95 %")
    axes.plot([0, 1], [0, 1], color=OF_SAMPLES, linewidth=0.8)
    axes.set_title("Calibration of quantiles", fontsize=10)
    axes.plot(ranks, below, "o-", color=OF_MEAN, markersize=4, label=f"{len(targets):,} targets")
    axes.set(
        xlabel="level of the quantile", ylabel="share of targets below it", xlim=(0, 1), ylim=(0, 1), aspect="equal"
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    return figure


def plot_contributions(model: Any, X: Any, most: int = 8) -> Figure:
    """What the features of a sample contribute to what an estimator predicts of it: red for more, blue for less.

    A picture for each sample, its features named with their values, those that contribute most at the top. With the
    constant in the title the bars add up to the number there, of a classifier the logit of the class that it predicts.

    Args:
        model: a fitted `GLNClassifier`, or `GLNRegressor` of one target.
        X: (B, D), a few samples, in rows.
        most: features with a bar of their own, at least 1; one more bar is the sum of the others.

    Raises:
        ValueError: another model, samples that it does not take, or none, or a `most` below 1.
    """
    if not hasattr(model, "explain") or len(getattr(model, "targets_shape_", ())) > 0:
        raise ValueError(f"model: expected a GLNClassifier, or a GLNRegressor of one target, got {model!r}")
    if not isinstance(most, int) or most < 1:
        raise ValueError(f"most: expected an integer of at least 1, got {most!r}")
    contributions, constants, titles = _explained(model, X)
    values = pd.DataFrame(as_pandas(X))
    names = getattr(model, "feature_names_in_", [f"feature {i}" for i in range(values.shape[1])])
    bars = min(most, len(names)) + (len(names) > most)
    figure = _Figure(figsize=(4.2 * len(titles), 0.3 * bars + 1.4), layout="constrained")
    for axis, own, constant, (_, row), title in zip(
        figure.subplots(1, len(titles), squeeze=False)[0],
        contributions,
        constants,
        values.iterrows(),
        titles,
        strict=True,
    ):
        order = np.abs(own).argsort()[::-1]
        told = [(f"{names[i]} = {_short(row.iloc[i])}", own[i]) for i in order[:most]]
        rest = [(f"the {len(names) - most} others", own[order[most:]].sum())] if len(names) > most else []
        labels, lengths = zip(*told, *rest, strict=True)
        axis.barh(labels, lengths, color=np.where(np.array(lengths) < 0, *BLUE_AND_RED))
        axis.axvline(0, color="black", linewidth=0.8)
        axis.invert_yaxis()
        axis.set_title(f"{title}\nconstant {constant:.3g}, and", fontsize=10)
    figure.supxlabel("contribution to the logit" if hasattr(model, "classes_") else "contribution", fontsize=9)
    return figure


def _short(value: Any) -> str:
    """A feature's value, which is text where it is a category."""
    return f"{value:.4g}" if isinstance(value, (int, float, np.number)) else str(value)


class _Figure(Figure):
    """A figure that a notebook shows, whether or not its Matplotlib is set up to show figures."""

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self.savefig(png, format="png")
        return png.getvalue()


def _explained(model: Any, X: Any) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Of each sample contributions (B, D) and constant (B,) for the class that is predicted, or the number; titles."""
    contributions, constants = model.explain(X)
    if not hasattr(model, "classes_"):
        return contributions, constants, [f"{number:.4g}" for number in model.predict(X)]
    labels = model.predict(X)
    best, samples = np.searchsorted(model.classes_, labels), np.arange(len(labels))
    if len(model.classes_) == 2:  # all speak for the second class
        signs = np.where(best == 1, 1, -1)
        contributions, constants = contributions * signs[:, None], constants * signs
    else:
        contributions, constants = contributions[samples, best], constants[samples, best]
    logits = contributions.sum(axis=1) + constants
    return contributions, constants, [f"{label}: logit {s:.2f}" for label, s in zip(labels, logits, strict=True)]


def _side(images: np.ndarray) -> int:
    if images.ndim != 2 or images.size == 0 or math.isqrt(len(images)) ** 2 != len(images):
        raise ValueError(f"images: expected (side * side, B), B at least 1, got {images.shape}")
    return math.isqrt(len(images))


def _around_zero(values: np.ndarray) -> TwoSlopeNorm:
    """White at 0, and the strongest colours where 99.5 % of the values end, so that a single one outshines none."""
    most = max(float(np.quantile(np.abs(values), 0.995)), 1e-9)
    return TwoSlopeNorm(0, -most, most)


def _no_ticks(axes: np.ndarray) -> None:
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])


def _plain_ticks(axis: Any, values: Sequence[float]) -> tuple[float, float]:
    """Put plain numbers along a logarithmic axis, 1, 3, 10, 30 or, where those are too many, 1, 10, 100.

    Returns its limits, round which at least two of the numbers lie: the values may be close together.
    """
    last = int(np.searchsorted(TICKS, max(values)))
    first = min(int(np.searchsorted(TICKS, min(values), side="right")) - 1, last - 1)
    low, high = TICKS[first] / 1.1, TICKS[last] * 1.1
    ticks = TICKS[first : last + 1]
    if len(ticks) > 9:
        ticks = [tick for tick in TICKS[::2] if low < tick < high]
    axis.set_ticks(ticks, [f"{tick:,.12g}" for tick in ticks])
    axis.set_minor_formatter(NullFormatter())
    return low, high


def _check_inputs(model: Any) -> None:
    if [getattr(model, name, None) for name in ("input_size", "context_size")] != [2, 2]:
        raise ValueError(f"model: expected a GLN with input_size and context_size of 2, got {model!r}")


def _points(samples: Any, labels: Any, rows: bool = False) -> np.ndarray:
    """The samples (2, B), checked; they come in rows or in columns."""
    points, count = np.asarray(samples), np.shape(labels)
    expected, shape = ("(B, 2)", (*count, 2)) if rows else ("(2, B)", (2, *count))
    if len(count) != 1 or count[0] == 0 or points.shape != shape:
        raise ValueError(f"samples, labels: expected {expected} and (B,), B at least 1, got {points.shape} and {count}")
    if points.dtype.kind not in "biuf" or not np.isfinite(points).all():
        raise ValueError(f"samples: expected finite numbers, got {points.dtype}, or NaN or infinity among them")
    return points.T if rows else points


def _pairs(X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Samples (B, 1) and targets (B,), checked, as floats."""
    x, y = np.asarray(X), np.asarray(y)
    if x.ndim != 2 or x.shape[1] != 1 or len(x) == 0 or y.shape != (len(x),):
        raise ValueError(f"X, y: expected (B, 1) and (B,), B at least 1, got {x.shape} and {y.shape}")
    for name, values in (("X", x), ("y", y)):
        if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
            raise ValueError(f"{name}: expected finite numbers, got {values.dtype}, or NaN or infinity among them")
    return x.astype(float), y.astype(float)


def _members(labels: Any, classes: Any) -> np.ndarray:
    """Which samples are of each class, (C, B) of bools."""
    labels = np.asarray(labels, object)  # else NumPy may compare numbers and strings as strings
    members = labels == np.asarray(classes, object)[:, None]
    if not members.any(axis=0).all():
        raise ValueError(f"labels: expected some of {list(classes)}, got {labels[~members.any(axis=0)][0]!r}")
    return members


def _ends(after: Iterable[int] | None, count: int) -> list[int]:
    if after is None:
        after = [*(end for end in (10, 30, 100, 1000) if end < count), count]
    after = list(after)
    ends = list(map(int, after))
    rising = all(start < end for start, end in itertools.pairwise([0, *ends]))
    if not ends or ends != after or not rising or ends[-1] > count:
        raise ValueError(f"after: expected rising counts from 1 to {count}, got {after}")
    return ends


def _grid(points: np.ndarray) -> np.ndarray:
    """Places all over the plane where the points (2, B) lie, (2, SIDE * SIDE), with room on every side."""
    low, high = points.min(axis=1).astype(float), points.max(axis=1).astype(float)
    margin = np.where(high > low, 0.15 * (high - low), 1)
    return np.stack(np.meshgrid(*np.linspace(low - margin, high + margin, SIDE).T)).reshape(2, -1)


def _line(x: np.ndarray) -> np.ndarray:
    """Places all along the line where numbers lie, (PLACES, 1), with room on either side."""
    low, high = float(x.min()), float(x.max())
    margin = 0.05 * (high - low) or 1
    return np.linspace(low - margin, high + margin, PLACES)[:, None]


def _probabilities(model: Any, points: np.ndarray) -> np.ndarray:
    """Of the classes, by a GLN, normalised to sum to one: (2, B) -> (C, B)."""
    base, context, *_ = model.prepare(points, points)
    return sum_to_one(model.predict_arrays(base, context))


def _quantiles(y: Any, quantiles: Any, levels: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets (B,), their quantiles (B, Q) and levels (Q,), checked."""
    targets, predicted, ranks = (np.asarray(array, np.float64) for array in (y, quantiles, levels))
    if ranks.ndim != 1 or len(ranks) < 2 or not ((ranks > 0) & (ranks < 1)).all() or (np.diff(ranks) <= 0).any():
        raise ValueError(f"levels: expected two or more rising numbers in (0, 1), got {levels!r}")
    if targets.ndim != 1 or len(targets) == 0 or predicted.shape != (len(targets), len(ranks)):
        expected = f"shapes (B,) and (B, {len(ranks)}), B at least 1"
        raise ValueError(f"y, quantiles: expected {expected}, got {targets.shape} and {predicted.shape}")
    for name, array in (("y", targets), ("quantiles", predicted)):
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    return targets, predicted, ranks


def _band(model: Any, rows: Any) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest of a model's quantiles: (B, 1) -> (B,), (B,)."""
    quantiles = np.asarray(model.predict_quantiles(rows))  # (B, Q)
    return quantiles.min(axis=1), quantiles.max(axis=1)


def _draw_interval(axes: Axes, model: Any, places: Any, line: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """Shapes: (PLACES, 1) as the model takes them, (PLACES,), (B,), (B,)."""
    size = float(np.clip(150 / math.sqrt(len(x)), 3, 12))
    plain = {"alpha": 0.5, "linewidth": 0}
    axes.fill_between(line, *_band(model, places), color=OF_BAND, label="band between quantiles", **plain)
    axes.scatter(x, y, s=size, color=OF_SAMPLES, label="learned", **plain)
    axes.plot(line, model.predict(places), color=OF_MEAN, linewidth=2, label="mean")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_regions(
    axes: Axes, grid: np.ndarray, p: np.ndarray, points: np.ndarray, members: np.ndarray, names: Iterable[Any]
) -> None:
    """Shapes: (2, SIDE * SIDE), (C, SIDE * SIDE), (2, B), (C, B), C names."""
    x, y = grid.reshape(2, SIDE, SIDE)
    shades, colours = _shades(p)
    limits = [(values[0, 0], values[-1, -1]) for values in (x, y)]
    half = [(high - low) / (SIDE - 1) / 2 for low, high in limits]  # of a place
    extent = [end for (low, high), part in zip(limits, half, strict=True) for end in (low - part, high + part)]
    looks = {"origin": "lower", "interpolation": "bilinear", "aspect": axes.get_aspect(), "alpha": 0.6}
    axes.imshow(shades.reshape(SIDE, SIDE, 3), extent=extent, **looks)
    for c in range(1, len(p)):  # each border is that of one of these
        lead = p[c] - np.delete(p, c, axis=0).max(axis=0)
        if lead.min() < 0 < lead.max():
            axes.contour(x, y, lead.reshape(SIDE, SIDE), levels=[0], colors="black", linewidths=1)
    for member, colour, name in zip(members, colours, names, strict=True):
        axes.scatter(*points[:, member], s=12, color=colour, linewidths=0.3, edgecolors="white", label=str(name))
    axes.set(xlim=limits[0], ylim=limits[1])


def _shades(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colours of places by their probabilities, and of the classes: (C, P) -> (P, 3), (C, 3)."""
    count = len(p)
    if count == 2:
        blue_to_red = colormaps[BLUE_TO_RED]
        return blue_to_red(p[1])[:, :3], blue_to_red([0.0, 1.0])[:, :3]
    of_classes = colormaps["tab10"](range(count)) if count <= 10 else colormaps["hsv"](np.arange(count) / count)
    colours = of_classes[:, :3]
    sure = (count * p.max(axis=0) - 1) / max(count - 1, 1)  # 0 where all are as probable, 1 where one is certain
    sure = sure.clip(0, 1)  # of what rounding adds Matplotlib would complain
    return 1 - sure[:, None] * (1 - colours[p.argmax(axis=0)]), colours
