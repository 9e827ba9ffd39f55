"""`gln.monitoring`: figures against River's own, late labels, Prometheus' text, JSON lines, and refused samples; and
whether a refit is worth it."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import assert_same_file
from river import base, datasets, dummy, linear_model, metrics, preprocessing, stream
from sklearn.base import clone
from sklearn.metrics import log_loss

from gln import monitoring, sklearn
from gln.monitoring import KEPT, Comparison, Monitor, compare_refit
from gln.novelty import GLNNovelty
from gln.river import GLNClassifier, GLNRegressor
from test_mnist import calibration_error

SMALL: dict[str, Any] = {"layer_sizes": (4,), "seed": 0, "fast": True}
LINE = re.compile(r"(# (HELP|TYPE) gln_\w+ .+|gln_\w+ [-+.e\d]+)")


@pytest.fixture  # of each test, since some change it
def watched() -> tuple[Monitor, list[tuple[dict[str, Any], Any, dict[Any, float]]]]:
    """A monitor after 300 samples, and these with the probabilities of each before it was learned."""
    monitor, seen = Monitor(GLNClassifier(**SMALL), 200, novelty=GLNNovelty(random_state=0)), []
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


def days(seed: int) -> list[tuple[dict[Hashable, Any], bool]]:
    """Samples of which twenty of a day have nearly the same label, which no earlier day tells."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.random(30) < 0.5, 20) ^ (rng.random(600) < 0.1)
    return [
        ({"a": a, "b": b}, y) for (a, b), y in zip(rng.normal(size=(600, 2)).tolist(), labels.tolist(), strict=True)
    ]


@pytest.mark.parametrize("model_type", [GLNClassifier, GLNRegressor])
def test_late_labels_score_what_was_served(model_type):
    monitor = Monitor(model_type(**SMALL), window_size=500)
    is_classifier, said, seen = monitor.is_classifier, {}, []
    predict = "predict_proba_one" if is_classifier else "predict_one"
    for number, x, y in stream.simulate_qa(days(1), None, 20, copy=True):
        if y is None:
            said[number] = getattr(monitor, predict)(x)
        else:
            seen.append((y, said.pop(number), getattr(monitor.model, predict)(x)))
            monitor.learn_one(x, y)
        if number % 50 == 0:
            assert monitor.figures()["waiting"] == len(said)
    loss, accuracy = metrics.LogLoss() if is_classifier else metrics.MAE(), metrics.Accuracy()
    of_anew = loss.clone()
    for y, served, anew in seen[-500:]:
        loss.update(y, served)
        of_anew.update(y, anew)
        accuracy.update(y, max(served, key=served.get) if is_classifier else None)
    figures = monitor.figures()
    assert figures["log_loss" if is_classifier else "absolute_error"] == pytest.approx(loss.get(), abs=1e-9)
    assert not is_classifier or figures["accuracy"] == pytest.approx(accuracy.get(), abs=1e-9)
    assert loss.get() > 1.2 * of_anew.get()  # these have just seen their neighbours' labels
    assert 0 < figures["label_delay_seconds"] <= figures["label_delay_seconds_p95"] < 60


class Schooled(base.Classifier):
    """Gives True a tenth more for each sample that it learned, and keeps count of what it was asked."""

    learned, asked = 0, 0

    def learn_one(self, x: Any, y: Any) -> None:
        self.learned += 1

    def predict_proba_one(self, x: Any, **kwargs: Any) -> dict[Any, float]:
        self.asked += 1
        return {False: 0.9 - self.learned / 10, True: 0.1 + self.learned / 10}


def loss_of_next(monitor: Monitor, x: dict[str, Any]) -> float:
    monitor.learn_one(x, True)
    return np.exp(-monitor.figures()["log_loss"])


