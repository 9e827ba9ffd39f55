"""What a row reads, and what left-out rows are scored by, has not seen the row's group: for every kind of column, in a
table that is learned at once and in one that is learned in shares over Dask."""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

import gln.sklearn

SMALL: dict[str, Any] = {
    "layer_sizes": (8, 4),
    "context_map_size": 3,
    "n_networks": 6,
    "n_epochs": 2,
    "random_state": 0,
}
GROUPS, ROWS = 2000, 4  # that are learned, and rows of each


@pytest.fixture(scope="module", params=["at once", "over Dask"])
def estimator(request) -> Iterator[Callable[..., Any]]:
    """Fits an estimator of this name to a frame, targets and groups."""
    if request.param == "at once":
        yield lambda name, X, y, groups, **options: getattr(gln.sklearn, name)(**options).fit(X, y, groups=groups)
        return
    if not os.environ.get("GLN_REQUIRE_BACKENDS"):
        pytest.importorskip("distributed")
    import dask.dataframe as dd
    from distributed import Client, LocalCluster

    from gln import dask as over_dask

    def fit(name: str, X: pd.DataFrame, *values: Any, **options: Any) -> Any:
        parts = [dd.from_pandas(each, npartitions=3) for each in (X, *map(pd.Series, values))]
        return getattr(over_dask, name)(n_jobs=3, **options).fit(parts[0], parts[1], groups=parts[2]).to_local()

    with pytest.MonkeyPatch.context() as patch:
        for name, rows in {"LONG": 100, "SAMPLED": 3000, "HELD_OUT": 3000}.items():
            patch.setattr(over_dask, name, rows)
        with LocalCluster(2, threads_per_worker=1, processes=False, dashboard_address=None) as two, Client(two):
            yield fit


def texts(groups: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """Words that no other group has."""
    return {"text": [" ".join(f"w{group}x{word}" for word in rng.integers(0, 6, 5)) for group in groups]}


def categories(groups: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    return {"name": [f"n{group}" for group in groups]}


def dates(groups: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    days = 3 * rng.permutation(1 + groups.max())[groups] + rng.integers(0, 2, len(groups))
    return {"day": pd.Timestamp("1990-01-01") + pd.to_timedelta(days, unit="D")}


def numbers(groups: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """Each group is a cell of two numbers."""
    cells = np.stack(np.divmod(groups, 50)) + rng.normal(size=(2, len(groups))) / 100
    return {"tens": cells[0], "ones": cells[1]}


def bins(groups: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """They tell nothing, but counts of many of them could tell a network what it leaves out."""
    values = rng.integers(0, 30, (8, len(groups)))
    return {f"x{i}": column if i % 2 else np.char.add("v", column.astype(str)) for i, column in enumerate(values)}


@pytest.mark.parametrize("make", [texts, categories, dates, numbers, bins])
@pytest.mark.parametrize("name", ["GLNClassifier", "GLNRegressor"])
def test_a_coin_of_each_group_is_as_unknown_as_that_of_new_groups(estimator, name, make):
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.arange(GROUPS + 500).repeat(ROWS))
    coins = rng.integers(0, 2, GROUPS + 500) if name == "GLNClassifier" else rng.normal(size=GROUPS + 500)
    X, y = pd.DataFrame(make(groups, rng)).assign(noise=rng.normal(size=len(groups))), coins[groups]
    learned, new = np.flatnonzero(groups < GROUPS), groups >= GROUPS
    options = SMALL | ({} if name == "GLNClassifier" else {"quantiles": (0.05, 0.95)})
    options |= {"text_features": ["text"]} if make is texts else {}
    table = X.iloc[learned].reset_index(drop=True)
    model = estimator(name, table, y[learned], groups[learned], **options)
    assert model.oob_score_ == pytest.approx(model.score(X[new], y[new]), abs=0.05)
    if name == "GLNRegressor":
        low, high = model.predict_quantiles(X[new]).T
        assert np.mean((low <= y[new]) & (y[new] <= high)) > 0.85


@pytest.mark.parametrize("make", [texts, categories, dates, numbers, bins])
@pytest.mark.parametrize("name", ["GLNClassifier", pytest.param("GLNRegressor", marks=pytest.mark.slow)])
def test_with_time_a_coin_of_each_day_is_as_unknown_as_that_of_later_days(name, make):
    rng = np.random.default_rng(0)
    days = np.arange(GROUPS + 500).repeat(ROWS)
    coins = rng.integers(0, 2, GROUPS + 500) if name == "GLNClassifier" else rng.normal(size=GROUPS + 500)
    X, y = pd.DataFrame(make(days, rng)).assign(noise=rng.normal(size=len(days))), coins[days]
    is_later = days >= GROUPS
    learned = rng.permutation(np.flatnonzero(~is_later))
    options = SMALL | ({"text_features": ["text"]} if make is texts else {})
    model = getattr(gln.sklearn, name)(**options).fit(X.iloc[learned], y[learned], time=days[learned])
    assert model.oob_score_ == pytest.approx(model.score(X[is_later], y[is_later]), abs=0.05)
    assert model.oob_score_ < (0.55 if name == "GLNClassifier" else 0.05)
