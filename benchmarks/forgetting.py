"""How much a GLN forgets on permuted MNIST, one task after another, compared with scikit-learn's MLP and linear model.

Task 0 is MNIST, deskewed; each later task has its own permutation of the pixels. One model learns all tasks online, in
one pass, and is never told where a task ends or which task a digit belongs to. After each task it is tested on all
tasks so far, on the test set. All models see the same digits in the same order. The GLN gets unscaled pixels: running
statistics over several tasks fit none of them, and shift the network's gates. The other two do better on pixels scaled
by the mean and standard deviation of all of MNIST, so they get these.

`python -m benchmarks.forgetting` prints, as Markdown, a table of these accuracies for each model, and a summary of all.
`--plot FILE` draws how the accuracy changes with the tasks learned, `--quick` runs on a few digits only, to check that
everything works. Every figure is a percentage of the test digits, averaged over several seeds, which determine the
permutations, the digits, their order and the models' initial weights or halfspaces. The fastest installed backend is
used.

Source of the experiment: Veness et al., Gated Linear Networks, AAAI 2021, where it shows resilience to forgetting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from sklearn.linear_model import SGDClassifier
from sklearn.neural_network import MLPClassifier
from tqdm import tqdm

from benchmarks.report import command_line, machine, show
from gln.backends import load_backend
from gln.mnist import PIXELS, Digits, load_mnist

CHUNK = 800  # digits passed to a model at a time, for the progress bar; a multiple of both batch sizes


class Size(NamedTuple):
    """The size of the experiment."""

    tasks: int
    train: int  # digits of each task that are learned
    test: int  # digits of each task that are classified after each task
    seeds: int


FULL, QUICK = Size(tasks=8, train=10000, test=2000, seeds=3), Size(tasks=3, train=100, test=100, seeds=1)


class Model(Protocol):
    def learn(self, images: np.ndarray, digits: np.ndarray) -> None:  # (B, 784), (B,)
        """Learn a part of the stream."""

    def classify(self, images: np.ndarray) -> np.ndarray:  # (B, 784) -> (B,)
        """The predicted digits of images."""


class OnlineGLN:
    """A GLN that learns one digit at a time."""

    def __init__(self, layer_sizes: list[int], **settings: Any) -> None:
        gln = load_backend("auto").GLN
        self.model = gln(layer_sizes, PIXELS, PIXELS, num_classes=10, **settings)

    def learn(self, images: np.ndarray, digits: np.ndarray) -> None:  # (B, 784), (B,)
        self.model.predict_online(images.T, images.T, digits)

    def classify(self, images: np.ndarray) -> np.ndarray:  # (B, 784) -> (B,)
        return np.asarray(self.model.predict(images.T, images.T)).argmax(axis=0)


class InBatches:
    """A scikit-learn estimator that gets `batch_size` digits at a time, with scaled pixels."""

    def __init__(self, estimator: Any, batch_size: int) -> None:
        self.estimator, self.batch_size = estimator, batch_size

    def learn(self, images: np.ndarray, digits: np.ndarray) -> None:  # (B, 784), (B,)
        for start in range(0, len(images), self.batch_size):
            batch = slice(start, start + self.batch_size)
            self.estimator.partial_fit(scaled(images[batch]), digits[batch], classes=range(10))

    def classify(self, images: np.ndarray) -> np.ndarray:  # (B, 784) -> (B,)
        return self.estimator.predict(scaled(images))


def scaled(images: np.ndarray) -> np.ndarray:  # (B, 784) -> (B, 784)
    """Pixels scaled by the mean and standard deviation of all of MNIST, which permutations do not change."""
    return (images - np.float32(0.1307)) / np.float32(0.3081)


# The settings were compared by the mean of all tasks at the end, on held-out training digits. The GLN is at its
# defaults except for the sizes. The MLP is the best of those tried: SGD and Adam, 100 to 2000 hidden neurons, rates of
# 0.0001 to 1, batches of 1 to 100, pixels scaled or not. The linear model has a constant rate, because it forgets far
# more at its default rate, which assumes samples in random order.


def gln(seed: int) -> Model:
    return OnlineGLN([32, 16], context_map_size=10, seed=seed)


def mlp(seed: int) -> Model:
    estimator = MLPClassifier((1000,), solver="sgd", learning_rate_init=0.02, momentum=0, random_state=seed)
    return InBatches(estimator, batch_size=32)


def linear(seed: int) -> Model:
    estimator = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.0003, random_state=seed)
    return InBatches(estimator, batch_size=100)


MODELS: dict[str, Callable[[int], Model]] = {
    "GLN [32, 16], 10 halfspaces": gln,
    "MLPClassifier (1000)": mlp,
    "SGDClassifier": linear,
}


def retention(model: Model, digits: Digits, size: Size, seed: int, bar: tqdm) -> np.ndarray:
    """Percentage of test digits recognised: (tasks, tasks), [i, j] for task j after task i, NaN for j > i."""
    x_train, y_train, x_test, y_test = digits
    rng = np.random.default_rng(seed)
    pixels = [np.arange(PIXELS), *(rng.permutation(PIXELS) for _ in range(size.tasks - 1))]
    tested = rng.permutation(len(x_test))[: size.test]
    accuracies = np.full((size.tasks, size.tasks), np.nan)
    for i in range(size.tasks):
        learned = rng.permutation(len(x_train))[: size.train]
        for start in range(0, size.train, CHUNK):
            chunk = learned[start : start + CHUNK]
            model.learn(x_train[chunk][:, pixels[i]], y_train[chunk])
            bar.update(len(chunk))
        for j in range(i + 1):
            accuracies[i, j] = 100 * (model.classify(x_test[tested][:, pixels[j]]) == y_test[tested]).mean()
    return accuracies


def runs_of(name: str, digits: Digits, size: Size) -> np.ndarray:
    """`retention` of a model for each seed, (seeds, tasks, tasks)."""
    with tqdm(desc=name, total=size.seeds * size.tasks * size.train, unit=" digits", leave=False) as bar:
        return np.stack([retention(MODELS[name](seed), digits, size, seed, bar) for seed in range(size.seeds)])


def table_of_tasks(runs: np.ndarray) -> pd.DataFrame:  # (seeds, tasks, tasks)
    """Accuracy on each task after each task, as text: it is blank for later tasks."""
    mean = pd.DataFrame(runs.mean(axis=0)).rename(index="after task {}".format, columns="task {}".format)
    mean["mean"] = mean.mean(axis=1)  # of the tasks so far
    return mean.map(lambda accuracy: "" if np.isnan(accuracy) else f"{accuracy:.1f}")


def summary(runs: np.ndarray) -> dict[str, Any]:  # (seeds, tasks, tasks)
    learned, end = runs.diagonal(axis1=1, axis2=2), runs[:, -1]  # each (seeds, tasks)
    means = end.mean(axis=1)
    return {
        "mean of all tasks at the end": f"{means.mean():.1f}",
        "lowest and highest seed": f"{means.min():.1f}, {means.max():.1f}",
        "task 0 at the end": f"{end[:, 0].mean():.1f}",
        "each task when just learned": f"{learned.mean():.1f}",
        "forgotten, on all but the last": f"{(learned - end)[:, :-1].mean():.1f}",
    }


def draw(runs: dict[str, np.ndarray], file: str) -> None:
    from matplotlib.figure import Figure  # Matplotlib is needed only for pictures

    figure = Figure(figsize=(5.4, 5.8), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True, sharey=True)
    for name, run in runs.items():
        mean = run.mean(axis=0)
        tasks = np.arange(1, len(mean) + 1)
        panels[0].plot(tasks, mean[:, 0], marker="o", markersize=4, label=name)
        panels[1].plot(tasks, np.nanmean(mean, axis=1), marker="o", markersize=4, label=name)
    panels[0].set_title("Task 0", fontsize=11)
    panels[1].set_title("Mean of the tasks learned", fontsize=11)
    panels[0].legend(frameon=False)
    panels[1].set_xlabel("tasks learned")
    for axes in panels:
        axes.set_ylabel("accuracy, %")
        axes.set_xticks(tasks)
        axes.grid(alpha=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle("Permuted MNIST, one online pass, one task after another", fontsize=11)
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--plot", metavar="FILE", help="draw accuracy against the tasks learned")
    options = parser.parse_args()
    size, digits = QUICK if options.quick else FULL, load_mnist()
    print(machine())
    print(f"{size.tasks} tasks of {size.train} digits, tested on {size.test} digits each; seeds: {size.seeds}")
    runs = {}
    for name in MODELS:
        runs[name] = runs_of(name, digits, size)
        show(f"{name}: accuracy on each task", table_of_tasks(runs[name]))
    rows = {name: summary(run) for name, run in runs.items()}
    show("All models, percent of the test digits", pd.DataFrame.from_dict(rows, orient="index"))
    if options.plot:
        draw(runs, options.plot)


if __name__ == "__main__":
    main()
