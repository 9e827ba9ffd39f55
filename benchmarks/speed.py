"""Speed of exact online learning: every installed backend and scikit-learn, in one run on one machine.

`python -m benchmarks.speed` prints its tables as Markdown, `--plot FILE` draws the first of them, and `--quick` runs a
tiny setting, to check that everything works. Runs of different models alternate, so that other load on the machine
affects all of them alike. Each model's first run is not counted, because it compiles; how much longer it takes than the
others is reported separately.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import SGDClassifier
from sklearn.neural_network import MLPClassifier

from benchmarks import bare
from benchmarks.report import command_line, machine, show
from gln.backends import BACKENDS, load_backend
from gln.mnist import PIXELS, load_mnist

STATUS = Path("/proc/self/status")  # of this process, on Linux
Run = Callable[[], Any]
Prepare = Callable[[], Run]  # makes an untrained model, outside the timed part


def backends() -> dict[str, Any]:
    modules = {}
    for name in BACKENDS:
        try:
            modules[name] = load_backend(name)
        except ImportError as error:
            print(f"left out {name}: {error}", file=sys.stderr)
    return modules


def time_of(prepare: Prepare) -> float:
    run = prepare()
    start = time.perf_counter()
    np.asarray(run())  # waits for the result
    return time.perf_counter() - start


def take_turns(models: dict[str, Prepare], repeats: int, samples: int) -> pd.DataFrame:
    """Microseconds per sample: median and spread of `repeats` runs; and the extra time of the first run, in seconds."""
    first = {name: time_of(prepare) for name, prepare in models.items()}
    runs = pd.DataFrame([{name: time_of(prepare) for name, prepare in models.items()} for _ in range(repeats)])
    microseconds = runs * 1e6 / samples
    return pd.DataFrame(
        {
            "median": microseconds.median(),
            "fastest": microseconds.min(),
            "slowest": microseconds.max(),
            "first run": (pd.Series(first) - runs.median()).clip(lower=0),
        }
    )


def online(module: Any, images: np.ndarray, digits: np.ndarray, call: int = 1, **settings: Any) -> Prepare:
    """A pass of `predict_online`, or of `predict` in calls of so many samples, by an untrained network, by default
    [16, 16, 1] with ten heads."""
    settings = {"layer_sizes": [16, 16, 1], "num_classes": 10, "seed": 0, **settings}
    targets = digits if settings["num_classes"] > 2 else digits == 3

    model = module.GLN(input_size=PIXELS, context_size=PIXELS, **settings)
    first_state = model.get_state()

    def prepare() -> Run:
        model.set_state(first_state)  # instead of a new network, for which TensorFlow would compile again
        return lambda: model.predict_online(images, images, targets, call)

    return prepare


def memory_alone(module: Any, images: np.ndarray) -> Prepare:
    """Only reads and writes the rows that each sample picks, once: the limit that memory sets for one thread."""
    state = module.GLN([16, 16, 1], PIXELS, PIXELS, num_classes=10, seed=0).get_state()
    weights = state["weights.1"]  # (n, 2^k, C, d), nearly all of the weights
    rows = weights.reshape(-1, *weights.shape[2:])
    contexts = module.gate(state["hyperplanes.1"], state["hyperplane_bias.1"], images)  # (B, n)
    picked = (contexts + np.arange(weights.shape[0]) * weights.shape[1]).tolist()

    def run() -> None:
        for sample in picked:
            for row in sample:
                np.negative(rows[row], out=rows[row])

    return lambda: run


def bare_loop(module: Any, images: np.ndarray, digits: np.ndarray) -> Prepare:
    model = module.GLN([16, 16, 1], PIXELS, PIXELS, num_classes=10, seed=0)
    return lambda: lambda: bare.one_pass(model, images, digits)


def one_by_one(estimator: Callable[[], Any], images: np.ndarray, digits: np.ndarray) -> Prepare:
    """scikit-learn's `partial_fit`, one sample at a time."""

    def prepare() -> Run:
        model, classes = estimator(), np.arange(10)

        def run() -> None:
            for image, digit in zip(images.T, digits, strict=True):
                model.partial_fit(image[None], [digit], classes=classes)

        return run

    return prepare


