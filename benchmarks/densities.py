"""Predicted densities on tables and streams not used for tuning; all models have default settings.

    python -m benchmarks.densities
    python -m benchmarks.densities --plot densities.png   # intervals along a stream, and calibration on R's streams
    python -m benchmarks.densities --intervals            # how many targets lie in the intervals of `gln.river`
    python -m benchmarks.densities --shapes               # targets of ten shapes, in a table and in a stream

Tables are evaluated by 5-fold cross-validation. The samples of a stream are predicted and then learned, in order; the
first 100 predictions do not count. Targets are standardised beforehand for all models, so the unit is the target's
standard deviation. NLL is the mean of -log density. CRPS is twice the pinball loss of the quantiles, integrated over
levels. The coverage error is the distance of the 90% intervals' coverage from 90%, in points.

Tables are the held-out ones of `benchmarks.regressor` and eight more from R, with at most 3,000 rows. Streams are R's
numeric ones in `benchmarks.stream_data`, and synthetic ones whose noise depends on features or on time.

Five predicted quantiles are converted to a density by interpolation: between them the probit of the level is linear in
the target; beyond the ends it has the slope from the first to the last. "One spread" is a single standard deviation for
all predictions, from residuals of samples not yet learned: out-of-fold on tables, a fading mean of squares on streams.
Standard deviations, and slopes of quantiles over probits, are at least 0.001. River's BayesianLinearRegression assumes
a noise of standard deviation 1. The Gaussian process runs on up to 1,000 rows.

With `--intervals`, tables are streams, too, in random order. Progressive predictions are those of the second half.
Frozen ones are those of the last third by a model that has learned the rest; not of streams, because they drift.

With `--shapes`, quantiles are predicted for the last 4,000 of 5,000 samples: in a table, where 1,000 are learned, and
progressively in a stream. Their pinball loss is in standard deviations of the target. Of targets that are often 0, more
may be at or below a quantile of 0, so the share is the one nearest to the level between those below it and those not
above it.

NGBoost and CatBoost are included if installed. NGBoost 0.6 requires scikit-learn 1.6 but works with 1.9:
`pip install --no-deps ngboost lifelines autograd autograd-gamma formulaic interface-meta`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from river.forest import ARFRegressor
from river.linear_model import BayesianLinearRegression
from river.rules import AMRules
from scipy.stats import norm
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.linear_model import BayesianRidge
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import gln.river
from benchmarks.regressor import HELD_OUT, Table, of_r
from benchmarks.regressor import TABLES as OTHERS
from benchmarks.report import boosters, command_line, machine, show
from benchmarks.stream_data import R_NUMBERS, Stream
from benchmarks.streams import WARM, progressive, scaled
from gln.sklearn import GLNRegressor

INTERVAL_MEASURES = ("in 50 %", "in 90 %", "width", "pinball loss", "NLL")
GRID = np.arange(1, 40) / 40  # levels for the CRPS and for the ends of intervals
FIVE = (0.05, 0.25, 0.5, 0.75, 0.95)  # levels of the models that predict quantiles
LEAST = 0.001  # smallest standard deviation, in standard deviations of the target
MOST_ROWS, MOST_OF_PROCESS, SAMPLES = 3000, 1000, 5000  # of a table, for the Gaussian process, of a stream
COLD = 100  # first predictions of a stream, not scored
FADING = 0.01  # weight of the last squared residual in "one spread" on streams
PERIOD = 100  # in samples, of the synthetic stream with periodic features

TABLES: dict[str, Callable[[], Table]] = {
    **HELD_OUT,
    "car_prices": functools.partial(of_r, "modeldata", "car_prices", "Price"),
    "SaratogaHouses": functools.partial(of_r, "mosaicData", "SaratogaHouses", "price"),
    "deliveries": functools.partial(of_r, "modeldata", "deliveries", "time_to_delivery"),
    "stackoverflow": functools.partial(of_r, "modeldata", "stackoverflow", "Salary"),
    "RiceFarms": functools.partial(of_r, "plm", "RiceFarms", "goutput", "id", "noutput"),
    "CRSPday": functools.partial(of_r, "Ecdat", "CRSPday", "ge"),
    "Exam": functools.partial(of_r, "mlmRev", "Exam", "normexam", "school", "student"),
    "dietox": functools.partial(of_r, "geepack", "dietox", "Weight", "Pig"),
}

NOT_IN_INTERVALS = {"diabetes", "friedman1", "Hitters", "Credit", "Salaries", "tips", "mpg", "ais"}
INTERVAL_TABLES = {name: table for name, table in {**OTHERS, **HELD_OUT}.items() if name not in NOT_IN_INTERVALS}


def noisy(spread: Callable[[np.ndarray, np.ndarray], Any], periodic: bool, n: int) -> Stream:
    """Samples of four features, a mean that is a function of them, and Gaussian noise.

    `spread` gives the standard deviation of the noise from the features (4, N) and the time (N,) from 0 to 1.
    """
    rng = np.random.default_rng(0)
    x, time_of = rng.random((4, n)), np.arange(n) / n
    if periodic:
        x = 0.5 + 0.5 * np.sin(2 * np.pi * (np.arange(n) / PERIOD + np.arange(4)[:, None] / 4))
    y = 2 * np.sin(np.pi * x[0] * x[1]) + 4 * (x[2] - 0.5) ** 2 + x[3] + spread(x, time_of) * rng.standard_normal(n)
    return [(dict(enumerate(row)), target) for row, target in zip(x.T.tolist(), y.tolist(), strict=True)]


SYNTHETIC: dict[str, Callable[[int], Stream]] = {
    "noise of a feature": functools.partial(noisy, lambda x, t: 0.1 + 0.9 * x[2], False),
    "noise of one, then of another": functools.partial(
        noisy, lambda x, t: 0.1 + 0.9 * np.where(t < 0.5, x[0], x[1]), False
    ),
    "noise falls to a third": functools.partial(noisy, lambda x, t: np.where(t < 0.5, 0.9, 0.3), False),
    "noise doubles": functools.partial(noisy, lambda x, t: np.where(t < 0.5, 0.2, 0.4), True),
}


Noise = Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray]  # of features (N, 5) and a mean (N,)
SHAPES: dict[str, Noise] = {
    "normal": lambda rng, x, mean: mean + rng.normal(size=len(x)),
    "heavy tails": lambda rng, x, mean: mean + rng.standard_t(2, size=len(x)),
    "uniform": lambda rng, x, mean: mean + rng.uniform(-2, 2, size=len(x)),
    "noise of a feature": lambda rng, x, mean: mean + np.exp(0.7 * x[:, 2]) * rng.normal(size=len(x)),
    "exponential": lambda rng, x, mean: mean + 2 * rng.exponential(size=len(x)),
    "lognormal": lambda rng, x, mean: mean + np.exp(rng.normal(size=len(x))),
    "two modes": lambda rng, x, mean: mean + rng.choice([-3, 3], len(x)) + 0.5 * rng.normal(size=len(x)),
    "zeros": lambda rng, x, mean: (rng.random(len(x)) > 0.6) * np.exp(mean + rng.normal(size=len(x))),
    "counts": lambda rng, x, mean: rng.poisson(0.2 * np.exp(0.5 * x[:, 0])),
    "grades": lambda rng, x, mean: (3.5 + mean + rng.normal(size=len(x))).round().clip(1, 5),
}


class Forecast(NamedTuple):
    """Predictions for N targets."""

    mean: np.ndarray  # (N,)
    quantiles: np.ndarray  # (N, len(GRID))
    log_density: np.ndarray  # (N,), at the targets


def gaussian(y: np.ndarray, mean: np.ndarray, std: np.ndarray) -> Forecast:  # (N,), (N,), (N,)
    std = np.maximum(std, LEAST)
    return Forecast(mean, mean[:, None] + std[:, None] * norm.ppf(GRID), norm.logpdf(y, mean, std))


def interpolated(y: np.ndarray, quantiles: np.ndarray) -> Forecast:  # (N,), (N, 5)
    """A density with these quantiles at levels FIVE. Quantiles that rise too little are moved away from the median."""
    probits, of_grid, middle = norm.ppf(FIVE), norm.ppf(GRID), len(FIVE) // 2
    slopes = np.maximum(np.diff(np.sort(quantiles, axis=1)) / np.diff(probits), LEAST)  # (N, 4): standard deviations
    knots = np.pad(np.cumsum(slopes * np.diff(probits), axis=1), ((0, 0), (1, 0)))  # (N, 5)
    knots += (np.median(quantiles, axis=1) - knots[:, middle])[:, None]
    whole = (knots[:, -1:] - knots[:, :1]) / (probits[-1] - probits[0])  # the last slope alone can be nearly 0
    slopes, anchors = np.hstack([whole, slopes, whole]), np.array([0, 0, 1, 2, 3, 4])  # slope and knot of each piece
    pieces = np.searchsorted(probits, of_grid)
    on_grid = knots[:, anchors[pieces]] + slopes[:, pieces] * (of_grid - probits[anchors[pieces]])
    rows, piece = np.arange(len(y)), (y[:, None] > knots).sum(axis=1)  # the piece of each target
    slope, anchor = slopes[rows, piece], anchors[piece]
    log_density = norm.logpdf(probits[anchor] + (y - knots[rows, anchor]) / slope) - np.log(slope)
    return Forecast(on_grid.mean(axis=1), on_grid, log_density)


def crps(y: np.ndarray, quantiles: np.ndarray) -> float:  # (N,), (N, len(GRID))
    """CRPS by the trapezoid rule; the pinball loss is 0 at levels 0 and 1."""
    ahead = y[:, None] - quantiles
    return float(2 * np.maximum(GRID * ahead, (GRID - 1) * ahead).mean(axis=0).sum() / (len(GRID) + 1))


def scores(y: np.ndarray, forecast: Forecast) -> list[float]:  # (N,)
    """NLL, CRPS, coverage error in points, R²."""
    low, high = forecast.quantiles[:, [1, -2]].T  # 5% and 95%
    covered = 100 * np.mean((low <= y) & (y <= high))
    return [-np.mean(forecast.log_density), crps(y, forecast.quantiles), abs(covered - 90), r2_score(y, forecast.mean)]


Predict = Callable[[np.ndarray, np.ndarray], Forecast]  # from features (N, F) and targets (N,)


def with_std(model: Any) -> Predict:
    return lambda x, y: gaussian(y, *model.predict(x, return_std=True))


def process(x: np.ndarray, y: np.ndarray, seed: int) -> Predict:
    kernel = ConstantKernel() * Matern(np.ones(x.shape[1]), nu=2.5) + WhiteKernel()
    model = GaussianProcessRegressor(kernel, normalize_y=True, random_state=seed)
    return with_std(make_pipeline(StandardScaler(), model).fit(x, y))


def one_spread(x: np.ndarray, y: np.ndarray, seed: int) -> Predict:
    model = HistGradientBoostingRegressor(random_state=seed)
    spread = np.std(y - cross_val_predict(model, x, y, cv=KFold(5, shuffle=True, random_state=seed)))
    model.fit(x, y)
    return lambda x, y: gaussian(y, model.predict(x), np.full(len(y), spread))


def boosted_quantiles(x: np.ndarray, y: np.ndarray, seed: int) -> Predict:
    options: dict[str, Any] = {"loss": "quantile", "random_state": seed}
    models = [HistGradientBoostingRegressor(quantile=level, **options).fit(x, y) for level in FIVE]
    return lambda x, y: interpolated(y, np.stack([model.predict(x) for model in models], axis=1))


def ngboost(x: np.ndarray, y: np.ndarray, seed: int) -> Predict:
    model = importlib.import_module("ngboost").NGBRegressor(verbose=False, random_state=seed).fit(x, y)
    return lambda x, y: gaussian(y, model.predict(x), model.pred_dist(x).scale)


def catboost(x: np.ndarray, y: np.ndarray, seed: int) -> Predict:
    model = boosters("Regressor")["CatBoostRegressor"](seed).set_params(loss_function="RMSEWithUncertainty").fit(x, y)
    return lambda x, y: gaussian(y, model.predict(x)[:, 0], np.sqrt(model.predict(x)[:, 1]))


def gln_density(x: np.ndarray, y: np.ndarray, seed: int) -> Predict:
    options: dict[str, Any] = {"density": True, "random_state": seed}
    model = GLNRegressor(**options).fit(x, y)
    return lambda x, y: Forecast(model.predict(x), model.predict_quantiles(x, GRID), model.log_density(x, y))


OURS, PROCESS = "GLNRegressor, density", "GaussianProcessRegressor"
TABLE_MODELS: dict[str, Callable[[np.ndarray, np.ndarray, int], Predict]] = {  # from features, targets and a seed
    OURS: gln_density,
    **({"NGBRegressor": ngboost} if importlib.util.find_spec("ngboost") else {}),
    **({"CatBoostRegressor": catboost} if importlib.util.find_spec("catboost") else {}),
    "HistGradientBoostingRegressor, quantiles": boosted_quantiles,
    "HistGradientBoostingRegressor, one spread": one_spread,
    "BayesianRidge": lambda x, y, _: with_std(make_pipeline(StandardScaler(), BayesianRidge()).fit(x, y)),
    PROCESS: process,
}


def own_density(model: Any, stream: Stream) -> Forecast:
    """Forecast of a model that returns River's Gaussians, or its own densities."""
    predicted, quantiles, log_density = [], [], []
    for x, y in stream:
        density = model.predict_one(x, with_dist=True)
        predicted.append((density.mu, density.sigma))
        if hasattr(density, "shape"):
            quantiles.append([density.ppf(level) for level in GRID])
            log_density.append(density.log_pdf(y))
        model.learn_one(x, y)
    if quantiles:
        return Forecast(np.array(predicted)[:, 0], np.array(quantiles), np.array(log_density))
    return gaussian(targets(stream), *np.array(predicted).T)


