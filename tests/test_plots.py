"""Pictures: that they show what they were given. How they look was looked at."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gln_numpy import GLN

if not os.environ.get("GLN_REQUIRE_BACKENDS"):
    pytest.importorskip("matplotlib")

import gln_plots


def test_a_notebook_shows_a_figure_once(monkeypatch):
    if not os.environ.get("GLN_REQUIRE_BACKENDS"):
        for package in ("nbclient", "ipykernel"):
            pytest.importorskip(package)
    nbclient, v4 = importlib.import_module("nbclient"), importlib.import_module("nbformat.v4")
    monkeypatch.setenv("PYTHONPATH", str(Path(gln_plots.__file__).parent))
    plot = 'gln_plots.plot_learning_curves({"one": [True, False]})'
    sources = ["import gln_plots\n" + plot, "%matplotlib inline\n" + plot]  # before and after Matplotlib is set up
    notebook = v4.new_notebook(cells=[v4.new_code_cell(source) for source in sources])
    nbclient.NotebookClient(notebook, timeout=300).execute()
    for cell in notebook.cells:
        assert [sorted(output.get("data", output)) for output in cell.outputs] == [["image/png", "text/plain"]]


def test_explanations_show_contributions():
    rng = np.random.default_rng(0)
    images, weights, inputs = rng.random((3, 16, 2))
    figure = gln_plots.plot_explanations(images, weights, inputs, ["a", "b"])
    first, second, first_parts, second_parts = figure.axes[:4]
    assert [axes.get_title() for axes in (first, second)] == ["a", "b"]
    np.testing.assert_array_equal(first.images[0].get_array(), images[:, 0].reshape(4, 4))
    np.testing.assert_allclose(second_parts.images[0].get_array(), (weights * inputs)[:, 1].reshape(4, 4))
    assert first_parts.images[0].norm is second_parts.images[0].norm
    for titles in (["a"], "ab"):
        with pytest.raises(ValueError, match="titles: expected a sequence of 2 strings"):
            gln_plots.plot_explanations(images, weights, inputs, titles)
    with pytest.raises(ValueError, match="images, weights, inputs: expected"):
        gln_plots.plot_explanations(images, weights, inputs[:, :1], ["a", "b"])
    for bad in (images[:15], images[:, 0], images[:, :0]):
        with pytest.raises(ValueError, match="images: expected"):
            gln_plots.plot_explanations(bad, bad, bad, ["a", "b"])


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
    with pytest.raises(ValueError, match="images: expected"):
        gln_plots.plot_halfspaces(model, images[:, 0], images[:, 0])
    assert len(gln_plots.plot_halfspaces(model, images, images, shown=9).axes) == 2 * 19
    refused: list[Any] = [0, 10, -1, 1.5]
    for count in refused:
        with pytest.raises(ValueError, match="shown: expected an integer from 1 to 9"):
            gln_plots.plot_halfspaces(model, images, images, shown=count)
    with pytest.raises(ValueError, match="model: expected halfspaces"):
        gln_plots.plot_halfspaces(GLN([2, 1], 9, 9, context_map_size=0), images, images, shown=2)


def test_confusion_shows_every_count():
    counts = pd.DataFrame([[5, 1], [2, 7]], index=["no", "yes"], columns=["no", "yes"])
    axes = gln_plots.plot_confusion(counts).axes[0]
    assert [text.get_text() for text in axes.texts] == ["5", "1", "2", "7"]
    np.testing.assert_array_equal(axes.images[0].get_array(), [[0, 1], [2, 0]])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["no", "yes"]
    assert [label.get_rotation() for label in axes.get_xticklabels()] == [0, 0]
    of_array = gln_plots.plot_confusion(counts.to_numpy()).axes[0]
    assert [text.get_text() for text in of_array.texts] == ["5", "1", "2", "7"]
    for bad in (counts[:1], [1, 2], np.ones((2, 3)), np.ones((0, 0))):
        with pytest.raises(ValueError, match="counts: expected"):
            gln_plots.plot_confusion(bad)


def test_confusion_shows_shares_and_long_names():
    names = ["setosa", "versicolor", "virginica"]
    shares = pd.DataFrame([[1, 0, 0], [0, 0.94, 0.06], [np.nan, np.nan, np.nan]], index=names, columns=names)
    figure = gln_plots.plot_confusion(shares)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts[:6]] == ["1.00", "0.00", "0.00", "0.00", "0.94", "0.06"]
    assert axes.images[0].get_clim() == pytest.approx((0, 0.06 * 1.3))
    figure.draw_without_rendering()
    assert axes.get_window_extent().width / 3 > 0.45 * figure.dpi  # inches of a cell, beside such names
    assert [label.get_rotation() for label in axes.get_xticklabels()] == [45, 45, 45]


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
    for few in (0, -1):
        with pytest.raises(ValueError, match="per_decade: expected at least 1"):
            gln_plots.plot_learning_curves({"one": hits}, few)


@pytest.mark.parametrize(
    ("count", "last"), [(1, [1]), (9, [9]), (11, [11]), (1000, [562, 1000]), (1300, [562, 1300]), (2000, [1000, 2000])]
)
def test_learning_curves_end_in_no_point_of_a_few_samples(count, last):
    (curve,) = gln_plots.plot_learning_curves({"one": np.zeros(count, bool)}).axes[0].lines
    assert curve.get_xdata()[-2:].tolist() == last


def test_learning_curves_leave_out_what_is_zero():
    hits = np.ones(1000, bool)
    hits[:10] = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for curves in ({"reaches zero": hits, "none": ~np.zeros(50, bool)}, {"right": [True]}, {"wrong": [False]}):
            figure = gln_plots.plot_learning_curves(curves)
            figure.draw_without_rendering()
            low, high = figure.axes[0].get_ylim()
            assert 0 < low < high <= 2000
    first = gln_plots.plot_learning_curves({"reaches zero": hits}).axes[0].lines[0]
    path = first.get_transform().transform_path_non_affine(first.get_path())
    assert np.isfinite(path.vertices).all(axis=1).tolist() == [True] + 8 * [False]


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
    again = gln_plots.plot_regions(model, samples, labels, after=np.array([7]))
    assert [axes.get_title() for axes in again.axes] == ["after 7"]
    border = figure.axes[1].collections[1].get_paths()[0].vertices.T  # the line of p = 0.5
    step = np.array([[0.05], [0.05]])
    sides = [same.predict(border + sign * step, border + sign * step) > 0.5 for sign in (-1, 1)]
    assert border.shape[1] > 10
    assert (sides[0] != sides[1]).mean() > 0.5


@pytest.mark.parametrize(
    ("count", "after"), [(3, ["3"]), (30, ["10", "30"]), (1000, ["10", "30", "100", "1,000"]), (40, ["10", "30", "40"])]
)
def test_regions_are_drawn_up_to_the_last_sample(count, after):
    samples = np.random.default_rng(0).standard_normal((2, count))
    figure = gln_plots.plot_regions(GLN([2, 1], 2, 2), samples, np.arange(count) % 2)
    assert [axes.get_title() for axes in figure.axes] == [f"after {end}" for end in after]


def test_regions_refuse_what_does_not_fit():
    samples, labels = np.zeros((2, 3)), [0, 1, 1]
    model = GLN([2, 1], 2, 2)
    with pytest.raises(ValueError, match="samples, labels"):
        gln_plots.plot_regions(model, samples.T, labels)
    with pytest.raises(ValueError, match="model: expected"):
        gln_plots.plot_regions(GLN([2, 1], 3, 2), samples, labels)
    refused: list[Any] = [[], [4], [0, 1], [2, 2], np.array([2, 1]), [1.5]]
    for after in refused:
        with pytest.raises(ValueError, match="after: expected"):
            gln_plots.plot_regions(model, samples, labels, after)
    assert model.step == 0


def test_missing_matplotlib_says_which_extra_to_install():
    script = "import sys; sys.modules['matplotlib'] = None; import gln_plots"
    root = Path(gln_plots.__file__).parent
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert 'pip install "gated-linear-networks[plots]"' in done.stderr
