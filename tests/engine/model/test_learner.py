"""Models of tables: a step learns everything or, after an error, nothing; and growing does not change predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import assert_same_state, learner_state

from gln.engine.base_models.online import OnlineBaseModels
from gln.engine.batches import SampleBatch
from gln.engine.ensemble.ensemble import COLUMNS, EXPANDED, Ensemble, Member
from gln.engine.ensemble.stacking import StackingWeights
from gln.engine.model.targets import Classes, Numbers, sum_to_one
from gln.engine.streaming.featurizer import StreamFeaturizer
from gln.engine.streaming.model import StreamModel
from gln.engine.tabular.inputs import TableFeaturizer
from gln.engine.tabular.model import TableModel
from gln.features import Standardizer, quantile_pieces
from gln_numpy import GLN

SAMPLES = np.random.default_rng(0).normal(size=(3, 60)) * [[1], [10], [100]]
BATCH = SampleBatch.of(SAMPLES)
NUMBERS = (SAMPLES[0] > 0).astype(int)


def learner(features: int = 3, **kind: Any) -> TableModel:
    network = GLN([3, 2], 2 * features, features, seed=0, context_bias=1.0, **kind)
    return TableModel(TableFeaturizer(Standardizer(features)), Classes(), Ensemble([Member(network)]))


def of_numbers() -> TableModel:
    kinds: list[dict[str, Any]] = [{"loss": "squared_error"}, {"loss": "quantile", "quantiles": (0.1, 0.9)}]
    members = [[Member(GLN([3, 2], 6, 3, seed=seed, **kind)) for seed in range(2)] for kind in kinds]
    means, quantiles = Ensemble(members[0]), Ensemble(members[1], target=0)
    return TableModel(TableFeaturizer(Standardizer(3)), Numbers(Standardizer(1, floor=0.0)), means, [quantiles])


@pytest.mark.parametrize("calls", [2, 60])
def test_a_stream_in_several_calls_is_the_stream_in_one(calls):
    for make, targets in ((learner, NUMBERS), (of_numbers, SAMPLES[:1] * 1e3)):
        whole, cut = make(), make()
        [predicted] = whole.learn(BATCH, targets)
        segments = np.array_split(np.arange(60), calls)
        pieces = [cut.learn(SampleBatch.of(SAMPLES[:, segment]), targets[..., segment])[0] for segment in segments]
        np.testing.assert_allclose(np.concatenate(pieces, axis=1), predicted, rtol=1e-4, atol=1e-3)
        assert_same_state(learner_state(whole), learner_state(cut), rtol=1e-4, atol=1e-5)


def bad_steps() -> dict[str, Any]:
    return {
        "targets: expected shape": (BATCH, NUMBERS[:5]),
        "features": (SampleBatch.of(SAMPLES[:2]), NUMBERS),
        "targets: expected class numbers": (BATCH, NUMBERS - 1),
        "step_sizes": (BATCH, NUMBERS, np.full(60, -1.0)),
        "batch_size": (BATCH, NUMBERS, None, 0),
        "learning_rate": (BATCH, NUMBERS),
    }


@pytest.mark.parametrize("message", bad_steps())
def test_errors_change_nothing(message):
    model = learner()
    model.learn(SampleBatch.of(SAMPLES[:, :30]), NUMBERS[:30])
    if message == "learning_rate":
        model.learning_rate = lambda t: 1.0 if t < 80 else np.nan  # fails far into the stream
    before, network = learner_state(model), model.networks[0]
    with pytest.raises(ValueError, match=message):
        model.learn(*bad_steps()[message])
    assert model.networks == [network]
    assert_same_state(learner_state(model), before)


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="Input samples contains infinity"):
        SampleBatch.of(np.where(SAMPLES[1, 50] == SAMPLES, np.inf, SAMPLES))
    model = of_numbers()
    with pytest.raises(ValueError, match="targets: expected finite numbers"):
        model.learn(BATCH, np.where(SAMPLES[:1] > 0, SAMPLES[:1], np.nan))
    with pytest.raises(ValueError, match=r"targets: expected finite numbers, got .* numbers too large for float32"):
        model.learn(BATCH, np.where(SAMPLES[:1] > 0, SAMPLES[:1], 1e200))
    assert learner_state(model)[".featurizer.standardizer.count"].tolist() == [0, 0, 0]


def test_classes_and_features_may_appear_at_any_time():
    numbers = np.where(np.arange(60) < 40, NUMBERS, 3)
    whole, cut = (
        StreamModel(
            StreamFeaturizer(
                Standardizer(3), base_models=OnlineBaseModels.start((), 1, True, crosses=False, uses_bins=False)
            ),
            Classes(),
            Ensemble([Member(GLN([3, 2], 6, 3, seed=0))]),
        )
        for _ in range(2)
    )
    whole.learn(BATCH, numbers)
    cut.learn(SampleBatch.of(SAMPLES[:, :40]), numbers[:40])
    before = sum_to_one(cut.predict(BATCH))
    cut.add_class()
    p = sum_to_one(cut.predict(BATCH))
    np.testing.assert_allclose(p[:2] / p[:2].sum(axis=0), before, atol=1e-6)
    cut.learn(SampleBatch.of(SAMPLES[:, 40:]), numbers[40:])
    assert_same_state(learner_state(whole), learner_state(cut), rtol=1e-5, atol=1e-6)
    p = cut.predict(BATCH)
    missing = np.full((2, 60), np.nan)
    cut.learn(SampleBatch.of(np.concatenate([SAMPLES, missing])[:, :0]), numbers[:0])
    assert cut.networks[0].context_size == 5
    np.testing.assert_allclose(cut.predict(SampleBatch.of(np.concatenate([SAMPLES, missing]))), p, atol=1e-6)
    cut.learn(SampleBatch.of(np.concatenate([SAMPLES, SAMPLES[:2]])), numbers)
    assert cut.networks[0].num_classes == 4


def test_expansions_come_before_what_all_networks_mix():
    """Contributions of stacked networks add up, and new features change nothing until something is learned of them."""
    z = Standardizer(3)
    z.fit(SAMPLES)
    pieces = quantile_pieces(z.transform(SAMPLES))
    sizes = {COLUMNS: 6, EXPANDED: 6 + len(pieces.features)}
    members = [Member(GLN([3, 2], size, 3, seed=0, context_bias=1.0), role) for role, size in sizes.items()]
    weights = StackingWeights(np.array([[0.7], [1.5]]), np.array([0.2]))
    model = TableModel(TableFeaturizer(z, pieces=pieces), Classes(), Ensemble(members, weights))
    model.learn(BATCH, NUMBERS)
    read = model.featurizer.transform(BATCH)
    first, second = model.means.mixed(model.means.run(read))
    np.testing.assert_allclose(model.decision(BATCH), 0.7 * first + 1.5 * second + 0.2)
    plain, expanded = (read.of(member.network)[0] for member in members)
    np.testing.assert_array_equal(expanded[-6:], plain)
    contributions, constant = model.explain(BATCH)
    np.testing.assert_allclose(contributions.sum(axis=2) + constant, model.decision(BATCH), atol=1e-3)
    before, more = model.predict(BATCH), np.concatenate([SAMPLES, np.full((2, 60), np.nan)])
    model.learn(SampleBatch.of(more[:, :0]), NUMBERS[:0])
    np.testing.assert_allclose(model.predict(SampleBatch.of(more)), before, atol=1e-6)


def test_probabilities_sum_to_one():
    np.testing.assert_allclose(sum_to_one([[0.3, 1.0]]), [[0.7, 0.0], [0.3, 1.0]])
    np.testing.assert_allclose(sum_to_one([[0.2], [0.2], [0.4]]), [[0.25], [0.25], [0.5]])
