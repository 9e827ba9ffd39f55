"""ONNX files of models of random tables: rows that a file and its model predict differently are rare, and explained.

Predictions jump where a value crosses a halfspace, the end of a bin, the mean (where a value counts as missing), or the
distance from which on it counts as missing. Rounding to float32 decides there, so a row this close may be apart.

Shapes: B rows, D columns, N halfspaces.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_onnx import answers, columns_for, expected_of, session_of

from gln.engine.batches import SampleBatch
from gln.engine.preprocessing.category_codes import with_codes
from gln.engine.preprocessing.scaling import FAR
from gln.sklearn import GLNClassifier, GLNRegressor

APART = 1e-5  # of probabilities, or relative to a number and to the deviation of all
OF_SUMS = 2e-5  # float32 sums alone put a probability in 200,000 this far apart
CLOSE = 8  # roundings to float32
ROUNDING = float(np.finfo(np.float32).eps)
NEVER = 1e-30  # so that nothing is divided by 0


def random_table(rng: np.random.Generator, rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Numbers with ties, one-hot and equal columns, text, categories of integers, missing values; and targets."""
    normal, columns = rng.normal(size=(5, rows)), dict[str, Any]()
    numbers: dict[str, Any] = {
        "normal": lambda x: x,
        "ties": lambda x: x.round(1),
        "few": lambda x: rng.integers(0, rng.integers(2, 30), rows) / 10,
        "integers": lambda x: np.floor(9 * np.abs(x)),
        "far from 0": lambda x: (1e6 + 100 * x).astype(np.float32).astype(float),
        "skewed": lambda x: np.exp(3 * x),
        "constant": lambda x: np.full(rows, 0.3),
    }
    for i, kind in enumerate(rng.choice(list(numbers), rng.integers(1, 6))):
        columns[f"number {i}"] = numbers[kind](normal[i])
    if rng.random() < 0.5:
        columns |= {f"is {i}": column for i, column in enumerate(np.eye(4)[rng.integers(0, 4, rows)].T)}
    for i in range(rng.integers(0, 3)):
        columns[f"text {i}"] = np.array([f"level {j}" for j in range(30)])[rng.integers(0, rng.integers(2, 30), rows)]
    if rng.random() < 0.3:
        columns["text of integers"] = pd.Categorical(rng.integers(0, 12, rows))
    frame = pd.DataFrame(columns)
    for name in frame.columns[rng.random(frame.shape[1]) < 0.4]:
        frame.loc[rng.random(rows) < rng.uniform(0, 0.3), name] = None
    if rng.random() < 0.4:
        frame["copy"] = frame["number 0"]
    effects = [
        pd.factorize(frame[name])[0] % 5 if is_category(name) else np.sin(frame[name].fillna(0)) for name in frame
    ]
    return frame, np.sum(effects, axis=0) + 0.3 * rng.normal(size=rows)


def is_category(name: Any) -> bool:
    return name.startswith("text")


def learned(rng: np.random.Generator, frame: pd.DataFrame, targets: np.ndarray) -> Any:
    """A small classifier or regressor."""
    names = [name for name in frame if is_category(name)] or None
    size: dict[str, Any] = {"layer_sizes": (8, 4), "n_networks": 4, "n_epochs": 1}
    options, classes = size | {"random_state": 0, "categorical_features": names}, int(rng.choice([0, 2, 5]))
    if classes == 0:
        more: list[dict[str, Any]] = [{}, {"density": True}, {"quantiles": (0.1, 0.5, 0.9)}]
        return GLNRegressor(**options, **more[rng.integers(3)]).fit(frame, 50 + 20 * targets)
    y = np.digitize(targets, np.quantile(targets, np.arange(1, classes) / classes))
    y[:classes] = np.arange(classes)
    return GLNClassifier(**options).fit(frame, y)


def rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """With numbers that float32 can hold."""
    numbers: list[Any] = [name for name in frame if not is_category(name)]
    return frame.assign(**{name: frame[name].astype(np.float32).astype(np.float64) for name in numbers})


