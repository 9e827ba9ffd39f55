"""A table of Dask, learned and predicted by partition: `gln.dask` and LightGBM on two workers, and a local fit.

`OMP_NUM_THREADS=1 python -m benchmarks.partitions` makes 10,000,000 rows of 20 features, in partitions of 100,000, when
they are needed, and prints for each table of `benchmarks.shares` log-loss on 200,000 new rows, which are predicted by
partition, seconds of the fit by the clock, with two threads in all, and peak memory of a worker in GiB, or of the
process of the local fit. `--rows` sets another number, `--models` selects some.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
from distributed import Client, LocalCluster
from sklearn.metrics import log_loss

import gln.dask
import gln.sklearn
from benchmarks.report import command_line, machine, show
from benchmarks.shares import CLUSTERS, rows

PARTITION, QUICK, NEW = 100_000, 2000, 2  # rows of a partition, with --quick, and partitions to predict
MODELS = ("gln.dask", "LightGBM's Dask", "gln.sklearn")


def partition(seed: int, kind: str, size: int) -> pd.DataFrame:
    features, classes = rows(kind, seed, size)
    return pd.DataFrame(features, columns=[f"x{i}" for i in range(20)]).assign(y=classes)


def most_memory() -> float:
    """Peak memory of this process, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def over_dask(name: str, kind: str, count: int, size: int) -> dict[str, float]:
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as two, Client(two) as client:
        table, new = (
            dd.from_map(partition, range(*ends), kind=kind, size=size) for ends in ((count,), (count, count + NEW))
        )
        if name == "gln.dask":
            model: Any = gln.dask.GLNClassifier(random_state=0)
            warm = gln.dask.GLNClassifier(random_state=0)
            if size > QUICK:  # compiles
                warm.fit(*(table.partitions[:3][columns] for columns in (new.columns[:-1].tolist(), "y")))
        else:
            from lightgbm import DaskLGBMClassifier

            model = DaskLGBMClassifier(random_state=0, verbose=-1)
        start = time.perf_counter()
        x, y = table.drop(columns="y"), table["y"]
        if name != "gln.dask":  # which needs both on the same worker
            x, y = client.persist([x, y])
        model.fit(x, y)
        seconds, memory = time.perf_counter() - start, max(client.run(most_memory).values())
        p = np.asarray(da.compute(model.predict_proba(new.drop(columns="y")))[0])
        return {"log-loss": log_loss(new["y"].compute(), p), "seconds": seconds, "GiB": memory}


def local(kind: str, count: int, size: int) -> dict[str, float]:
    """In a process of its own, with threads on two cores."""
    parts = [rows(kind, seed, size) for seed in range(count)]
    x, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    del parts
    if size > QUICK:  # compiles
        gln.sklearn.GLNClassifier(random_state=0).fit(x[:size], y[:size])
    start = time.perf_counter()
    model = gln.sklearn.GLNClassifier(random_state=0, n_jobs=2).fit(x, y)
    seconds, new = time.perf_counter() - start, [rows(kind, seed, size) for seed in range(count, count + NEW)]
    loss = float(np.mean([log_loss(classes, model.predict_proba(features)) for features, classes in new]))
    return {"log-loss": loss, "seconds": seconds, "GiB": most_memory()}


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, metavar="N", help="rows of the table")
    parser.add_argument("--models", nargs="*", choices=MODELS, default=MODELS, metavar="NAME", help="some models")
    parser.add_argument(
        "--tables", nargs="*", choices=CLUSTERS, default=[*CLUSTERS], metavar="NAME", help="some tables"
    )
    options = parser.parse_args()
    size, tables = (QUICK, options.tables[:1]) if options.quick else (PARTITION, options.tables)
    count = 3 if options.quick else options.rows // size
    warnings.filterwarnings("ignore")
    print(machine())
    for kind in tables:
        found = {}
        for name in options.models:
            if name == "gln.sklearn":
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                    found[name] = pool.submit(local, kind, count, size).result()
            else:
                found[name] = over_dask(name, kind, count, size)
        show(f"{count * size:,} rows: {kind}", pd.DataFrame(found).T, 4, file=options.csv, columns="measure")


if __name__ == "__main__":
    main()