def table_of_passes(modules: dict[str, Any], images: np.ndarray, digits: np.ndarray, repeats: int) -> pd.DataFrame:
    models = {f"gln_{name}": online(module, images, digits) for name, module in modules.items()}
    models["bare NumPy loop"] = bare_loop(modules["numpy"], images, digits)
    models["memory alone"] = memory_alone(modules["numpy"], images)
    models["SGDClassifier"] = one_by_one(lambda: SGDClassifier(loss="log_loss"), images, digits)
    models["MLPClassifier (64)"] = one_by_one(lambda: MLPClassifier((64,)), images, digits)
    table = take_turns(models, repeats, len(digits))
    table.insert(0, "MNIST pass, s", table["median"] * 0.06)
    table.insert(1, "times gln_numpy", table["median"]["gln_numpy"] / table["median"])
    return table


GROWTH: dict[str, dict[str, Any]] = {
    "[16, 16, 1], 4 halfspaces, 10 heads": {},
    "[4, 4, 1]": {"layer_sizes": [4, 4, 1]},
    "[64, 64, 1]": {"layer_sizes": [64, 64, 1]},
    "[256, 64, 1]": {"layer_sizes": [256, 64, 1]},
    "1 halfspace": {"context_map_size": 1},
    "8 halfspaces": {"context_map_size": 8},
    "1 head": {"num_classes": 2},
    "100 heads": {"num_classes": 100},
    "predicted 64 at a time": {"call": 64},
    "predicted 512 at a time": {"call": 512},
}


def table_of_growth(
    settings: dict[str, Any], modules: dict[str, Any], images: np.ndarray, digits: np.ndarray, repeats: int
) -> pd.DataFrame:
    """Median microseconds per sample as one setting grows and the others stay the same."""
    rows = {}
    for name, setting in settings.items():
        models = {backend: online(module, images, digits, **setting) for backend, module in modules.items()}
        rows[name] = take_turns(models, repeats, len(digits))["median"]
    return pd.DataFrame(rows).T


