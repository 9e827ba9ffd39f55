"""Bandits find the best arm, adapt to changes, and know which arms they have not tried; errors change nothing."""

from __future__ import annotations

import doctest
import math
import pickle
from typing import Any

import numpy as np
import pytest
from helpers import assert_same_state, learner_state

import gln.bandits
from gln.bandits import MOST_PENDING, STRENGTHS, GLNBandit

SMALL: dict[str, Any] = {"layer_sizes": (8, 4), "seed": 1}
ARMS = ["left", "middle", "right"]


def contexts(count: int, seed: int = 0) -> list[dict[str, Any]]:
    return [dict(zip("abcd", x, strict=True)) for x in np.random.default_rng(seed).normal(size=(count, 4)).tolist()]


def best(x: dict[str, Any]) -> str:
    return ARMS[int(x["a"] > -0.4) + int(x["a"] + 0.3 * x["b"] > 0.6)]


def played(bandit: GLNBandit, xs: list[dict[str, Any]], **options: Any) -> list[float]:
    """The rewards of a bandit: 10 for the best arm, 4 for another."""
    rewards = []
    for x in xs:
        arm = bandit.decide(x, **options).arm
        rewards.append(10.0 if arm == best(x) else 4.0)
        bandit.learn(x, arm, rewards[-1])
    return rewards


def mean_of(bandit: GLNBandit) -> float:
    """The mean of all rewards."""
    assert bandit._model.learner is not None
    return float(bandit._model.learner.targets.standardizer.mean[0])


def test_docstrings():
    assert doctest.testmod(gln.bandits).failed == 0


@pytest.mark.parametrize("explore", STRENGTHS)
def test_the_best_arm_is_found(explore):
    bandit = GLNBandit(ARMS, explore=explore, **SMALL)
    rewards = played(bandit, contexts(2500))
    assert np.mean(rewards[-500:]) > 8.8  # 6 at random
    values = bandit.predict(contexts(1)[0])
    assert values.keys() == set(ARMS)
    assert 3 < min(values.values()) < max(values.values()) < 11


def test_adapts_when_rewards_change():
    bandit = GLNBandit(ARMS, **SMALL)
    played(bandit, contexts(1500))
    turned = [{**x, "a": -x["a"], "b": -x["b"]} for x in contexts(1500, seed=1)]  # best(x) is now another arm
    rewards = []
    for x in turned:
        seen = {**x, "a": -x["a"], "b": -x["b"]}
        arm = bandit.decide(seen).arm
        rewards.append(10.0 if arm == best(x) else 4.0)
        bandit.learn(seen, arm, rewards[-1])
    assert np.mean(rewards[:100]) < 8
    assert np.mean(rewards[-500:]) > 8.8


def test_arms_that_were_not_pulled_stay_unchanged():
    bandit = GLNBandit(ARMS, **SMALL)
    played(bandit, contexts(50))
    old = learner_state(bandit._model.learner)
    bandit.learn(contexts(1, seed=5)[0], "middle", 7.0)
    new = learner_state(bandit._model.learner)
    middle = bandit._model.heads["middle"]
    others = [head for head in range(3) if head != middle]
    for name in (name for name in old if " weights" in name):
        np.testing.assert_array_equal(new[name][:, :, others], old[name][:, :, others])
        assert np.abs(new[name][:, :, middle] - old[name][:, :, middle]).max() > 0


