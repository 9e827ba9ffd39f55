"""Speed-up with several processes: seconds of a fit of many heads, with one worker and with more.

`python -m benchmarks.scaling` fits `GLNClassifier`, one network of 64 and 32 neurons in one pass, to random tables of
10,000 samples, 50 features and various numbers of classes, one head per class. Each worker has one thread; compilation
and process start are not timed. The overhead is the time of two workers minus half the time of one. Times for more
workers are computed, not measured: their share of one worker's time, plus this overhead. `--quick` runs a tiny setting.
"""

from __future__ import annotations

import os
import time

import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks.report import command_line, machine, show
from gln.sklearn import GLNClassifier


def seconds(heads: int, workers: int, samples: int, repeats: int) -> float:
    """The median time of a fit."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(samples, 50)), np.arange(samples) % heads
    model = GLNClassifier((64, 32), n_networks=1, n_epochs=1, backend="numba", random_state=0, n_jobs=workers)
    model.fit(x[: 2 * heads], y[: 2 * heads])  # compiles, and starts the processes
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        model.fit(x, y)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def main() -> None:
    options = command_line(__doc__).parse_args()
    os.environ["NUMBA_NUM_THREADS"] = "1"  # read when Numba is imported, here and in the workers
    counts, samples, repeats = ([5, 10], 100, 1) if options.quick else ([10, 30, 100, 300], 10000, 3)
    rows = {}
    for heads in tqdm(counts, leave=False):
        one, two = (seconds(heads, workers, samples, repeats) for workers in (1, 2))
        rows[heads] = {"1 worker": one, "2 workers": two, "times as fast": one / two}
    table = pd.DataFrame(rows).T.rename_axis("heads")
    share = {workers: np.ceil(table.index / workers) / table.index for workers in (2, 4, 8, 16)}
    cost = table["2 workers"] - table["1 worker"] * share.pop(2)
    for workers, part in share.items():
        table[f"{workers} workers, computed"] = table["1 worker"] * part + cost
    print(machine())
    show("Seconds of a fit, by heads", table, 2, file=options.csv, columns="measure")


if __name__ == "__main__":
    main()
