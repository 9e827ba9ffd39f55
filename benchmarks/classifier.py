"""How good `GLNClassifier` is on raw tables at its defaults, beside scikit-learn's linear model and perceptron.

`python -m benchmarks.classifier` prints, for each of scikit-learn's bundled tables, accuracy in 5-fold cross-validation
and the seconds of a fit; `--quick` runs one seed on two folds.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import cross_validate
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from benchmarks.defaults import TABLES
from benchmarks.report import machine, show
from gln_sklearn import GLNClassifier

MODELS: dict[str, Callable[[int], Any]] = {
    "GLNClassifier": lambda seed: GLNClassifier(random_state=seed),
    "StandardScaler, SGDClassifier": lambda seed: make_pipeline(
        StandardScaler(), SGDClassifier(loss="log_loss", random_state=seed)
    ),
    "StandardScaler, MLPClassifier": lambda seed: make_pipeline(
        StandardScaler(), MLPClassifier(max_iter=500, random_state=seed)
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny setting, whose figures say nothing")
    parser.add_argument("--seeds", type=int, default=10, metavar="S", help="seeds of each model")
    options = parser.parse_args()
    seeds, folds = (1, 2) if options.quick else (options.seeds, 5)
    warnings.simplefilter("ignore", ConvergenceWarning)  # 500 iterations are what the perceptron is given
    accuracies: dict[str, dict[str, str]] = {}
    seconds: dict[str, dict[str, float]] = {}
    for name in tqdm(TABLES, leave=False):
        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        accuracies[name], seconds[name] = {}, {}
        for title, model in MODELS.items():
            runs = [cross_validate(model(seed), x, y, cv=folds) for seed in range(seeds)]
            means = 100 * np.array([run["test_score"].mean() for run in runs])
            accuracies[name][title] = f"{means.mean():.2f} ({means.min():.2f} to {means.max():.2f})"
            seconds[name][title] = float(np.median([run["fit_time"] for run in runs]))
    print(machine())
    title = f"Accuracy in percent, {folds} folds: mean of {seeds} seeds (lowest to highest)"
    show(title, pd.DataFrame.from_dict(accuracies, orient="index"))
    show("Seconds of one fit, median", pd.DataFrame.from_dict(seconds, orient="index"), 3)


if __name__ == "__main__":
    main()
