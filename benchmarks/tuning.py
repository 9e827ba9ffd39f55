"""Which arguments of `GLNClassifier` are worth searching.

`python -m benchmarks.tuning` fits the tables that the defaults were chosen on (see `benchmarks.classifier`), at most
4,000 rows of each. It learns two thirds of the rows, and prints log-loss and error on the other third, mostly with one
argument changed, beside the time of a fit and the size of its file, compared with those of the defaults. A second table
says what a search gains: for each table half of the other third chooses the value of an argument, and the log-loss is
that of the other half. `--tables` selects some by name, `--quick` runs two and downloads nothing.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import gmean
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from benchmarks.classifier import TABLES, fetch
from benchmarks.report import command_line, machine, show
from gln.sklearn import GLNClassifier

ROWS, SHORT, SEEDS = 4000, 1000, 4  # most rows of a table; tables with fewer than SHORT get several seeds
NOISY = 15  # percent: tables on which the defaults err at least as often are noisy
SEARCHED: dict[str, tuple[Any, ...]] = {
    "layer_sizes": ((32, 16), (64, 32)),
    "n_epochs": (1, 10),
    "early_stopping": (True,),
    "n_networks": (6, 24),
    "context_map_size": (2, 5),
    "learning_rate": (0.3, 1.0, 3.0),
}
TOGETHER: list[dict[str, Any]] = [
    {"layer_sizes": (64, 32), "n_epochs": 10},
    {"layer_sizes": (8, 4), "context_map_size": 2},
]
SETTINGS: dict[str, dict[str, Any]] = {
    "the defaults": {},
    **{f"{name}={value}": {name: value} for name, values in SEARCHED.items() for value in values},
    **{", ".join(f"{name}={value}" for name, value in setting.items()): setting for setting in TOGETHER},
}


class Result(NamedTuple):
    """What a setting scored on a table. The halves are those of the rows that were not learned."""

    losses: np.ndarray  # (2,), log-loss on each half
    errors: np.ndarray  # (2,), in percent
    seconds: float  # of the fit
    size: float  # bytes of the file


Found = dict[str, dict[str, list[Result]]]  # for each table the results of each setting, one for each seed


def scored(x: Any, y: np.ndarray, seed: int, setting: dict[str, Any]) -> Result:
    x, x_test, y, y_test = train_test_split(x, y, test_size=1 / 3, stratify=y, random_state=seed)
    model, start = GLNClassifier(random_state=seed, **setting), time.perf_counter()
    model.fit(x, y)
    seconds = time.perf_counter() - start
    p, classes = model.predict_proba(x_test), np.searchsorted(model.classes_, y_test)
    halves = np.arange(len(classes)) % 2 == np.array([[0], [1]])  # their order is random
    losses, wrong = -np.log(p[np.arange(len(classes)), classes]), 100.0 * (p.argmax(axis=1) != classes)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder, "model"))
        size = Path(folder, "model").stat().st_size
    by_half = [np.array([values[half].mean() for half in halves]) for values in (losses, wrong)]
    return Result(by_half[0], by_half[1], seconds, size)


def measured(tables: list[str], seeds: int) -> Found:
    """All settings on one table after another, so that times can be compared."""
    found: Found = {name: {title: [] for title in SETTINGS} for name in tables}
    for name in tqdm(tables):
        x, y = TABLES[name]()
        if len(y) > ROWS:
            x, _, y, _ = train_test_split(x, y, train_size=ROWS, stratify=y, random_state=0)
        for seed in range(seeds if len(y) < SHORT else 1):
            for title, setting in SETTINGS.items():
                found[name][title].append(scored(x, y, seed, setting))
    return found


def mean(results: list[Result]) -> Result:
    """The mean over seeds."""
    return Result(*(np.mean(values, axis=0) for values in zip(*results, strict=True)))


def clean_and_noisy(values: dict[str, float], found: Found) -> list[float]:
    """The means of one value per table over the clean tables and over the noisy ones."""
    noisy = [mean(found[name]["the defaults"]).errors.mean() >= NOISY for name in values]
    means = pd.Series(list(values.values())).groupby(noisy).mean()
    return means.reindex([False, True]).tolist()


def of_settings(found: Found) -> pd.DataFrame:
    """Means over the tables; those of times and sizes are geometric."""
    rows: dict[str, list[float]] = {}
    for title in SETTINGS:
        own = {name: mean(results[title]) for name, results in found.items()}
        defaults = {name: mean(results["the defaults"]) for name, results in found.items()}
        losses = clean_and_noisy({name: float(each.losses.mean()) for name, each in own.items()}, found)
        errors = float(np.mean([each.errors for each in own.values()]))
        seconds, size = (float(gmean([own[name][i] / defaults[name][i] for name in found])) for i in (2, 3))
        rows[title] = [*losses, errors, seconds, size]
    columns = ["log-loss, clean tables", "log-loss, noisy tables", "error, %", "time", "size"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def of_searches(found: Found) -> pd.DataFrame:
    """The log-loss of the values that were chosen for each table by one half, on the other half."""
    searches = {name: {"the defaults", *(f"{name}={value}" for value in values)} for name, values in SEARCHED.items()}
    searches = {"nothing": {"the defaults"}, **searches, "one of all above": set(SETTINGS)}
    rows: dict[str, list[float]] = {}
    for name, titles in searches.items():
        chosen: dict[str, float] = {}
        for table, results in found.items():
            losses = pd.DataFrame({title: mean(results[title]).losses for title in SETTINGS if title in titles})
            best = losses.idxmin(axis=1)  # of each half
            chosen[table] = float(np.mean([losses[best[half]][1 - half] for half in (0, 1)]))
        rows[name] = clean_and_noisy(chosen, found)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["clean tables", "noisy tables"])


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--tables", nargs="+", choices=list(TABLES), metavar="T", help="all by default")
    options = parser.parse_args()
    tables, seeds = options.tables or list(TABLES), SEEDS
    if options.quick:
        tables, seeds = ["iris"], 1
    elif options.tables is None:
        fetch()
    print(machine())
    scored(*TABLES["iris"](), 0, {})  # loads what the first fit compiles
    found = measured(tables, seeds)
    show("Arguments changed", of_settings(found), 3, file=options.csv, columns="measure")
    show("Log-loss when searching", of_searches(found), 3, file=options.csv, columns="task")


if __name__ == "__main__":
    main()
