"""Time and memory of `GLNClassifier` on long tables and many classes, compared with scikit-learn's classifiers.

`OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python -m benchmarks.long` prints the CPU seconds of a fit, its peak memory in
MiB besides the table, and accuracy and log-loss on 5,000 other rows (50,000 for tables of at least 100,000 rows). All
models are at their defaults; linear models and perceptrons get standardised features. The tables are synthetic, with
seed 0:

- "clusters": two classes, each of eight clusters at corners of a hypercube, and 20 features, of which ten are
  informative and four are linear combinations of these (`make_classification`).
- "noisy": two classes whose log-odds are a smooth function of five of 20 features (`make_friedman1`).
- "forest", like covertype: seven kinds of trees, each with a preferred elevation, area and soils; ten numbers,
  such as slope and distances, and 44 columns of 0 and 1 for area and soil.
- "areas": the same sizes, but each class is four clusters, and the meaning of the 44 columns depends on the numbers.
- "classes": 200 or 40 classes, one cluster each, and 20 features, of which 15 are informative.

`--tables` and `--models` select some by name. `--quick` runs a table of each kind with 2,000 rows.
"""

from __future__ import annotations

import ctypes
import functools
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import make_classification, make_friedman1
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.report import command_line, machine, show
from gln.sklearn import GLNClassifier

Table = tuple[np.ndarray, np.ndarray]  # features (N, F), classes (N,)


def clusters(count: int) -> Table:
    options = {"n_informative": 10, "n_redundant": 4, "n_clusters_per_class": 8, "flip_y": 0.01}
    return make_classification(count, 20, random_state=0, **options)


def noisy(count: int) -> Table:
    features, t = make_friedman1(count, 20, random_state=0)
    odds = np.exp(2.5 * (t - t.mean()) / t.std())
    return features, (np.random.default_rng(0).random(count) < odds / (1 + odds)).astype(int)


def areas(count: int) -> Table:
    kind = {"n_informative": 10, "n_redundant": 2, "n_clusters_per_class": 4, "class_sep": 1.2, "flip_y": 0.05}
    shares = [0.36, 0.48, 0.06, 0.01, 0.02, 0.03, 0.04]
    hidden, labels = make_classification(count, 16, n_classes=7, weights=shares, random_state=0, **kind)
    rng, columns = np.random.default_rng(0), [hidden[:, :10]]
    for number, noise in ((4, 1.0), (40, 1.5)):  # columns of 0 and 1, and noise in choosing one of them
        scores = hidden[:, 10:] @ rng.normal(size=(6, number)) + noise * rng.gumbel(size=(count, number))
        columns.append(np.eye(number)[scores.argmax(axis=1)])
    return np.concatenate(columns, axis=1), labels


def forest(count: int) -> Table:
    rng = np.random.default_rng(0)
    area = rng.integers(0, 4, count)
    height = 2000 + 300 * area + 400 * rng.normal(size=count)
    soil = ((height - 1000) / 75 + 3 * area + 4 * rng.normal(size=count)).clip(0, 39).astype(int)
    aspect, slope = rng.uniform(0, 2 * np.pi, count), rng.gamma(3, 5, count)
    water, road, fire = (rng.exponential(mean, count) for mean in (250, 2000, 1800))
    shade = [a + b * np.sin(aspect + c) * slope / 15 for a, b, c in ((220, 30, 0), (225, 15, np.pi / 2), (140, -30, 0))]
    numbers = [height, aspect, slope, water, water * rng.normal(0.15, 0.1, count), road, *shade, fire]
    preferred = np.array([3100, 2800, 2400, 2200, 2750, 2420, 3400])
    likes = np.array([1, 1.5, 0.5, -1, -1.5, 0, 0.3]) - ((height[:, None] - preferred) / 180) ** 2 / 2
    likes += rng.normal(0, 0.7, (40, 7))[soil] + rng.normal(0, 0.5, (4, 7))[area] + rng.gumbel(size=(count, 7))
    others = np.stack([np.minimum(water / 300, 2), np.log1p(road / 1000), np.log1p(fire / 1000), shade[1] / 15 - 15])
    likes += others.T @ rng.normal(0, 0.4, (4, 7))
    return np.column_stack([*numbers, np.eye(4)[area], np.eye(40)[soil]]), likes.argmax(axis=1)


