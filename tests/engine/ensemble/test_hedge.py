"""A slow and a fast network, weighted by how well each predicted recently; a third that reads the previous label."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from gln.bandits import GLNBandit
from gln.engine.base_models.fading_bin_means import FadingBinMeans
from gln.engine.base_models.online import OnlineBaseModels
from gln.engine.batches import SampleBatch
from gln.engine.ensemble.ensemble import COLUMNS, FAST, Ensemble, Member
from gln.engine.ensemble.hedge import Hedge, expert_losses, expert_weights
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
    found.combination = Hedge.equal(2, found.heads if "num_outputs" in kind else 1, found.link)
    return found


def networks(**task: Any) -> list[GLN]:
    return [GLN([4, 2], 6, 3, seed=seed, context_bias=1.0, context_features=2, **task) for seed in range(2)]


def by_hand(losses: np.ndarray, spread: float | None) -> list[list[float]]:  # (M, n) -> the weights before each sample
    """The formulas, one sample at a time."""
    sums, weights = [0.0] * len(losses), []
    for of_sample in losses.T.tolist():
        powers = [math.exp(-0.3 * total) for total in sums]
        weights.append([power / sum(powers) for power in powers])
        if spread is not None:
            spread = 0.99 * spread + 0.01 * min(of_sample)
            of_sample = [min(loss / (2 * spread), 5.0) for loss in of_sample]
        sums = [0.99 * total + loss for total, loss in zip(sums, of_sample, strict=True)]
    return weights


@pytest.mark.parametrize("are_classes", [True, False])
@pytest.mark.parametrize(("experts", "python"), [(2, False), (5, False), (5, True)])
def test_weights_are_those_of_the_formula(monkeypatch, are_classes, experts, python):
    if python:
        monkeypatch.setattr("gln.engine.ensemble.hedge.compiled", lambda loop: loop)
    losses = np.random.default_rng(0).gamma(1.0, size=(experts, 2, 50))
    found = expert_weights(Hedge.equal(experts, 2, "logit" if are_classes else "itself").add(losses))
    for t in range(2):
        np.testing.assert_allclose(found[:, t].T, by_hand(losses[:, t], None if are_classes else 1.0))


@pytest.mark.parametrize("python", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 12])
def test_losses_of_classes_are_the_same_for_single_samples(monkeypatch, python, classes):
    heads, config = 1 if classes == 2 else classes, networks(num_classes=classes)[0].config
    rng = np.random.default_rng(0)
    predicted, numbers = rng.random((3, heads, 40)).astype(np.float32), rng.integers(0, classes, 40)
    y = (numbers == np.arange(classes)[-heads:, None]).astype(np.float32)
    if heads > 3:
        y[:2, ::2] = np.inf  # heads that do not predict these samples
    found = expert_losses(config, predicted, y)
    if python:
        monkeypatch.setattr("gln.engine.ensemble.hedge.compiled", lambda loop: loop)
    single = [expert_losses(config, predicted[..., [b]], y[:, [b]]) for b in range(40)]
    np.testing.assert_array_equal(np.concatenate(single, axis=2), found)


def test_a_batch_is_weighted_by_what_was_known_before_it():
    losses = np.random.default_rng(0).gamma(1.0, size=(2, 1, 50))
    one_by_one, batches = (Hedge.equal(2, 1, "logit").add(losses, batch_size=size) for size in (1, 10))
    np.testing.assert_array_equal(batches, one_by_one[..., ::10].repeat(10, axis=2))


def test_a_step_size_is_a_factor_of_the_loss():
    losses = np.full((2, 1, 4), [[[1.0]], [[3.0]]])
    whole, half = Hedge.equal(2, 1, "logit"), Hedge.equal(2, 1, "logit")
    whole.add(losses)
    half.add(losses, np.array([0.5, 0, 0.5, 0]))
    assert whole.losses[1, 0] == pytest.approx(3 * sum(0.99**i for i in range(4)))
    assert half.losses[1, 0] == pytest.approx(1.5 * (1 - 0.005) + 1.5)


def test_an_unknown_target_counts_for_nothing():
    losses = np.array([[[1.0, np.nan, 2.0, np.inf]], [[3.0, np.nan, 1.0, np.inf]]])
    for are_classes in (True, False):
        all_of_them, known = (
            Hedge.equal(2, 1, "logit" if are_classes else "itself"),
            Hedge.equal(2, 1, "logit" if are_classes else "itself"),
        )
        all_of_them.add(losses)
        known.add(losses[..., ::2])
        np.testing.assert_array_equal(all_of_them.losses, known.losses)
        np.testing.assert_array_equal(all_of_them.spread, known.spread)


def test_losses_of_each_task():
    def of(task: str, predicted: Any, targets: Any) -> list[Any]:
        config = networks(**TASKS[task])[0].config
        return expert_losses(config, np.array([predicted]), np.array(targets))[0].tolist()

    assert of("two classes", [[0.8, 0.8]], [[1, 0]]) == [pytest.approx([-math.log(0.8), -math.log(0.2)])]
    assert of("two classes", [[0.0]], [[1]]) == [pytest.approx([-math.log(0.001)])]  # at most
    assert of("three classes", [[0.5], [0.2], [0.3]], [[0], [1], [0]]) == [pytest.approx([-math.log(0.2)])]
    # A head with an unknown target did not learn, and one with an infinite target did not predict.
    assert of("three classes", [[0.5], [0.2], [0.1]], [[0], [1], [np.nan]]) == [pytest.approx([-math.log(0.2 / 0.7)])]
    assert of("three classes", [[0.5], [0.2], [9.0]], [[0], [1], [np.inf]]) == [pytest.approx([-math.log(0.2 / 0.7)])]
    assert of("numbers", [[1.0], [2.0]], [[3], [1]]) == [[4], [1]]
    assert np.isnan(of("numbers", [[1.0], [2.0]], [[3], [np.nan]])[1][0])
    assert of("labels", [[0.8], [0.3]], [[1], [0]]) == [
        pytest.approx([-math.log(0.8)]),
        pytest.approx([-math.log(0.7)]),
    ]
    assert np.isnan(of("labels", [[0.8], [0.3]], [[1], [np.nan]])[1][0])


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
    mixed = np.log(of_networks) - np.log1p(-of_networks) if are_classes else of_networks
    losses = expert_losses(networks(**TASKS[task])[0].config, of_networks, y)
    weights = np.array([by_hand(of_target, None if are_classes else 1.0) for of_target in losses.swapaxes(0, 1)])
    mixed = (weights.transpose(2, 0, 1) * mixed).sum(axis=0)
    expected = 1 / (1 + np.exp(-mixed)) if are_classes else zero + unit * mixed
    np.testing.assert_allclose(predicted, expected, rtol=1e-4, atol=1e-5)


def standardised(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # (T, n) -> 3 of (T, n)
    standardizer, columns = Standardizer(len(targets), **OF_TARGETS), []
    for target in targets.T:
        zero, unit = standardizer.mean.copy(), standardizer.scale.copy()
        columns.append([standardizer.learn_targets(target[:, None], np.inf, np.nan)[0][:, 0], zero, unit])
    y, zero, unit = np.array(columns).transpose(1, 2, 0)
    return y.astype(np.float32), zero, unit


@pytest.mark.parametrize("name", ["losses", "spread"])
def test_a_hedge_of_other_targets_than_its_ensemble_is_refused(name):
    """Compiled loops do not check, and a file may be changed."""
    bandit = GLNBandit(range(3), layer_sizes=(4,), seed=0)
    for arm in range(3):
        bandit.learn({"a": 1.0}, arm, float(arm))
    assert bandit._model.learner is not None
    bandit._model.learner.check()
    hedge = bandit._model.learner.means.combination
    setattr(hedge, name, getattr(hedge, name)[..., :1])
    with pytest.raises(ValueError, match="learner: expected networks, standardizers and counts of one size"):
        bandit._model.learner.check()


def test_cells_of_columns_below_0_are_refused():
    cells = FadingBinMeans.start([0, 1], 1)
    with pytest.raises(ValueError, match="bin_means: expected grids of columns from 0"):
        cells._replace(grids=cells.grids - [1, 0]).check(2, 1)