def given_to(session: Any, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    if [given.name for given in session.get_inputs()] == ["X"]:
        return {"X": frame.to_numpy(np.float32)}
    return columns_for(session, frame)


def differences(found: dict[str, np.ndarray], model: Any, frame: pd.DataFrame) -> np.ndarray:  # -> (B,)
    """The largest difference of each row, of probabilities or relative."""
    largest = np.zeros(len(frame))
    for name, expected in expected_of(model, frame).items():
        if name != "label":
            size = 1 if name == "probabilities" else np.maximum(np.abs(expected), np.std(expected))
            largest = np.maximum(largest, (np.abs(found[name] - expected) / size).reshape(len(frame), -1).max(axis=1))
    return largest


# ---- Why rows are apart ----------------------------------------------------------------------------------------------


def closeness(model: Any, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """How far each row is from where predictions jump, in roundings to float32, for each cause: (B,) each."""
    featurizer = model.learner_.featurizer
    x = np.asarray(with_codes(frame, model.categories_), np.float64).T
    columns = x if featurizer.encoding is None else featurizer.encoding.transform(x)
    standardizer, z = featurizer.standardizer, featurizer.standardised(SampleBatch.of(x))
    scale = np.where(standardizer.scale > 0, standardizer.scale, np.inf)[:, None]
    exact = (columns - standardizer.mean[:, None]) / scale  # (D, B)
    rounding = ROUNDING * (np.nan_to_num(np.abs(columns)) / scale + np.abs(z)) + NEVER
    varies = np.isfinite(scale[:, 0])
    return {
        "halfspace": _to_halfspaces(model, z, rounding),
        "mean": _least(np.abs(exact[varies]) / rounding[varies]),
        "far": _least(np.abs(np.abs(exact) - FAR * standardizer.limit) / rounding),
        "cell": _to_cells(model, x),
    }


def _least(distances: np.ndarray) -> np.ndarray:  # (D, B) -> (B,)
    """The least of each row; NaN is a missing value."""
    return np.where(np.isnan(distances), np.inf, distances).min(axis=0, initial=np.inf)


def _to_halfspaces(model: Any, z: np.ndarray, rounding: np.ndarray) -> np.ndarray:  # (D, B) twice -> (B,)
    least = np.full(z.shape[1], np.inf)
    for network in (network for ensemble in model.learner_.ensembles for network in ensemble.networks):
        state = network.get_state()
        for layer in range(1, 1 + len(network.layer_sizes)):
            planes = state[f"hyperplanes.{layer}"].reshape(-1, network.context_size).astype(np.float64)
            offsets = state[f"hyperplane_bias.{layer}"].reshape(-1, 1).astype(np.float64)
            of_rounding = np.abs(planes) @ rounding + ROUNDING * np.abs(offsets) + NEVER
            least = np.minimum(least, _least(np.abs(planes @ z - offsets) / of_rounding))
    return least


def _to_cells(model: Any, x: np.ndarray) -> np.ndarray:  # (F, B) -> (B,)
    cells, least = model.learner_.featurizer.bin_means, np.full(x.shape[1], np.inf)
    for feature, ends in enumerate(np.split(cells.ends, np.cumsum(cells.sizes - 1)[:-1]) if cells is not None else ()):
        if feature not in model.categories_:
            distances = np.abs(x[feature] - ends[np.isfinite(ends), None])
            least = np.minimum(least, _least(distances / (ROUNDING * np.abs(x[feature]) + NEVER)))
    return least


# ---- The tables ------------------------------------------------------------------------------------------------------


def apart(seed: int, folder: Path, asked: int = 1000) -> dict[str, list[str]]:
    """Why rows are apart from the file's, for rows that float32 holds and for others; "" is unexplained."""
    rng = np.random.default_rng(seed)
    count = int(rng.choice([30, 100, 300, 1000]))
    frame, targets = random_table(rng, count + asked)
    model = learned(rng, frame[:count], targets[:count])
    session, causes = session_of(model, folder), {}
    found = answers(session, **given_to(session, frame))
    for kind, rows in (("float32", rounded(frame)), ("float64", frame)):
        different = differences(found, model, rows)
        far = different > APART
        close = closeness(model, rows[far]) if far.any() else {}
        causes[kind] = [
            " ".join([cause for cause, distances in close.items() if distances[i] < CLOSE])
            or ("sums" if size < OF_SUMS else "")
            for i, size in enumerate(different[far])
        ]
    return causes


@pytest.mark.slow
def test_rows_apart_are_rare_and_explained(tmp_path):
    tables = range(50)
    causes = [apart(seed, tmp_path) for seed in tables]
    rows = 1000 * len(tables)
    for kind in ("float32", "float64"):
        assert not any("" in of_table[kind] for of_table in causes)
    assert sum(len(of_table["float32"]) for of_table in causes) <= max(1, rows / 50_000)
    # A mean that is one of the values, to the last bit, is left to rounding: one table in a hundred.
    of_means = [table["float64"] for table in causes if any("mean" in cause for cause in table["float64"])]
    assert len(of_means) <= max(1, len(tables) / 100)
    others = [table["float64"] for table in causes if table["float64"] not in of_means]
    assert sum(map(len, others)) <= max(1, rows / 50_000)
