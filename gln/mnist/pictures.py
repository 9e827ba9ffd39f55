"""The pictures that `gln-mnist --plot FOLDER` draws. Needs Matplotlib (extra `plots`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay

from gln import plots
from gln.mnist.digits import PIXELS, Digits


def draw(folder: Path, model: Any, ten: Any, digits: Digits) -> None:
    """Draw pictures of a pass over standardised digits as PNG, of pixels also halfspaces and explanations.

    `ten` is the result of `test_mnist.get_ten_digits_metrics`.
    """
    counts = ConfusionMatrixDisplay(ten.conf_mat.to_numpy(), display_labels=ten.conf_mat.columns)
    figures = {"confusion": counts.plot(ax=Figure().subplots(), colorbar=False).figure_}
    x_test, y_test = digits[2][:1000], digits[3][:1000]
    if x_test.shape[1] == PIXELS:
        z = ten.standardizer.transform(x_test.T)
        if model.context_map_size > 0:
            figures["halfspaces"] = plots.plot_halfspaces(model, x_test.T, z, shown=min(4, len(x_test)))
        of_each = np.unique(y_test, return_index=True)[1]  # the first image of each digit
        images, z, labels = x_test[of_each].T, z[:, of_each], y_test[of_each]
        p = np.asarray(model.predict(z, z))
        predicted, every = p.argmax(axis=0), np.arange(len(labels))
        titles = [
            f"true {label}\npredicted {head}\np = {p[head, b]:.2f}"
            for b, (head, label) in enumerate(zip(predicted, labels, strict=True))
        ]
        weights = model.explain(z, z).weights[predicted, :, every].T
        figures["explanations"] = plots.plot_explanations(images, weights, z, titles)
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png", dpi=120)
