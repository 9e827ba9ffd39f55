"""Words: keys that most samples lack, which linear models read alone. Frames, files, bad values, accuracy."""

from __future__ import annotations

import copy
import math
import os
import tracemalloc
import warnings
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from helpers import assert_same_state, learner_state

if not os.environ.get("GLN_REQUIRE_BACKENDS"):
    pytest.importorskip("river")

from river import feature_extraction

from gln.bandits import GLNBandit
from gln.engine.preprocessing.category_codes import code_of
from gln.engine.streaming.schema import AT_ONCE, CONSTANT, ENOUGH, StreamSchema
from gln.river import GLNClassifier, GLNRegressor

SMALL: dict[str, Any] = {"layer_sizes": (8, 4), "seed": 1}
Stream = list[tuple[dict[Any, Any], Any]]


def reviews(count: int, seed: int = 0) -> Stream:
    """A number, some of many words, one of which tells the class, and strings that few samples have.

    The first sample has many words, so none is a feature at once.
    """
    rng, samples = np.random.default_rng(seed), []
    for i in range(count):
        y = bool(rng.random() < 0.5)
        words = {f"word {n}": int(rng.integers(1, 3)) for n in rng.integers(0, 200, 8 if i else 40)}
        words |= {f"{'good' if y else 'bad'} {rng.integers(12)}": 1}
        odd = {"author": ("abc" if y else "def")[rng.integers(3)]} if rng.random() < 0.2 else {}
        samples.append(({"length": float(rng.normal()), **words, **odd}, y))
    return samples


def learned(samples: Stream, model: Any) -> Any:
    for x, y in samples:
        model.learn_one(x, y)
    return model


def frame_of(samples: Stream) -> tuple[pd.DataFrame, pd.Series]:
    """Columns in the order of the words, so that those of a row are in another order than in its dictionary."""
    frame = pd.DataFrame([x for x, _ in samples])
    return frame[sorted(frame.columns)], pd.Series([y for _, y in samples])


def probabilities(model: GLNClassifier, samples: Stream) -> list[float]:
    return [model.predict_proba_one(x)[True] for x, _ in samples]


def state_of(model: Any) -> dict[str, np.ndarray]:
    return learner_state(model._stream.learner)


# ---- Features and words ----------------------------------------------------------------------------------------------


def checked(samples: int) -> bool:
    """Whether words may become features after so many samples."""
    return samples in {*range(10, 100, 10), *range(100, 1000, 100), *range(1000, 10_000, 1000)}


def test_words_become_features_at_checks_if_enough_samples_had_them(monkeypatch):
    """Against a list of all samples."""
    monkeypatch.setattr("gln.engine.streaming.schema.MOST_FEATURES", 30)
    rng, schema, seen = np.random.default_rng(21), StreamSchema(), list[set[str]]()
    features, checks = {"a"}, 0
    first, odds = (
        rng.choice([1, 5, 13, 60, 95, 150, 400, 990, 1500], 60),
        rng.choice([0.03, 0.06, 0.3, 0.5, 0.6, 1], 60),
    )
    for i in range(2105):
        names = {"a", *(f"w{n}" for n in np.flatnonzero((first <= i) & (rng.random(60) < odds)))}
        if i == 0:
            names = {"a"}
        if checked(i):
            indices = {name: [k for k in range(i) if name in seen[k]] for name in set().union(*seen) - features}
            found = {
                name
                for name, has in indices.items()
                if len(has) >= 10 and len(has) >= (i - has[0]) / 2 and len(has) >= i / 20
            }
            checks += bool(found)
            features |= found if len(features | found) <= 30 else set()
        values: dict[Any, Any] = {name: "text" if name in ("w7", "w8") else 1.0 for name in names}
        schema.commit(schema.propose(values | {"none": math.nan}))
        seen.append(names)
        assert schema.indices.keys() == features, i
        assert schema.words.keys() == set().union(*seen) - features
    assert checks > 7
    assert 10 < len(features) <= 30


# ---- Bounds ----------------------------------------------------------------------------------------------------------


def endless_names(count: int, seed: int) -> Stream:
    """A category and a word of which most samples bring new ones, and a category and a number that few samples have."""
    rng, samples = np.random.default_rng(seed), []
    for i in range(count):
        x: dict[str, Any] = {"id": f"u{rng.integers(i + 1)}", f"word {rng.integers(2 * i + 2)}": 1.0, "of all": 2.0}
        x |= {f"word {n}": 1.0 for n in rng.integers(0, 9, 2)}
        if i % 7 == 0:
            x |= {"rare": f"r{rng.integers(i + 1)}"}
        if i % 5 == 0 and not 30 < i < 100:  # the limit is reached by one word
            x |= {f"name {n}": f"n{n}" for n in rng.integers(0, i + 2, 2)}
        samples.append((x, bool(rng.random() < 0.5)))
    return samples


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gln.engine.streaming.schema.MOST_LEVELS", 40)
    monkeypatch.setattr("gln.engine.streaming.schema.MOST_WORDS", 60)


