"""Equal rows of a table: copies, which `fit` leaves out together, or separate measurements. All models at defaults.

`python -m benchmarks.copies` prints R² or log-loss on new rows, and `oob_score_` minus the accuracy or R² on them, for
tables in which rows repeat: levels and settings that were measured several times, surveys of a few categories, rows
drawn with replacement or oversampled (whose probabilities are set back), and a table that stands there twice. LightGBM
is included if installed. `--quick` runs two tables with one seed.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, r2_score

from benchmarks.report import boosters, command_line, machine, show
from gln.sklearn import GLNClassifier, GLNRegressor

TEST = 4000  # new rows
SURVEYS = [[2] * 5, [3] * 6, [4] * 5, [2, 3, 4, 5, 3, 2], [2] * 9, [5] * 4, [3] * 8, [8, 6, 4]]  # levels of each answer


class Table(NamedTuple):
    x: pd.DataFrame  # rows to learn, followed by TEST new ones
    y: np.ndarray  # numbers, or classes
    rows: np.ndarray  # that are learned: some several times, or all once


def levels(seed: int, count: int, rows: int, has_id: bool, are_classes: bool = False) -> Table:
    """Names, each of which has a value of its own."""
    rng = np.random.default_rng(seed)
    codes, values = rng.integers(0, count, rows + TEST), rng.normal(size=count)
    frame = pd.DataFrame({"id": codes, "name": [f"n{code}" for code in codes]})[["id", "name"][not has_id :]]
    return Table(frame, (values > 0).astype(int)[codes] if are_classes else values[codes], np.arange(rows))


def settings(seed: int, count: int = 30, rows: int = 400) -> Table:
    rng = np.random.default_rng(seed)
    x, chosen = rng.normal(size=(count, 6)), rng.integers(0, count, rows + TEST)
    return Table(pd.DataFrame(x[chosen]), (np.sin(x[:, 0] * 2) + x[:, 1] * x[:, 2])[chosen], np.arange(rows))


def survey(seed: int, number: int) -> Table:
    """Answers to several questions, more or less alike, and a class that depends on them."""
    rng, sizes, rows = np.random.default_rng([seed, number]), SURVEYS[number], 400 << number % 4
    latent = number % 3 * rng.normal(size=(rows + TEST, 1)) + rng.normal(size=(rows + TEST, len(sizes)))
    x = np.stack([pd.qcut(column, size, labels=False) for column, size in zip(latent.T, sizes, strict=True)], axis=1)
    effects = [rng.normal(size=size)[answers] for size, answers in zip(sizes, x.T, strict=True)]
    y = drawn(rng, (1 + number % 2) * np.sum(effects, axis=0) + x[:, 0] * effects[1])
    return Table(pd.DataFrame(x).astype(str), y, np.arange(rows))


def numbers(seed: int, how: str, share: float = 0.5, rows: int = 400, integers: bool = False) -> Table:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 20, (rows + TEST, 3)) if integers else rng.normal(size=(rows + TEST, 6))
    z = x.sum(axis=1)
    logits = 1.5 * (z - z.mean()) / z.std() + np.sin(2 * (x[:, 0] / x[:, 0].std()))
    y, learned = drawn(rng, 2 * (logits - np.quantile(logits, 1 - share))), np.arange(rows)
    if how == "bootstrapped":
        learned = rng.integers(0, rows, 2 * rows)
    elif how == "oversampled":
        rare = np.flatnonzero(y[:rows])
        learned = np.append(learned, rng.choice(rare, rows - 2 * len(rare)))
    return Table(pd.DataFrame(x), y, np.tile(learned, 2) if how == "twice" else learned)


def drawn(rng: np.random.Generator, logits: np.ndarray) -> np.ndarray:  # (N,) -> (N,)
    return (rng.random(len(logits)) < 1 / (1 + np.exp(-logits))).astype(int)


TABLES: dict[str, Callable[[int], Table]] = {
    "200 levels": functools.partial(levels, count=200, rows=2000, has_id=False),
    "1,000 levels": functools.partial(levels, count=1000, rows=8000, has_id=False),
    "20 levels, id, 400 rows": functools.partial(levels, count=20, rows=400, has_id=True),
    "20 levels, id, 4,000 rows": functools.partial(levels, count=20, rows=4000, has_id=True),
    "classes of 200 levels, id": functools.partial(levels, count=200, rows=2000, has_id=True, are_classes=True),
    "30 settings": settings,
    "oversampled from 1%": functools.partial(numbers, how="oversampled", share=0.01, rows=1500),
    "oversampled from 5%": functools.partial(numbers, how="oversampled", share=0.05, rows=1500),
    "oversampled from 20%": functools.partial(numbers, how="oversampled", share=0.20, rows=1500),
    "bootstrapped floats": functools.partial(numbers, how="bootstrapped"),
    "bootstrapped integers": functools.partial(numbers, how="bootstrapped", integers=True),
    "twice": functools.partial(numbers, how="twice"),
    **{f"survey {number + 1}": functools.partial(survey, number=number) for number in range(8)},
}


def scored(name: str, table: Callable[[int], Table], seed: int) -> dict[str, float]:
    x, y, rows = table(seed)
    new, old, found = slice(len(x) - TEST, None), slice(len(x) - TEST), {}
    kind, gln_class = ("Classifier", GLNClassifier) if y.dtype.kind == "i" else ("Regressor", GLNRegressor)
    models = {"GLN": gln_class(random_state=seed)}
    models |= {title[:4]: make(seed) for title, make in boosters(kind).items() if title.startswith("LGBM")}
    # Oversampled classes have other shares in what is learned than in new rows.
    counts = [np.bincount(classes) for classes in (y[rows], y[old])] if kind == "Classifier" else np.ones((2, 1))
    shares = counts[0] / counts[1] * len(y[old]) / len(rows)
    for title, model in models.items():
        frame = x if title == "GLN" else x.astype(dict.fromkeys(x.select_dtypes(exclude="number"), "category"))
        model.fit(frame.iloc[rows], y[rows])
        if kind == "Regressor":
            found[f"R² or log-loss of {title}"] = r2_score(y[new], model.predict(frame.iloc[new]))
            continue
        p = model.predict_proba(frame.iloc[new]) / (shares if "oversampled" in name else 1)
        found[f"R² or log-loss of {title}"] = log_loss(y[new], p / p.sum(axis=1, keepdims=True))
    truth = models["GLN"].score(x.iloc[new], y[new], shares[y[new]] if kind == "Classifier" else None)
    return found | {"R² or accuracy of GLN": truth, "`oob_score_` minus it": models["GLN"].oob_score_ - truth}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=5, metavar="S", help="seeds of tables and models")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="X, y: .* are taken for copies")
    tables, seeds = (dict(list(TABLES.items())[2:10:7]), 1) if options.quick else (TABLES, options.seeds)
    print(machine())
    means = [
        pd.DataFrame([scored(name, table, seed) for seed in range(seeds)]).mean() for name, table in tables.items()
    ]
    show("Equal rows", pd.DataFrame(means, index=list(tables)), 3, file=options.csv)


if __name__ == "__main__":
    main()
