"""Predict a table larger than memory: a Dask DataFrame, partition by partition, on two workers.

`python -m benchmarks.partitions` generates 10,000,000 rows of ten features in partitions of 100,000, each when it is
needed, predicts a class for each row on two workers with one thread and a memory limit of 2 GiB each, and prints the
seconds and a worker's peak memory. `--rows` sets another number.
"""

from __future__ import annotations

import resource
import time

import dask.dataframe as dd
import numpy as np
import pandas as pd
from distributed import Client, LocalCluster
from sklearn.datasets import make_classification

from benchmarks.report import command_line, machine
from gln.sklearn import GLNClassifier

PARTITION = 100_000


def table(seed: int, rows: int = PARTITION) -> pd.DataFrame:
    """A partition: ten features."""
    return pd.DataFrame(np.random.default_rng(seed).normal(size=(rows, 10)), columns=[f"x{i}" for i in range(10)])


def probabilities(part: pd.DataFrame, model: GLNClassifier) -> pd.Series:
    """Probability of class 1 for each row of a partition."""
    return pd.Series(model.predict_proba(part)[:, 1], part.index, name="p")


def most_memory() -> float:
    """Peak memory of this process, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, metavar="N", help="rows of the table")
    options = parser.parse_args()
    rows = 200_000 if options.quick else options.rows
    x, y = make_classification(2000, 10, n_informative=5, random_state=0)
    model = GLNClassifier(random_state=0).fit(pd.DataFrame(x, columns=table(0, 1).columns), y)
    frame = dd.from_map(table, range(rows // PARTITION))
    with LocalCluster(n_workers=2, threads_per_worker=1, memory_limit="2GiB") as cluster, Client(cluster) as client:
        start = time.perf_counter()
        p = frame.map_partitions(probabilities, client.scatter(model), meta=("p", float))
        positives = int((p > 0.5).sum().compute())
        seconds, memory = time.perf_counter() - start, client.run(most_memory).values()
    print(machine())
    print(f"{rows:,} rows in {seconds:.0f} s, {positives:,} positive; peak memory of a worker {max(memory):.2f} GiB")


if __name__ == "__main__":
    main()
