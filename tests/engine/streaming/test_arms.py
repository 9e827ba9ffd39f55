"""Arms with features: what is known of one serves the next, all are predicted at once, and several are chosen."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import assert_same_state, backend_name, learner_state

from gln.bandits import STRENGTHS, Decision, GLNBandit
from gln.engine.streaming.arms import ARM, ArmHeads, JointArms

SMALL: dict[str, Any] = {"layer_sizes": (8, 4), "seed": 1}
MOODS, GENRES = ["happy", "sad", "calm"], ["pop", "blues", "jazz"]
Features = dict[Any, Any]


def songs(count: int, seed: int = 0, prefix: str = "song") -> dict[str, Features]:
    rng = np.random.default_rng(seed)
    return {f"{prefix} {i}": {"genre": str(rng.choice(GENRES)), "age": float(rng.random())} for i in range(count)}


def listeners(count: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [{"mood": str(rng.choice(MOODS)), "hour": float(rng.uniform(0, 24))} for _ in range(count)]


def liked(x: dict[str, Any], song: dict[str, Any]) -> float:
    return float(MOODS.index(x["mood"]) == GENRES.index(song["genre"]))


def played(bandit: GLNBandit, xs: list[dict[str, Any]], arms: dict[str, Features]) -> list[float]:
    rewards = []
    for x in xs:
        arm = bandit.decide(x, arms).arm
        rewards.append(liked(x, arms[arm]))
        bandit.learn(x, arm, rewards[-1])
    return rewards


def valued(bandit: GLNBandit, x: dict[Any, Any], offered: Any) -> list[np.ndarray]:
    """Values and counts of arms."""
    model, arms = bandit._choice(offered)
    return [found[0] for found in bandit._values(model, model.encode([x]), arms)]


def state_of_arms(bandit: GLNBandit) -> dict[str, np.ndarray]:
    return learner_state(bandit._model.learner)


@pytest.mark.slow
@pytest.mark.parametrize("explore", STRENGTHS)
def test_what_is_known_of_one_arm_serves_the_next(explore):
    """The mean over four bandits, because luck decides how soon one of them stops exploring."""
    of_features, of_ids = [], []
    for seed in range(4):
        bandit, ids = (GLNBandit(explore=explore, layer_sizes=(8, 4), seed=seed) for _ in range(2))
        known, new = songs(12, seed), songs(12, seed=100 + seed, prefix="new")
        for xs, arms in ((listeners(250, seed), known), (listeners(60, seed=100 + seed), new)):
            rewards = played(bandit, xs, arms)
            rewards_of_ids = []
            for x in xs:
                arm = ids.decide(x, [*arms]).arm
                rewards_of_ids.append(liked(x, arms[arm]))
                ids.learn(x, arm, rewards_of_ids[-1])
        of_features += rewards
        of_ids += rewards_of_ids
    assert np.mean(of_features) > 0.85  # a third at random
    assert np.mean(of_ids) < np.mean(of_features) - 0.1


@pytest.mark.parametrize("of_arm", [lambda i: {"size": float(i)}, lambda i: {"kind": f"kind {i}"}])
def test_a_good_first_arm_does_not_hide_the_others(of_arm):
    """Without a reward, arms have no scale and no levels, and would all look like the first one."""
    bandit, rng, arms = GLNBandit(**SMALL), np.random.default_rng(0), {i: of_arm(i) for i in range(5)}
    chosen = []
    for _ in range(400):
        chosen.append(bandit.decide(None, arms).arm)
        bandit.learn(None, chosen[-1], float(rng.random() < (0.6, 0.1, 0.2, 0.95, 0.3)[chosen[-1]]))
    assert np.mean([arm == 3 for arm in chosen[-100:]]) > 0.9


def one_by_one(bandit: GLNBandit, x: dict[str, Any], offered: dict[Any, Features]) -> tuple[list[float], list[float]]:
    """Values and counts of arms, each as a sample of its own."""
    model, found = bandit._model, []
    assert model.learner is not None
    for arm, features in offered.items():
        sample: dict[Any, Any] = {("context", name): value for name, value in x.items()}
        sample |= {("arm", name): value for name, value in features.items()}
        sample |= {ARM: model._codes[arm]} if arm in model._codes else {}
        found.append(
            [float(each[0, 0]) for each in model.learner.predict_and_count(model._stream.schema.encode(sample))]
        )
    values, counts = zip(*found, strict=True)
    return list(values), list(counts)


def test_all_arms_at_once_are_predicted_like_one_by_one():
    rng, bandit = np.random.default_rng(0), GLNBandit(**SMALL)
    offered = songs(10)
    for step, x in enumerate(listeners(120)):
        x = {**x, f"seen {rng.integers(9)}": 1.0} if step else x
        if step == 40:  # other arms, features and levels; rare keys are words
            offered |= {"long": {"genre": "opera", "minutes": 90.0, "tag": "x"}, "none": {}}
        if step == 80:
            offered = dict(reversed(offered.items())) | {"song 3": {"genre": "jazz", "age": 9.0, "plays 7": 2}}
        values, counts = valued(bandit, x, offered)
        if bandit._model.learner is not None:
            expected = one_by_one(bandit, x, offered)
            np.testing.assert_allclose(values, expected[0], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(counts, expected[1], rtol=1e-6)
        bandit.decide(x, offered)
        bandit._pending.clear()  # another arm is learned
        arm = [*offered][step % len(offered)]
        bandit.learn(x, arm, float(rng.random()))
    assert len(bandit._model._stream.schema.words) > 5
    assert ("arm", "age") in bandit._model._stream.schema.indices
    assert bandit._model._samples_of(offered).words.numbers.size > 0


def test_thousands_of_arms_are_predicted_in_parts():
    bandit = GLNBandit(**SMALL)
    played(bandit, listeners(30), songs(10))
    offered, x = songs(2500), listeners(1)[0]
    values, counts = valued(bandit, x, offered)
    some = [0, 999, 1000, 2499]
    expected = one_by_one(bandit, x, {arm: offered[arm] for arm in np.array([*offered])[some].tolist()})
    np.testing.assert_allclose(values[some], expected[0], rtol=1e-5)
    np.testing.assert_allclose(counts[some], expected[1], rtol=1e-6)


def test_features_are_converted_once_and_again_when_they_change():
    bandit, arms = GLNBandit(**SMALL), songs(10)
    played(bandit, listeners(20), arms)
    x, converted, schema = listeners(1)[0], [], bandit._model._stream.schema
    encode = schema.encode_rows
    schema.encode_rows = lambda rows: converted.append(rows) or encode(rows)  # type: ignore[func-returns-value]
    bandit.decide(x, copy.deepcopy(arms))
    assert converted == []
    before = valued(bandit, x, arms)[0]
    arms["song 2"]["age"] = 30.0  # in place
    after = valued(bandit, x, arms)[0]
    assert len(converted) == 1
    assert (after[[0, 1, 3]] == before[[0, 1, 3]]).all()
    assert after[2] != before[2]
    backwards = dict(reversed(arms.items()))
    np.testing.assert_array_equal(valued(bandit, x, backwards)[0], after[::-1])


def test_rewards_are_learned_with_the_features_offered_last():
    late, told = GLNBandit(**SMALL), GLNBandit(**SMALL)
    for x, old in zip(listeners(40), songs(40).values(), strict=True):
        arms = {"a": old, "b": {"genre": "pop", "age": 0.5}}
        late.decide(x, arms)
        late.learn(x, "a", liked(x, old))
        told.decide(x, arms)
        told.learn(x, "a", liked(x, old), features=dict(old))
    assert_same_state(state_of_arms(late), state_of_arms(told))
    told.learn(listeners(1)[0], "never offered", 1.0, features={"genre": "jazz", "age": 0.1})
    assert "never offered" in told.predict(listeners(1)[0])
    other = GLNBandit(**SMALL)
    other.add_arm("a", {"genre": "pop", "age": 1.0})
    other.learn(listeners(1)[0], "a", 1.0)
    assert other._model.offered == {"a": {"genre": "pop", "age": 1.0}}
    assert GLNBandit({"a": {"genre": "pop"}}, **SMALL)._model.offered == {"a": {"genre": "pop"}}


def test_without_features_arms_have_those_that_they_had_last_or_none():
    bandit, arms, x = GLNBandit(**SMALL), songs(6), listeners(1)[0]
    played(bandit, listeners(50), arms)
    assert bandit.predict(x) == dict(zip(arms, valued(bandit, x, arms)[0].tolist(), strict=True))
    assert bandit.propensities(x, [*arms]) == bandit.propensities(x, arms)
    mixed = valued(bandit, x, {"song 1": None, "other": None, "song 2": {}})
    same = valued(bandit, x, {"song 1": arms["song 1"], "other": {}, "song 2": {}})
    np.testing.assert_array_equal(mixed, same)


@pytest.mark.parametrize("explore", STRENGTHS)
def test_decides_the_same_after_saving_midway(explore, tmp_path):
    bandit, arms = GLNBandit(explore=explore, **SMALL), dict[Any, Features](songs(10))
    played(bandit, listeners(80), arms)
    bandit.retire("song 4")
    del arms["song 4"]
    arms["late", 1] = {"genre": "pop", "age": 0.5}  # a name that is a tuple
    bandit.decide(listeners(1)[0], arms)
    bandit.save(tmp_path / "bandit.gln")
    resumed = GLNBandit.load(tmp_path / "bandit.gln")
    for step, x in enumerate(listeners(80, seed=3)):
        if step == 20:
            arms |= songs(3, seed=4, prefix="late")
        offered = arms if step % 2 else None
        expected, found = bandit.decide(x, offered, k=3), resumed.decide(x, offered, k=3)
        assert [each.arm for each in found] == [each.arm for each in expected]
        assert [each[1:] for each in found] == [pytest.approx(each[1:], abs=1e-3) for each in expected]
        for each in (bandit, resumed):
            each.learn(x, expected[0].arm, liked(x, arms[expected[0].arm]))
    assert_same_state(state_of_arms(bandit), state_of_arms(resumed), rtol=1e-4, atol=1e-5)


def test_contributions_add_up():
    bandit, arms = GLNBandit(**SMALL), songs(8)
    x = listeners(1, seed=5)[0]
    assert bandit.explain(x) == ({}, {})
    played(bandit, listeners(200), arms)
    contributions, constants = bandit.explain(x)
    values = bandit.predict(x)
    assert set(contributions) == {arm for arm in arms if arm in bandit._model._codes} != set()
    for arm, own in contributions.items():
        assert own.keys() == {("context", "mood"), ("context", "hour"), ("arm", "genre"), ("arm", "age"), ("arm",)}
        assert sum(own.values()) + constants[arm] == pytest.approx(values[arm], abs=1e-2)


# ---- Several at once -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_features", [False, True])
@pytest.mark.parametrize("explore", STRENGTHS)
def test_several_arms_are_chosen_one_after_another(explore, with_features):
    arms: Any = songs(6) if with_features else [*songs(6)]
    bandit = GLNBandit(arms, explore=explore, **SMALL)
    for x in listeners(60):
        decisions = bandit.decide(x, arms, k=3)
        assert len({each.arm for each in decisions}) == 3
        for each in decisions:
            bandit.learn(x, each.arm, liked(x, songs(6)[each.arm]))
    x = listeners(1, seed=8)[0]
    draws, left = bandit._draws, dict.fromkeys(arms) if not with_features else dict(arms)
    expected = []
    for _ in range(6):  # the same as deciding again among those that are left
        expected.append(bandit.decide(x, left))
        del left[expected[-1].arm]
    bandit._draws, bandit._pending = draws, {}
    assert bandit.decide(x, arms, k=6) == expected
    bandit._draws, bandit._pending = draws, {}
    assert bandit.decide(x, arms, k=100) == expected
    bandit._draws, bandit._pending = draws, {}
    assert [bandit.decide(x, arms)] == expected[:1]
    assert isinstance(expected[0], Decision)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "2"])
def test_a_wrong_k(k):
    bandit = GLNBandit(["a", "b"], explore="epsilon", seed=0)
    with pytest.raises(ValueError, match="k: expected an integer of at least 1"):
        bandit.decide({"a": 1.0}, k=k)
    assert bandit._draws == 0


# ---- Bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "x", "arms"),
    [
        (r"arms\['b'\]: expected a dictionary or a vector of one or more numbers, got shape", {"hour": 1.0}, {"b": 3}),
        (r"x\[\('arm', 'age'\)\]: expected a finite number", {"hour": 1.0}, {"b": {"age": math.inf}}),
        (r"x\[\('arm', 'age'\)\]: expected a finite number", {"hour": 1.0}, {"b": {"age": "old"}}),
        (r"x\[\('arm', 'genre'\)\]: expected a string", {"hour": 1.0}, {"b": {"genre": 1.0}}),
        (r"x\[\('context', 'hour'\)\]: expected a finite number", {"hour": math.inf}, {"b": {}}),
        ("context: expected a dictionary or a vector", [[1.0]], {"b": {}}),
        ("arms: expected one or more", {"hour": 1.0}, {}),
    ],
)
def test_errors_change_nothing(message, x, arms):
    bandit = GLNBandit(explore="inverse-gap", **SMALL)
    played(bandit, listeners(30), songs(5))
    before, heads, draws = state_of_arms(bandit), dict(bandit._model.arms), bandit._draws
    offered = copy.deepcopy(bandit._model.offered)
    with pytest.raises(ValueError, match=message):
        bandit.decide(x, arms)
    if arms:
        with pytest.raises(ValueError, match=message):
            bandit.learn(x, "b", 1.0, features=arms["b"])
    with pytest.raises(ValueError, match="reward: expected a finite number"):
        bandit.learn({"hour": 1.0}, "b", math.nan, features={"age": 1.0})
    assert_same_state(state_of_arms(bandit), before)
    assert (bandit._model.arms, bandit._draws, bandit._model.offered) == (heads, draws, offered)


def test_errors_in_one_of_several_rewards_and_before_the_first_one_change_nothing():
    bandit = GLNBandit(**SMALL)
    with pytest.raises(ValueError, match="arms: expected 'size' to be always text or never, got 1 and 'big'"):
        bandit.decide(None, {"a": {"size": 1}, "b": {"size": "big"}})
    assert isinstance(bandit._model, ArmHeads)
    bandit.decide(None, {"a": {"size": 1}, "b": {"size": None, "new": "x"}})
    with pytest.raises(ValueError, match=r"x\[\('arm', 'new'\)\]: expected a finite number"):
        bandit.learn(None, "c", 1.0, features={"new": 2.0})
    assert bandit._model.learner is None
    bandit.learn(None, "a", 1.0)
    bandit.decide(None, {"d": {"late": 1.0}, "e": {"late": "x"}})
    before = state_of_arms(bandit)
    with pytest.raises(ValueError, match=r"x\[\('arm', 'late'\)\]"):
        bandit.learn_all(None, {"d": 1.0, "e": 0.0})
    assert_same_state(state_of_arms(bandit), before)


def test_features_come_before_the_first_reward_or_never():
    bandit = GLNBandit(["a", "b"], **SMALL)
    bandit.decide({"hour": 1.0})
    bandit.decide({"hour": 1.0}, {"c": {"genre": "pop"}})
    bandit.learn({"hour": 1.0}, "a", 1.0)
    assert bandit._model.learner is not None
    assert isinstance(bandit._model, JointArms)
    ids = GLNBandit(["a", "b"], **SMALL)
    ids.learn({"hour": 1.0}, "a", 1.0)
    for change in (
        lambda: ids.decide({"hour": 1.0}, {"c": {"genre": "pop"}}),
        lambda: ids.add_arm("c", {"genre": "pop"}),
        lambda: ids.learn({"hour": 1.0}, "c", 1.0, features={"genre": "pop"}),
    ):
        with pytest.raises(ValueError, match="arms: expected none with features"):
            change()
    assert list(ids._model.arms) == ["a", "b"]
    assert ids.propensities({"hour": 1.0}, {"a": None, "b": None}) == ids.propensities({"hour": 1.0}, ["a", "b"])


def test_missing_values_of_any_kind_may_change():
    bandit = GLNBandit(**SMALL)
    for step, x in enumerate(listeners(30)):
        missing = [None, math.nan, pd.NA, 3.0][step % 4]
        arms = {"a": {"age": missing, "genre": "pop"}, "b": {"age": 1.0, "genre": None if step % 3 else "jazz"}}
        bandit.learn(x, bandit.decide(x, arms).arm, float(step % 2))
    assert bandit.predict(listeners(1)[0]).keys() == {"a", "b"}


# ---- Backends and River ----------------------------------------------------------------------------------------------


@pytest.mark.compiles
def test_backends_agree(backend):
    bandits = [GLNBandit(backend=name, layer_sizes=(8,), seed=1) for name in ("numpy", backend_name(backend))]
    for x in listeners(15):
        arm, _ = (bandit.decide(x, songs(3)).arm for bandit in bandits)
        for bandit in bandits:
            bandit.learn(x, arm, liked(x, songs(3)[arm]))
    for x in listeners(5, seed=2):
        expected, found = (valued(bandit, x, songs(3)) for bandit in bandits)
        np.testing.assert_allclose(found[0], expected[0], atol=1e-2)
        np.testing.assert_array_equal(found[1], expected[1])
