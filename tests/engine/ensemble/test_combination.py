"""The last neuron: values against a slow plain loop, and what it is for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from gln.bandits import GLNBandit
from gln.engine.base_models.fading_bin_means import FadingBinMeans
from gln.engine.base_models.online import OnlineBaseModels
from gln.engine.batches import SampleBatch
from gln.engine.ensemble.combination import CURVATURE, FADING, INVERSE_LINKS, LINKS, MAX_RATIO, TRUST, Combination
from gln.engine.ensemble.ensemble import COLUMNS, FAST, Ensemble, Member
from gln.engine.model.targets import Classes, Labels, Numbers
from gln.engine.preprocessing.scaling import OF_FEATURES, OF_TARGETS
from gln.engine.streaming.featurizer import StreamFeaturizer
from gln.engine.streaming.model import StreamModel
from gln.features import Standardizer, with_distances
from gln.rates import stream_rate
from gln_numpy import GLN

SAMPLES = np.random.default_rng(0).normal(size=(3, 80))
BATCH = SampleBatch.of(SAMPLES)
NUMBERS = (SAMPLES[0] > 0).astype(int) + (SAMPLES[1] > 1)
TASKS: dict[str, dict[str, Any]] = {
    "two classes": {},
    "three classes": {"num_classes": 3},
    "numbers": {"loss": "squared_error", "num_outputs": 2},
    "labels": {"num_outputs": 2},
}


TARGETS = np.array([SAMPLES[0] * SAMPLES[1], 100 + 10 * SAMPLES[2]])
LABELS = (TARGETS > [[0], [105]]).astype(float)


def learner(task: str) -> StreamModel:
    means = ensemble(**TASKS[task])
    kind = Labels if task == "labels" else Numbers
    targets = Classes() if "classes" in task else kind.of_stream(means.heads)
    base_models = OnlineBaseModels.start((), means.heads, targets.link == "logit", crosses=False, uses_bins=False)
    featurizer = StreamFeaturizer(Standardizer(3, **OF_FEATURES), base_models=base_models)
    return StreamModel(featurizer, targets, means)


def ensemble(**kind: Any) -> Ensemble:
    members = [Member(*pair) for pair in zip(networks(**kind), (COLUMNS, FAST), strict=True)]
    found = Ensemble(members)
    found.combination = found.equal_combination(0)
    return found


def networks(**task: Any) -> list[GLN]:
    return [GLN([4, 2], 6, 3, seed=seed, context_bias=1.0, context_features=2, **task) for seed in range(2)]


# ---- Against a plain loop --------------------------------------------------------------------------------------------


def by_hand(
    start: Combination, predicted: np.ndarray, targets: np.ndarray, step_sizes: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The formulas, one sample after another: weights, curvature, and the sums before each sample."""
    weights, curvature, link = start.weights.copy(), start.curvature.copy(), start.link
    heads, count, unit = targets.shape[0], targets.shape[1], np.eye(start.weights.shape[1])
    spread, doubts = np.ones(len(weights)), start.doubts.copy()
    values = LINKS[link](predicted.astype(np.float64))
    means = np.stack([values[start.experts == e].mean(axis=0) for e in range(len(unit) - 1)])
    z = np.concatenate([means, np.broadcast_to(start.constants[:, None], (1, heads, count))])  # (E, C, n)
    is_joint, sums = len(weights) < heads, np.empty((heads, count))
    for b in range(count):
        sums[:, b] = [weights[0 if is_joint else c] @ z[:, c, b] for c in range(heads)]
        size = 1.0 if step_sizes is None else step_sizes[b]
        repeats = max(1, math.ceil(size))
        for step in range(repeats):
            for t, of_target in enumerate([range(heads)] if is_joint else [[c] for c in range(heads)]):
                known = [c for c in of_target if np.isfinite(targets[c, b])]
                if not known:
                    continue
                x, y = z[:, known, b].T, targets[known, b].astype(float)  # (c, E)
                s = x @ weights[t]
                p = 1 / (1 + np.exp(-s))
                if link == "itself":
                    slope, bend = (s - y).clip(-2 * spread[t], 2 * spread[t]), np.diag(np.ones(len(y)))
                    step_of_spread = 1 - 0.99 ** (size / repeats)
                    spread[t] += step_of_spread * (min(abs(s - y)[0], 5 * spread[t]) - spread[t])
                    if start.constants[t] == 0:  # weights keep their sum
                        x = np.append(x[:, :-1] - x[:, :-1].mean(), [[0.0]], axis=1)
                elif link == "log":
                    slope, bend = (1 - np.minimum(y**2 / np.exp(s), MAX_RATIO)) / 2, np.diag(0.5 * np.ones(len(y)))
                elif is_joint:  # of log(p / total), whose second derivative is that of a softmax
                    q = p / p.sum()
                    slope = (q - y) * (1 - p)
                    bend = np.diag(np.maximum(q, 0.005) * (1 - p) ** 2) - np.outer(q * (1 - p), q * (1 - p))
                else:
                    slope, bend = p - y, np.diag(np.maximum(p * (1 - p), 0.005))
                fading, part = 1 if step else FADING ** min(size, 1), size / repeats
                learned = curvature[t] - np.diag(doubts[t])
                doubts[t] *= fading ** (1 + TRUST)
                learned = fading * learned + (1 - fading) * CURVATURE[link] * unit + part * x.T @ bend @ x
                curvature[t] = learned + np.diag(doubts[t])
                weights[t] -= part * np.linalg.solve(curvature[t], x.T @ slope)
    return weights, curvature, sums