def test_late_rewards_new_arms_and_a_retired_one():
    bandit, waiting, hits = GLNBandit(**SMALL), [], []
    xs = contexts(2400)
    for step, x in enumerate(xs):
        arms = ["left", "middle"] if step < 600 else ["middle", "right", "left"] if step < 1500 else ["left", "right"]
        if step == 1500:
            bandit.retire("middle")
        arm = bandit.decide(x, arms=arms if step < 1500 else None).arm
        assert arm in arms
        hits.append(arm == best(x))
        waiting.append((x, arm, 10.0 if hits[-1] else 4.0))
        if step >= 100:
            bandit.learn(*waiting[step - 100])
    known = [step for step, x in enumerate(xs) if best(x) == "right"]
    assert np.mean([hits[step] for step in known if 1000 <= step < 1500]) > 0.8
    left = [step for step, x in enumerate(xs) if best(x) != "middle" and step >= 1800]
    assert np.mean([hits[step] for step in left]) > 0.85
    assert bandit.predict(xs[0]).keys() == {"left", "right"}
    before = learner_state(bandit._model.learner)
    bandit.learn(xs[0], "middle", 10.0)  # comes too late
    assert_same_state(learner_state(bandit._model.learner), before)
    bandit.retire("left")
    bandit.retire("right")
    with pytest.raises(ValueError, match="arms: expected one or more that are not retired"):
        bandit.decide(xs[0])
    assert bandit.decide(xs[0], arms=["other"]).arm == "other"
    bandit.learn(xs[0], "other", 1.0)
    assert bandit.predict(xs[0]).keys() == {"other"}


FEATURES: dict[str, Any] = {arm: {"size": float(i), "kind": arm[0]} for i, arm in enumerate(ARMS)}


@pytest.mark.parametrize("arms", [ARMS, FEATURES], ids=["names", "features"])
def test_many_at_once_are_one_after_another(arms):
    many, single = GLNBandit(**SMALL), GLNBandit(**SMALL)
    for seed in range(3):
        xs = [x | {"town": f"t{i % 7}", f"word {i % 5}": 1.0} for i, x in enumerate(contexts(40, seed))]
        decisions = many.decide_many(xs, arms)
        for found, expected in zip(decisions, [single.decide(x, arms) for x in xs], strict=True):
            assert found.arm == expected.arm
            assert found[1:] == pytest.approx(expected[1:], abs=1e-6)
        chosen = [decision.arm for decision in decisions]
        rewards = [10.0 if arm == best(x) else 4.0 for x, arm in zip(xs, chosen, strict=True)]
        many.learn_many(xs, chosen, rewards)
        for lesson in zip(xs, chosen, rewards, strict=True):
            single.learn(*lesson)
        assert many._pending == single._pending == {}
        assert many.predict(xs[0]) == pytest.approx(single.predict(xs[0]), abs=1e-5)
    assert many.decide_many([], arms) == []