def test_of_equal_samples_the_last_prediction_counts_and_of_others_one_made_now():
    monitor = Monitor(Schooled(), window_size=1)
    for x in ({"a": 1, "b": "u"}, {"c": 0.0}, {"b": "u", "a": 1.0}):
        monitor.predict_proba_one(x)
        monitor.model.learned += 1
    assert monitor.figures()["waiting"] == 3
    again = {"b": "u", "none": None, "a": True}
    assert [loss_of_next(monitor, again) for _ in range(3)] == pytest.approx([0.3, 0.3, 0.6])
    assert monitor.predict_one({"d": 1}) is True
    assert loss_of_next(monitor, {"c": -0.0}) == pytest.approx(0.2)
    assert loss_of_next(monitor, {"d": 1}) == pytest.approx(0.7)
    assert monitor.figures()["waiting"] == 0
    assert monitor.model.asked == 6


def test_the_oldest_is_forgotten_and_delays_are_of_recent_labels(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(monitoring.time, "time", lambda: now[0])
    monitor = Monitor(Schooled(), window_size=2, waiting=3)
    for i in range(5):
        monitor.predict_proba_one({"a": i})
        monitor.predict_proba_one({"a": i})
        now[0] += 10
    assert monitor.figures()["waiting"] == 6
    assert monitor.figures()["forgotten_total"] == 4
    for i in (2, 0, 4, 3):  # after 30, none, 10 and 20 seconds
        monitor.learn_one({"a": i}, True)
    assert monitor.figures()["label_delay_seconds"] == 15
    assert monitor.figures()["label_delay_seconds_p95"] == pytest.approx(19.5)
    now[0] = 0  # the clock was set back
    monitor.learn_one({"a": 4}, True)
    assert monitor.figures()["label_delay_seconds"] == 10
    monitor.model.waiting = 4  # as a model that keeps what its experts said
    with pytest.raises(ValueError, match="waiting: expected an integer of at least 4, got 3"):
        Monitor(monitor.model, waiting=3)


def test_labels_that_never_come_take_no_more_memory():
    monitor = Monitor(dummy.PriorClassifier())
    monitor.learn_one({}, "yes")
    sizes = []
    for i in range(100_000):
        monitor.predict_proba_one({"a": i})
        if i % 30_000 == 29_999:
            sizes.append(len(pickle.dumps(monitor)))
    assert sizes[-1] < 1.01 * sizes[0] < 4e6
    assert monitor.figures()["waiting"] == 10_000
    assert monitor.figures()["forgotten_total"] == 90_000


def test_what_was_served_is_in_the_file(tmp_path):
    monitors = [Monitor(GLNClassifier(**SMALL))]
    for number, x, y in stream.simulate_qa(days(2)[:200], None, 20, copy=True):
        if number == 110 and len(monitors) == 1:  # the model knows a label that is newer than some predictions
            monitors[0].predict_proba_one({"late": 1.0})
            monitors[0].learn_one({}, "third")
            monitors[0].save(tmp_path / "m")
            monitors.append(Monitor(GLNClassifier.load(tmp_path / "m")))
            assert monitors[1].figures() == monitors[0].figures()
        for monitor in monitors:
            if y is None:
                monitor.predict_proba_one(x)
            else:
                monitor.learn_one(x, y)
    for monitor in monitors:
        monitor.learn_one({"late": 1.0}, "third")
    expected, figures = (monitor.figures() for monitor in monitors)
    assert expected["waiting"] == 0
    for name in figures:
        assert "seconds" in name or figures[name] == pytest.approx(expected[name], abs=1e-9)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("counts", {"predicted_total": -1}),
        ("outcomes", np.zeros((2, 4))),
        ("outcomes", np.full((2, 3), -0.1)),
        ("inputs", {"secret": np.zeros(2)}),
        ("delays", np.array([np.nan])),
        ("labels", {True: 1, False: 0}),
        ("labels", {True: 0}),
        ("keys", np.zeros((1, 16), np.uint8)),
        ("repeats", np.full(20, -1)),
        ("values", np.zeros((20, 3))),
        ("values", np.full((20, 2), 1.1)),
        (None, [1]),
    ],
)
def test_a_file_with_another_record_is_refused(tmp_path, name, value):
    monitor = Monitor(GLNClassifier(**SMALL))
    for _, x, y in stream.simulate_qa(days(3)[:40], None, 20, copy=True):
        if y is None:
            monitor.predict_proba_one(x)
        elif monitor.figures()["learned_total"] < 20:
            monitor.learn_one(x, y)
    monitor.save(tmp_path / "m")
    model = GLNClassifier.load(tmp_path / "m")
    record = dict(model.extra[KEPT])
    model.save(tmp_path / "m", {KEPT: {**record, name: value} if name else value})
    with pytest.raises(ValueError, match="monitor: expected"):
        Monitor(GLNClassifier.load(tmp_path / "m"))


