"""How much GLNs and others forget when a stream of digits changes, and what that costs in memory and time.

Permuted MNIST: task 0 is MNIST, and each later task has its own permutation of the pixels. Split-MNIST: five pairs of
digits, one after another. Class-incremental, a model tells the ten digits apart; domain-incremental, it only tells
whether a digit is the first or the second of its pair. "Shuffled" is class-incremental with all digits in random order.

All models learn the same digits in the same order, in one pass. None is told which task a digit belongs to, and only
EWC is told where a task ends; it then sees the digits of the task once more. Its strength is the best of three on
training digits held out, for each experiment. All digits are deskewed. GLNs get unscaled pixels, because running
statistics over several tasks fit none of them; the perceptron and the linear model do better on pixels scaled by the
mean and standard deviation of all of MNIST, so they get these.

`python -m benchmarks.forgetting` prints all tables as Markdown: percentages of the test digits, averaged over seeds,
which determine the permutations, the digits, their order, and the models' initial weights, halfspaces or random
features. Megabytes are what a model keeps from one digit to the next, seconds are processor time for learning. The last
tables have networks whose heads learn only from digits of their own class, for several orders of the pairs, and
`benchmarks.sorted_classes`.
`--plot FILE` draws accuracy against memory. `--models` runs some models, on the first two experiments. `--quick` runs
on few digits, with few halfspaces, to check that everything works. The fastest installed backend is used; PyTorch is
needed.

Source of the first experiment: Veness et al., Gated Linear Networks, AAAI 2021, where it shows resilience to
forgetting; of the second: van de Ven and Tolias, Three scenarios for continual learning, 2019.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks.forgetting_models import Classifier, Linear, Model, OnlineGLN, Perceptron, Replay, Ridge, StreamingLDA
from benchmarks.report import command_line, machine, show
from benchmarks.sorted_classes import tables_of_sorted
from gln.mnist import PIXELS, Digits, deskew, load_mnist

CHUNK = 800  # digits passed to a model at a time
HELD_OUT = 1 / 6  # share of the training digits that choose EWC's strength
STRENGTHS = (30.0, 1e3, 1e5)  # of EWC
ORDERS = ((0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 3, 1, 4), (1, 4, 0, 3, 2), (3, 2, 4, 0, 1))  # of the five pairs


class Size(NamedTuple):
    """The size of the experiments."""

    tasks: int  # of permuted MNIST
    train: int  # digits of each of these tasks that are learned
    split: int  # digits of Split-MNIST that are learned
    test: int  # digits of each task of permuted MNIST that are classified; of Split-MNIST all are
    halfspaces: tuple[int, ...]  # numbers of them, of networks whose heads learn from their own class
    seeds: int


FULL = Size(tasks=8, train=10000, split=60000, test=2000, halfspaces=(4, 8, 12), seeds=3)
QUICK = Size(tasks=2, train=100, split=200, test=100, halfspaces=(2, 4), seeds=1)

Make = Callable[[int, int], Model]  # makes a model from a seed and a number of classes


class Run(NamedTuple):
    """What one model did with one seed."""

    end: float  # percentage of test digits recognised at the end, averaged over tasks
    forgotten: float  # how much higher it was when each task but the last had just been learned
    seconds: float
    megabytes: float


def learn(model: Model, images: np.ndarray, labels: np.ndarray) -> float:  # (B, 784), (B,)
    """Learn a task, and return the seconds."""
    start = time.process_time()
    for first in range(0, len(labels), CHUNK):
        model.learn(images[first : first + CHUNK], labels[first : first + CHUNK])
    model.end_task(images)
    return time.process_time() - start


def accuracy(model: Model, images: np.ndarray, labels: np.ndarray) -> float:  # (B, 784), (B,)
    blocks = range(0, len(labels), CHUNK)
    return 100 * float((np.concatenate([model.classify(images[b : b + CHUNK]) for b in blocks]) == labels).mean())


def permuted(make: Make, digits: Digits, size: Size, seed: int) -> Run:
    x_train, y_train, x_test, y_test = digits
    rng, model = np.random.default_rng(seed), make(seed, 10)
    pixels = [np.arange(PIXELS), *(rng.permutation(PIXELS) for _ in range(size.tasks - 1))]
    tested = rng.permutation(len(x_test))[: size.test]
    seconds, learned = 0.0, []
    for places in pixels:
        some = rng.permutation(len(x_train))[: size.train]
        seconds += learn(model, x_train[some][:, places], y_train[some])
        learned.append(accuracy(model, x_test[tested][:, places], y_test[tested]))
    end = np.array([accuracy(model, x_test[tested][:, places], y_test[tested]) for places in pixels])
    return Run(end.mean(), (learned - end)[:-1].mean(), seconds, model.nbytes() / 1e6)


def split(
    make: Make, digits: Digits, size: Size, seed: int, pairs: Sequence[int] | None = ORDERS[0], domain: bool = False
) -> Run:
    """Split-MNIST, with the pairs in this order, or with all digits shuffled."""
    x_train, y_train, x_test, y_test = digits
    some = np.random.default_rng(seed).permutation(len(y_train))[: size.split]
    tasks = [some] if pairs is None else [some[y_train[some] // 2 == pair] for pair in pairs]
    model, classes = make(seed, 2 if domain else 10), 2 if domain else 10
    seconds = sum(learn(model, x_train[task], y_train[task] % classes) for task in tasks)
    return Run(accuracy(model, x_test, y_test % classes), np.nan, seconds, model.nbytes() / 1e6)


SCENARIOS: dict[str, dict[str, Any]] = {
    "class-incremental": {},
    "domain-incremental": {"domain": True},
    "shuffled": {"pairs": None},
}
EWC = "perceptron, EWC"
TICKS = (0.2, 0.5, 0.8, 0.85, 0.9, 0.92, 0.94, 0.96, 0.98)  # of the picture
# Of the picture: a part of the names of some models, their label, colour and mark.
FAMILIES = (
    ("own class", "GLNs, heads of their own class", "#0072b2", "s"),
    ("GLN", "GLNs", "#d55e00", "o"),
    ("perceptron", "perceptrons", "#666666", "^"),
    ("", "others", "#000000", "D"),
)
# Where a name stands from its point, if not to the right: what else would overlap.
LEFT = (-7, -3, "right")
BESIDE = {
    **dict.fromkeys(("perceptron", "perceptron, EWC", "perceptron, replay of 1,000", "streaming LDA"), LEFT),
    **dict.fromkeys(("GLN [64], k = 4, own class", "GLN [64], k = 8, own class", "ridge, 2,000 random features"), LEFT),
    "GLN [16, 16], k = 4": (-7, 1, "right"),
    "perceptron, EWC": (-7, -1, "right"),
    "ridge, 500 random features": (0, 7, "center"),
}
PERMUTED: dict[str, Make] = {
    "GLN [16, 16], k = 4": functools.partial(OnlineGLN, [16, 16]),
    "GLN [32, 16], k = 4": functools.partial(OnlineGLN, [32, 16]),
    "GLN [32, 16], k = 10": functools.partial(OnlineGLN, [32, 16], context_map_size=10),
    "perceptron": Perceptron,
    EWC: Perceptron,  # with a strength
    "perceptron, replay of 1,000": functools.partial(Replay, Perceptron, 1000),
    "linear model": Linear,
}


def own_class(halfspaces: Sequence[int]) -> dict[str, Make]:
    """GLNs whose heads learn only from digits of their own class.

    Their rate is constant, because the default one falls with each digit, of whatever class, so that the order of
    classes would matter. The rates were compared on held-out digits.
    """
    sizes = [([64], k, 1.0) for k in halfspaces] + [([32, 16], halfspaces[-1], 0.3)]
    return {
        f"GLN {layers}, k = {k}, own class": functools.partial(
            OnlineGLN, layers, own=True, context_map_size=k, learning_rate=rate
        )
        for layers, k, rate in sizes
    }


def split_models(size: Size) -> dict[str, Make]:
    small, large = PERMUTED["GLN [32, 16], k = 4"], PERMUTED["GLN [32, 16], k = 10"]
    return {
        "GLN [32, 16], k = 4": small,
        "GLN [32, 16], k = 10": large,
        "GLN [32, 16], k = 4, replay of 1,000": functools.partial(Replay, small, 1000),
        "GLN [32, 16], k = 10, replay of 1,000": functools.partial(Replay, large, 1000),
        **own_class(size.halfspaces),
        "GLNDensityClassifier()": Classifier,
        "perceptron": Perceptron,
        EWC: Perceptron,
        "perceptron, replay of 1,000": functools.partial(Replay, Perceptron, 1000),
        "streaming LDA": StreamingLDA,
        "ridge, 500 random features": functools.partial(Ridge, 500),
        "ridge, 2,000 random features": functools.partial(Ridge, 2000),
    }


def run_all(
    models: dict[str, Make], experiment: Callable[..., Run], digits: Digits, size: Size
) -> dict[str, list[Run]]:
    """The runs of each model, one per seed."""
    runs = {}
    for name, make in tqdm(models.items(), leave=False):
        if name == EWC:
            make = functools.partial(Perceptron, strength=best_strength(experiment, digits, size))
        runs[name] = [experiment(make, digits, size, seed) for seed in range(size.seeds)]
    return runs


def best_strength(experiment: Callable[..., Run], digits: Digits, size: Size) -> float:
    """EWC's strength that is best on training digits that are held out, with a seed that is not used otherwise."""
    x, y, _, _ = digits
    first = round(len(x) * (1 - HELD_OUT))
    held_out = x[:first], y[:first], x[first:], y[first:]
    found = {
        s: experiment(functools.partial(Perceptron, strength=s), held_out, size, size.seeds).end for s in STRENGTHS
    }
    print(f"EWC, percent of held-out digits for each strength: {found}")
    return max(STRENGTHS, key=found.__getitem__)


