"""`gln.dask` on many workers, simulated: they run one after another, and each step takes as long as the slowest.

`OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python -m benchmarks.shares` prints log-loss on 20,000 new rows and seconds of
the processor, of `gln.sklearn.GLNClassifier` on one core and of 4, 16 and 64 workers that learn shares of 1,000,000
rows; and of workers with 100,000 rows each, beside one that learns its own and one that learns all. `--tables` selects
some:

- "noise": two classes of four clusters, in 12 of 20 features; 3% of the classes are wrong.
- "clusters": two classes of 16 clusters.

`--quick` learns 8,000 rows of the first table.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss

import gln.dask
import gln.sklearn
from benchmarks.report import command_line, machine, show
from gln.engine.tabular.shares import Cluster

CLUSTERS = {"noise": 4, "clusters": 16}  # of each class
INFORMATIVE, FLIPPED, NEW = 12, 0.03, 20_000
Table = tuple[np.ndarray, np.ndarray]  # features (N, 20), classes (N,)


def rows(kind: str, seed: int, count: int) -> Table:
    """Rows of a table like those of `make_classification`, of which each seed makes other ones."""
    of_table, rng = np.random.default_rng(0), np.random.default_rng([1, seed])
    clusters = 2 * CLUSTERS[kind]
    corners = of_table.choice(1 << INFORMATIVE, clusters, replace=False)
    centers = 2.0 * (corners[:, None] >> np.arange(INFORMATIVE) & 1) - 1
    shapes = of_table.uniform(-1, 1, (clusters, INFORMATIVE, INFORMATIVE))
    redundant = of_table.uniform(-1, 1, (INFORMATIVE, 2))
    cluster, normal = rng.integers(clusters, size=count), rng.normal(size=(count, INFORMATIVE))
    x = np.empty((count, 20), np.float32)
    for number in range(clusters):
        chosen = cluster == number
        x[chosen, :INFORMATIVE] = normal[chosen] @ shapes[number] + centers[number]
    x[:, INFORMATIVE : INFORMATIVE + 2] = x[:, :INFORMATIVE] @ redundant
    x[:, INFORMATIVE + 2 :] = rng.normal(size=(count, 18 - INFORMATIVE))
    return x, cluster % 2 ^ (rng.random(count) < FLIPPED)


class Simulated:
    """Workers whose calls run one after another."""

    def __init__(self, workers: int) -> None:
        self.workers, self.spent = workers, 0.0  # seconds of all workers
        self.steps: list[tuple[str, list[float]]] = []  # calls of one function that could run side by side

    def submit(self, function: Callable[..., Any], *args: Any) -> Any:
        start = time.process_time()
        result = function(*args)
        seconds = time.process_time() - start
        self.spent += seconds
        if not self.steps or self.steps[-1][0] != function.__name__:
            self.steps.append((function.__name__, []))
        self.steps[-1][1].append(seconds)
        return result

    @property
    def seconds(self) -> float:
        """As if they ran side by side."""
        return sum(max(max(of_step), sum(of_step) / self.workers) for _, of_step in self.steps)


def over_workers(table: Table, new: Table, workers: int) -> dict[str, float]:
    simulated = Simulated(workers)
    cluster = Cluster(simulated.submit, threads=workers)
    model, ends = gln.dask.GLNClassifier(random_state=0), np.linspace(0, len(table[1]), workers + 1).astype(int)
    parts = []
    for first, last in itertools.pairwise(ends.tolist()):
        part = gln.dask.Partition.of(table[0][first:last], table[1][first:last], None, None)
        parts.append(part._replace(positions=part.positions + first))
    start = time.process_time()
    model._learn_parts(cluster, parts, ends[1:], has_weights=False)
    seconds = time.process_time() - start - simulated.spent + simulated.seconds
    return {"log-loss": log_loss(new[1], model.predict_proba(new[0])), "seconds": seconds}


def on_one_core(table: Table, new: Table) -> dict[str, float]:
    start = time.process_time()
    model = gln.sklearn.GLNClassifier(random_state=0, n_jobs=1).fit(*table)
    seconds = time.process_time() - start
    return {"log-loss": log_loss(new[1], model.predict_proba(new[0])), "seconds": seconds}


def measured(kind: str, count: int, each: int, workers: Sequence[int]) -> dict[str, dict[str, float]]:
    table, new = rows(kind, 0, max(count, each * workers[-1])), rows(kind, 1, NEW)

    def first(size: int) -> Table:
        return table[0][:size], table[1][:size]

    found = {f"{count:,} rows, one core": on_one_core(first(count), new)}
    found |= {f"{count:,} rows, {number} workers": over_workers(first(count), new, number) for number in workers}
    found[f"{each:,} rows, one core"] = on_one_core(first(each), new)
    for number in workers:
        if each * number <= 2 * count:
            found[f"{each * number:,} rows, one core"] = on_one_core(first(each * number), new)
            found[f"{each * number:,} rows, {number} workers"] = over_workers(first(each * number), new, number)
    return found


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument(
        "--tables", nargs="*", choices=CLUSTERS, default=[*CLUSTERS], metavar="NAME", help="some tables"
    )
    options = parser.parse_args()
    count, each, workers = (8000, 4000, [2]) if options.quick else (1_000_000, 100_000, [4, 16, 64])
    warnings.filterwarnings("ignore")
    if options.quick:
        gln.dask.SAMPLED, gln.dask.HELD_OUT = 1000, 1000
    else:
        over_workers(rows("noise", 0, 120_000), rows("noise", 1, 100), 2)  # compiles
    print(machine())
    for kind in options.tables[: 1 if options.quick else None]:
        found = pd.DataFrame(measured(kind, count, each, workers)).T
        show(f"Shares: {kind}", found, 4, file=options.csv, columns="measure")


if __name__ == "__main__":
    main()