@pytest.mark.slow
@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("kind", [GLNClassifier, GLNRegressor])
def test_beyond_the_limits_nothing_grows_and_samples_may_still_be_grouped(kind):
    samples, rng = endless_names(700, 23), np.random.default_rng(24)
    one, many = (kind(**SMALL) for _ in range(2))
    for start in (0, 350):
        half, first = samples[start : start + 350], 0
        expected = []
        for x, y in half:
            expected.append(one.predict_proba_one(x).get(True, 0.0) if kind is GLNClassifier else one.predict_one(x))
            one.learn_one(x, y)
        found = list[float]()
        while first < 350:
            part = slice(first, first + int(rng.integers(1, 120)))
            rows: Any = [x for x, _ in half[part]]
            rows = pd.DataFrame(rows) if rng.random() < 0.5 else rows
            predicted = many.predict_learn_many(rows, [y for _, y in half[part]])
            found += predicted[True if kind is GLNClassifier else "mean"].tolist()
            first = part.stop
        assert found == expected
        schema = one._stream.schema
        assert (len(schema.levels["id"]), len(schema.levels["rare"]), len(schema.words)) == (40, 40, 60)
        assert schema.levels.keys() < schema.indices.keys() | schema.words.keys()
        assert sum(map(len, schema.levels.values())) < 100
        assert schema.occurrences.shape == (2, 64)
        assert max(map(len, one._stream.learner.featurizer.encoding.counts.values())) <= 64
    assert_same_state(state_of(many), state_of(one))


@pytest.mark.usefixtures("small_limits")
def test_models_that_forget_terms_are_the_same_however_samples_are_grouped(monkeypatch, tmp_path):
    monkeypatch.setattr("gln.engine.base_models.hashed_linear.MOST_SLOTS", 256)
    samples, sizes = endless_names(900, 25), []
    one, many = (GLNClassifier(**SMALL) for _ in range(2))
    for start in range(0, 900, 150):
        part = samples[start : start + 150]
        learned(part, one)
        many.predict_learn_many([x for x, _ in part], [y for _, y in part])
        many.save(tmp_path / "m")
        sizes.append((tmp_path / "m").stat().st_size)
    assert len(one._stream.learner.featurizer.base_models.linear.keys) == 256
    assert sizes[-1] < 1.01 * sizes[2]  # some digits more
    assert_same_state(state_of(many), state_of(one))


def test_shared_numbers_are_the_same_in_all_processes():
    names, full = ("u17", ("context", "a"), 3), 1 << 17
    assert [code_of(name, {}, None, full, full) for name in names] == [52831, 91468, 36507]


@pytest.mark.parametrize("count", [AT_ONCE, AT_ONCE + 1])
def test_keys_of_the_first_sample_are_features_unless_they_are_many(count):
    model = GLNClassifier(**SMALL)
    model.learn_one({}, True)
    model.learn_one({i: 1.0 for i in range(count)}, True)
    assert len(model._stream.schema.words) == (0 if count == AT_ONCE else count)
    assert list(model._stream.schema.indices) == ([CONSTANT] if count > AT_ONCE else sorted(range(count), key=str))
    for i in range(ENOUGH):
        model.learn_one({i: 1.0 for i in range(count)}, bool(i % 2))
    assert len(model._stream.schema.words) == 0
    assert len(model._stream.schema.indices) == count + (count > AT_ONCE)


def test_a_word_changes_predictions_at_once_and_an_unknown_one_does_not():
    model = learned(reviews(300), GLNClassifier(**SMALL))
    p = model.predict_proba_one({"length": 0.0})[True]
    assert model.predict_proba_one({"length": 0.0, "unknown": 7.0, "author": "z"})[True] == p
    model.learn_one({"length": 0.0, "unknown": 7.0}, True)
    without, once, twice = (
        model.predict_proba_one({"length": 0.0} | own)[True] for own in ({}, {"unknown": 7.0}, {"unknown": 14.0})
    )
    assert without < once
    assert twice == once  # values are divided by the largest one
    assert without == model.predict_proba_one({"length": 0.0, "unknown": 0.0})[True]
    assert without == model.predict_proba_one({"length": 0.0, "unknown": math.nan})[True]


def test_only_words():
    model = GLNClassifier(**SMALL)
    samples = [({name: value for name, value in x.items() if " " in name}, y) for x, y in reviews(300)]
    model.learn_one({f"word {i}": 1 for i in range(AT_ONCE + 1)}, True)
    assert list(model._stream.schema.indices) == [CONSTANT]
    learned(samples, model)
    assert list(model._stream.schema.indices) == [CONSTANT]
    assert np.mean([(p > 0.5) == y for p, (_, y) in zip(probabilities(model, samples), samples, strict=True)]) > 0.95
    contributions, _ = model.explain_one(samples[0][0])
    assert contributions[True].keys() == samples[0][0].keys()