def classes(count: int, number: int) -> Table:
    kind = {"n_informative": 15, "n_redundant": 0, "n_clusters_per_class": 1, "class_sep": 3, "flip_y": 0.02}
    return make_classification(count, 20, n_classes=number, random_state=0, **kind)


MANY = ("GLNClassifier", "LogisticRegression")
ALL = ("GLNClassifier", "HistGradientBoostingClassifier", "RandomForestClassifier", "MLPClassifier")
TABLES: dict[str, tuple[Callable[[int], Table], int, tuple[str, ...]]] = {  # a function of rows, rows, models
    "clusters, 20,000 rows": (clusters, 20_000, ALL[:2]),
    "clusters, 200,000 rows": (clusters, 200_000, ALL[:2]),
    "clusters, 1,000,000 rows": (clusters, 1_000_000, ALL[:2]),
    "noisy, 200,000 rows": (noisy, 200_000, ALL[:2]),
    "noisy, 1,000,000 rows": (noisy, 1_000_000, ALL[:2]),
    "forest, 100,000 rows": (forest, 100_000, ALL),
    "areas, 100,000 rows": (areas, 100_000, ALL),
    "40 classes, 2,000 rows": (functools.partial(classes, number=40), 2_000, MANY),
    "200 classes, 2,000 rows": (functools.partial(classes, number=200), 2_000, MANY),
    "200 classes, 20,000 rows": (functools.partial(classes, number=200), 20_000, MANY),
}
MODELS: dict[str, Callable[[], Any]] = {
    "GLNClassifier": lambda: GLNClassifier(random_state=0),
    "HistGradientBoostingClassifier": lambda: HistGradientBoostingClassifier(random_state=0),
    "RandomForestClassifier": lambda: RandomForestClassifier(random_state=0),
    "MLPClassifier": lambda: make_pipeline(StandardScaler(), MLPClassifier(random_state=0)),
    "LogisticRegression": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
}
MEASURES = ("seconds of a fit", "MiB of a fit", "accuracy in percent", "log-loss")


def resident() -> float:
    """MiB of memory that this process uses; NaN without /proc."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096 / 2**20
    except OSError:
        return float("nan")


def watched(fit: Callable[[], Any]) -> tuple[float, float]:
    """CPU seconds of a fit, and its peak memory in MiB above what was in use before."""
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)  # freed memory that is reused would not count
    seen, done = [resident()], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            seen.append(resident())

    thread, start = threading.Thread(target=watch), time.process_time()
    thread.start()
    try:
        fit()
    finally:
        done.set()
        thread.join()
    return time.process_time() - start, max(seen) - seen[0]


def measured(model: Any, table: Table, rows: int) -> list[float]:
    """A model's MEASURES after learning this many rows."""
    (x, y), known = table, np.unique(table[1][:rows])
    seconds, memory = watched(lambda: model.fit(x[:rows], y[:rows]))
    p = model.predict_proba(x[rows:])
    return [seconds, memory, 100 * (known[p.argmax(axis=1)] == y[rows:]).mean(), log_loss(y[rows:], p, labels=known)]


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES), metavar="TABLE")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="MODEL")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    GLNClassifier(n_epochs=1).fit(*clusters(500))  # compiles
    print(machine())
    chosen = options.tables
    if options.quick:
        chosen = {name.rpartition(", ")[0]: name for name in chosen}.values()
    for name in chosen:
        make, rows, models = TABLES[name]
        rows = 2000 if options.quick else rows
        table = make(rows + (5_000 if rows < 100_000 else 50_000))
        found = {
            model: dict(zip(MEASURES, measured(MODELS[model](), table, rows), strict=True))
            for model in models
            if model in options.models
        }
        show(name, pd.DataFrame(found).T, 3, file=options.csv, columns="measure")


if __name__ == "__main__":
    main()
