"""Seconds of a fit on one core and on two, of the estimators of `gln.sklearn` and of LightGBM at their defaults.

`OMP_NUM_THREADS=2 python -m benchmarks.scaling` fits a synthetic table of 20 features with 2,000, 20,000 and 200,000
rows, one of 26 classes, and a regression with quantiles (three models of LightGBM), by turns, and prints medians. Then
it fits the held-out tables of `benchmarks.classifier` on two cores, and prints the median of LightGBM's times and of
how many times as long GLN takes. Needs LightGBM. `--quick` runs tiny settings.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.datasets import make_classification, make_friedman1

from benchmarks.classifier import HELD_OUT, TABLES
from benchmarks.report import command_line, machine, show
from gln.sklearn import GLNClassifier, GLNRegressor

LEVELS = (0.1, 0.5, 0.9)
Fit = Callable[[Any, np.ndarray, int], Any]  # of features, targets and a number of threads


def classify(x: Any, y: np.ndarray, threads: int) -> Any:
    return GLNClassifier(random_state=0, n_jobs=threads).fit(x, y)


def boost(x: Any, y: np.ndarray, threads: int) -> Any:
    return LGBMClassifier(n_jobs=threads, verbose=-1).fit(x, y)


def regress(x: Any, y: np.ndarray, threads: int) -> Any:
    return GLNRegressor(quantiles=LEVELS, random_state=0, n_jobs=threads).fit(x, y)


def boost_quantiles(x: Any, y: np.ndarray, threads: int) -> Any:
    models = [LGBMRegressor(objective="quantile", alpha=level, n_jobs=threads, verbose=-1) for level in LEVELS]
    return [model.fit(x, y) for model in models]


def table(rows: int, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    kind = {"n_informative": 12, "n_redundant": 2, "n_clusters_per_class": 8 // classes or 1, "flip_y": 0.03}
    return make_classification(rows, 20, n_classes=classes, random_state=0, **kind)


def seconds(fit: Fit, x: Any, y: np.ndarray, threads: int) -> float:
    start = time.perf_counter()
    fit(x, y, threads)
    return time.perf_counter() - start


def medians(fits: Mapping[str, Fit], x: Any, y: np.ndarray, cores: tuple[int, ...], repeats: int) -> dict[str, float]:
    """Of the seconds of each fit on so many cores, by turns."""
    for fit in fits.values():
        fit(x, y, cores[-1])  # compiles
    found = [
        {f"{name}, {threads}": seconds(fit, x, y, threads) for name, fit in fits.items() for threads in cores}
        for _ in range(repeats)
    ]
    return {str(name): float(of_fit) for name, of_fit in pd.DataFrame(found).median().items()}


def on_two_cores(fits: Mapping[str, Fit], x: Any, y: np.ndarray, repeats: int) -> dict[str, float]:
    of = medians(fits, x, y, (1, 2), repeats)
    found = {f"{name}, times as fast": of[f"{name}, 1"] / of[f"{name}, 2"] for name in fits}
    return found | {f"{name}, s on two": of[f"{name}, 2"] for name in fits}


def main() -> None:
    options = command_line(__doc__).parse_args()
    warnings.filterwarnings("ignore")
    factor, repeats = (100, 1) if options.quick else (1, 5)
    models, of_quantiles = {"GLN": classify, "LightGBM": boost}, {"GLN": regress, "LightGBM": boost_quantiles}
    settings: dict[str, Any] = {f"{rows:,} rows": (models, *table(rows // factor)) for rows in (2000, 20_000, 200_000)}
    settings["20,000 rows, 26 classes"] = models, *table(20_000 // factor, 26)
    settings["20,000 rows, three quantiles"] = of_quantiles, *make_friedman1(20_000 // factor, 20, random_state=0)
    print(machine())
    found = {name: on_two_cores(fits, x, y, repeats) for name, (fits, x, y) in settings.items()}
    show("Fits on one core and on two", pd.DataFrame(found).T, 2, file=options.csv, columns="measure")
    chosen = ["breast_cancer"] if options.quick else [*HELD_OUT]
    loaded = [(TABLES | HELD_OUT)[name]() for name in chosen]
    times = pd.DataFrame([medians(models, *of_table, (2,), 1) for of_table in loaded])
    ratio = (times["GLN, 2"] / times["LightGBM, 2"]).median()
    boosting = times["LightGBM, 2"].median()
    print(f"{len(times)} tables on two cores: LightGBM {boosting:.2f} s, GLN {ratio:.1f} times as long")


if __name__ == "__main__":
    main()