def test_vectors_are_features_of_arms_too():
    rng = np.random.default_rng(0)
    vectors = {i: rng.normal(size=3) for i in range(8)}
    as_vectors, as_dictionaries = GLNBandit(**SMALL), GLNBandit(**SMALL)
    for x in rng.normal(size=(80, 2)):
        found = as_vectors.decide(x, vectors)
        assert found == as_dictionaries.decide(x, {arm: dict(enumerate(v.tolist())) for arm, v in vectors.items()})
        reward = float(x[0] * vectors[found.arm][0])
        as_vectors.learn(x, found.arm, reward)
        as_dictionaries.learn(x, found.arm, reward)
    as_vectors.learn(x, "new", 1.0, features=[1.0, 2.0, 3.0])
    as_vectors.learn_log([(x, 1, 0.5, 0.5, [[1.0, 2.0, 3.0], np.zeros(3)])])
    with pytest.raises(
        ValueError, match=r"arms\['b'\]: expected a dictionary or a vector of 3 numbers, got shape \(2,\)"
    ):
        as_vectors.decide(x, {"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0]})


def test_heads_are_bounded_and_the_arms_rewarded_last_keep_theirs(monkeypatch, tmp_path):
    monkeypatch.setattr("gln.engine.streaming.arms.MOST_HEADS", 8)
    bandit = GLNBandit(["always"], **SMALL)
    for i, x in enumerate(contexts(60)):
        bandit.learn(x, "always", 9.0)
        bandit.learn(x, f"arm {i}", 1.0)
        assert bandit._model.room <= 8
    x, mean = contexts(1)[0], mean_of(bandit)
    values = bandit.predict(x)
    assert values["always"] > 7
    assert values["arm 0"] == mean != values["arm 59"]
    bandit.learn_all(x, {f"other {i}": 2.0 for i in range(12)})  # more at once
    bandit.save(tmp_path / "b")
    loaded = GLNBandit.load(tmp_path / "b")
    assert loaded.predict(x) == bandit.predict(x)
    bandit.learn_many([x] * 20, [f"last {i}" for i in range(20)], [3.0] * 20)
    assert len({bandit.predict(x)[f"last {i}"] for i in range(20)} - {mean_of(bandit)}) > 0


@pytest.mark.parametrize("explore", STRENGTHS)
def test_the_value_of_an_arm_without_a_reward_is_the_mean(explore):
    bandit = GLNBandit(["left", "right", "never"], explore=explore, **SMALL)
    for i, x in enumerate(contexts(60)):
        if i == 30:
            bandit.add_arm("late")
        bandit.learn(x, "left" if i % 3 else "right", 4.0 + i % 5)
    xs = contexts(20, seed=1)
    mean = mean_of(bandit)
    assert mean == pytest.approx(6, abs=0.3)
    for x in xs:
        values = bandit.predict(x)
        assert values["never"] == values["late"] == mean
        assert mean not in (values["left"], values["right"])
        assert bandit.explain(x)[0].keys() == bandit.explain(x)[1].keys() == {"left", "right"}
    bandit.learn(xs[0], "late", 9.0)
    assert bandit.predict(xs[0])["late"] != mean
    assert bandit.explain(xs[0])[0].keys() == {"left", "right", "late"}
    bandit.retire("left")
    values = bandit.predict(xs[0])
    assert values["never"] == mean_of(bandit) != values["late"]


def test_arms_that_appear_one_by_one_double_the_heads():
    xs, one_by_one, known = contexts(120), GLNBandit(**SMALL), GLNBandit(range(40), **SMALL)
    heads = []
    for i, x in enumerate(xs):
        one_by_one.add_arm(i % 40)
        for bandit in (one_by_one, known):
            bandit.learn(x, i % 40, float(i % 7))
        heads.append(one_by_one._model.room)
    assert sorted(set(heads)) == [1, 2, 4, 8, 16, 32, 64]
    for x in contexts(10, seed=1):
        assert one_by_one.predict(x) == pytest.approx(known.predict(x), rel=1e-5)
        assert one_by_one.decide(x)[0] == known.decide(x)[0]
    for arm in range(0, 40, 3):
        one_by_one.retire(arm)
        known.retire(arm)
    one_by_one.add_arm("new")
    one_by_one.learn(xs[0], "new", 3.0)
    for x in contexts(10, seed=2):
        assert one_by_one.predict(x).keys() - {"new"} == known.predict(x).keys()
        assert one_by_one.predict(x)["new"] == pytest.approx(3.0, abs=3)


def test_room_for_arms_and_arms_without_a_reward_are_saved(tmp_path):
    bandit = GLNBandit(["a", "b", "c", "d", "e"], **SMALL)
    for arm in "ca":
        bandit.learn(contexts(1)[0], arm, 2.0)
    bandit.save(tmp_path / "b", {"rewards": 7})
    loaded = GLNBandit.load(tmp_path / "b")
    assert loaded.extra == {"rewards": 7}
    for x, arm in zip(contexts(8), ["f", "b", "g", "h", "i", "e", "d", "c"], strict=True):
        for each in (bandit, loaded):
            each.add_arm(arm)
            each.learn(x, arm, float(ord(arm)))
        assert loaded.predict(x) == bandit.predict(x)
    assert loaded._model.heads == bandit._model.heads
    assert sorted(loaded._model.heads.values()) == [*range(9)]
    assert loaded._model.room == 10


made: Any = GLNBandit
BAD_CALLS: dict[str, tuple[Any, str]] = {
    "arms in one text": (lambda bandit: bandit.decide({}, "left"), "arms: expected a list of arms"),
    "arms that are lists": (lambda bandit: bandit.propensities({}, [["left"]]), "arms: expected a list of arms"),
    "one number of arms": (lambda bandit: made(3), "arms: expected a list of arms"),
    "an arm that is a list": (lambda bandit: bandit.learn({}, ["left"], 1.0), "arm: expected arms that can be keys"),
    "a new arm that is a list": (lambda bandit: bandit.add_arm(["left"]), "arm: expected arms that can be keys"),
    "a former arm that is a list": (lambda bandit: bandit.retire(["left"]), "arm: expected arms that can be keys"),
    "an arm that is None": (lambda bandit: bandit.learn({}, None, 1.0), "arm: expected the name of an arm, got None"),
    "None with features": (lambda bandit: bandit.learn({}, None, 1.0, {"a": 1}), "arm: expected the name of an arm"),
    "a new arm that is None": (lambda bandit: bandit.learn_log([({}, None, 1.0, 1.0)]), "arm: expected the name of an"),
    "None among the arms": (lambda bandit: bandit.decide({}, [None, "left"]), "arm: expected the name of an arm"),
    "a bandit with the arm None": (lambda bandit: made([None]), "arm: expected the name of an arm, got None"),
    "rewards without arms": (lambda bandit: bandit.learn_all({}, [1.0]), "rewards: expected a dictionary"),
    "a reward for float64": (lambda bandit: bandit.learn({}, "left", 1e300), "reward: expected a finite number"),
    "a context of text": (lambda bandit: bandit.decide("text"), "context: expected a dictionary or a vector"),
    "a context of mixed types": (lambda bandit: bandit.predict([1, "a"]), "context: expected a dictionary or a vector"),
    "a context of dates": (
        lambda bandit: bandit.learn(np.array(["2020"], "M8[ns]"), "left", 1.0),
        "context: expected a",
    ),
    "a complex context": (lambda bandit: bandit.explain([1j]), "context: expected a dictionary or a vector"),
    "a strength in words": (lambda bandit: made(ARMS, strength="much"), "strength: expected a number"),
    "two ways to explore": (lambda bandit: made(ARMS, explore=["counts"]), "explore: expected one of"),
    "an arm given twice": (lambda bandit: bandit.decide({}, ["left", "up", "left"]), "arms: expected each arm once"),
    "rewards of other arms": (
        lambda bandit: bandit.learn_many([{}], ["up"], []),
        "contexts, arms, rewards: expected as",
    ),
    "one context": (lambda bandit: bandit.decide_many({"a": 1.0}), "contexts: expected a list, got"),
    "one bad context of many": (
        lambda bandit: bandit.decide_many([{}, {"a": math.inf}]),
        r"x\['a'\]: expected a finite",
    ),
    "one bad row of many": (
        lambda bandit: bandit.learn_many([{}, {"a": "text"}], ["up", "left"], [1, 1]),
        r"x\['a'\]: expected a finite",
    ),
    "vectors of two lengths": (lambda bandit: bandit.decide_many([[1.0], [1.0, 2.0]]), "a vector of 1 numbers, got"),
    "a reward of NaN": (lambda bandit: bandit.learn({"a": 1.0}, "left", math.nan), "reward: expected a finite number"),
    "a reward in words": (lambda bandit: bandit.learn({"a": 1.0}, "left", "much"), "reward: expected a finite number"),
    "infinity beside a new feature": (
        lambda bandit: bandit.learn({"a": math.inf, "new": 1.0}, "left", 1.0),
        r"x\['a'\]: expected a finite number",
    ),
    "text among numbers": (lambda bandit: bandit.learn({"a": "text"}, "left", 1.0), r"x\['a'\]: expected a finite"),
    "a seed in words": (lambda bandit: made(ARMS, seed="seed"), "seed: expected None or an integer"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_calls_that_make_no_sense(case):
    call, message = BAD_CALLS[case]
    bandit = GLNBandit(ARMS, **SMALL)
    bandit.learn({"a": 1.0}, "left", 1.0)
    before = pickle.dumps(bandit)
    with pytest.raises(ValueError, match=message):
        call(bandit)
    assert pickle.dumps(bandit) == before


def test_a_bad_rate_teaches_no_arm():
    bandit = GLNBandit(ARMS, **SMALL, learning_rate=lambda step: 0.1 if step < 3 else -1.0)
    for _ in range(3):
        bandit.learn({"a": 1.0}, "left", 1.0)
    before = learner_state(bandit._model.learner)
    with pytest.raises(ValueError, match="learning_rate: expected "):
        bandit.learn_log([({"a": 1.0}, "new", 1.0, 1.0)])
    assert list(bandit.predict({})) == ARMS
    assert_same_state(learner_state(bandit._model.learner), before)


def test_a_reward_of_few_bits():
    bandit = GLNBandit(ARMS, **SMALL)
    bandit.learn({"a": 1.0}, "left", np.float16(0.5))  # type: ignore[arg-type]
    assert bandit.predict({"a": 1.0})["left"] == 0.5


@pytest.mark.parametrize("explore", STRENGTHS)
def test_propensities_add_up_to_one(explore):
    bandit = GLNBandit(ARMS, explore=explore, **SMALL)
    played(bandit, contexts(100))
    p = np.array([*bandit.propensities(contexts(1)[0], ARMS).values()])
    assert p.sum() == pytest.approx(1)
    assert (p >= 0).all()
    assert (p.min() > 0) == (explore in ("inverse-gap", "epsilon"))


def test_rewards_that_are_probabilities():
    bandit = GLNBandit(ARMS[:2], rewards="probabilities", **SMALL)
    for x in contexts(200):
        arm = bandit.decide(x).arm
        bandit.learn(x, arm, float(arm == "left"))
    assert all(0 <= value <= 1 for x in contexts(50) for value in bandit.predict(x).values())
    with pytest.raises(ValueError, match="reward: expected a finite number from 0"):
        bandit.learn(contexts(1)[0], "left", 2)


def test_bad_arguments():
    for strength, explore in ((-1, "counts"), (math.nan, "counts"), (2, "epsilon")):
        with pytest.raises(ValueError, match="strength: expected a number from 0 to"):
            GLNBandit(strength=strength, explore=explore)
    bandit = GLNBandit(ARMS, **SMALL)
    bandit.learn([1.0, 2.0], "left", 1.0)
    with pytest.raises(ValueError, match=r"a vector of 2 numbers, got shape \(3,\)"):
        bandit.decide([1.0, 2.0, 3.0])


def test_errors_name_a_few_of_many_arms():
    bandit = GLNBandit(range(5000), **SMALL)
    bandit.retire(4000)
    some = r"\[0, 1, 2, 3, 4, \.\.\.\] \(4,999 arms\)"
    with pytest.raises(ValueError, match=f"arm: expected one of {some}, got 'no'"):
        bandit.retire("no")
    with pytest.raises(ValueError, match=r"arms: expected one or more that are not retired, got \[4000\] \(1 arms\)"):
        bandit.decide(None, arms=range(5000))
    bandit.learn(None, 7, 1.0)
    with pytest.raises(ValueError, match=r"arms: expected none with features, .*, got features of") as raised:
        bandit.decide(None, arms={arm: {"a": 1.0} for arm in range(3000)})
    assert len(str(raised.value)) < 200


def by_gaps(values: list[float], counts: list[float], t: int, strength: float) -> list[float]:
    """Propensities of "inverse-gap", as its documentation has them, in units in which the standard deviation is 1."""
    promise = [value + 0.3 * math.sqrt(math.log(max(t, 2)) / (1 + n)) for value, n in zip(values, counts, strict=True)]
    p = [1 / (len(values) + strength * math.sqrt(t) * (max(promise) - each)) for each in promise]
    best = max((each, -n) for each, n in zip(promise, counts, strict=True))
    are_best = [(each, -n) == best for each, n in zip(promise, counts, strict=True)]
    return [each + (1 - sum(p)) * is_best / sum(are_best) for each, is_best in zip(p, are_best, strict=True)]


@pytest.mark.parametrize("lessons", [2, 80])
def test_propensities_are_as_documented(lessons):
    bandit = GLNBandit(ARMS, **SMALL)
    played(bandit, contexts(lessons))
    unit = float(bandit._model.learner.targets.standardizer.scale[0]) or 1.0
    rng = np.random.default_rng(3)
    for i in range(50):
        values, counts = rng.normal(size=4).round(int(rng.integers(3))), rng.integers(5, size=4).astype(float)
        bandit.strength = None if i % 2 else 1000.0
        [found], *_ = bandit._choices(bandit._model, unit * values[None], counts[None], np.zeros(4, int), [0.5])
        expected = by_gaps(values.tolist(), counts.tolist(), lessons, bandit.strength or 30 * len(values))
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("explore", STRENGTHS)
def test_equal_arms_share_decisions(explore):
    arms = [f"a{i}" for i in range(20)]
    bandit = GLNBandit(arms, explore=explore, **SMALL)
    assert bandit.propensities({"a": 1.0}) == pytest.approx(dict.fromkeys(arms, 0.05))
    chosen = [bandit.decide({"a": 1.0}).arm for _ in range(400)]  # no reward has come yet
    counts = [chosen.count(arm) for arm in arms]
    assert max(counts) <= (20 if explore in ("counts", "greedy") else 40)
    again = GLNBandit(arms, explore=explore, **SMALL)
    assert [again.decide({"a": 1.0}).arm for _ in range(400)] == chosen
    others = GLNBandit(arms, explore=explore, **SMALL | {"seed": 9})
    assert [others.decide({"a": 1.0}).arm for _ in range(400)] != chosen


def test_pending_decisions_are_counted_until_their_rewards_are_learned(tmp_path):
    bandit, x = GLNBandit(ARMS, explore="counts", **SMALL), {"a": 1.0}
    decided = [bandit.decide(x).arm for _ in range(30)]
    assert bandit._pending == dict.fromkeys(bandit._pending, 10)
    before = bandit.propensities(x), bandit.predict(x)
    assert (bandit.propensities(x), bandit.predict(x)) == before  # asking decides nothing
    bandit.save(tmp_path / "bandit.gln")
    loaded = GLNBandit.load(tmp_path / "bandit.gln")
    assert loaded._pending == bandit._pending
    for arm in decided:
        bandit.learn(x, arm, 1.0)
    assert bandit._pending == {}
    for arm in decided:
        loaded.learn(x, arm, 1.0)
    assert [loaded.decide(x) for _ in range(9)] == [bandit.decide(x) for _ in range(9)]
    bandit.retire("left")
    assert "left" not in bandit._pending


def test_pending_decisions_are_bounded():
    bandit = GLNBandit(["only", "other"], explore="greedy", **SMALL)
    for _ in range(2 * MOST_PENDING + 10):
        bandit.decide(None)
    assert 0 < max(bandit._pending.values()) <= MOST_PENDING


@pytest.mark.parametrize("weight", [1.0, 50.0, 1e4, 1e6])
@pytest.mark.parametrize("has_features", [False, True])
def test_values_stay_near_the_rewards_whatever_the_weights(weight, has_features):
    rng, bandit = np.random.default_rng(6), GLNBandit(**SMALL)
    arms = {arm: {"x": float(i)} for i, arm in enumerate(ARMS)} if has_features else ARMS
    for _ in range(25):
        x = {"a": float(rng.normal())}
        bandit.learn_log([(x, ARMS[rng.integers(3)], float(rng.random() < 0.5), 1.0, arms, weight)])
        values = bandit.predict({"a": float(rng.normal())}, arms)
        assert all(-0.1 <= value <= 1.1 for value in values.values())
        assert 0 < bandit.decide(x, arms).propensity <= 1


def test_decisions_have_the_frequencies_of_their_propensities():
    bandit, x = GLNBandit(ARMS, strength=3, **SMALL), {"a": 1.0}
    bandit.learn_all(x, {"left": 1.0, "middle": 0.9, "right": 0.7})
    p = bandit.propensities(x)
    chosen = []
    for _ in range(4000):
        chosen.append(bandit.decide(x).arm)
        bandit._pending.clear()  # or propensities would change
    for arm in ARMS:
        assert p[arm] > 0.05
        assert chosen.count(arm) / 4000 == pytest.approx(p[arm], abs=4 * math.sqrt(p[arm] * (1 - p[arm]) / 4000))
