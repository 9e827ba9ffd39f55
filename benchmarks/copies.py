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
from sklearn.metrics import accuracy_score, log_loss, r2_score

from benchmarks.report import boosters, command_line, machine, show
from gln.sklearn import GLNClassifier, GLNRegressor

TEST = 4000  # new rows


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
    rng = np.random.default_rng([seed, number])
    sizes, rows = (
        [[2] * 5, [3] * 6, [4] * 5, [2, 3, 4, 5, 3, 2], [2] * 9, [5] * 4, [3] * 8, [8, 6, 4]][number],
        400 << number % 4,
    )
    latent = number % 3 * rng.normal(size=(rows + TEST, 1)) + rng.normal(size=(rows + TEST, len(sizes)))
    x = np.stack([pd.qcut(column, size, labels=False) for column, size in zip(latent.T, sizes, strict=True)], axis=1)
    effects = [rng.normal(size=size)[answers] for size, answers in zip(sizes, x.T, strict=True)]
    logits = (1 + number % 2) * np.sum(effects, axis=0) + x[:, 0] * effects[1]
    return Table(
        pd.DataFrame(x).astype(str), (rng.random(len(x)) < 1 / (1 + np.exp(-logits))).astype(int), np.arange(rows)
    )


def numbers(seed: int, how: str, share: float = 0.5, rows: int = 400, integers: bool = False) -> Table:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 20, (rows + TEST, 3)) if integers else rng.normal(size=(rows + TEST, 6))
    z = x.astype(float) @ np.ones(x.shape[1])
    logits = 1.5 * (z - z.mean()) / z.std() + np.sin(2 * (x[:, 0] / x[:, 0].std()))
    p = 1 / (1 + np.exp(-2 * (logits - np.quantile(logits, 1 - share))))
    y, learned = (rng.random(len(x)) < p).astype(int), np.arange(rows)
    if how == "oversampled":
        rare = np.flatnonzero(y[:rows])
        learned = np.append(learned, rng.choice(rare, rows - 2 * len(rare)))
    return Table(
        pd.DataFrame(x),
        y,
        {"bootstrapped": rng.integers(0, rows, 2 * rows), "twice": np.tile(learned, 2)}.get(how, learned),
    )


TABLES: dict[str, Callable[[int], Table]] = {
    "200 levels": functools.partial(levels, count=200, rows=2000, has_id=False),
    "1,000 levels": functools.partial(levels, count=1000, rows=8000, has_id=False),
    "20 levels, id, 400 rows": functools.partial(levels, count=20, rows=400, has_id=True),
    "20 levels, id, 4,000 rows": functools.partial(levels, count=20, rows=4000, has_id=True),
    "classes of 200 levels, id": functools.partial(levels, count=200, rows=2000, has_id=True, are_classes=True),
    "30 settings": settings,
    **{
        f"oversampled from {n}%": functools.partial(numbers, how="oversampled", share=n / 100, rows=1500)
        for n in (1, 5, 20)
    },
    "bootstrapped floats": functools.partial(numbers, how="bootstrapped"),
    "bootstrapped integers": functools.partial(numbers, how="bootstrapped", integers=True),
    "twice": functools.partial(numbers, how="twice"),
    **{f"survey {number + 1}": functools.partial(survey, number=number) for number in range(8)},
}


def scored(name: str, table: Callable[[int], Table], seed: int) -> list[float]:
    """The score of both models on new rows, what `oob_score_` should be, and what it is too high by."""
    x, y, rows = table(seed)
    is_regression, new = y.dtype.kind == "f", slice(len(x) - TEST, None)
    kind = "Regressor" if is_regression else "Classifier"
    gln, found = {"Classifier": GLNClassifier, "Regressor": GLNRegressor}[kind](random_state=seed), []
    boosted = x.astype({column: "category" for column in x.select_dtypes(exclude="number")})
    models = [(gln, x), *((make(seed), boosted) for title, make in boosters(kind).items() if "LGBM" in title)]
    for model, frame in models:
        model.fit(frame.iloc[rows], y[rows])
        predicted = model.predict(frame.iloc[new]) if is_regression else model.predict_proba(frame.iloc[new])
        if is_regression:
            truth = r2_score(y[new], predicted)
            found.append(truth)
        else:
            # Oversampled classes have other shares in what is learned than in new rows.
            shares = (np.bincount(y[rows]) / len(rows)) / (np.bincount(y[: len(x) - TEST]) / (len(x) - TEST))
            truth = accuracy_score(y[new], predicted.argmax(axis=1), sample_weight=shares[y[new]])
            set_back = predicted / (shares if "oversampled" in name else 1)
            found.append(log_loss(y[new], set_back / set_back.sum(axis=1, keepdims=True)))
        if model is gln:
            estimated = [truth, gln.oob_score_ - truth]
    return [*found, *([np.nan] if len(found) == 1 else []), *estimated]


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=5, metavar="S", help="seeds of tables and models")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="X, y: .* are taken for copies")
    tables, seeds = (dict(list(TABLES.items())[2:10:7]), 1) if options.quick else (TABLES, options.seeds)
    print(machine())
    columns = ["R² or log-loss", "LightGBM's", "accuracy or R²", "`oob_score_` minus it"]
    means = [np.mean([scored(name, table, seed) for seed in range(seeds)], axis=0) for name, table in tables.items()]
    show("Equal rows", pd.DataFrame(means, index=list(tables), columns=columns), 3, file=options.csv)


if __name__ == "__main__":
    main()
