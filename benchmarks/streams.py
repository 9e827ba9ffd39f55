"""How good River's estimators of `gln.river` are on streams, beside others of River, all at their defaults.

Every sample is predicted and then learned, once and in order, as `river.evaluate.progressive_val_score` does it.
`python -m benchmarks.streams` prints accuracy on streams of classes, mean absolute error on streams of numbers, and
the microseconds that prediction and learning of a sample take together. Streams are River's: data sets that it brings
along, and generators, most of which drift. `--plot FILE` draws, in place of the tables, how accuracy falls and
recovers at two abrupt drifts. `--quick` runs two streams of either kind, 300 samples each. Shuttle came to River after
0.22.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from river import datasets, forest, linear_model, multiclass, neighbors, tree
from river.datasets import synth
from river.preprocessing import StandardScaler

from benchmarks.report import machine, show
from gln.river import GLNClassifier, GLNRegressor

Stream = list[tuple[dict[Any, Any], Any]]  # features and target of each sample
SEED = 42  # of the generators
WARM = 30  # samples that another model of the kind learns before time is taken: compiling happens once a process
CODES = {"green": 0, "red": 1, "brown": 2, "no": 0, "yes": 1, "small": 0, "normal": 1, "large": 2}  # of Mv's strings
DRIFTS, WINDOW = 20000, 500  # of the picture: samples, and of how many before each accuracy is taken
CONCEPTS = (0, 6, 3)  # of the picture: Agrawal's functions, one after another


def concepts(n: int, *generators: Any) -> Stream:
    """n samples or as many as there are, in equal parts of each generator: where one follows on another is a drift."""
    ends = [n * i // len(generators) for i in range(len(generators) + 1)]
    parts = zip(generators, itertools.pairwise(ends), strict=True)
    return [sample for generator, (start, end) in parts for sample in generator.take(end - start)]


def agrawal(n: int, functions: tuple[int, ...] = (0, 6)) -> Stream:
    generators = [synth.Agrawal(f, seed=SEED + i, perturbation=0.1) for i, f in enumerate(functions)]
    return concepts(n, *generators)


def sea(n: int) -> Stream:
    return concepts(n, *(synth.SEA(variant, seed=SEED + variant, noise=0.1) for variant in (0, 3)))


def sine(n: int) -> Stream:
    return concepts(n, *(synth.Sine(function, seed=SEED + function) for function in (0, 1)))


def hyperplane(n: int) -> Stream:
    return concepts(n, synth.Hyperplane(SEED, 10, n_drift_features=5, mag_change=0.001, noise_percentage=0.05))


def random_rbf_drift(n: int) -> Stream:
    generator = synth.RandomRBFDrift(
        SEED, SEED, n_classes=4, n_features=10, n_centroids=20, change_speed=0.001, n_drift_centroids=10
    )
    return concepts(n, generator)


def led_drift(n: int) -> Stream:
    return concepts(n, synth.LEDDrift(SEED, noise_percentage=0.1, irrelevant_features=True, n_drift_features=4))


def waveform(n: int) -> Stream:
    return concepts(n, synth.Waveform(seed=SEED, has_noise=True))


def random_tree(n: int) -> Stream:
    generator = synth.RandomTree(SEED, SEED, n_classes=3, n_num_features=8, n_cat_features=0, max_tree_depth=6)
    return concepts(n, generator)


def water_flow(n: int) -> Stream:
    """Its only feature is a time, of which models get the hour, the weekday and the day of the year."""
    times = [(x["Time"], y) for x, y in datasets.WaterFlow().take(n)]
    return [({"hour": t.hour, "weekday": t.weekday(), "day": t.timetuple().tm_yday}, y) for t, y in times]


def friedman_drift(n: int) -> Stream:
    return concepts(n, synth.FriedmanDrift("lea", (n // 4, n // 2, 3 * n // 4), seed=SEED))


def mv(n: int) -> Stream:
    samples = concepts(n, synth.Mv(seed=SEED))
    return [({name: CODES.get(value, value) for name, value in x.items()}, y) for x, y in samples]


CLASSES: dict[str, Callable[[int], Stream]] = {
    "Phishing": lambda n: concepts(n, datasets.Phishing()),
    "Bananas": lambda n: concepts(n, datasets.Bananas()),
    "ImageSegments": lambda n: concepts(n, datasets.ImageSegments()),
    "Shuttle": lambda n: concepts(n, datasets.Shuttle()),
    "Agrawal, abrupt drift": agrawal,
    "SEA, abrupt drift": sea,
    "Sine, abrupt drift": sine,
    "Hyperplane": hyperplane,
    "RandomRBFDrift": random_rbf_drift,
    "LEDDrift": led_drift,
    "Waveform": waveform,
    "RandomTree": random_tree,
}
NUMBERS: dict[str, Callable[[int], Stream]] = {
    "TrumpApproval": lambda n: concepts(n, datasets.TrumpApproval()),
    "ChickWeights": lambda n: concepts(n, datasets.ChickWeights()),
    "WaterFlow": water_flow,
    "Friedman": lambda n: concepts(n, synth.Friedman(seed=SEED)),
    "FriedmanDrift": friedman_drift,
    "Mv": mv,
    "Planes2D": lambda n: concepts(n, synth.Planes2D(seed=SEED)),
}


def logistic_regression(classes: int) -> Any:
    model = linear_model.LogisticRegression()
    return StandardScaler() | (model if classes == 2 else multiclass.OneVsRestClassifier(model))


# Of how many classes come. Neighbours are sought by the default engine, which has a seed here: by itself it draws anew.
CLASSIFIERS: dict[str, Callable[[int], Any]] = {
    "GLNClassifier": lambda _: GLNClassifier(seed=0),
    "StandardScaler, LogisticRegression": logistic_regression,
    "HoeffdingAdaptiveTreeClassifier": lambda _: tree.HoeffdingAdaptiveTreeClassifier(seed=0),
    "ARFClassifier": lambda _: forest.ARFClassifier(seed=0),
    "StandardScaler, KNNClassifier": lambda _: (
        StandardScaler() | neighbors.KNNClassifier(engine=neighbors.SWINN(seed=0))
    ),
}
REGRESSORS: dict[str, Callable[[int], Any]] = {
    "GLNRegressor": lambda _: GLNRegressor(seed=0),
    "StandardScaler, LinearRegression": lambda _: StandardScaler() | linear_model.LinearRegression(),
    "StandardScaler, HoeffdingAdaptiveTreeRegressor": lambda _: (
        StandardScaler() | tree.HoeffdingAdaptiveTreeRegressor(seed=0)
    ),
    "ARFRegressor": lambda _: forest.ARFRegressor(seed=0),
    "StandardScaler, KNNRegressor": lambda _: StandardScaler() | neighbors.KNNRegressor(engine=neighbors.SWINN(seed=0)),
}


def progressive(model: Any, stream: Stream) -> tuple[list[Any], float]:
    """What was predicted of each sample before it was learned, and the seconds that this took."""
    predicted, start = [], time.perf_counter()
    for x, y in stream:
        predicted.append(model.predict_one(x))
        model.learn_one(x, y)
    return predicted, time.perf_counter() - start


def scores(predicted: list[Any], stream: Stream, numbers: bool) -> list[float]:
    """Absolute error, or 100 where the class was right, of each sample; as in River none where nothing was said."""
    pairs = [(p, y) for p, (_, y) in zip(predicted, stream, strict=True) if p is not None]
    return [abs(p - y) if numbers else 100.0 * (p == y) for p, y in pairs]


def scored(stream_name: str, title: str, samples: int) -> tuple[float, float]:
    """Mean of the scores, and microseconds a sample."""
    numbers = stream_name in NUMBERS
    stream = (NUMBERS if numbers else CLASSES)[stream_name](samples)
    classes = 0 if numbers else len({y for _, y in stream})
    make = (REGRESSORS if numbers else CLASSIFIERS)[title]
    progressive(make(classes), stream[:WARM])
    predicted, seconds = progressive(make(classes), stream)
    return float(np.mean(scores(predicted, stream, numbers))), 1e6 * seconds / len(stream)


def show_all(numbers: bool, samples: int, jobs: int, most: int | None) -> None:
    """Run and print streams of numbers or of classes, the first so many of them."""
    streams = list(NUMBERS if numbers else CLASSES)[:most]
    models = list(REGRESSORS if numbers else CLASSIFIERS)
    runs = [delayed(scored)(stream, title, samples) for stream in streams for title in models]
    results = np.array(Parallel(n_jobs=jobs)(runs)).reshape(len(streams), len(models), 2)
    score, micros = (pd.DataFrame(results[:, :, i], index=streams, columns=models) for i in range(2))
    if numbers:
        ranks = score.rank(axis=1).mean()
        table = score.map("{:.3f}".format)
        table.loc["mean rank"] = ranks.map("{:.2f}".format)
        show("Mean absolute error", table)
    else:
        first = score.eq(score.max(axis=1), axis=0).sum()
        score.loc["mean"] = score.mean()
        table = score.map("{:.2f}".format)
        table.loc["first on"] = first.map(str)
        show("Accuracy, percent", table)
    micros.loc["median"] = micros.median()
    show(f"Microseconds a sample, {'numbers' if numbers else 'classes'}", micros, 0)


def rolling(hits: list[float], window: int) -> np.ndarray:  # n -> (n - window + 1,)
    """Means of so many neighbours."""
    sums = np.cumsum([0.0, *hits])
    return (sums[window:] - sums[:-window]) / window


def draw(file: str, samples: int, window: int) -> None:
    """Accuracy along a stream of abrupt drifts."""
    from matplotlib.figure import Figure  # only who draws needs Matplotlib

    stream = agrawal(samples, CONCEPTS)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    looks = {"GLNClassifier": ("#d55e00", "-"), "ARFClassifier": ("#0072b2", "--")}  # told apart in grey as well
    for title, (colour, style) in looks.items():
        predicted, _ = progressive(CLASSIFIERS[title](2), stream)
        accuracy = rolling([100.0 * (p == y) for p, (_, y) in zip(predicted, stream, strict=True)], window)
        places, few = (
            np.arange(window, samples + 1),
            slice(None, None, max(1, window // 20)),
        )  # all would blur the dashes
        axes.plot(places[few], accuracy[few], color=colour, linestyle=style, linewidth=1.8, label=title)
    ends = [samples * i // len(CONCEPTS) for i in range(len(CONCEPTS) + 1)]
    for function, (start, end) in zip(CONCEPTS, itertools.pairwise(ends), strict=True):
        axes.text((start + end) / 2, 1.02, f"function {function}", transform=axes.get_xaxis_transform(), ha="center")
        if start:
            axes.axvline(start, color="#444444", linewidth=0.8)
            axes.text(start, 1.02, "drift", transform=axes.get_xaxis_transform(), ha="center", color="#444444")
    axes.set(xlabel="samples seen", ylabel=f"accuracy of the last {window}, %", xlim=(0, samples))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(axis="y", alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny setting, whose figures say nothing")
    parser.add_argument("--samples", type=int, default=5000, metavar="N", help="of each stream, at most")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="runs at a time; times want one")
    parser.add_argument("--plot", metavar="FILE", help="draw accuracy along a stream of drifts, and print no tables")
    options = parser.parse_args()
    if options.plot:
        draw(options.plot, *((300, 50) if options.quick else (DRIFTS, WINDOW)))
        return
    samples, most = (300, 2) if options.quick else (options.samples, None)
    print(f"{machine()}, river {metadata.version('river')}")
    for numbers in (False, True):
        show_all(numbers, samples, options.jobs, most)


if __name__ == "__main__":
    main()
