"""How `GLN`'s defaults were chosen: on long, short, wide and narrow streams, each learned in one pass.

`python -m benchmarks.defaults` prints accuracy in percent and log-loss for every setting that was tried, from
progressive validation: each sample is predicted, then learned. The streams are scikit-learn's bundled tables and 2,000
samples of which 30% have random labels, each shuffled with 20 seeds, and deskewed MNIST, shuffled with one. Inputs are
standardised online and also serve as side information; the network is [16, 16] with 4 halfspaces per neuron. The first
line is the default; every other line changes one thing. `--quick` runs on the first 40 samples of each stream.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn import datasets
from tqdm import tqdm

from benchmarks.report import command_line, machine, show
from gln.backends import load_backend
from gln.engine.batches import SampleBatch
from gln.engine.model.targets import sum_to_one
from gln.engine.tabular.model import TableModel
from gln.features import Standardizer
from gln.mnist import load_mnist

Stream = tuple[np.ndarray, np.ndarray]  # samples (N, D), labels (N,)
TABLES: dict[str, Callable[[], Any]] = {
    name: functools.partial(getattr(datasets, f"load_{name}"), return_X_y=True)
    for name in ("digits", "breast_cancer", "wine", "iris")
}


def noisy_labels(samples: int) -> Stream:
    """Ten features, and 30% of the labels at random."""
    return datasets.make_classification(samples, 10, n_informative=5, flip_y=0.3, random_state=0)


def falling(start: float, fall: float, t: int) -> float:
    return start / math.sqrt(1 + t / fall)


def rate(start: float | None, fall: float) -> Callable[[int], Callable[[int], float]]:
    """A function from a network's number of inputs d to its rate; without `start` it starts at min(10, sqrt(d))."""
    return lambda d: functools.partial(falling, min(10.0, math.sqrt(d)) if start is None else start, fall)


SETTINGS: dict[str, dict[str, Any]] = {
    "the default": {},
    **{f"{start} / √(1 + t / 3000)": {"rate": rate(start, 3000)} for start in (0.1, 0.3, 1, 2, 4, 6, 10)},
    **{f"min(10, √d) / √(1 + t / {fall})": {"rate": rate(None, fall)} for fall in (30, 100, 300, 1000, 10000)},
    "min(10, √d), which never falls": {"rate": rate(None, math.inf)},
    "not normalised, the paper's min(100 / (t + 1), 0.01)": {"normalize": False},
    **{f"pred_clipping {clipping:g}": {"pred_clipping": clipping} for clipping in (0.1, 0.01, 1e-4)},
    **{f"context_bias {bias}": {"context_bias": bias} for bias in (0.3, 1.0)},
    "halfspaces from the first 100 samples": {"fitted": 100},
    **{f"context_map_size {k}": {"context_map_size": k} for k in (1, 2, 6)},
    "[16, 16, 1]": {"layer_sizes": [16, 16, 1]},
    "[64, 32]": {"layer_sizes": [64, 32]},
}


def streams(quick: bool) -> dict[str, tuple[Stream, int]]:
    """For each stream, its samples and labels, and the number of seeds that shuffle it."""
    found = {name: (table(), 20) for name, table in TABLES.items()}
    found["noisy labels"] = (noisy_labels(2000), 20)
    found["MNIST"] = (load_mnist(deskew=not quick)[:2], 1)
    return {name: ((x[:40], y[:40]), 1) if quick else ((x, y), seeds) for name, ((x, y), seeds) in found.items()}


def progressive(gln: Any, stream: Stream, seed: int, **setting: Any) -> tuple[float, float]:
    """Accuracy in percent and log-loss of one pass; the probabilities of the heads are normalised to sum to one."""
    x, y = stream
    order, classes = np.random.default_rng(seed).permutation(len(y)), max(2, int(y.max()) + 1)
    samples, labels, size = x[order].T, y[order], x.shape[1]
    setting = {"layer_sizes": [16, 16], "rate": lambda d: None, "fitted": 0, **setting}
    learning_rate, fitted = setting.pop("rate")(size + 1), setting.pop("fitted")
    model = gln(
        input_size=size, context_size=size, num_classes=classes, learning_rate=learning_rate, seed=seed, **setting
    )
    if fitted:
        model.fit_hyperplanes(Standardizer(size).learn(samples[:, :fitted]))
    learner = TableModel.of_network(model, Standardizer(size), model.learning_rate)
    p = sum_to_one(np.concatenate(learner.learn(SampleBatch.of(samples), labels), axis=1))
    return 100 * float((p.argmax(axis=0) == labels).mean()), -float(np.log(p[labels, np.arange(len(labels))]).mean())


def main() -> None:
    gln = load_backend("auto").GLN
    options = command_line(__doc__).parse_args()
    found = streams(options.quick)
    accuracy, loss = (pd.DataFrame(index=list(SETTINGS), columns=list(found), dtype=float) for _ in range(2))
    for title, setting in tqdm(SETTINGS.items(), leave=False):
        for name, (stream, seeds) in found.items():
            runs = [progressive(gln, stream, seed, **setting) for seed in range(seeds)]
            accuracy.loc[title, name], loss.loc[title, name] = np.mean(runs, axis=0)
    print(machine())
    show("Progressive accuracy in percent", accuracy, 2, file=options.csv, columns="task")
    show("Progressive log-loss", loss, 3, file=options.csv, columns="task")


if __name__ == "__main__":
    main()
