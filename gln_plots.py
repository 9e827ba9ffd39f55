"""Pictures of a GLN: what its halfspaces cut, why it decides, how well it learns. Needs Matplotlib, the extra `plots`.

Every function gives a Matplotlib figure. As the last line of a notebook's cell it shows itself, and
`figure.savefig("picture.png")` saves it.

Shapes: B samples, C classes, D values of a sample.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

try:
    from matplotlib.colors import TwoSlopeNorm
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError('gln_plots needs Matplotlib: pip install "gated-linear-networks[plots]"') from error

__all__ = ["plot_confusion", "plot_explanations", "plot_halfspaces", "plot_learning_curves", "plot_regions"]

BLUE_TO_RED = "RdBu_r"  # below zero, zero, above


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
        ValueError: a curve that is not (N,) with N of at least 1, or `per_decade` below 1.
    """
    if not per_decade >= 1:
        raise ValueError(f"per_decade: expected at least 1, got {per_decade!r}")
    figure = _Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, right in hits.items():
        right = np.asarray(right, float)
        if right.ndim != 1 or len(right) == 0:
            raise ValueError(f"hits[{name!r}]: expected (N,) bools, N at least 1, got shape {right.shape}")
        steps = round(math.log10(len(right)) * per_decade)
        ends = np.unique([*(10 ** (np.arange(per_decade, steps) / per_decade)).astype(int), len(right)])
        errors = [100 * (1 - part.mean()) for part in np.split(right, ends[:-1])]
        axes.loglog(ends, errors, marker="o", markersize=3, label=name, nonpositive="mask")
    if not np.isfinite(axes.dataLim.minposy):  # not one error, of which a logarithmic axis could take its limits
        axes.set(autoscaley_on=False, ylim=(1, 100))
    axes.set_xlabel("samples seen")
    axes.set_ylabel("error, % of samples not yet learned")
    axes.grid(which="both", alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def plot_regions(model: Any, samples: Any, labels: Any, after: Iterable[int] | None = None) -> Figure:
    """Decision regions of a problem in two dimensions with two classes, as a model learns it one sample at a time.

    Args:
        model: a GLN of two inputs, which are its side information too, and of two classes. It learns the samples.
        samples: (2, B), standardised.
        labels: (B,) of 0 and 1.
        after: rising counts of samples, each from 1 to B; a picture is drawn when so many have been learned. None:
            those of 10, 30, 100 and 1,000 that are less than B, and B.

    Raises:
        ValueError: shapes that do not agree, another model, or counts out of range.
    """
    samples, labels = np.asarray(samples), np.asarray(labels)
    if samples.ndim != 2 or len(samples) != 2 or labels.shape != samples.shape[1:]:
        raise ValueError(f"samples, labels: expected (2, B) and (B,), got {samples.shape} and {labels.shape}")
    if (model.input_size, model.context_size, model.num_classes) != (2, 2, 2):
        raise ValueError(
            f"model: expected input_size, context_size and num_classes of 2, got {model.input_size}, "
            f"{model.context_size} and {model.num_classes}"
        )
    if after is None:
        after = [*(count for count in (10, 30, 100, 1000) if count < len(labels)), len(labels)]
    after = list(after)
    ends = [0, *map(int, after)]
    rising = all(start < end for start, end in itertools.pairwise(ends))
    if not after or ends[1:] != after or not rising or ends[-1] > len(labels):
        raise ValueError(f"after: expected rising counts from 1 to {len(labels)}, got {after}")
    low, high = samples.min(axis=1), samples.max(axis=1)
    margin = 0.15 * (high - low)
    x, y = np.meshgrid(*np.linspace(low - margin, high + margin, 150).T)
    grid = np.stack([x.ravel(), y.ravel()])
    figure = _Figure(figsize=(3 * len(after), 2.8), layout="constrained")
    axes = figure.subplots(1, len(after), squeeze=False)
    for axis, (start, end) in zip(axes.flat, itertools.pairwise(ends), strict=True):
        model.predict_online(samples[:, start:end], samples[:, start:end], labels[start:end])
        p = np.asarray(model.predict(grid, grid)).reshape(x.shape)
        axis.contourf(x, y, p, levels=np.linspace(0, 1, 21), cmap=BLUE_TO_RED, alpha=0.6)
        axis.contour(x, y, p, levels=[0.5], colors="black", linewidths=1)
        colours = {"c": labels[:end], "cmap": BLUE_TO_RED, "vmin": 0, "vmax": 1, "edgecolors": "white"}
        axis.scatter(*samples[:, :end], s=12, linewidths=0.3, **colours)
        axis.set_title(f"after {end:,}", fontsize=10)
    _no_ticks(axes)
    return figure


class _Figure(Figure):
    """A figure that a notebook shows, whether or not its Matplotlib is set up to show figures."""

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self.savefig(png, format="png")
        return png.getvalue()


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
