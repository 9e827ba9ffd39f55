"""The picture that `--plot` draws: the first figure along the stream, and the last intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gln.plots import OF_BAND, OF_MEAN, OF_SAMPLES, WIDTH
from gln.stream.metrics.progress import Progress

__all__ = ["plot"]

AROUND = 10  # points of the curve in a moving average


def plot(figures: Progress, recent: Sequence[tuple[float, list[float]]], outer: tuple[int, int]) -> Figure:
    """Accuracy or absolute error along the stream; with intervals, also the last targets and their predictions.

    Args:
        figures: of the run.
        recent: the last targets, and the prediction for each.
        outer: the indices of the outer quantiles in the predictions.
    """
    picture = Figure(figsize=(WIDTH, 3.2 + 2.6 * bool(recent)), layout="constrained")
    axes, *others = picture.subplots(1 + bool(recent), squeeze=False)[:, 0]
    _draw_curve(axes, figures)
    if recent:
        _draw_intervals(others[0], figures.samples, recent, outer)
    for each in (axes, *others):
        each.spines[["top", "right"]].set_visible(False)
        each.legend(frameon=False, fontsize=9)
    return picture


def _draw_curve(axes: Axes, figures: Progress) -> None:
    weights, sums = np.array(figures.curve).T
    samples = figures.every * np.arange(len(weights))
    begins = np.maximum(np.arange(len(weights)) - AROUND, 0)
    with np.errstate(invalid="ignore"):  # nothing counted is NaN, which is not drawn
        moving = (sums - sums[begins]) / (weights - weights[begins])
        whole = sums / weights
    axes.plot(samples, moving, color=OF_BAND, linewidth=1.2, label=f"last {AROUND * figures.every:,} samples")
    axes.plot(samples, whole, color=OF_MEAN, linewidth=1.6, label="since the start")
    axes.set(xlabel="sample", ylabel="accuracy" if figures.are_classes else "absolute error", xlim=(0, None))
    axes.set_title("Each sample is predicted before it is learned", fontsize=11)
    settled = moving[len(moving) // 20 :]  # the first samples would hide all others
    if np.isfinite(settled).any():
        low, high = np.nanmin(settled), np.nanmax(settled)
        room = 0.1 * (high - low) or 0.1
        axes.set_ylim(low - room, high + room)


def _draw_intervals(
    axes: Axes, samples: int, recent: Sequence[tuple[float, list[float]]], outer: tuple[int, int]
) -> None:
    targets, predicted = np.array([row[0] for row in recent], float), np.array([row[1] for row in recent])
    last = np.arange(len(targets)) + samples - len(targets) + 1
    low, high = (predicted[:, place] for place in outer)
    axes.fill_between(last, low, high, color=OF_BAND, alpha=0.4, linewidth=0, label="interval")
    axes.plot(last, predicted[:, 0], color=OF_MEAN, linewidth=1.2, label="mean")
    axes.scatter(last, targets, s=8, color=OF_SAMPLES, linewidths=0, label="target")
    axes.set(xlabel="sample", ylabel="target", xlim=(last[0], max(last[-1], last[0] + 1)))