# ---- Frames ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["learn_many", "predict_learn_many"])
def test_a_row_with_a_word_is_learned_without_a_copy_of_the_model(call, monkeypatch):
    samples = [({"a": float(i), f"word {i}": 1.0}, i % 2) for i in range(20)]
    one, many = learned(samples, GLNClassifier(**SMALL)), GLNClassifier(**SMALL)
    monkeypatch.setattr(StreamSchema, "copy", None)
    monkeypatch.setattr("copy.deepcopy", None)
    for x, y in samples:
        getattr(many, call)(pd.DataFrame([x]), [y])
    assert many._stream.schema.words == one._stream.schema.words
    assert_same_state(state_of(many), state_of(one))


class Counted(str):
    """A name; the class counts how often a dictionary looks for one."""

    lookups = 0

    def __hash__(self) -> int:
        Counted.lookups += 1
        return super().__hash__()


@pytest.mark.slow
@pytest.mark.parametrize("value", [1.0, "text"])
def test_time_and_memory_of_a_sample_do_not_depend_on_how_many_words_are_known(value):
    model, found = GLNClassifier(**SMALL), []
    model.learn_one({Counted("a"): 1.0, Counted("b"): "x"}, True)
    for known in (600, 6000):
        for i in range(len(model._stream.schema.words), known):
            model.learn_one({Counted("a"): 1.0, Counted(f"word {i}"): value}, bool(i % 2))
        own = [
            ({Counted("a"): 1.0, Counted(f"word {i}"): value, Counted(f"{known} {i}"): value}, True) for i in range(16)
        ]
        calls: list[Any] = [model.learn_one, lambda x, y: model.predict_learn_many([x], [y])]
        calls += [lambda x, _: model.explain_one(x), lambda x, y: model.learn_many(pd.DataFrame([x]), pd.Series([y]))]
        for call in calls:
            call(*own.pop())
            costs = []
            for _ in range(3):  # the least of three: threads of other tests take memory, too
                sample = own.pop()
                tracemalloc.start()
                Counted.lookups = 0
                call(*sample)
                costs.append((Counted.lookups, tracemalloc.get_traced_memory()[1]))
                tracemalloc.stop()
            found.append(min(costs))
    for (few, small), (many, large) in zip(found[:4], found[4:], strict=True):
        assert many == few
        assert large < small + 40_000  # less than a copy of the names that are known


def test_sparse_frames_of_a_bag_of_words():
    texts = [" ".join(name.replace(" ", "") for name in x if " " in name) for x, _ in reviews(60)]
    texts = [f"the {text}" if i % 4 else text for i, text in enumerate(texts)]  # a word of most samples is a feature
    y, bag = [y for _, y in reviews(60)], feature_extraction.BagOfWords()
    one, many = (GLNClassifier(**SMALL) for _ in range(2))
    for start in (0, 20, 40):
        part = slice(start, start + 20)
        frame = cast(pd.DataFrame, bag.transform_many(pd.Series(texts[part])))
        assert all(isinstance(dtype, pd.SparseDtype) for dtype in frame.dtypes)
        many.learn_many(frame, pd.Series(y[part]))
        learned([(bag.transform_one(text), label) for text, label in zip(texts[part], y[part], strict=True)], one)
    assert "the" in one._stream.schema.indices
    samples = [(bag.transform_one(text), label) for text, label in zip(texts, y, strict=True)]
    expected = probabilities(one, samples)
    assert probabilities(many, samples) == expected
    found = many.predict_proba_many(cast(pd.DataFrame, bag.transform_many(pd.Series(texts))))[True]
    assert found.tolist() == expected


def test_an_error_in_the_middle_of_a_frame_changes_nothing():
    model = learned(reviews(40), GLNClassifier(**SMALL))
    before, names = state_of(model), copy.deepcopy((model._stream.schema.indices, model._stream.schema.words))
    frame, y = frame_of(reviews(10, seed=9))
    frame["new"] = [*range(7), math.inf, 1, 2]
    for bad in (frame, frame.assign(new=[*range(7), "text", 1, 2]), frame.assign(author=["a"] * 9 + [3])):
        with pytest.raises(ValueError, match="expected"):
            model.learn_many(bad, y)
    with pytest.raises(ValueError, match="y: expected labels"):
        model.learn_many(frame.assign(new=1.0), pd.Series([*y[:-1], None], dtype=object))
    assert_same_state(state_of(model), before)
    assert (model._stream.schema.indices, model._stream.schema.words) == names
    assert model._stream.schema.sample_count == 40