KINDS: dict[str, tuple[str, int, int]] = {  # the link, heads and targets
    "two classes": ("logit", 1, 1),
    "four classes": ("logit", 4, 1),
    "labels": ("logit", 3, 3),
    "numbers": ("itself", 2, 2),
    "numbers of a table": ("itself", 2, 2),
    "variances": ("log", 2, 2),
}


def made(kind: str, count: int = 120) -> tuple[Combination, np.ndarray, np.ndarray]:
    """A combination of two networks of one role and two other models, what these predict, and targets."""
    link, heads, targets = KINDS[kind]
    rng = np.random.default_rng(0)
    signal, noise = rng.normal(size=(heads, count)), rng.normal(size=(4, heads, count))
    predicted = INVERSE_LINKS[link](signal + [[[0.3]], [[0.5]], [[1.0]], [[3.0]]] * noise).astype("f4")
    y = signal if link == "itself" else np.exp(signal / 2) * np.abs(rng.normal(size=signal.shape))
    if link == "logit":
        y = (signal + rng.logistic(size=signal.shape) > 0).astype(float)
        if heads == 4:
            y = ((signal + rng.gumbel(size=signal.shape)).argmax(axis=0) == np.arange(4)[:, None]).astype(float)
    constants = np.zeros(heads) if targets < heads or kind == "numbers" else np.ones(heads)
    return Combination.equal(link, np.array([0, 0, 1, 2]), constants, targets), predicted, y.astype("f4")


