"""Two pictures that explain: a neuron and a network of them, and what the base predictions of a stream come from.

    python -m benchmarks.diagrams docs/images

The neuron is one of a small `gln_numpy` network that has learned 30 points of two moons; all numbers, lines and regions
are its own, before and after it learns one more point. Each picture is one SVG file with colours for light and for dark
pages.

Shapes: n neurons of a layer, k halfspaces, d inputs of a neuron.
"""

from __future__ import annotations

import argparse
import io
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Polygon, Rectangle
from sklearn.datasets import make_moons

from gln.engine.base_models.bin_means import NONE
from gln.engine.base_models.fading_bin_means import CELLS_OF_ONE, PAIR_DEPTH, STEEP
from gln.engine.base_models.online import OnlineBaseModels
from gln.engine.batches import SampleBatch, Words
from gln_numpy import GLN, gate

WIDTH = 440  # of a picture, in units of which 100 are an inch; a phone shows three quarters of them as pixels
INK, FAINT, PAPER = "#1f2328", "#8c959f", "#fffffe"
POSITIVE, NEGATIVE, MARK = "#d55e01", "#0072b3", "#fbe3d1"  # distinct for the colour-blind, and in greyscale
IN_THE_DARK = {
    **{INK: "#e6edf3", FAINT: "#848d97", PAPER: "#1e2129"},
    **{POSITIVE: "#ff9248", NEGATIVE: "#58b4f0", MARK: "#56341f"},
}
# Points that the network has learned, and the one that it learns next. This one, the neuron and the seed were chosen so
# that all regions are large and the neuron is clearly wrong.
LEARNED, ASKED = 30, 58
LAYER, NEURON, SEED = 2, 2, 76  # the first two from 1
LETTERS = "ABCD"  # of a neuron's regions, and of its rows
SPAN = 2.2  # the plane shows features from -SPAN to SPAN


class Passed(NamedTuple):
    """What a layer does with a sample."""

    hyperplanes: np.ndarray  # (n, k, 2)
    offsets: np.ndarray  # (n, k)
    contexts: np.ndarray  # (n,)
    weights: np.ndarray  # (n, 2^k, d)
    z: np.ndarray  # (d,), logits of the layer below, and the bias
    s: np.ndarray  # (n,), logits of this layer


def learned() -> tuple[GLN, np.ndarray, int]:
    """A network that has learned some points, and the next point with its target."""
    points, labels = make_moons(200, noise=0.15, random_state=1)
    points = ((points - points.mean(axis=0)) / points.std(axis=0)).astype(np.float32)
    model = GLN([3, 3, 1], 2, 2, context_map_size=2, context_bias=0.5, seed=SEED)
    model.predict_online(points[:LEARNED].T, points[:LEARNED].T, labels[:LEARNED])
    return model, points[ASKED], int(labels[ASKED])


def passed(model: GLN, x: np.ndarray) -> list[Passed]:
    """A sample's way through the layers of a network with one head, x (2,)."""
    state, z, layers = model.get_state(), x, []
    for layer in range(1, len(model.config.layer_sizes) + 1):
        hyperplanes, offsets = state[f"hyperplanes.{layer}"], state[f"hyperplane_bias.{layer}"]
        contexts = gate(hyperplanes, offsets, x[:, None])[0]
        weights, z = state[f"weights.{layer}"][:, :, 0], np.append(z, 1)
        s = weights[np.arange(len(weights)), contexts] @ z
        layers.append(Passed(hyperplanes, offsets, contexts, weights, z, s))
        z = s
    return layers


# ---- Parts of a picture ----------------------------------------------------------------------------------------------


def canvas(height: int) -> tuple[Figure, Axes]:
    """An empty picture, with y from the top down."""
    figure = Figure(figsize=(WIDTH / 100, height / 100), facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))
    axes.set_axis_off()
    return figure, axes


