"""Tables of Dask: learned in shares, with the same bits in any partitions, predicted lazily, and made local."""
# ruff: noqa: N806 - X is scikit-learn's name

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_classification, make_friedman1
from sklearn.metrics import log_loss, r2_score

import gln.sklearn
from gln.engine.base_models.bin_means import fit_bin_means
from gln.engine.tabular.folds import FOLDS, counted_folds

if not os.environ.get("GLN_REQUIRE_BACKENDS"):
    pytest.importorskip("distributed")
import dask.array as da
import dask.dataframe as dd
from distributed import Client, LocalCluster

from gln import dask as over_dask

SMALL: dict[str, Any] = {
    "layer_sizes": (8, 4),
    "context_map_size": 3,
    "n_networks": 4,
    "random_state": 0,
    "n_jobs": 3,
    "n_epochs": 3,
}
ROWS, NEW = 6000, slice(6000, None)
SIGNS = make_classification(7000, 8, n_informative=6, n_clusters_per_class=3, flip_y=0.02, random_state=0)
CURVES = make_friedman1(7000, noise=0.5, random_state=0)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Of two workers in threads of this process."""
    with LocalCluster(2, threads_per_worker=1, processes=False, dashboard_address=None) as two, Client(two) as client:
        yield client


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    """Shares begin at a thousandth of the length."""
    for name, rows in {"LONG": 3000, "SAMPLED": 1200, "HELD_OUT": 900}.items():
        monkeypatch.setattr(over_dask, name, rows)


def frame(rows: int = ROWS) -> pd.DataFrame:
    """A table of numbers, some of which are missing, and a category of many levels that tells of the classes."""
    X, y = (array[:rows] for array in SIGNS)
    table = pd.DataFrame(np.where(X > 4, np.nan, X), columns=[f"x{i}" for i in range(8)])
    levels = np.arange(rows) % 200 + 200 * (y[:rows] ^ (np.arange(rows) % 7 == 0))
    return table.assign(level=np.char.add("level ", levels.astype(str)), y=np.where(y, "yes", "no"))


def test_a_classifier_has_the_same_bits_in_any_partitions(client):
    table = frame()
    weights = pd.Series(np.where(table["x0"] > 0, 2.0, 0.5))
    groups = pd.Series(np.arange(ROWS) // 3)
    found = []
    for ends in ([0, 2000, 4000, 6000], [0, 700, 701, 5000, 6000]):
        divisions = [*ends[:-1], ROWS - 1]
        parts = [
            dd.from_pandas(values, npartitions=1).repartition(divisions=divisions)
            for values in (table, weights, groups)
        ]
        model = over_dask.GLNClassifier(**SMALL)
        assert model.fit(parts[0].drop(columns="y"), parts[0]["y"], *parts[1:]) is model
        found.append(model)
    one, two = found
    X = table.drop(columns="y")
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))
    assert one.oob_score_ == two.oob_score_
    assert sorted(one.categories_[8]) == sorted(table["level"].unique())  # also those that are not in the sample
    assert one.n_iter_ == 3


def test_it_is_about_as_good_as_the_local_fit(client):
    X, y = SIGNS
    local = gln.sklearn.GLNClassifier(**SMALL).fit(X[:ROWS], y[:ROWS])
    model = over_dask.GLNClassifier(**SMALL).fit(da.from_array(X[:ROWS], (2500, 3)), da.from_array(y[:ROWS], 2500))
    losses = [log_loss(y[NEW], each.predict_proba(X[NEW])) for each in (local, model)]
    assert losses[1] < losses[0] + 0.02
    assert abs(model.oob_score_ - model.score(X[NEW], y[NEW])) < 0.04
    rates: Any = model.learning_rate_, local.learning_rate_
    assert rates[0] / rates[1] == pytest.approx(3**0.5)  # of three shares


def test_predictions_are_lazy_and_those_of_the_local_estimator(client, tmp_path):
    table = frame()
    X, y = table.drop(columns="y"), table["y"]
    spread_out = dd.from_pandas(X, npartitions=4)
    model = over_dask.GLNClassifier(**SMALL).fit(spread_out, dd.from_pandas(y, npartitions=4))
    p, classes = model.predict_proba(spread_out), model.predict(spread_out)
    assert isinstance(p, da.Array)
    local = model.to_local()
    assert type(local) is gln.sklearn.GLNClassifier
    np.testing.assert_array_equal(p.compute(), local.predict_proba(X))
    np.testing.assert_array_equal(classes.compute(), local.predict(X))
    array = over_dask.GLNClassifier(**SMALL).fit(da.from_array(SIGNS[0], 3500), da.from_array(SIGNS[1], 3500))
    assert array.predict(da.from_array(SIGNS[0], (1000, 4))).shape == (7000,)
    local.save(tmp_path / "model.gln")
    np.testing.assert_array_equal(gln.sklearn.GLNClassifier.load(tmp_path / "model.gln").predict_proba(X), p.compute())
    contributions, constant = local.explain(X[:50])
    np.testing.assert_allclose(contributions.sum(axis=1) + constant, local.decision_function(X[:50]), atol=1e-4)
    assert local.feature_importances_.argmax() == 8


def test_a_regressor_of_several_targets_with_quantiles_and_densities(client, monkeypatch):
    monkeypatch.setattr(over_dask, "HELD_OUT", 3000)  # of which half teach the networks of variances
    X, y = CURVES
    targets = np.stack([y, -3 * y + 5], axis=1)
    model = over_dask.GLNRegressor(**SMALL | {"n_networks": 8}, quantiles=(0.1, 0.9), density=True)
    model.fit(da.from_array(X[:ROWS], 1700), da.from_array(targets[:ROWS], 1700))
    found = model.predict(da.from_array(X[NEW], 400))
    assert found.shape == (1000, 2)
    assert model.oob_score_ == pytest.approx(r2_score(targets[NEW], found.compute()), abs=0.03)
    assert model.oob_score_ > 0.9
    low, high = model.predict_quantiles(X[NEW])[:, 0].T
    assert np.mean((low < y[NEW]) & (y[NEW] < high)) == pytest.approx(0.8, abs=0.07)
    mean, std = model.predict(X[NEW], return_std=True)
    assert np.mean(np.abs(y[NEW] - mean[:, 0]) < 1.64 * std[:, 0]) == pytest.approx(0.9, abs=0.05)
    with pytest.raises(ValueError, match="return_std"):
        model.predict(da.from_array(X[NEW], 400), return_std=True)


def test_several_labels(client):
    X, y = SIGNS
    labels = np.stack([y, X[:, 0] > 0, X[:, 1] + X[:, 2] > 1], axis=1).astype(int)
    model = over_dask.GLNClassifier(**SMALL).fit(da.from_array(X[:ROWS], 2000), da.from_array(labels[:ROWS], 2000))
    assert model.score(X[NEW], labels[NEW]) == pytest.approx(model.oob_score_, abs=0.05)
    first, *_ = model.predict_proba(da.from_array(X[NEW], 500))
    np.testing.assert_array_equal(first.compute(), model.to_local().predict_proba(X[NEW])[0])
    assert model.predict(da.from_array(X[NEW], 500)).compute().shape == (1000, 3)


def test_a_rare_class_is_known_and_weights_count(client):
    X, y = SIGNS[0][:ROWS], SIGNS[1][:ROWS].copy()
    y[[10, 3000, 5999]] = 2
    weights = np.where(np.arange(ROWS) % 2, 0.0, 1.0)
    arrays = [da.from_array(array, 2000) for array in (X, np.where(weights, y, 1 - y), weights)]
    model = over_dask.GLNClassifier(**SMALL, class_weight={2: 3.0}).fit(*arrays)
    np.testing.assert_array_equal(model.classes_, [0, 1, 2])  # of those of no weight, none
    assert np.mean(model.predict(X)[weights == 0] == y[weights == 0]) > 0.85  # learned from the others alone


def test_a_short_table_is_learned_as_in_scikit_learn(client):
    X, y = SIGNS[0][:2000], SIGNS[1][:2000]
    model = over_dask.GLNClassifier(**SMALL).fit(da.from_array(X, 700), da.from_array(y, 700))
    local = gln.sklearn.GLNClassifier(**SMALL).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), local.predict_proba(X))


WRONG: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no Dask": ({}, {"X": SIGNS[0]}, "X: expected a Dask DataFrame"),
    "partitions": ({}, {"y": da.from_array(SIGNS[1][:ROWS], 1000)}, "y: expected 3 partitions, as X has, got 6"),
    "lengths": ({}, {"y": da.from_array(SIGNS[1][:ROWS], ((2000, 1999, 2001),))}, "inconsistent numbers of samples"),
    "NaN": ({}, {"y": da.full(ROWS, np.nan, chunks=2000)}, "y contains NaN"),
    "infinity": ({}, {"X": da.full((ROWS, 8), np.inf, chunks=2000)}, "contains infinity"),
    "weights": ({}, {"sample_weight": da.full(ROWS, -1.0, chunks=2000)}, "sample_weight: expected 2000 finite numbers"),
    "groups": ({}, {"groups": da.full(ROWS, np.nan, chunks=2000)}, "groups: expected a label"),
    "few groups": ({}, {"groups": da.arange(ROWS, chunks=2000) % 4}, "groups: expected so many that"),
    "time": ({}, {"time": da.arange(ROWS, chunks=2000)}, "time: expected None in gln.dask"),
    "stopping": ({"early_stopping": True}, {}, "early_stopping: expected False in gln.dask"),
    "balanced": ({"class_weight": "balanced"}, {}, "class_weight: expected None or a dict"),
    "ignored": ({"class_weight": {1: 0}}, {}, "class_weight: expected None or a dict"),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_named_and_nothing_changes(client, name):
    parameters, arrays, message = WRONG[name]
    good = {"X": da.from_array(SIGNS[0][:ROWS], (2000, 8)), "y": da.from_array(SIGNS[1][:ROWS], 2000)}
    model = over_dask.GLNClassifier(**SMALL, **parameters)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=message):
        model.fit(**good | arrays)
    assert vars(model) == before


def test_bins_that_are_counted_again_predict_like_those_of_all_rows():
    X, y = CURVES
    targets, ones = ((y - y.mean()) / y.std())[None], np.ones(len(y))
    folds, rng = np.arange(len(y)) % FOLDS, np.random.RandomState(0)
    of_all, _ = fit_bin_means(X, np.arange(len(y)), targets, ones, folds, counted_folds(3), {}, rng)
    few = slice(1000)
    of_few, _ = fit_bin_means(
        X[few], np.arange(1000), targets[:, few], ones[few], folds[few], counted_folds(3), {}, rng
    )
    parts = [of_few.sums(X[rows].T, targets[:, rows], ones[rows]) for rows in (slice(3000), slice(3000, None))]
    np.testing.assert_allclose(np.add(*parts), of_few.sums(X.T, targets, ones), atol=1e-9)
    counted = of_few.recounted(np.add(*parts), are_logits=False, categorical=set())
    singles = [g for g, grid in enumerate(of_few.grids) if grid[1] < 0]
    for g in singles:
        (other,) = np.flatnonzero((of_all.grids == of_few.grids[g]).all(axis=1))
        before, after, expected = (m.transform(X.T)[i] for m, i in ((of_few, g), (counted, g), (of_all, other)))
        assert np.std(after - expected) < 0.6 * np.std(before - expected)
        assert abs(after.mean()) < 1e-3


@pytest.mark.slow
def test_a_killed_worker_costs_time_but_not_the_model():
    X, y = da.from_array(SIGNS[0][:ROWS], 1000), da.from_array(SIGNS[1][:ROWS], 1000)
    with LocalCluster(2, threads_per_worker=1, dashboard_address=None) as two, Client(two) as client:
        expected = over_dask.GLNClassifier(**SMALL | {"n_epochs": 60}).fit(X, y).predict_proba(SIGNS[0])
        workers = {*client.scheduler_info()["workers"]}
        killed = threading.Thread(target=_kill_one, args=(client, 2.0))
        killed.start()
        found = over_dask.GLNClassifier(**SMALL | {"n_epochs": 60}).fit(X, y).predict_proba(SIGNS[0])
        assert not killed.is_alive()  # while it was learned
        assert {*client.scheduler_info()["workers"]} != workers
    np.testing.assert_array_equal(found, expected)


def _kill_one(client: Client, seconds: float) -> None:
    time.sleep(seconds)
    worker = next(iter(client.scheduler_info()["workers"]))
    client.run(os._exit, 1, workers=[worker], on_error="ignore")