def test_unknown_and_missing_inputs_are_counted():
    monitor = Monitor(GLNRegressor(**SMALL), window_size=4, novelty=GLNNovelty(random_state=0))
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
    new = Monitor(GLNRegressor(**SMALL))
    for waiting in range(2):
        new.save(tmp_path / "new")
        figures = Monitor(GLNRegressor.load(tmp_path / "new")).figures()
        assert (figures["learned_total"], figures["waiting"]) == (0, waiting)
        new.predict_one({"a": 1.0})


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
    for huge in (10**400, 1j):
        with pytest.raises(ValueError, match="expected a finite number"):
            monitor.learn_one({"empty_server_form_handler": huge}, True)
    for call in (monitor.predict_proba_one, lambda x: monitor.learn_one(x, True)):
        with pytest.raises(ValueError, match="x: expected a dictionary"):
            call([1])
    with pytest.raises(ValueError, match="y: expected labels that can be keys"):
        monitor.learn_one({}, [1])
    assert monitor.figures() == {**before, "rejected_total": before["rejected_total"] + 6}


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


# ---- Refits ----------------------------------------------------------------------------------------------------------


def orders(count: int, seed: int, kind: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows of which "a" means something else or comes in another unit, by kind, and labels."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(count, 4)), columns=list("abcd"))  # noqa: N806
    X["level"] = rng.choice(["u", "v", "w"], count)
    of_a = 6 * np.sin(4 * X["a"]) if kind == "meaning" else 2 * X["a"]
    if kind == "unit":
        X["a"] /= 100
    logits = of_a + X["b"] - X["d"] + 1.5 * (X["level"] == "u")
    return X, np.where(rng.random(count) < 1 / (1 + np.exp(-logits)), "yes", "no")


@pytest.fixture(scope="module")
def fitted() -> sklearn.GLNClassifier:
    return sklearn.GLNClassifier(random_state=0).fit(*orders(1500, 0, "history"))


def lived(model: Any, kind: str, folder: Any) -> tuple[Any, Any]:
    """A copy that went on with the history and then learned 300 rows of a kind by days, and a refit of these rows."""
    model.save(folder / "history")
    model = type(model).load(folder / "history")
    for X, y in (orders(1500, 3, "history"), orders(300, 1, kind)):  # noqa: N806
        for start in range(0, len(y), 50):
            model.partial_fit(X[start : start + 50], y[start : start + 50])
    return model, clone(model).fit(X, y)


@pytest.mark.parametrize(("kind", "is_worth_it"), [("history", False), ("meaning", True), ("unit", True)])
def test_a_refit_is_worth_it_where_a_column_changed_after_the_history(fitted, tmp_path, kind, is_worth_it):
    model, refit = lived(fitted, kind, tmp_path)
    model.save(tmp_path / "before")
    X, y = orders(600, 2, kind)  # noqa: N806
    days = pd.date_range("2026-05-01", periods=20).repeat(30)
    found = compare_refit(model, refit, X, y, days)
    model.save(tmp_path / "after")
    assert_same_file(tmp_path / "before", tmp_path / "after")
    assert found.is_worth_it == is_worth_it
    assert found.gain > 0.08 or not is_worth_it
    assert abs(found.gain) < 0.04 or is_worth_it
    assert set(found.columns.index) == set(X)
    if is_worth_it:
        assert found.columns.index[0] == "a"
        assert found.columns.iloc[0] > 2 * found.columns.iloc[1]
    assert found.days.index.equals(days.unique())
    for name, each in (("model", model), ("refit", refit)):  # as they would have served
        for day, loss in enumerate(found.days[name]):
            rows = slice(30 * day, 30 * day + 30)
            assert loss == pytest.approx(log_loss(y[rows], each.predict_proba(X[rows]), labels=each.classes_))
            each.partial_fit(X[rows], y[rows])


def test_the_error_of_a_gain_is_that_of_a_mean_of_days(fitted):
    X, y = orders(90, 3, "history")  # noqa: N806
    found = compare_refit(fitted, clone(fitted).fit(X, y), X, y, np.arange(90) // 30)
    gains = found.days["model"] - found.days["refit"]
    assert (found.gain, found.error) == pytest.approx((gains.mean(), gains.std(ddof=1) / np.sqrt(3)))
    uneven = compare_refit(fitted, fitted, X, y, ["a"] * 60 + ["b"] * 30)
    assert uneven.days["rows"].to_list() == [60, 30]
    assert (uneven.gain, uneven.error, uneven.columns.max()) == (0, 0, 0)
    assert not uneven.is_worth_it


SHORT: dict[str, Any] = {"layer_sizes": [4], "n_networks": 2, "n_epochs": 1, "backend": "numpy", "random_state": 0}


def test_regressors_labels_and_other_classes_are_compared():
    X = np.random.default_rng(0).normal(size=(120, 3))  # noqa: N806
    numbers = X[:, :2] + 3
    model, refit = (sklearn.GLNRegressor(**SHORT).fit(X[rows], numbers[rows]) for rows in (slice(40), slice(80)))
    found = compare_refit(model, refit, X[80:], numbers[80:], np.arange(40) // 20)
    assert found.days["model"][0] == pytest.approx(np.abs(model.predict(X[80:100]) - numbers[80:100]).mean())
    labels = (X[:, :2] > 0).astype(int)
    model, refit = (sklearn.GLNClassifier(**SHORT).fit(X[rows], labels[rows]) for rows in (slice(40), slice(80)))
    found = compare_refit(model, refit, X[80:], labels[80:], np.arange(40) // 20)
    expected = [log_loss(labels[80:100, i], model.predict_proba(X[80:100])[i]) for i in range(2)]
    assert found.days["model"][0] == pytest.approx(np.mean(expected))
    y = labels[:, 0]
    of_two, of_three = (sklearn.GLNClassifier(**SHORT).fit(X, y + extra) for extra in (0, X[:, 1] > 1))
    found = compare_refit(of_two, of_three, X, y, np.arange(120) // 60)
    assert sorted(found.columns.index) == [0, 1, 2]
    assert found.columns.min() > 0
    assert found.days["model"][0] == pytest.approx(log_loss(y[:60], of_two.predict_proba(X[:60])))


def test_what_cannot_be_compared_is_refused(fitted):
    X, y = orders(6, 3, "history")  # noqa: N806
    for model, refit in ((fitted, GLNClassifier(**SMALL)), (fitted, sklearn.GLNRegressor())):
        with pytest.raises(ValueError, match="model, refit: expected two classifiers or two regressors"):
            compare_refit(model, refit, X, y, range(6))
    for days in ([1] * 6, [1, 1, 2, 1, 2, 2], [None, 1, 1, 2, 2, 2], [1, 1, 2, 2, 2, np.nan]):
        with pytest.raises(ValueError, match="days: expected at least two, none of them missing"):
            compare_refit(fitted, fitted, X, y, days)
    wrong: list[Any] = [(y, [1, 2]), (y, None), (None, range(6)), (y[1:], range(6))]
    for targets, days in wrong:
        with pytest.raises(ValueError, match="inconsistent numbers of samples"):
            compare_refit(fitted, fitted, X, targets, days)
    other = sklearn.GLNClassifier(**SHORT).fit(X, [0, 1] * 3)
    with pytest.raises(ValueError, match=r"model, refit: expected common classes, \['no', 'yes'\], got \[0, 1\]"):
        compare_refit(fitted, other, X, y, range(6))


def test_a_gain_within_two_standard_errors_is_not_worth_it():
    nothing = pd.DataFrame(), pd.Series(dtype=float)
    assert [Comparison(*nothing, gain, 0.1).is_worth_it for gain in (-1, 0.19, 0.21)] == [False, False, True]
