"""What `benchmarks.classifier` says of its figures: on how many tables a model is better, and a picture of its time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.classifier import Scores, plot_seconds, summary


def test_tables_are_counted_on_which_the_first_model_is_better():
    table = pd.DataFrame({"ours": [1.0, 2, 3, 4], "A": [0.5, 2, 4, 5], "B": [0.5, 1, 2, 5]}, index=list("abcd"))
    for measure, wins in {"Log-loss": ["2 of 4", "1 of 4"], "Accuracy in percent": ["1 of 4", "3 of 4"]}.items():
        found = summary(measure, table)
        assert list(found.loc["mean"]) == [2.5, 2.875, 2.125]
        assert list(found.loc["ours is better on"]) == ["", *wins]
    assert list(summary("Seconds of a fit", table).loc["sum"]) == [10, 11.5, 8.5]


def test_seconds_are_drawn(tmp_path):
    image = pytest.importorskip("matplotlib.image")
    scores = {
        name: [Scores(np.array([90, loss, 0.1, seconds]), np.empty(0), np.empty(0)) for loss in (0.2, 0.4)]
        for name, seconds in (("GLNClassifier", 2), ("other", 1))
    }
    plot_seconds(scores, tmp_path / "seconds.png")
    assert image.imread(tmp_path / "seconds.png").shape == (420, 600, 4)
