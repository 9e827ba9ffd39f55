"""Tables as streams sorted by class, for `benchmarks.forgetting`: `gln.river.GLNClassifier` and `GLNDensityClassifier`,
whose classes learn from their own samples alone, on the same rows shuffled and one class after another.

A random 70 percent of the rows are learned in one pass, in a random order of the classes, and the others are predicted
at the end. All is averaged over seeds. The classifier standardises by itself. Optdigits, segment, vowel and letter were
not looked at when the method was chosen.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from benchmarks.classifier import Table, of_keel
from gln.river import GLNClassifier, GLNDensityClassifier
from test_mnist import calibration_error

NAMES = "penbased", "satimage", "texture", "vehicle", "optdigits", "segment", "vowel", "letter"
QUICK: dict[str, Callable[[], Table]] = {"digits": lambda: tuple(a[:300] for a in load_digits(return_X_y=True))}
TABLES: dict[str, Callable[[], Table]] = {name: lambda name=name: of_keel(name) for name in NAMES}  # type: ignore[misc]
MEASURES = "accuracy, %", "log-loss", "calibration error"


def scores(table: Table, kind: type, is_sorted: bool, seed: int) -> tuple[float, float, float]:
    """MEASURES of a classifier after one pass."""
    x, y = pd.DataFrame(table[0]).rename(columns=str), np.asarray(table[1])
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.3, stratify=y, random_state=seed)
    if is_sorted:
        rank = np.random.default_rng(seed).permutation(y.max() + 1)
        order = np.argsort(rank[y], kind="stable")
        x, y = x.iloc[order], y[order]
    model = kind(seed=seed)
    model.learn_many(x, pd.Series(y, index=x.index))
    p = model.predict_proba_many(x_test).reindex(columns=np.unique(table[1]), fill_value=0.0).to_numpy()
    hits = p.argmax(axis=1) == y_test
    return 100 * hits.mean(), log_loss(y_test, p), calibration_error(p.max(axis=1), hits)


def tables_of_sorted(seeds: int, quick: bool) -> dict[str, pd.DataFrame]:
    """For each of MEASURES a frame of tables and kinds of learning."""
    kinds: dict[str, tuple[type, bool]] = {
        "shuffled": (GLNClassifier, False),
        "sorted": (GLNClassifier, True),
        "GLNDensityClassifier, shuffled": (GLNDensityClassifier, False),
        "GLNDensityClassifier, sorted": (GLNDensityClassifier, True),
    }
    rows: dict[str, dict[str, dict[str, float]]] = {measure: {} for measure in MEASURES}
    for name, make in tqdm((QUICK if quick else TABLES).items(), leave=False):
        table = make()
        for kind, (model, is_sorted) in kinds.items():
            means = np.mean([scores(table, model, is_sorted, seed) for seed in range(seeds)], axis=0)
            for measure, value in zip(MEASURES, means, strict=True):
                rows[measure].setdefault(name, {})[kind] = value
    return {measure: pd.DataFrame(of).T for measure, of in rows.items()}
