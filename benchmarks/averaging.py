"""Means of networks: of four workers that share the rows of a stream, and of one network along its stream.

`python -m benchmarks.averaging` prints accuracy and log-loss on new rows after one pass over MNIST and over a noisy
table of 200,000 rows, of networks [64, 32] at their defaults. Seconds are of the processor, with the slowest worker for
all four, as if they ran side by side. `--quick` learns 500 rows.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.datasets import make_classification
from sklearn.metrics import log_loss

from benchmarks.report import command_line, machine, show
from gln.averaging import RunningAverage, average
from gln.backends import load_backend
from gln.engine.model.targets import sum_to_one
from gln.features import Standardizer
from gln.mnist import load_mnist

WORKERS, SNAPSHOTS = 4, 20


class Task(NamedTuple):
    network: Any  # untrained
    x: np.ndarray  # (D, N), in the order of the stream
    y: np.ndarray  # (N,)
    new: tuple[np.ndarray, np.ndarray]  # (D, N), (N,)

    def learn(self, model: Any, rows: np.ndarray | slice) -> float:
        """Seconds."""
        start, x = time.process_time(), self.x[:, rows]
        model.predict_online(x, x, self.y[rows])
        return time.process_time() - start

    def scores(self, model: Any, seconds: float) -> dict[str, float]:
        x, y = self.new
        p = np.asarray(model.predict(x, x))
        p = sum_to_one(p) if p.ndim == 2 else np.stack([1 - p, p])
        right = 100 * float((p.argmax(axis=0) == y).mean())
        return {"accuracy": right, "log-loss": float(log_loss(y, p.T)), "seconds": seconds}


def mnist(seed: int, most: int | None) -> Task:
    x, y, x_new, y_new = (part[:most] for part in load_mnist())
    order, standardizer = np.random.default_rng(seed).permutation(len(x)), Standardizer(x.shape[1])
    model = load_backend("auto").GLN([64, 32], 784, 784, num_classes=10, seed=seed)
    return Task(model, standardizer.learn(x[order].T), y[order], (standardizer.transform(x_new.T), y_new))


def noisy(seed: int, most: int | None) -> Task:
    rows, new = most or 200_000, 20_000
    kind = {"n_informative": 12, "n_redundant": 2, "n_clusters_per_class": 4, "flip_y": 0.03}
    x, y = make_classification(rows + new, 20, random_state=seed, **kind)
    x = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32).T
    model = load_backend("auto").GLN([64, 32], 20, 20, seed=seed)
    return Task(model, x[:, :rows], y[:rows], (x[:, rows:], y[rows:]))


def streamed(task: Task) -> dict[str, dict[str, float]]:
    """One stream: its last weights, and the mean of SNAPSHOTS in its last third."""
    model, rows = copy.deepcopy(task.network), len(task.y)
    seconds, running = task.learn(model, slice(2 * rows // 3)), RunningAverage(model)
    averaging = 0.0
    for part in np.array_split(np.arange(2 * rows // 3, rows), SNAPSHOTS):
        seconds += task.learn(model, part)
        start = time.process_time()
        running.update()
        averaging += time.process_time() - start
    return {
        "one stream": task.scores(model, seconds),
        "the mean of its last third": task.scores(running.network, seconds + averaging),
    }


def shared(task: Task, rounds: int) -> dict[str, float]:
    """Workers that learn every fourth row each, and are averaged this many times."""
    mean, seconds = task.network, 0.0
    for part in np.array_split(np.arange(len(task.y)), rounds):
        workers = [copy.deepcopy(mean) for _ in range(WORKERS)]
        seconds += max(task.learn(worker, part[place::WORKERS]) for place, worker in enumerate(workers))
        start = time.process_time()
        mean = average(workers)
        seconds += time.process_time() - start
    return task.scores(mean, seconds)


TASKS = {"MNIST": mnist, "a noisy table": noisy}


def measured(task: Task, all_rounds: Sequence[int]) -> dict[str, dict[str, float]]:
    alone = copy.deepcopy(task.network)
    found = streamed(task) | {"a worker alone": task.scores(alone, task.learn(alone, slice(0, None, WORKERS)))}
    averages = {f"{WORKERS} workers, averaged {rounds} times": shared(task, rounds) for rounds in all_rounds}
    return found | averages


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=3, metavar="S", help="of halfspaces, order and table")
    options = parser.parse_args()
    seeds, most, rounds = (1, 500, [2]) if options.quick else (options.seeds, None, [1, 4, 16, 64])
    print(machine())
    for name, make in TASKS.items():
        found = pd.concat(pd.DataFrame(measured(make(seed, most), rounds)).T for seed in range(seeds))
        means = found.groupby(level=0, sort=False).mean()
        show(f"One pass over {name}", means, 3, file=options.csv, columns="measure")


if __name__ == "__main__":
    main()
