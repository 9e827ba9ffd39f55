"""The pictures that explain show what a network really does. Their looks were checked by eye."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest
from helpers import ROOT

if not os.environ.get("GLN_REQUIRE_BACKENDS"):
    pytest.importorskip("matplotlib")

from matplotlib.path import Path as Outline

from benchmarks import diagrams
from gln_numpy import gate

IMAGES = ROOT / "docs" / "images"


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_the_way_of_a_sample_is_that_of_the_network():
    model, x, y = diagrams.learned()
    layers = diagrams.passed(model, x)
    assert 1 / (1 + np.exp(-layers[-1].s[0])) == pytest.approx(float(model.predict(x, x)), abs=1e-6)
    shown = texts(diagrams.as_svg(diagrams.draw_network()))
    for layer in layers:
        for s in layer.s:
            assert diagrams.percent(s) in shown
    model.predict(x, x, y)
    context = layers[diagrams.LAYER - 1].contexts[diagrams.NEURON - 1]
    row = model.get_state()[f"weights.{diagrams.LAYER}"][diagrams.NEURON - 1, context, 0]
    start = shown.index("target") - 1 - len(row)
    assert shown[start : start + len(row)] == [diagrams.signed(weight, 2) for weight in row]
    assert shown[start : start + len(row)] != [diagrams.signed(weight, 2) for weight in layers[1].weights[1, context]]


def test_regions_are_where_the_gate_says():
    model, x, _ = diagrams.learned()
    places = np.random.default_rng(0).uniform(-diagrams.SPAN, diagrams.SPAN, (500, 2))
    for layer in diagrams.passed(model, x):
        contexts = gate(layer.hyperplanes, layer.offsets, places.T)
        for neuron, context in np.ndindex(len(layer.s), 4):
            corners = diagrams.region(layer, neuron, context)
            inside = Outline(corners).contains_points(places) if len(corners) else np.zeros(500, bool)
            np.testing.assert_array_equal(inside, contexts[:, neuron] == context)


@pytest.mark.parametrize("name", ["network", "bases"])
def test_the_kept_pictures_are_these_and_have_colours_for_dark_pages(name):
    drawn = diagrams.as_svg(getattr(diagrams, f"draw_{name}")())
    kept = (IMAGES / f"{name}.svg").read_text(encoding="utf-8")
    assert texts(kept) == texts(drawn)
    rules, rest = re.split("</style>", kept, maxsplit=1)
    light, dark = (re.findall(r"(--c\d):(#\w{6});", part) for part in rules.split("@media(prefers-color-scheme:dark)"))
    assert [names for names, _ in light] == [names for names, _ in dark]
    assert not {colour for _, colour in light} & {colour for _, colour in dark}
    assert set(re.findall(r"(?:fill|stroke): (#\w+)", rest)) <= {"#000000"}, "all else is a variable"