# ---- Bad values, files, explanations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3])
def test_explanations_of_words_add_up(classes):
    samples = [(x, "ab"[y] if classes == 2 or i % 3 else "c") for i, (x, y) in enumerate(reviews(300))]
    model = learned(samples, GLNClassifier(**SMALL))
    for x, _ in samples[:20]:
        contributions, constant = model.explain_one(x | {"unknown": 1.0})
        assert contributions["a"].keys() == {"length", *x}
        logits = {label: sum(own.values()) + constant[label] for label, own in contributions.items()}
        p = {label: 1 / (1 + math.exp(-logit)) for label, logit in logits.items()}
        expected = model.predict_proba_one(x)
        for label in expected:
            assert p[label] / sum(p.values()) == pytest.approx(expected[label], abs=1e-4)
    of_good = np.mean([model.explain_one({"length": 0.0, f"good {i}": 1})[0]["b"][f"good {i}"] for i in range(12)])
    of_bad = np.mean([model.explain_one({"length": 0.0, f"bad {i}": 1})[0]["b"][f"bad {i}"] for i in range(12)])
    assert of_good > 0.3 > -0.3 > of_bad
    regressor = learned([(x, 50 + 9.0 * y) for x, y in reviews(200)], GLNRegressor(**SMALL))
    for x, _ in samples[:20]:
        contributions, constant = regressor.explain_one(x)
        unlimited = sum(contributions.values()) + constant
        assert min(max(unlimited, 49.1), 59.9) == pytest.approx(regressor.predict_one(x), abs=1e-3)


# ---- Other models ----------------------------------------------------------------------------------------------------


def test_contexts_of_bandits_with_words(tmp_path):
    bandit = GLNBandit(arms=["left", "right"], **SMALL)
    hits = []
    for x, y in reviews(500):
        decision = bandit.decide(x)
        hits.append((decision.arm == "left") == y)
        bandit.learn(x, decision.arm, float(hits[-1]))
    assert list(bandit._model._stream.schema.indices) == [CONSTANT, "length"]
    assert len(bandit._model._stream.schema.words) > 150
    assert np.mean(hits[-200:]) > 0.75
    contributions, constant = bandit.explain(x)
    for arm, value in bandit.predict(x).items():
        assert sum(contributions[arm].values()) + constant[arm] == pytest.approx(value, abs=1e-4)
    bandit.save(tmp_path / "m")
    assert GLNBandit.load(tmp_path / "m").predict(x) == bandit.predict(x)
    before = bandit.predict({"length": 1.0, "word 1": 1})["left"]
    bandit.retire("right")
    assert bandit.predict({"length": 1.0, "word 1": 1}) == {"left": pytest.approx(before)}


def test_numbers_of_a_vector_are_all_features_of_a_bandit():
    bandit = GLNBandit(arms=[0, 1], **SMALL)
    bandit.learn(np.ones(3 * AT_ONCE), 0, 1.0)
    assert (len(bandit._model._stream.schema.indices), len(bandit._model._stream.schema.words)) == (3 * AT_ONCE, 0)


# ---- Accuracy --------------------------------------------------------------------------------------------------------


def of_names(count: int) -> Stream:
    """Each pair of two names has a class of its own; a third name does not matter."""
    classes, rng = np.random.default_rng(1).random((12, 12)) < 0.5, np.random.default_rng(0)
    names = rng.integers(0, 12, (count, 3)).tolist()
    return [({"a": f"a{a}", "b": f"b{b}", "c": f"c{c}"}, bool(classes[a, b])) for a, b, c in names]


def log_loss(model: GLNClassifier, samples: Stream) -> float:
    losses = []
    for x, y in samples:
        losses.append(-math.log(max(model.predict_proba_one(x).get(y, 0.0), 1e-3)))
        model.learn_one(x, y)
    return float(np.mean(losses[len(losses) // 2 :]))


@pytest.mark.slow
@pytest.mark.parametrize(("make", "count", "most"), [(of_names, 1500, 0.5), (reviews, 500, 0.3)])
def test_linear_models_improve_streams_of_names_and_words(make, count, most, monkeypatch):
    samples = make(count)
    whole = log_loss(GLNClassifier(seed=0), samples)
    monkeypatch.setattr("gln.engine.base_models.hashed_linear.LARGEST_LOGIT", 0.0)  # all that they say is 0
    alone = log_loss(GLNClassifier(seed=0), samples)
    assert whole < most * alone


def test_labels_that_look_like_ids_are_told_once():
    schema = StreamSchema()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for label in range(103):
            schema.commit(schema.propose({"a": 1.0}, [f"user {label}"]))
    [warning] = told
    assert str(warning.message).startswith("y: 100 classes, as if labels were ids; each class makes")
    assert warning.filename == __file__
    assert len(schema.classes) == 103