def write(axes: Axes, x: float, y: float, words: str, size: float = 11, **options: Any) -> None:
    """Write lines, the middle of all at y. Paper behind them hides what they cross."""
    looks: dict[str, Any] = {"color": INK, "ha": "center", "va": "center_baseline", "fontsize": size}
    behind = {"facecolor": PAPER, "linewidth": 0, "pad": 2} if options.pop("on_paper", False) else None
    lines = words.split("\n")
    for i, line in enumerate(lines):
        axes.text(x, y + 1.7 * size * (i - (len(lines) - 1) / 2), line, bbox=behind, **looks | options)


def heading(axes: Axes, x: float, y: float, number: str, words: str) -> None:
    if number:
        axes.add_patch(Circle((x + 11, y), 11, facecolor=INK))
        write(axes, x + 11, y + 0.5, number, color=PAPER, weight="bold")
    write(axes, x + (29 if number else 0), y, words, 11, weight="bold", ha="left", on_paper=True)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, line: float = 2) -> None:
    looks = {"arrowstyle": "-|>,head_width=.35,head_length=.6", "color": colour, "linewidth": line}
    axes.annotate("", end, start, arrowprops=looks | {"shrinkA": 0, "shrinkB": 0})


def frame(axes: Axes, left: float, top: float, wide: float, high: float, colour: str = FAINT, line: float = 1.2) -> Any:
    looks: dict[str, Any] = {"facecolor": "none", "edgecolor": colour, "linewidth": line}
    return axes.add_patch(Rectangle((left, top), wide, high, **looks))


def region(layer: Passed, neuron: int, context: int) -> np.ndarray:
    """Corners (n, 2) of the part of the plane where a neuron has this context."""
    corners = SPAN * np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])
    for i, (h, b) in enumerate(zip(layer.hyperplanes[neuron], layer.offsets[neuron], strict=True)):
        heights, kept = (corners @ h - b) * (1 if context >> i & 1 else -1), []
        for j, (corner, height) in enumerate(zip(corners, heights, strict=True)):  # the edge to it may cross the line
            if height * heights[j - 1] < 0:
                kept.append(corner + (corners[j - 1] - corner) * height / (height - heights[j - 1]))
            if height > 0:
                kept.append(corner)
        corners = np.array(kept)
    return corners


def plane(axes: Axes, left: float, top: float, side: float, layer: Passed, neuron: int, x: np.ndarray) -> Any:
    """The halfspaces of a neuron in the plane of two features, the region of a sample, and the sample.

    Returns a function from features (..., 2) to places in the picture.
    """

    def place(features: np.ndarray) -> np.ndarray:
        return np.array([left, top]) + side * (1 + features * [1, -1] / SPAN) / 2

    axes.add_patch(Polygon(place(region(layer, neuron, layer.contexts[neuron])), facecolor=MARK, linewidth=0))
    box = frame(axes, left, top, side, side)
    for h, b in zip(layer.hyperplanes[neuron], layer.offsets[neuron], strict=True):
        along = np.array([-h[1], h[0]]) * 10  # the line is where h . x = b
        ends = place(np.array([b * h - along, b * h + along]))
        axes.plot(*ends.T, color=INK, linewidth=1.6 if side > 100 else 1.0)[0].set_clip_path(box)
    axes.plot(*place(x), "o", color=POSITIVE, markersize=9 if side > 100 else 4.5)
    return place


# ---- The network -----------------------------------------------------------------------------------------------------


def draw_network() -> Figure:
    model, x, y = learned()
    layers = passed(model, x)
    model.predict(x, x, y)
    layer, after, neuron = layers[LAYER - 1], passed(model, x)[LAYER - 1], NEURON - 1
    chosen = layer.contexts[neuron]
    figure, axes = canvas(890)
    draw_gate(axes, layer, neuron, x)
    draw_mixing(axes, layer.weights[neuron, chosen], chosen, layer.z, layer.s[neuron])
    draw_correction(axes, after.weights[neuron, chosen], chosen, y)
    draw_layers(axes, layers, x)
    return figure