def own_intervals(model: Any, stream: Stream, learns: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles at levels FIVE, progressive or of a model that does not learn, and -log density: (N, 5), (N,)."""
    quantiles, losses = list[Any](), []
    for x, y in stream:
        density = model.predict_one(x, with_dist=True)
        quantiles.append([density.ppf(level) for level in FIVE])
        losses.append(-density.log_pdf(y))
        if learns:
            model.learn_one(x, y)
    return np.array(quantiles), np.array(losses)


def on_intervals(stream: Stream, is_table: bool) -> list[float]:
    """A row of each of WAYS, NaN for what is not measured."""
    first, half, found = 2 * len(stream) // 3, len(stream) // 2, []
    model = river_gln(density=True)
    parts = [own_intervals(model, stream[:first])]
    frozen = own_intervals(model, stream[first:] if is_table else [], learns=False) if is_table else None
    parts.append(own_intervals(model, stream[first:]))
    together = [np.concatenate(each)[half:] for each in zip(*parts, strict=True)]
    for predicted, start in ((together, half), (frozen, first)):
        if predicted is None:
            found += [np.nan] * len(INTERVAL_MEASURES)
            continue
        quantiles, losses = predicted
        y = targets(stream[start:])[:, None]
        held = [100 * np.mean((quantiles[:, i] <= y[:, 0]) & (y[:, 0] <= quantiles[:, -1 - i])) for i in (1, 0)]
        ahead = y - quantiles
        pinball = np.maximum(np.array(FIVE) * ahead, (np.array(FIVE) - 1) * ahead).mean()
        width = np.mean(quantiles[:, -1] - quantiles[:, 0])
        found += map(float, [*held, width, pinball, losses.mean()])
    return found


def show_intervals(results: list[list[float]], names: list[str], file: Path | None) -> None:
    values = np.array(results).reshape(len(names), 2, -1)
    for place, way in enumerate(("progressive", "frozen")):
        table = pd.DataFrame(values[:, place], names, INTERVAL_MEASURES).dropna(how="all")
        means = table.mean().to_frame("mean").T
        errors = {each: (table[each] - float(each.split()[-2])).abs() for each in INTERVAL_MEASURES if "%" in each}
        means.loc["mean error, points"] = pd.Series({name: error.mean() for name, error in errors.items()})
        means.loc["more than 4 points"] = pd.Series({name: float((error > 4).sum()) for name, error in errors.items()})
        show(f"Intervals, {way}", table, 3, file=file, summary=means)


def on_shape(name: str) -> list[list[float]]:
    """The shares of targets below quantiles at levels FIVE, and the pinball loss, in a table and in a stream."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SAMPLES, 5))
    y = SHAPES[name](rng, x, x[:, 0] + np.sin(2 * x[:, 1])).astype(float)
    y /= y.std()
    of_table = GLNRegressor(quantiles=FIVE, random_state=0).fit(x[:1000], y[:1000]).predict_quantiles(x[1000:])
    of_stream = river_gln(quantiles=FIVE).predict_learn_many(pd.DataFrame(x), y.tolist())
    found = []
    for quantiles in (of_table, of_stream.loc[1000:, [*FIVE]].to_numpy()):
        ahead = y[1000:, None] - quantiles
        shares = np.clip(FIVE, (ahead < 0).mean(axis=0), (ahead <= 0).mean(axis=0))
        found.append([*shares, np.maximum(np.array(FIVE) * ahead, (np.array(FIVE) - 1) * ahead).mean()])
    return found


def fading_spread(model: Any, stream: Stream) -> Forecast:
    y, mean = targets(stream), np.array(progressive(model, stream, "predict_one")[0], float)
    variance = pd.Series((y - mean) ** 2).ewm(alpha=FADING).mean().shift(fill_value=0)  # of samples learned before
    return gaussian(y, mean, np.sqrt(variance.to_numpy()))


def river_gln(**options: Any) -> Any:
    return gln.river.GLNRegressor(seed=0, **options)


STREAM_MODELS: dict[str, Callable[[Stream], Forecast]] = {
    OURS: lambda stream: own_density(river_gln(density=True), stream),
    "GLNRegressor, one spread": lambda stream: fading_spread(river_gln(), stream),
    "BayesianLinearRegression": lambda stream: own_density(scaled(stream) | BayesianLinearRegression(), stream),
    "BayesianLinearRegression, one spread": lambda stream: fading_spread(
        scaled(stream) | BayesianLinearRegression(), stream
    ),
    "ARFRegressor, one spread": lambda stream: fading_spread(scaled(stream) | ARFRegressor(seed=0), stream),
    "AMRules, one spread": lambda stream: fading_spread(scaled(stream) | AMRules(), stream),
}
LOOKS = {  # in the picture: distinguishable in greyscale
    OURS: ("#d55e00", "-"),
    "ARFRegressor, one spread": ("#0072b2", "--"),
    "BayesianLinearRegression": ("#009e73", "-."),
}


def targets(stream: Stream) -> np.ndarray:  # -> (N,)
    return np.array([y for _, y in stream], float)


def as_stream(table: Callable[[], Table]) -> Stream:
    """At most 3,000 rows of a table in random order."""
    x, y = table()
    rows = np.random.default_rng(0).permutation(len(y))[:MOST_ROWS]
    return standardised([(dict(enumerate(x[row].tolist())), float(y[row])) for row in rows])


def standardised(stream: Stream) -> Stream:
    y = targets(stream)
    z = (y - y.mean()) / y.std()
    return [(x, target) for (x, _), target in zip(stream, z.tolist(), strict=True)]


def on_table(title: str, table: Callable[[], Table], seeds: int, folds: int) -> list[float]:
    """All scores of a model, and the seconds of a fit; NaN if the table is too long for the model."""
    warnings.simplefilter("ignore", ConvergenceWarning)  # length scales of the Gaussian process at their bounds
    x, y = table()
    rows = np.random.default_rng(0).permutation(len(y))[:MOST_ROWS]
    x, y = x[rows], (y[rows] - y[rows].mean()) / y[rows].std()
    if title == PROCESS and len(y) > MOST_OF_PROCESS:
        return [np.nan] * 5
    results = []
    for seed in range(seeds):
        parts, places, seconds = [], [], 0.0
        for train, test in KFold(folds, shuffle=True, random_state=seed).split(x):
            start = time.process_time()
            predict = TABLE_MODELS[title](x[train], y[train], seed)
            seconds += (time.process_time() - start) / folds
            parts.append(predict(x[test], y[test]))
            places.append(test)
        forecast = Forecast(*(np.concatenate(each) for each in zip(*parts, strict=True)))
        results.append([*scores(y[np.concatenate(places)], forecast), seconds])
    return np.mean(results, axis=0).tolist()


def on_stream(title: str, stream: Stream) -> list[float]:
    """All scores of a model, and the microseconds per sample."""
    STREAM_MODELS[title](stream[:WARM])  # compiles
    start = time.process_time()
    forecast = STREAM_MODELS[title](stream)
    seconds = time.process_time() - start
    counted = Forecast(*(each[COLD:] for each in forecast))
    return [*scores(targets(stream)[COLD:], counted), 1e6 * seconds / len(stream)]


def show_all(
    kind: str,
    results: list[list[float]],
    groups: dict[str, list[str]],
    models: list[str],
    last: str,
    file: Path | None,
) -> None:
    """Show a table for each score. `groups` maps the words after "mean" to the names of data sets."""
    if not models:
        return
    names = [name for members in groups.values() for name in members]
    values = np.array(results).reshape(len(names), len(models), -1)
    digits = {"NLL": 3, "CRPS": 3, "Coverage error, points": 1, "R²": 3, last: 0 if "Micro" in last else 2}
    for place, (measure, places) in enumerate(digits.items()):
        table = pd.DataFrame(values[:, :, place], index=names, columns=models)
        means = {f"mean{words}": table.loc[members].mean(skipna=False) for words, members in groups.items()}
        if table.isna().to_numpy().any():
            means["mean where all predict"] = table.dropna().mean()
        means["median"] = table.median(skipna=False)
        kinds = {name: words.removeprefix(" of ") for words, members in groups.items() for name in members}
        show(f"{measure}, {kind}", table, places, file=file, kinds=kinds, summary=pd.DataFrame(means).T)


def fan(axes: Any, samples: int) -> None:
    """Plot intervals along the stream whose noise doubles, from two periods before to three after."""
    stream = SYNTHETIC["noise doubles"](samples)
    forecast, half = STREAM_MODELS[OURS](stream), samples // 2
    shown = slice(max(0, half - 2 * PERIOD), half + 3 * PERIOD)
    places = np.arange(samples)[shown]
    for outer, share, alpha in ((1, 90, 0.25), (9, 50, 0.45)):  # indices in GRID: 5% to 95%, 25% to 75%
        low, high = forecast.quantiles[shown, outer], forecast.quantiles[shown, -1 - outer]
        axes.fill_between(places, low, high, color="#d55e00", alpha=alpha, linewidth=0, label=f"{share}% interval")
    axes.plot(places, targets(stream)[shown], ".", color="black", markersize=3.5, label="target")
    axes.axvline(half, color="#444444", linewidth=0.8)
    axes.text(half, 0.02, "noise doubles ", transform=axes.get_xaxis_transform(), ha="right", color="#444444")
    axes.set(xlabel="samples seen", ylabel="target", xlim=(places[0], places[-1]))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), markerscale=2, ncols=3, columnspacing=1)