def mean(field: str, runs: list[Run]) -> float:
    return float(np.mean([getattr(run, field) for run in runs]))


def table_of_permuted(runs: dict[str, list[Run]]) -> pd.DataFrame:
    rows = {}
    for name, own in runs.items():
        ends = [run.end for run in own]
        rows[name] = {
            "mean of all tasks at the end": mean("end", own),
            "lowest seed": min(ends),
            "highest seed": max(ends),
            "forgotten, on all but the last": mean("forgotten", own),
            "megabytes": mean("megabytes", own),
            "seconds": mean("seconds", own),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def table_of_split(runs: dict[str, dict[str, list[Run]]]) -> pd.DataFrame:
    first, *_ = runs.values()
    table = pd.DataFrame(
        {scenario: {name: mean("end", some[name]) for name in first} for scenario, some in runs.items()}
    )
    for field in ("megabytes", "seconds"):
        table[field] = {name: mean(field, own) for name, own in first.items()}
    return table


def table_of_orders(digits: Digits, size: Size, orders: Sequence[Sequence[int]]) -> pd.DataFrame:
    """Accuracy of what learns each class alone for each order of the pairs, with one seed."""
    models = {name: (make, size) for name, make in own_class(size.halfspaces[-1:]).items()}
    few = size._replace(split=size.split // 6)  # because it takes ten times as long
    models[f"GLNDensityClassifier(), {few.split} digits"] = Classifier, few
    columns: dict[str, dict[str, float]] = {}
    for name, (make, own) in tqdm(models.items(), leave=False):
        for scenario in ("class-incremental", "domain-incremental"):
            columns[f"{name}: {scenario}"] = {
                ", ".join(f"{2 * pair}{2 * pair + 1}" for pair in pairs): split(
                    make, digits, own, 0, **{**SCENARIOS[scenario], "pairs": pairs}
                ).end
                for pairs in orders
            }
    return pd.DataFrame(columns)


def draw(panels: dict[str, dict[str, list[Run]]], file: str) -> None:
    """Accuracy against memory, a panel for each experiment."""
    from matplotlib.figure import Figure  # Matplotlib is needed only for pictures
    from matplotlib.ticker import FixedLocator, NullFormatter, PercentFormatter

    figure = Figure(figsize=(5.4, 8.4), layout="constrained")
    every = figure.subplots(len(panels), 1, height_ratios=range(4, 4 + len(panels)))
    for axes, (title, runs) in zip(every, panels.items(), strict=True):
        left = set(runs)
        for family, label, colour, mark in FAMILIES:
            names = [name for name in runs if family in name and name in left]
            left -= set(names)
            places = [(mean("megabytes", runs[name]), mean("end", runs[name]) / 100) for name in names]
            axes.plot(*zip(*places, strict=True), mark, color=colour, markersize=6, label=label)
            for name, place in zip(names, places, strict=True):
                *offset, side = BESIDE.get(name, (7, -3, "left"))
                shown = name.removeprefix("GLN ").split(", own")[0].split(" of 1")[0]
                looks = {"fontsize": 9, "color": colour, "ha": side, "textcoords": "offset points"}
                axes.annotate(shown, place, offset, **looks)
        axes.set(xscale="log", yscale="logit", title=title, ylabel="accuracy", xlim=(0.003, 1e6))
        axes.yaxis.set_major_locator(FixedLocator(TICKS))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*every[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    every[-1].set_xlabel("megabytes kept from one digit to the next")
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--plot", metavar="FILE", help="draw accuracy against memory")
    parser.add_argument("--seeds", type=int, metavar="N", help="average over N seeds instead of 3")
    text = "models of the first two experiments; all by default"
    parser.add_argument("--models", nargs="+", choices=list(PERMUTED), metavar="MODEL", help=text)
    options = parser.parse_args()
    size, step = (QUICK, 50) if options.quick else (FULL, 1)
    x_train, y_train, x_test, y_test = (part[::step] for part in load_mnist(deskew=False))
    digits = deskew(x_train), y_train, deskew(x_test), y_test
    size = size._replace(seeds=options.seeds or size.seeds)
    print(machine())
    print(size)

    def chosen(models: dict[str, Make]) -> dict[str, Make]:
        if options.quick:  # without networks whose weights fill a gigabyte
            models = {name: make for name, make in models.items() if "k = 10" not in name}
        return {name: make for name, make in models.items() if not options.models or name in options.models}

    of_permuted = run_all(chosen({**PERMUTED, **own_class(size.halfspaces)}), permuted, digits, size)
    show(
        f"Permuted MNIST, {size.tasks} tasks of {size.train} digits",
        table_of_permuted(of_permuted),
        file=options.csv,
        columns="measure",
    )
    models, of_split = chosen(split_models(size)), {}
    for name, settings in SCENARIOS.items():
        of_split[name] = run_all(models, functools.partial(split, **settings), digits, size)
    show(f"Split-MNIST, {size.split} digits", table_of_split(of_split), file=options.csv, columns="measure")
    if options.models:
        return
    by_order = table_of_orders(digits, size, ORDERS[: 2 if options.quick else None])
    show("Own-class heads by order of the pairs", by_order, 2, file=options.csv)
    for measure, table in tables_of_sorted(size.seeds, options.quick).items():
        show(f"Tables as streams, by gln.river: {measure}", table, 3, file=options.csv)
    if options.plot:
        draw(
            {"Permuted MNIST": of_permuted, "Split-MNIST, class-incremental": of_split["class-incremental"]},
            options.plot,
        )


if __name__ == "__main__":
    main()