def draw_gate(axes: Axes, layer: Passed, neuron: int, x: np.ndarray) -> None:
    """A neuron's regions, and its rows of weights."""
    heading(axes, 12, 28, "1", "Halfspaces locate\nthe sample")
    heading(axes, 234, 28, "2", "Its region picks a\nrow of weights")
    left, top, side, chosen = 12.0, 58.0, 176.0, layer.contexts[neuron]
    place = plane(axes, left, top, side, layer, neuron, x)
    for context, weights in enumerate(layer.weights[neuron]):
        height, colour = top + 6 + 43 * context, POSITIVE if context == chosen else INK
        x_letter, y_letter = place(region(layer, neuron, context).mean(axis=0))
        y_letter += 34 * (context == chosen)  # below the sample
        write(axes, x_letter, y_letter, LETTERS[context], 14, color=colour)
        write(axes, 246, height + 17, LETTERS[context], 14, color=colour)
        draw_row(axes, 264, height, 41, weights, context == chosen)
    spot = place(x)
    arrow(axes, (spot[0] + 8, spot[1]), (234, top + 23 + 43 * chosen), POSITIVE)


def draw_row(axes: Axes, left: float, top: float, wide: float, weights: np.ndarray, chosen: bool = True) -> None:
    """A row of weights; the colour is the sign, its strength the size."""
    for i, weight in enumerate(weights):
        colour, strength = POSITIVE if weight > 0 else NEGATIVE, min(1.0, abs(float(weight)) / 1.5)
        cell = (left + wide * i, top), wide, 34
        axes.add_patch(Rectangle(*cell, facecolor=colour, alpha=0.12 + 0.6 * strength, linewidth=0))
        frame(axes, left + wide * i, top, wide, 34, PAPER, 1.5)
        digits, weight_of_font = 2 if wide > 50 else 1, "bold" if chosen else "normal"
        write(axes, left + wide * (i + 0.5), top + 17.5, signed(weight, digits), weight=weight_of_font)
    if chosen:
        frame(axes, left, top, wide * len(weights), 34, POSITIVE, 2.4)


def draw_mixing(axes: Axes, weights: np.ndarray, context: int, z: np.ndarray, s: float) -> None:
    heading(axes, 12, 276, "3", "The row mixes the predictions from below")
    for i, logit in enumerate(z):
        bubble(axes, 74 + 66 * i, 322, percent(logit) if i < len(z) - 1 else "bias", 23)
        axes.plot([74 + 66 * i] * 2, [345, 362], color=INK, linewidth=1.6)
    write(axes, 22, 379.5, LETTERS[context], 14, color=POSITIVE)
    draw_row(axes, 41, 362, 66, weights)
    arrow(axes, (309, 379), (357, 379), INK)
    bubble(axes, 394, 379, percent(s), 33, 14)
    write(axes, 394, 335, "prediction")


def draw_correction(axes: Axes, weights: np.ndarray, context: int, y: int) -> None:
    heading(axes, 12, 448, "4", "The error corrects the row at once")
    write(axes, 22, 499.5, LETTERS[context], 14, color=POSITIVE)
    draw_row(axes, 41, 482, 66, weights)
    arrow(axes, (357, 499), (311, 499), POSITIVE)
    bubble(axes, 394, 499, f"{100 * y} %", 33, 13, POSITIVE)
    write(axes, 394, 455, "target", color=POSITIVE)
    write(axes, 336, 517, "error", color=POSITIVE)


def draw_layers(axes: Axes, layers: list[Passed], x: np.ndarray) -> None:
    """All neurons, with their halfspaces and predictions."""
    axes.plot([12, WIDTH - 12], [553, 553], color=FAINT, linewidth=1)
    heading(axes, 12, 578, "", "A network: every neuron does this")
    write(axes, 12, 600, "with the same sample and the same target", ha="left")
    side, places = 60.0, []
    for i, layer in enumerate(layers):
        n = len(layer.s)
        places.append([(24.0 + 150 * i, 746 + 88 * (j - (n - 1) / 2) - side / 2) for j in range(n)])
    for below, above in itertools.pairwise(places):
        for a, b in itertools.product(below, above):
            axes.plot([a[0] + side, b[0]], [a[1] + side / 2, b[1] + side / 2], color=FAINT, linewidth=1)
    for layer, corners in zip(layers, places, strict=True):
        for neuron, (left, top) in enumerate(corners):
            plane(axes, left, top, side, layer, neuron, x)
            write(axes, left + side / 2, top + side + 14, percent(layer.s[neuron]))
    left, top = places[LAYER - 1][NEURON - 1]
    write(axes, 354, 826, "No error is\npassed back.")
    frame(axes, left - 3, top - 3, side + 6, side + 6, POSITIVE, 2.4)