def calibration(axes: Any, streams: list[Stream]) -> None:
    """Plot the share of targets below each predicted quantile, averaged over streams."""
    axes.plot([0, 100], [0, 100], color="#444444", linewidth=0.8)
    for title, (colour, style) in LOOKS.items():
        below = [
            (targets(stream)[COLD:, None] <= STREAM_MODELS[title](stream).quantiles[COLD:]).mean(axis=0)
            for stream in streams
        ]
        axes.plot(100 * GRID, 100 * np.mean(below, axis=0), color=colour, linestyle=style, linewidth=1.8, label=title)
    axes.set(xlabel="level of the predicted quantile, %", ylabel="targets below it, %", xlim=(0, 100), ylim=(0, 100))
    axes.set_title("R's streams", fontsize=10)
    axes.legend(frameon=False, loc="upper left", fontsize=9)


def draw(file: str, samples: int, streams: list[Stream]) -> None:
    from matplotlib.figure import Figure  # Matplotlib is needed only for pictures

    figure = Figure(figsize=(5.4, 7.6), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(4, 5))
    fan(above, samples)
    calibration(below, streams)
    for axes in (above, below):
        axes.grid(alpha=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=1, metavar="S", help="seeds of models and folds, on tables")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="runs at a time; use 1 for reliable times")
    parser.add_argument("--only", default="", metavar="NAME", help="only models whose names begin with this")
    parser.add_argument("--intervals", action="store_true", help="coverage of 50%% and 90%% intervals in streams")
    parser.add_argument("--shapes", action="store_true", help="shares below quantiles of targets of ten shapes")
    parser.add_argument("--plot", metavar="FILE", help="draw intervals and calibration instead of printing tables")
    options = parser.parse_args()
    tables, real, synthetic, folds, samples = TABLES, R_NUMBERS, SYNTHETIC, 5, SAMPLES
    if options.quick:
        tables, folds, samples = {"tips": TABLES["tips"]}, 2, 300
        real, synthetic = dict(list(real.items())[:1]), dict(list(synthetic.items())[:1])
    streams = [standardised(make(samples)) for make in {**real, **synthetic}.values()]
    if options.plot:
        draw(options.plot, samples, streams[: len(real)])
        return
    print(f"{machine()}, river {metadata.version('river')}")
    parallel = Parallel(n_jobs=options.jobs)
    if options.shapes:
        names = list(SHAPES)[:2] if options.quick else list(SHAPES)
        values = np.array(parallel(delayed(on_shape)(name) for name in names))
        for place, kind in enumerate(("table", "stream")):
            columns = [*(f"below {level}" for level in FIVE), "pinball loss"]
            table = pd.DataFrame(values[:, place], names, columns)
            show(f"Targets of other shapes, {kind}", table, 3, file=options.csv)
        return
    if options.intervals:
        shuffled = {
            name: as_stream(table) for name, table in (INTERVAL_TABLES if not options.quick else tables).items()
        }
        all_streams = {**shuffled, **dict(zip([*real, *synthetic], streams, strict=True))}
        runs = [delayed(on_intervals)(stream, name in shuffled) for name, stream in all_streams.items()]
        show_intervals(parallel(runs), list(all_streams), options.csv)
        return
    models = [title for title in TABLE_MODELS if title.startswith(options.only)]
    runs = [delayed(on_table)(title, table, options.seeds, folds) for table in tables.values() for title in models]
    show_all("tables", parallel(runs), {"": list(tables)}, models, "Seconds of a fit", options.csv)
    models = [title for title in STREAM_MODELS if title.startswith(options.only)]
    groups = {" of real streams": list(real), " of synthetic streams": list(synthetic)}
    runs = [delayed(on_stream)(title, stream) for stream in streams for title in models]
    show_all("streams", parallel(runs), groups, models, "Microseconds per sample", options.csv)


if __name__ == "__main__":
    main()
