"""`gln.monitoring`: figures against River's own, Prometheus' text, JSON lines, and samples that are refused."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from river import datasets, linear_model, metrics, preprocessing

from gln.monitoring import Monitor
from gln.river import GLNClassifier, GLNRegressor
from test_mnist import calibration_error

SMALL: dict[str, Any] = {"layer_sizes": (4,), "seed": 0, "fast": True}
LINE = re.compile(r"(# (HELP|TYPE) gln_\w+ .+|gln_\w+ [-+.e\d]+)")


@pytest.fixture  # of each test, since some change it
def watched() -> tuple[Monitor, list[tuple[dict[str, Any], Any, dict[Any, float]]]]:
    """A monitor after 300 samples, and these with the probabilities of each before it was learned."""
    monitor, seen = Monitor(GLNClassifier(**SMALL, novelty=True), window_size=200), []
    for x, y in datasets.Phishing().take(300):
        seen.append((x, y, monitor.predict_proba_one(x)))
        monitor.learn_one(x, y)
    return monitor, seen


def test_figures_are_those_of_river_over_the_window(watched):
    monitor, seen = watched
    loss, accuracy, latest = metrics.LogLoss(), metrics.Accuracy(), seen[-200:]
    for _, y, p in latest:
        loss.update(y, p)
        accuracy.update(y, max(p, key=p.get))
    figures = monitor.figures()
    assert figures["log_loss"] == pytest.approx(loss.get())
    assert figures["accuracy"] == pytest.approx(accuracy.get())
    confidence, hits = zip(*((max(p.values()), max(p, key=p.get) == y) for _, y, p in latest), strict=True)
    expected = calibration_error(np.array(confidence), np.array(hits), bins=10)
    assert figures["calibration_error"] == pytest.approx(expected)
    assert (figures["predicted_total"], figures["learned_total"], figures["rejected_total"]) == (300, 300, 0)
    assert 0 <= figures["novel"] < 0.1


def test_unknown_and_missing_inputs_are_counted():
    monitor = Monitor(GLNRegressor(**SMALL, novelty=True), window_size=4)
    for i in range(150):
        monitor.learn_one({"a": float(i % 7), "kind": "uv"[i % 2]}, float(i % 7))
    for x in (
        {"a": 1.0, "kind": "u"},
        {"a": None, "kind": "w"},
        {"kind": "u", "other": 1.0},
        {"a": -999.0, "kind": "v"},
    ):
        monitor.predict_one(x)
    figures = monitor.figures()
    names = "missing_values", "unknown_levels", "unknown_names", "novel"
    assert [figures[name] for name in names] == [0.5, 0.25, 0.25, 0.75]
    assert monitor.model.unknown_one({"kind": "w", "other": 1}) == {
        "names": ["other"],
        "levels": ["kind"],
        "missing": ["a"],
    }


def test_counts_go_on_after_a_restart(watched, tmp_path):
    monitor, _ = watched
    monitor.save(tmp_path / "m", {"learned": 300})
    again = Monitor(GLNClassifier.load(tmp_path / "m"), window_size=200)
    assert again.figures() == monitor.figures()
    assert again.model.extra["learned"] == 300
    for x, y in datasets.Phishing().take(310):
        for each in (monitor, again):
            each.learn_one(x, y)
    assert again.figures() == pytest.approx(monitor.figures(), abs=1e-5)
    Monitor(GLNRegressor(**SMALL)).save(tmp_path / "new")
    assert Monitor(GLNRegressor.load(tmp_path / "new")).figures()["learned_total"] == 0


def test_a_regressor_has_errors_and_a_bias():
    monitor, error = Monitor(GLNRegressor(**SMALL)), metrics.MAE()
    for x, y in datasets.TrumpApproval().take(100):
        error.update(y, monitor.model.predict_one(x))
        monitor.learn_one(x, y)
    figures = monitor.figures()
    assert figures["absolute_error"] == pytest.approx(error.get())
    assert abs(figures["bias"]) <= figures["absolute_error"]
    assert "log_loss" not in figures


def test_refused_samples_are_counted_and_change_nothing_else(watched):
    monitor, _ = watched
    before = monitor.figures()
    with pytest.raises(ValueError, match="expected a finite number"):
        monitor.learn_one({"empty_server_form_handler": np.inf}, True)
    with pytest.raises(ValueError, match="x: expected a dictionary"):
        monitor.predict_proba_one([1])
    with pytest.raises(ValueError, match="y: expected labels that can be keys"):
        monitor.learn_one({}, [1])
    assert monitor.figures() == {**before, "rejected_total": before["rejected_total"] + 3}


def test_a_change_of_the_labels_is_a_drift():
    monitor, rng = Monitor(GLNClassifier(**SMALL)), np.random.default_rng(0)
    for i in range(1200):
        x = {"a": rng.normal(), "b": rng.normal()}
        monitor.learn_one(x, (x["a"] > 0) ^ (i >= 600))
        if i == 590:
            assert monitor.figures()["drifts_total"] <= 1
            before = monitor.figures()["drifts_total"]
    assert monitor.figures()["drifts_total"] > before


def test_prometheus_reads_the_text_and_json_the_line(watched):
    monitor, _ = watched
    lines = monitor.prometheus().splitlines()
    assert all(LINE.fullmatch(line) for line in lines)
    values = {line.split()[0]: float(line.split()[1]) for line in lines if line[0] != "#"}
    assert values == {f"gln_{name}": value for name, value in monitor.figures().items()}
    assert "# TYPE gln_learned_total counter" in lines
    assert json.loads(json.dumps(monitor.figures())) == monitor.figures()


def test_other_models_of_river_are_watched_too():
    monitor = Monitor(preprocessing.StandardScaler() | linear_model.LogisticRegression())
    assert monitor.figures()["log_loss"] == 0
    for x, y in datasets.Phishing().take(50):
        monitor.predict_proba_one(x)
        monitor.learn_one(x, y)
    assert 0 < monitor.figures()["log_loss"] < 1
    assert "novel" not in monitor.figures()
    with pytest.raises(ValueError, match="window_size: expected an integer of at least 1"):
        Monitor(GLNRegressor(**SMALL), window_size=0)