def bubble(axes: Axes, x: float, y: float, words: str, radius: float, size: float = 11, colour: str = INK) -> None:
    axes.add_patch(Circle((x, y), radius, facecolor="none", edgecolor=colour, linewidth=1.6))
    write(axes, x, y + 0.5, words, size, color=colour)


def percent(s: float) -> str:
    return f"{100 / (1 + np.exp(-s)):.0f} %"


def signed(weight: float, digits: int) -> str:
    """With a minus sign, except before 0."""
    return f"{round(float(weight), digits) + 0.0:.{digits}f}".replace("-", "\N{MINUS SIGN}")


# ---- Base predictions ------------------------------------------------------------------------------------------------


class Loan(NamedTuple):
    """A request for a loan: what base predictors of a stream of such requests read, and what they know about it."""

    base_models: OnlineBaseModels
    z: np.ndarray  # (2,), standardised age and income
    weights: np.ndarray  # (4,), what linear models say of age, income, city and word


def loans(count: int = 3000) -> Loan:
    """Base predictors that have learned requests for loans, and the last one."""
    rng = np.random.default_rng(0)
    z, cities, words = rng.normal(size=(2, count)), rng.integers(3, size=count), rng.integers(4, size=count)
    z[:, -1], cities[-1], words[-1] = (0.4, 0.5), 0, 3  # age 41 and income 46, standardised; Oslo; "late"
    age, income = z
    chance = 1 / (1 + np.exp(-3 * (np.abs(age) < 0.8) * income - (cities - 1.3) + 1.5 * (words - 1.5)))
    targets = (rng.random(count) < chance)[None].astype(float)
    z = z.astype(np.float32)
    features, columns = np.stack([age, income, cities]), np.array([0, 1, -1])
    named = Words(np.arange(count + 1), words, np.full(count, -1), np.ones(count))
    base_models = OnlineBaseModels.start([0, 1], 1, are_classes=True, crosses=False, uses_bins=True)
    samples, last = SampleBatch(features, named), slice(count - 1, count)
    base_models.predict(z, samples, columns, targets)
    terms = base_models.linear.terms(samples.take(last), z[:, last], columns)
    contributions = base_models.linear.explain(terms, np.arange(len(features) + 4))[0][
        0, 0
    ]  # of three features and four words
    return Loan(base_models, z[:, -1], contributions[[0, 1, 2, -1]])


def draw_bases() -> Figure:
    loan = loans()
    figure, axes = canvas(500)
    write(axes, 12, 24, "Sample: age 41, income 46, Oslo, “late”", ha="left", color=POSITIVE, weight="bold")
    heading(axes, 12, 62, "1", "Base predictions")
    top, side, wide = 84.0, 80.0, 116.0
    draw_number(axes, 12, top, side, loan.z[0], lambda z: z)
    draw_number(axes, 116, top, side, loan.z[0], lambda z: 1.6 * np.abs(z) - 2)
    draw_cells(axes, 220, top, side, loan)
    draw_weights(axes, 312, top, wide, side, loan.weights)
    said = {
        52: "numbers",
        156: "distances\nfrom the mean",
        260: "cells of two\nfeatures",
        370: "a weight for each\nname and word",
    }
    for x, words in said.items():
        write(axes, x, top + side + 26, words, 10)
    heading(axes, 12, 262, "2", "Three networks mix them")
    networks = {"fast": (60, 2), "slow": (180, 3), "shallow": (300, 4)}  # how many of these each reads
    for name, (x, reads) in networks.items():
        for start in list(said)[:reads]:
            axes.plot([start, x], [212, 290], color=FAINT, linewidth=1)
        box(axes, x, 312, 92, name)
        arrow(axes, (x, 336), (220 + (x - 220) * 0.5, 436), INK, 1.4)
    arrow(axes, (404, 212), (300, 440), INK, 1.4)
    heading(axes, 12, 392, "3", "A last neuron mixes all, by weights that learn")
    box(axes, 220, 462, 150, "prediction")
    return figure


