"""Pictures: that they show what they were given. How they look was looked at."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gln_numpy import GLN

if not os.environ.get("GLN_REQUIRE_BACKENDS"):
    pytest.importorskip("matplotlib")

import gln_plots


def test_explanations_show_contributions():
    rng = np.random.default_rng(0)
    images, weights, inputs = rng.random((3, 16, 2))
    figure = gln_plots.plot_explanations(images, weights, inputs, ["a", "b"])
    first, second, first_parts, second_parts = figure.axes[:4]
    assert [axes.get_title() for axes in (first, second)] == ["a", "b"]
    np.testing.assert_array_equal(first.images[0].get_array(), images[:, 0].reshape(4, 4))
    np.testing.assert_allclose(second_parts.images[0].get_array(), (weights * inputs)[:, 1].reshape(4, 4))
    assert first_parts.images[0].norm is second_parts.images[0].norm
    with pytest.raises(ValueError, match="titles: expected"):
        gln_plots.plot_explanations(images, weights, inputs, ["a"])
    with pytest.raises(ValueError, match="images: expected"):
        gln_plots.plot_explanations(images[:15], weights[:15], inputs[:15], ["a", "b"])


def test_halfspaces_show_the_images_far_on_either_side():
    model = GLN([2, 1], 9, 9, context_map_size=2, seed=0)
    images = np.eye(9)
    plane = model.get_state()["hyperplanes.1"][1, 0]
    axes = gln_plots.plot_halfspaces(model, images, images, neuron=1, shown=2).axes
    assert len(axes) == 2 * 5
    order = plane.argsort()
    shown = [axes[i].images[0].get_array().ravel().argmax() for i in (0, 1, 3, 4)]
    assert shown == [order[0], order[1], order[-2], order[-1]]
    np.testing.assert_allclose(axes[2].images[0].get_array().ravel(), plane)
    for layer, neuron in ((0, 0), (3, 0), (1, 2), (1, -1)):
        with pytest.raises(ValueError, match="layer, neuron"):
            gln_plots.plot_halfspaces(model, images, images, layer, neuron)
    with pytest.raises(ValueError, match="context_inputs"):
        gln_plots.plot_halfspaces(model, images, images[:8])


def test_confusion_shows_every_count():
    counts = pd.DataFrame([[5, 1], [2, 7]], index=["no", "yes"], columns=["no", "yes"])
    axes = gln_plots.plot_confusion(counts).axes[0]
    assert [text.get_text() for text in axes.texts] == ["5", "1", "2", "7"]
    np.testing.assert_array_equal(axes.images[0].get_array(), [[0, 1], [2, 0]])


def test_learning_curves_are_means_since_the_point_before():
    hits = np.ones(1000, bool)
    hits[:10], hits[100:200] = False, False
    axes = gln_plots.plot_learning_curves({"one": hits, "short": [True]}, per_decade=1).axes[0]
    one, short = axes.lines
    assert one.get_xdata().tolist() == [10, 100, 1000]
    np.testing.assert_allclose(one.get_ydata(), [100, 0, 100 / 9])
    assert short.get_xdata().tolist() == [1]
    with pytest.raises(ValueError, match=r"hits\['empty'\]"):
        gln_plots.plot_learning_curves({"empty": []})


def test_regions_are_those_after_so_many_samples():
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((2, 40)).astype(np.float32)
    labels = (samples[0] * samples[1] > 0).astype(int)
    model, same = (GLN([8, 1], 2, 2, context_bias=1.0, seed=0) for _ in range(2))
    figure = gln_plots.plot_regions(model, samples, labels, after=[5, 40])
    assert [axes.get_title() for axes in figure.axes] == ["after 5", "after 40"]
    assert [len(axes.collections[-1].get_offsets()) for axes in figure.axes] == [5, 40]
    same.predict_online(samples, samples, labels)
    for name, array in same.get_state().items():
        np.testing.assert_array_equal(model.get_state()[name], array, err_msg=name)
    border = figure.axes[1].collections[1].get_paths()[0].vertices.T  # the line of p = 0.5
    step = np.array([[0.05], [0.05]])
    sides = [same.predict(border + sign * step, border + sign * step) > 0.5 for sign in (-1, 1)]
    assert border.shape[1] > 10
    assert (sides[0] != sides[1]).mean() > 0.5


def test_regions_refuse_what_does_not_fit():
    samples, labels = np.zeros((2, 3)), [0, 1, 1]
    model = GLN([2, 1], 2, 2)
    with pytest.raises(ValueError, match="samples, labels"):
        gln_plots.plot_regions(model, samples.T, labels)
    with pytest.raises(ValueError, match="model: expected"):
        gln_plots.plot_regions(GLN([2, 1], 3, 2), samples, labels)
    for after in ([], [4], [0, 1], [2, 2]):
        with pytest.raises(ValueError, match="after: expected"):
            gln_plots.plot_regions(model, samples, labels, after)
    assert model.step == 0


def test_missing_matplotlib_says_which_extra_to_install():
    script = "import sys; sys.modules['matplotlib'] = None; import gln_plots"
    root = Path(gln_plots.__file__).parent
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert 'pip install "gated-linear-networks[plots]"' in done.stderr
