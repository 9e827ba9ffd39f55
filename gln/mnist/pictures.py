"""The pictures that `gln-mnist --all-classes --plot FOLDER` draws. Needs Matplotlib, the extra `plots`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import zscore
from sklearn.datasets import make_moons

from gln import plots
from gln.mnist.digits import PIXELS, Digits

__all__ = ["draw"]


def draw(folder: Path, model: Any, ten: Any, digits: Digits) -> None:
    """Pictures of a pass over standardised digits; of pixels also what halfspaces cut and what speaks for a digit.

    MNIST cannot be drawn in a plane, so how regions form is shown on two moons, by a network of the same backend.

    Args:
        folder: where the pictures are written, as PNG.
        model: the network after the pass.
        ten: what `test_mnist.get_ten_digits_metrics` measured.
        digits: those of the pass.
    """
    moons, labels = make_moons(1000, noise=0.2, random_state=0)
    of_two = type(model)([64, 32], input_size=2, context_size=2, context_bias=1.0, seed=0)
    figures = {
        "two_moons": plots.plot_learning(of_two, zscore(moons).T, labels),
        "confusion": plots.plot_confusion(ten.conf_mat),
        "learning_curve": plots.plot_learning_curves({"one pass": ten.online_hits}),
    }
    x_test, y_test = digits[2][:1000], digits[3][:1000]
    if x_test.shape[1] == PIXELS and ten.standardizer is not None:
        z = ten.standardizer.transform(x_test.T)
        if model.context_map_size > 0:
            figures["halfspaces"] = plots.plot_halfspaces(model, x_test.T, z, shown=min(6, len(x_test)))
        of_each = np.unique(y_test, return_index=True)[1]  # the first of each digit
        figures["explanations"] = _explanations(model, x_test[of_each].T, z[:, of_each])
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=120)


def _explanations(model: Any, images: np.ndarray, z: np.ndarray) -> Any:  # (784, B), (784, B)
    """What speaks for the digit that each image is taken for."""
    p = np.asarray(model.predict(z, z))
    taken_for, every = p.argmax(axis=0), np.arange(len(z.T))
    titles = [f"{head}: {p[head, b]:.2f}" for b, head in enumerate(taken_for)]
    return plots.plot_explanations(images, model.explain(z, z).weights[taken_for, :, every].T, z, titles)