def box(axes: Axes, x: float, y: float, wide: float, words: str) -> None:
    looks: dict[str, Any] = {"facecolor": PAPER, "edgecolor": INK, "linewidth": 1.6}
    corner = x - wide / 2, y - 22
    axes.add_patch(FancyBboxPatch(corner, wide, 44, boxstyle="round,pad=0,rounding_size=10", **looks))
    write(axes, x, y, words, 12)


def draw_number(axes: Axes, left: float, top: float, side: float, z: float, of: Callable[[Any], Any]) -> None:
    """What networks read of a number, as a line."""
    frame(axes, left, top, side, side)

    def place(x: Any) -> tuple[Any, Any]:
        return left + side * (1 + x / SPAN) / 2, top + side * (1 - of(x) / (SPAN * 1.15)) / 2

    axes.plot(*place(np.linspace(-SPAN, SPAN, 3)), color=INK, linewidth=1.6)
    axes.plot(*place(z), "o", color=POSITIVE, markersize=7)


def draw_cells(axes: Axes, left: float, top: float, side: float, loan: Loan) -> None:
    """The mean target in each cell of two features."""
    cells, bins = loan.base_models.bin_means, 1 << PAIR_DEPTH
    start = CELLS_OF_ONE * np.flatnonzero(cells.grids[:, 1] != NONE)[0]  # single columns come first
    counts, sums = (each[start : start + bins**2, 0].reshape(bins, bins) for each in (cells.counts, cells.sums))
    one = side / bins
    for i, j in np.argwhere(counts > 0):
        mean = sums[i, j] / counts[i, j] - 0.5
        looks: dict[str, Any] = {"facecolor": POSITIVE if mean > 0 else NEGATIVE, "alpha": abs(mean) * 1.8}
        axes.add_patch(Rectangle((left + one * i, top + side - one * (j + 1)), one, one, linewidth=0, **looks))
    frame(axes, left, top, side, side)
    i, j = (bins / (1 + np.exp(-STEEP * loan.z))).astype(int)
    frame(axes, left + one * i - 1, top + side - one * (j + 1) - 1, one + 2, one + 2, INK, 2)


def draw_weights(axes: Axes, left: float, top: float, wide: float, side: float, weights: np.ndarray) -> None:
    """What linear models say of each name and word."""
    frame(axes, left, top, wide, side)
    for i, (name, weight) in enumerate(zip(("age", "income", "Oslo", "late"), weights, strict=True)):
        height, length = top + 2 + (side - 4) * (i + 0.5) / len(weights), 28 * weight / np.abs(weights).max()
        bar = (left + wide - 32, height - 6), length, 12
        axes.add_patch(Rectangle(*bar, facecolor=POSITIVE if weight > 0 else NEGATIVE, linewidth=0))
        write(axes, left + 5, height, name, 9.5, ha="left")


# ---- Files -----------------------------------------------------------------------------------------------------------


def as_svg(figure: Figure) -> str:
    """The picture as SVG, with the colours as variables that have other values on dark pages."""
    file = io.StringIO()
    with rc_context({"svg.hashsalt": "gln", "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None}, facecolor=PAPER)
    text = re.sub("font-family: [^;]*", "font-family: 'DejaVu Sans', Verdana, sans-serif", file.getvalue())
    names = {colour: f"--c{i}" for i, colour in enumerate(IN_THE_DARK)}
    for colour, name in names.items():
        text = text.replace(colour, f"var({name})")
    light = "".join(f"{name}:{colour};" for colour, name in names.items())
    dark = "".join(f"{names[colour]}:{other};" for colour, other in IN_THE_DARK.items())
    rules = f"<style>:root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    return re.sub(r"(<svg [^>]*>)", rf"\1{rules}", text, count=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where to write network.svg and bases.svg")
    folder = parser.parse_args().folder
    for name, draw in (("network", draw_network), ("bases", draw_bases)):
        (folder / f"{name}.svg").write_text(as_svg(draw()), encoding="utf-8")


if __name__ == "__main__":
    main()
