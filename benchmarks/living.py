"""A table that goes on: fitted on a third, then predicted and learned day by day, beside others, all at their defaults.

`OMP_NUM_THREADS=1 python -m benchmarks.living` runs streams of `benchmarks.late` in order of time. The rows of each day
are predicted, and then learned by

- living: `gln.sklearn`, fitted on the first third, by `partial_fit`;
- frozen: not at all, the same fitted model;
- stream: `gln.river`, which has learned the first third in the same way, by `learn_many(late=True)`;
- forest: River's adaptive random forest, which has learned the first third, sample by sample;
- LightGBM, fitted again to all labelled rows every seven days, and at least every 336 rows.

It prints the log-loss, or for regression the mean squared error, divided by the variance of the target, and the seconds
that a day takes `partial_fit` and LightGBM's last fit. Probabilities below 0.001 count as 0.001. The forest is left out
for streams of more than 200 features and levels of strings. `--streams` runs some streams alone, and `--quick` the
first 300 samples of two.
"""

from __future__ import annotations

import copy
import itertools
import time
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from benchmarks import late
from benchmarks.late import LabelledStream, Task, by_sample, ends_of, of_frame, of_river
from benchmarks.report import boosters, command_line, machine, network, show
from gln.sklearn import GLNClassifier, GLNRegressor

CLASSES = "Electricity", "Demand", "Weather", "Flights", "Films", "Bird strikes", "Tweets", "Drift", "Stationary"
NUMBERS = "Demand", "Weather", "Hotel", "Friedman"
WEEK = 7  # days
REFIT = 336  # rows: a week of Electricity's days


class Result(NamedTuple):
    losses: dict[str, float]  # by model
    seconds: dict[str, float]


def losses_of(task: Task, model: Any, stream: LabelledStream, rows: slice) -> list[Any]:
    """The loss of each of some rows by an estimator like scikit-learn's."""
    columns = getattr(model, "classes_", ["mean"])
    predicted = pd.DataFrame(getattr(model, task.predict)(stream.rows[rows]), columns=columns)
    return [loss for loss, _ in map(task.losses, by_sample(predicted), stream.targets[rows])]


def of_boosting(task: Task, stream: LabelledStream, days: list[slice]) -> tuple[list[Any], float]:
    """The losses of LightGBM and the seconds of its last fit."""
    names = [f"x{i}" for i in range(stream.rows.shape[1])]  # LightGBM takes no colon in a name
    rows = stream.rows.set_axis(names, axis=1)
    rows = rows.astype(dict.fromkeys(rows.select_dtypes(exclude="number"), "category"))
    stream = stream._replace(rows=rows)
    make = boosters(task.boosting)[f"LGBM{task.boosting}"]
    losses: list[Any] = []
    fitted, last, model, seconds = 0, 0, None, 0.0
    for number, day in enumerate(days):
        if model is None or number >= last + WEEK or day.start >= fitted + REFIT:
            start = time.perf_counter()
            model = make(0).fit(rows[: day.start], stream.targets[: day.start])
            fitted, last, seconds = day.start, number, time.perf_counter() - start
        losses += losses_of(task, model, stream, day)
    return losses, seconds


def result_of(task: Task, name: str, most: int) -> Result:
    stream = of_frame(task.streams[name], most)
    ends, count = [0, *ends_of("a day late", stream)], len(stream.targets)
    first = next(end for end in ends if end >= count // 3)
    days = [slice(*pair) for pair in itertools.pairwise(ends) if pair[0] >= first]
    targets = np.array(stream.targets)
    kind = GLNRegressor if stream.classes == 0 else GLNClassifier
    model = kind(backend=network(), random_state=0).fit(stream.rows[:first], targets[:first])
    frozen = copy.deepcopy(model)
    losses: dict[str, list[Any]] = {"living": [], "frozen": []}
    seconds = 0.0
    for day in days:
        losses["frozen"] += losses_of(task, frozen, stream, day)
        losses["living"] += losses_of(task, model, stream, day)
        start = time.perf_counter()
        model.partial_fit(stream.rows[day], targets[day])
        seconds += time.perf_counter() - start
    of_stream = map(task.losses, late.predictions_of_gln(task, stream, "a day late"), stream.targets)
    losses["stream"] = [loss for loss, _ in of_stream][first:]
    features = stream.rows.shape[1] + stream.rows.select_dtypes(exclude="number").nunique().sum()
    if features <= late.FOREST[1]:
        losses["forest"] = [loss for loss, _ in of_river(task, task.forest(), stream)["a day late"]][first:]
    losses["LightGBM"], of_refit = of_boosting(task, stream, days)
    unit = task.unit(stream.targets)
    means = {model: float(np.mean(of_model)) / unit for model, of_model in losses.items()}
    return Result(means, {"partial_fit": seconds / len(days), "LightGBM": of_refit})


def main() -> None:
    parser = command_line(__doc__, backend=True)
    known = [*dict.fromkeys(CLASSES + NUMBERS)]
    parser.add_argument("--streams", nargs="+", choices=known, default=known, metavar="STREAM", help="all by default")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="streams at a time")
    options = parser.parse_args()
    print(machine())
    for task, streams in ((late.CLASSES, CLASSES), (late.NUMBERS, NUMBERS)):
        chosen = [name for name in streams if name in options.streams and name in task.streams]
        chosen = chosen[-2:] if options.quick else chosen
        most = 300 if options.quick else late.MOST
        results = Parallel(n_jobs=options.jobs)(delayed(result_of)(task, name, most) for name in chosen)
        for title, place in ((task.measures[0], 0), ("Seconds of a day, of a refit", 1)):
            table = pd.DataFrame({name: result[place] for name, result in zip(chosen, results, strict=True)}).T
            show(title, table, 4, file=options.csv if place == 0 else None, summary=table.mean().to_frame("mean").T)


if __name__ == "__main__":
    main()