@pytest.mark.parametrize("python", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("has_rival", [False, True])
def test_weights_are_those_of_the_formulas(monkeypatch, kind, has_rival, python):
    if python:
        monkeypatch.setattr("gln.engine.ensemble.combination.compiled", lambda loop: loop)
        monkeypatch.setattr("gln.engine.ensemble.combination.is_compiled", lambda: False)
    combination, predicted, y = made(kind)
    if has_rival:
        combination.learn(predicted, y)
        rival = INVERSE_LINKS[combination.link](np.random.default_rng(2).normal(size=(1, *y.shape))).astype("f4")
        combination, predicted = combination.with_rival(), np.concatenate([predicted, rival])
        combination.spread[:] = 1
    y[0, 5:10], y[-1, 20] = np.nan, np.inf  # unknown; and a head that does not predict either
    steps = np.random.default_rng(1).choice([0.5, 1.0, 3.5], 120)
    weights, curvature, sums = by_hand(combination, predicted, y, steps)
    found = combination.learn(predicted, y, step_sizes=steps)
    np.testing.assert_allclose(combination.weights, weights, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(combination.curvature, curvature, rtol=1e-7)
    predicts = np.isfinite(y) | np.isnan(y)
    np.testing.assert_allclose(found[predicts], INVERSE_LINKS[combination.link](sums)[predicts], rtol=1e-7)
    now = combination.of_models().combine(LINKS[combination.link](predicted.astype(np.float64)))
    np.testing.assert_allclose(combination.combine(predicted), INVERSE_LINKS[combination.link](now), rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_with_the_lowest_loss_are_found(kind):
    """Of what does not change, the steps find what a solver finds for all samples."""
    combination, predicted, y = made(kind, 4000)
    link, (heads, _) = combination.link, y.shape
    values = LINKS[link](predicted)
    z = np.stack([values[:2].mean(axis=0), *values[2:]])

    def loss(weights: np.ndarray) -> float:
        if kind == "numbers":  # whose weights keep their sum, without a constant
            weights = np.array([weights[0], weights[1], 1 - weights[0] - weights[1], 0])
        s = np.tensordot(weights[:3], z, 1) + weights[3] * combination.constants[:, None]
        if link == "itself":
            return float(np.square(s - y).mean())
        if link == "log":
            return float((s + np.square(y) / np.exp(s)).mean())
        p = 1 / (1 + np.exp(-s))
        q = p / p.sum(axis=0) if heads == 4 else np.where(y > 0.5, p, 1 - p)
        return float(-np.log(q[y > 0.5] if heads == 4 else q).mean())

    combination.learn(predicted, y)
    best = minimize(loss, [0.3, 0.3, 0.3, 0.0]).x
    assert loss(combination.weights.mean(axis=0)) < loss(best) + 0.004
    assert loss(combination.weights.mean(axis=0)) < loss(np.array([1 / 3, 1 / 3, 1 / 3, 0])) - 0.01


# ---- What it stands --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [1.0, 50.0])
@pytest.mark.parametrize("rate", [0.5, 0.02])
@pytest.mark.parametrize("experts", ["noise", "one opinion", "sure and wrong"])
def test_experts_that_know_nothing_cost_nothing(experts, rate, weight):
    rng = np.random.default_rng(0)
    y, noise = (rng.random((1, 6000)) < rate).astype("f4"), rng.normal(size=(5, 1, 6000))
    if experts == "one opinion":
        noise = noise[:1].repeat(5, axis=0)
    if experts == "sure and wrong":
        noise = 7 * np.sign(noise)
    combination = Combination.equal("logit", np.arange(5), np.ones(1), 1)
    p = combination.learn((1 / (1 + np.exp(-noise))).astype("f4"), y, step_sizes=np.full(1, weight))
    last = slice(3000, None)  # the constant learns a rare class slowly, which real networks know by themselves
    loss = -np.log(np.where(y > 0.5, p, 1 - p)[:, last]).mean()
    of_rate = -(y[:, last].mean() * math.log(rate) + (1 - y[:, last].mean()) * math.log(1 - rate))
    assert loss < of_rate + 0.01


@pytest.mark.parametrize("classes", [2, 12])
def test_labels_in_runs_and_jumps_leave_it_sound(classes):
    """For a long time all is sure and right, then suddenly wrong."""
    heads, rng = 1 if classes == 2 else classes, np.random.default_rng(0)
    number = np.repeat([0, 1, 0, 1], [3000, 500, 500, 1000])
    said = np.repeat([0, 0, 1, 1], [3000, 500, 500, 1000])
    logits = np.where(said == np.arange(classes)[-heads:, None], 6.9, -6.9) + 0.01 * rng.normal(size=(4, heads, 5000))
    y = (number == np.arange(classes)[-heads:, None]).astype("f4")
    constants = np.ones(1) if heads == 1 else np.zeros(heads)
    combination = Combination.equal("logit", np.arange(4), constants, 1)
    p = combination.learn((1 / (1 + np.exp(-logits))).astype("f4"), y)
    assert np.isfinite(p).all()
    assert np.abs(combination.weights).max() < 10
    assert np.linalg.cond(combination.curvature[0]) < 1e7
    q = p[0] if heads == 1 else (p / p.sum(axis=0))[1]
    assert -np.log(np.where(number == 1, q, 1 - q)[-500:]).mean() < math.log(2)


def test_a_million_samples_leave_the_curvature_well_conditioned():
    rng = np.random.default_rng(0)
    combination = Combination.equal("logit", np.arange(6), np.ones(1), 1)
    for scale in (0.0, 3.0, 0.0):  # experts that say 1/2 for hundreds of thousands of samples, or all the same
        s = (scale * rng.normal(size=(1, 1, 350_000))).repeat(6, axis=0)
        y = (rng.random((1, 350_000)) < 1 / (1 + np.exp(-s[0]))).astype("f4")
        combination.learn((1 / (1 + np.exp(-s))).astype("f4"), y)
        assert np.linalg.cond(combination.curvature[0]) < 1e5
        assert np.abs(combination.weights).max() < 2


# ---- In models -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "least"),
    [("two classes", (0.5, 3)), ("three classes", (0.5, 3)), ("labels", (0.5, 3)), ("numbers", (0.1, 0.5))],
)
def test_a_stream_is_learned_at_two_rates_and_predicted_by_both(task, least):
    are_classes, first = task != "numbers", 0.3 if task == "numbers" else math.sqrt(7) / 2
    numbers = LABELS if task == "labels" else np.minimum(NUMBERS, 1 if task == "two classes" else 2)
    [predicted] = learner(task).learn(BATCH, numbers if are_classes else TARGETS)
    z, y = Standardizer(3, **OF_FEATURES).learn(SAMPLES), np.atleast_2d(numbers).astype(np.float32)
    zero, unit = np.zeros((2, 80)), np.ones((2, 80))
    if task == "three classes":
        y = (numbers == np.arange(3)[:, None]).astype(np.float32)
    if not are_classes:
        y, zero, unit = standardised(TARGETS)
    of_networks = np.array(
        [
            network.predict_arrays(with_distances(z), z, y, stream_rate(np.arange(80), first, low).astype(np.float32))
            for network, low in zip(networks(**TASKS[task]), least, strict=True)
        ]
    )
    combination = ensemble(**TASKS[task]).combination
    assert combination is not None
    mixed = by_hand(combination, of_networks, y)[2]
    expected = 1 / (1 + np.exp(-mixed)) if are_classes else zero + unit * mixed
    np.testing.assert_allclose(predicted, expected, rtol=1e-4, atol=1e-5)


def standardised(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # (T, n) -> 3 of (T, n)
    standardizer, columns = Standardizer(len(targets), **OF_TARGETS), []
    for target in targets.T:
        zero, unit = standardizer.mean.copy(), standardizer.scale.copy()
        columns.append([standardizer.learn_targets(target[:, None], np.inf, np.nan)[0][:, 0], zero, unit])
    y, zero, unit = np.array(columns).transpose(1, 2, 0)
    return y.astype(np.float32), zero, unit


@pytest.mark.parametrize("name", ["weights", "curvature", "constants", "experts"])
def test_a_combination_of_other_targets_than_its_ensemble_is_refused(name):
    """Compiled loops do not check, and a file may be changed."""
    bandit = GLNBandit(range(3), layer_sizes=(4,), seed=0)
    for arm in range(3):
        bandit.learn({"a": 1.0}, arm, float(arm))
    assert bandit._model.learner is not None
    bandit._model.learner.check()
    combination = bandit._model.learner.means.combination
    setattr(combination, name, getattr(combination, name)[:1])
    with pytest.raises(ValueError, match="learner: expected networks, standardizers and counts of one size"):
        bandit._model.learner.check()


def test_cells_of_columns_below_0_are_refused():
    cells = FadingBinMeans.start([0, 1], 1)
    with pytest.raises(ValueError, match="bin_means: expected grids of columns from 0"):
        cells._replace(grids=cells.grids - [1, 0]).check(2, 1)
