"""How good `GLNClassifier` is on raw tables at its defaults, beside scikit-learn's linear model and perceptron.

`python -m benchmarks.classifier` prints, for scikit-learn's bundled tables and for two that it draws, accuracy and
log-loss in 5-fold cross-validation and the seconds of a fit; `--quick` runs one seed on two folds.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import cross_validate
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from benchmarks.defaults import TABLES as BUNDLED
from benchmarks.defaults import noisy_labels
from benchmarks.report import machine, show
from gln.sklearn import GLNClassifier

TABLES: dict[str, Callable[[], Any]] = {
    **BUNDLED,
    "two moons, noise 0.25": lambda: make_moons(500, noise=0.25, random_state=0),
    "30 % of the labels at random": lambda: noisy_labels(1000),
}
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
    accuracies, losses, seconds = (pd.DataFrame(index=list(TABLES), columns=list(MODELS)) for _ in range(3))
    for name, table in tqdm(TABLES.items(), leave=False):
        x, y = table()
        for title, model in MODELS.items():
            scoring = ["accuracy", "neg_log_loss"]
            runs = [cross_validate(model(seed), x, y, cv=folds, scoring=scoring) for seed in range(seeds)]
            means = 100 * np.array([run["test_accuracy"].mean() for run in runs])
            accuracies.loc[name, title] = f"{means.mean():.2f} ({means.min():.2f} to {means.max():.2f})"
            losses.loc[name, title] = -np.mean([run["test_neg_log_loss"] for run in runs])
            seconds.loc[name, title] = np.median([run["fit_time"] for run in runs])
    print(machine())
    show(f"Accuracy in percent, {folds} folds: mean of {seeds} seeds (lowest to highest)", accuracies)
    show("Log-loss, mean", losses, 3)
    show("Seconds of one fit, median", seconds, 3)


if __name__ == "__main__":
    main()