def table_of_latencies(modules: dict[str, Any], images: np.ndarray, digits: np.ndarray) -> pd.DataFrame:
    """Median microseconds of one call for one sample, from Python and back."""
    rows: dict[str, dict[str, float]] = {}
    for name, module in modules.items():
        model = module.GLN([16, 16, 1], PIXELS, PIXELS, num_classes=10, seed=0)
        for call, targets in (("predict", None), ("predict with targets", digits)):
            times = []
            for i, image in enumerate(images.T):
                image = np.ascontiguousarray(image)
                start = time.perf_counter()
                np.asarray(model.predict(image, image, None if targets is None else targets[i]))
                times.append(time.perf_counter() - start)
            rows.setdefault(call, {})[f"gln_{name}"] = 1e6 * float(np.median(times[len(times) // 4 :]))
    return pd.DataFrame(rows)


def measure_wide(backend: str, halfspaces: int, layer_sizes: list[int], samples: int) -> None:
    """In a separate process: the time of a wide network per sample, and its memory above that of the imports alone."""
    module = load_backend(backend)
    rng = np.random.default_rng(0)
    images, digits = rng.random((PIXELS, samples), np.float32), rng.integers(0, 10, samples)
    warm = module.GLN([2, 1], PIXELS, PIXELS, num_classes=10, seed=0)
    warm.predict_online(images, images, digits)
    before = _peak()
    model = module.GLN(layer_sizes, PIXELS, PIXELS, num_classes=10, context_map_size=halfspaces, seed=0)
    built = _peak()
    model.predict_online(images, images, digits)  # compiles
    start = time.perf_counter()
    model.predict_online(images, images, digits)
    seconds = time.perf_counter() - start
    model.predict(images[:, :8], images[:, :8], digits[:8])
    below = [PIXELS, *layer_sizes[:-1]]
    weights = sum((n << halfspaces) * 10 * (d + 1) * 4 for n, d in zip(layer_sizes, below, strict=True))
    print(1e3 * seconds / samples, (built - before) / weights, (_peak() - before) / weights, weights / 2**30)


def _peak() -> int:
    """Peak memory of this process, in bytes. The value from `resource` would include the parent's."""
    return 1024 * int(next(line for line in STATUS.open() if line.startswith("VmHWM")).split()[1])


def table_of_wide(names: Collection[str], halfspaces: int, layer_sizes: list[int], samples: int) -> pd.DataFrame:
    columns = ["ms per sample", "peak when built / weights", "peak in all / weights", "weights, GiB"]
    rows = {}
    for name in names:
        command = (
            f"-m benchmarks.speed --samples {samples} --wide {name} {halfspaces} {' '.join(map(str, layer_sizes))}"
        )
        done = subprocess.run([sys.executable, *command.split()], capture_output=True, text=True, check=True)
        rows[f"gln_{name}"] = [float(figure) for figure in done.stdout.split()]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def draw(table: pd.DataFrame, file: str) -> None:
    from matplotlib.figure import Figure  # Matplotlib is needed only for pictures

    ordered = table["MNIST pass, s"].sort_values(ascending=False)
    figure = Figure(figsize=(5.4, 0.32 * len(ordered) + 0.9), layout="constrained")
    axes = figure.subplots()
    for place, (name, seconds) in enumerate(ordered.items()):
        ours = str(name).startswith("gln_")
        looks = {"color": "#0072b2"} if ours else {"color": "#666666", "markerfacecolor": "white"}
        axes.plot(seconds, place, "o", markersize=7, **looks)
        axes.annotate(f"{seconds:.1f}", (seconds, place), (8, 0), textcoords="offset points", va="center", fontsize=10)
    axes.set_yticks(range(len(ordered)), ordered.index, fontsize=10)
    axes.set_xscale("log")
    axes.set_xlim(ordered.min() / 1.5, ordered.max() * 2.5)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("seconds of a pass over MNIST, ten classes", fontsize=10)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--plot", metavar="FILE", help="draw the first table")
    parser.add_argument("--samples", type=int, default=4000, metavar="N", help="digits per run")
    parser.add_argument("--repeats", type=int, default=5, metavar="R", help="timed runs of each model")
    parser.add_argument("--wide", nargs="+", help=argparse.SUPPRESS)  # used by table_of_wide, which runs this module
    options = parser.parse_args()
    if options.wide:
        backend, *numbers = options.wide
        measure_wide(backend, int(numbers[0]), [int(n) for n in numbers[1:]], options.samples)
        return
    samples, repeats = (40, 1) if options.quick else (options.samples, options.repeats)
    modules = backends()
    x_train, y_train, _, _ = load_mnist(deskew=False)
    images, digits = np.ascontiguousarray(x_train[:samples].T), y_train[:samples]
    print(machine())
    passes = table_of_passes(modules, images, digits, repeats)
    title = "One exact online pass, ten heads, [16, 16, 1], 4 halfspaces: microseconds per sample, first run in seconds"
    show(title, passes, file=options.csv, columns="measure")
    if options.plot:
        draw(passes, options.plot)
    few = slice(0, max(40, samples // 4))
    settings = dict(list(GROWTH.items())[1:2] if options.quick else GROWTH)
    growth = table_of_growth(settings, modules, images[:, few], digits[few], repeats)
    show("Microseconds per sample as one setting grows", growth, 0, file=options.csv)
    latencies = table_of_latencies(modules, images[:, few], digits[few])
    show("Microseconds of one call of predict for one sample", latencies, 0, file=options.csv, columns="measure")
    if not STATUS.exists():
        print("the wide network is left out: its memory is read from Linux's /proc", file=sys.stderr)
        return
    for sizes, halfspaces in [([20, 10, 1], 4)] if options.quick else [([2000, 1000, 500, 1], 4), ([1000, 100], 6)]:
        wide = table_of_wide(["numpy"] if options.quick else modules, halfspaces, sizes, 2 if options.quick else 512)
        title = f"A wide network, {sizes}, {halfspaces} halfspaces, ten heads, batch of one"
        show(title, wide, 2, file=options.csv, columns="measure")


if __name__ == "__main__":
    main()
