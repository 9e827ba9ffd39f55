"""`predict_learn_many` of `gln.river`: samples predicted and learned in turn, to the last bit as one by one."""
# ruff: noqa: N803, N806 - X is a frame

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("river")

from gln.engine.base_models import fading_bin_means
from gln.engine.saving import read
from gln.engine.streaming.values import NamedRows
from gln.river import GLNClassifier, GLNDensityClassifier, GLNRegressor

MODELS: dict[str, tuple[type, dict[str, Any]]] = {
    "classes": (GLNClassifier, {}),
    "numbers": (GLNRegressor, {}),
    "quantiles": (GLNRegressor, {"quantiles": (0.9, 0.1)}),
    "density": (GLNRegressor, {"density": True}),
}


def stream(count: int = 100) -> tuple[pd.DataFrame, list[str | None], list[float], np.ndarray]:
    """Numbers, few and many levels, missing values, a late and a rare column; labels, of which one is late and some are
    missing, targets, and weights."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(count, 3)), columns=["a", "b", "c"])
    X["colour"] = rng.choice(["red", "green", "blue"], count).astype(object)
    X["name"] = np.array([f"n{place}" for place in rng.exponential(9, count).astype(int)], object)
    X = X.mask(pd.DataFrame(rng.random(X.shape) < 0.05, columns=X.columns))
    X["late"] = np.where(np.arange(count) > count / 2, rng.normal(size=count), np.nan)
    X["rare"] = np.where(rng.random(count) < 0.05, 1.0, np.nan)
    score = X["a"].fillna(0) + (X["colour"] == "red") + rng.normal(scale=0.3, size=count)
    labels: list[Any] = np.select([score > 1, score > 0], ["x", "y"], "z").tolist()
    labels[: count // 3] = ["y" if label == "x" else label for label in labels[: count // 3]]
    for place in (0, 5, 6, 70):
        labels[place], score[place] = None, np.nan
    return X, labels, score.tolist(), rng.choice([1.0, 1.0, 2.0, 0.5, 0.0], count)


def dictionaries(X: pd.DataFrame) -> list[dict[str, Any]]:
    rows = (dict(zip(X.columns, row, strict=True)) for row in X.itertuples(index=False, name=None))
    return [{name: value for name, value in row.items() if value == value} for row in rows]


def one_by_one(model: Any, X: pd.DataFrame, y: list[Any], w: np.ndarray) -> list[dict[Any, float]]:
    found = []
    for x, target, weight in zip(dictionaries(X), y, w.tolist(), strict=True):
        if not isinstance(model, GLNRegressor):
            found.append(model.predict_proba_one(x))
        else:
            p = {"mean": model.predict_one(x)} | (model.predict_quantiles_one(x) if model.quantiles else {})
            found.append(p | ({"std": model.predict_one(x, with_dist=True).sigma} if model.density else {}))
        if weight and target is not None and target == target:
            model.learn_one(x, target, weight)
    return found


def saved(model: Any, folder: Any) -> tuple[Any, dict[str, bytes]]:
    model.save(folder / "model")
    config, arrays = read(folder / "model")
    return config, {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind == "classes" else pytest.mark.slow) for kind in MODELS]
)
def test_rows_are_predicted_and_learned_as_one_by_one(kind, tmp_path):
    X, labels, numbers, w = stream()
    made, options = MODELS[kind]
    y: list[Any] = labels if made is not GLNRegressor else numbers
    alone = made(seed=0, **options)
    expected = pd.DataFrame(one_by_one(alone, X, y, w)).fillna(0.0)
    for size, rows in ((1, X), (9, dictionaries(X)), (100, X)):
        model, found = made(seed=0, **options), []
        for start in range(0, len(X), size):
            some = slice(start, start + size)
            found.append(model.predict_learn_many(rows[some], y[some], w[some]))
        predicted = pd.concat(found, ignore_index=True).fillna(0.0)
        assert list(predicted.columns) == list(expected.columns)
        # Variances of samples that are predicted together may differ in the last bit, because compiled loops compute
        # several exponentials at once; and River's Gaussian does not return the standard deviation as it was given.
        tolerance = {"quantiles": 1e-14, "density": 1e-9}.get(kind, 0.0)
        np.testing.assert_allclose(predicted.to_numpy(), expected.to_numpy(), rtol=tolerance, atol=tolerance)
        assert saved(model, tmp_path) == saved(alone, tmp_path)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (GLNDensityClassifier, {}),
        pytest.param(GLNRegressor, {"quantiles": (0.5,)}, marks=pytest.mark.slow),
    ],
)
def test_rows_of_weight_0_are_as_if_they_were_not_there(kind, options, tmp_path):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(80, 2)), columns=["a", "b"])
    X["colour"] = rng.choice(["red", "green"], 80).astype(object)
    X["word"] = np.where(np.arange(80) % 9 == 5, 1.0, np.nan)
    w = np.where(np.arange(80) % 3 == 0, 0.0, rng.choice([1.0, 2.0], 80))
    y: list[Any] = np.where(w > 0, X["a"] + X["b"] > 0, 7).tolist()
    y[0] = None
    # What only they have: a value that is out of range, levels, a class, a word, and a text where others have numbers.
    bad = X.astype(object)
    bad["colour"], bad["late"] = bad["colour"].where(w > 0, "blue"), np.where(w > 0, np.nan, 1.0)
    bad.loc[0, "b"], bad.loc[3, "word"] = math.inf, "text"
    dictionaries = [{name: v for name, v in x.items() if v == v} for x in bad.to_dict("records")]
    models = [kind(layer_sizes=(8, 4), seed=1, **options) for _ in range(5)]
    without, many, parts, one, turns = models
    without.learn_many(X[w > 0], [label for label, weight in zip(y, w.tolist(), strict=True) if weight], w[w > 0])
    many.learn_many(bad, y, w)
    for start in range(0, 80, 7):
        parts.learn_many(bad[start : start + 7], y[start : start + 7], w[start : start + 7])
    for x, label, weight in zip(dictionaries, y, w.tolist(), strict=True):
        one.learn_one(x, label, weight)
    fine = bad.drop(index=[0, 3])
    predicted = turns.predict_learn_many(fine, [y[place] for place in fine.index], w[fine.index])
    assert len(predicted) == len(fine)
    assert many.known_names == without.known_names
    expected = saved(without, tmp_path)
    for model in models:
        assert saved(model, tmp_path) == expected


# ---- Many classes ----------------------------------------------------------------------------------------------------


def many_classes(count: int = 90) -> tuple[pd.DataFrame, list[int]]:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(count, 2)), columns=["a", "b"])
    return X, np.where(np.arange(count) % 3, np.arange(count) // 5, rng.integers(0, 2, count)).tolist()


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("torch", "jax")]


@pytest.mark.parametrize("backend", ["numba", "numpy", *SLOW])
def test_heads_that_are_free_for_new_classes_hardly_change_predictions(backend, tmp_path, monkeypatch):
    pytest.importorskip(f"gln_{backend}")
    X, y = many_classes()

    def run(room_from: int) -> tuple[GLNClassifier, pd.DataFrame, float]:
        monkeypatch.setattr(fading_bin_means, "ROOM_FROM", room_from)
        model = GLNClassifier(layer_sizes=(4, 2), seed=0, backend=backend)
        model.predict_learn_many(X[:60], y[:60])
        losses = []
        for x, label in zip(dictionaries(X[60:]), y[60:], strict=True):
            losses.append(-math.log(model.predict_proba_one(x).get(label, 1 / 60)))
            model.learn_one(x, label)
        model.save(tmp_path / "model")
        model = GLNClassifier.load(tmp_path / "model")
        model.learn_one({"a": 0.0, "b": 0.0}, "new")
        return model, model.predict_proba_many(X), float(np.mean(losses))

    (model, p, loss), (control, expected, expected_loss) = run(3), run(10**9)
    heads = [{network.config.num_heads for network in one._stream.learner.networks} for one in (model, control)]
    assert heads == [{20}, {19}]
    np.testing.assert_allclose(p, expected, atol=0.05)  # a free head has the rate of new classes when it was added
    assert abs(loss - expected_loss) < 0.01 * expected_loss
    contributions, constants = model.explain_one(dictionaries(X)[0])
    logits = np.array([constants[label] + sum(contributions[label].values()) for label in p.columns])
    of_heads = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(of_heads / of_heads.sum(), p.iloc[0], atol=1e-4)


def test_a_sample_that_fails_starts_no_free_head(tmp_path, monkeypatch):
    monkeypatch.setattr(fading_bin_means, "ROOM_FROM", 3)
    X, y = many_classes()
    model = GLNClassifier(layer_sizes=(4, 2), seed=0, learning_rate=lambda t: 0.1 if t < len(y) else math.nan)
    model.learn_many(X, pd.Series(y))
    assert model._stream.learner.means.free == 2
    before, x = saved(model, tmp_path), dictionaries(X)[0]
    for failing, message in ((x, "learning_rate"), ({"a": math.inf}, "a")):
        for label in ("new", 0):
            with pytest.raises(ValueError, match=message):
                model.learn_one(failing, label)
    assert saved(model, tmp_path) == before


@pytest.mark.filterwarnings("ignore:y. 100 classes")
def test_networks_are_rarely_rebuilt_for_a_class_per_sample():
    model, networks = GLNClassifier(layer_sizes=(4, 2), seed=0), list[Any]()
    for label in range(150):
        model.learn_one({"a": label % 7, "b": label % 3}, f"user {label}")
        network = model._stream.learner.networks[0]
        if label >= 64 and network not in networks:
            networks.append(network)
    assert [network.config.num_heads for network in networks] == [80, 96, 112, 128, 160]
    p = model.predict_proba_one({"a": 1, "b": 1})
    assert [*p] == [f"user {label}" for label in range(150)]
    assert math.isclose(sum(p.values()), 1)


# ---- Words -----------------------------------------------------------------------------------------------------------

Samples = list[dict[Any, Any]]


def bags(count: int, seed: int) -> tuple[Samples, list[str | None], Any]:
    """Samples in which keys come in any order, and their labels and weights: a number, categories of few and many
    levels, words that are numbers or texts, some of which become features at a check, and a late sensor and class."""
    rng, samples = np.random.default_rng(seed), []
    odds = 1 / np.arange(1, 31)
    for i in range(count):
        x: list[tuple[str, Any]] = [("number", float(rng.normal())), ("id", f"u{int(rng.exponential(i / 4 + 1))}")]
        x += [
            (f"w{n}", float(rng.integers(1, 3))) for n in rng.choice(30, rng.integers(0, 5), False, odds / odds.sum())
        ]
        if rng.random() < 0.9:
            x.append(("colour", str(rng.choice(["red", "green", "blue"]))))
        if rng.random() < 0.15:
            x.append(("tag", f"t{rng.integers(4)}"))
        if i > 15 and rng.random() < 0.7:
            x.append(("often", f"o{rng.integers(3)}"))
        if i > 60 and rng.random() < 0.8:
            x.append(("late", float(rng.normal())))
        samples.append({x[place][0]: x[place][1] for place in rng.permutation(len(x))})
    unknown, is_late = rng.random(count) < 0.05, rng.random(count) < (np.arange(count) > 60) / 5
    labels = [None if unknown[i] else "c" if is_late[i] else "ab"[x["number"] > 0] for i, x in enumerate(samples)]
    return samples, labels, rng.choice([1.0, 1.0, 1.0, 2.0, 0.5, 0.0], count)


def as_rows(samples: Samples) -> NamedRows:
    """Columns of text and of "number", and beside them dictionaries."""
    beside = [{name: v for name, v in x.items() if name != "number" and isinstance(v, float)} for x in samples]
    others = [{name: v for name, v in x.items() if name not in words} for x, words in zip(samples, beside, strict=True)]
    return NamedRows(pd.DataFrame(others), beside)


GROUPED: dict[str, tuple[type, dict[str, Any]]] = {
    "classes": (GLNClassifier, {}),
    "densities": (GLNDensityClassifier, {}),
    "numbers": (GLNRegressor, {"quantiles": (0.1, 0.9)}),
}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "seed"), [("classes", 11), ("densities", 11), ("numbers", 12)])
def test_samples_with_words_are_learned_the_same_however_they_are_grouped(kind, seed, tmp_path):
    made, options = GROUPED[kind]
    samples, labels, w = bags(160, seed)
    y: list[Any] = labels if made is not GLNRegressor else [x["number"] + len(x) for x in samples]
    alone, grouped, by_frames = (made(layer_sizes=(4, 2), seed=seed, **options) for _ in range(3))
    expected, found, rng, start = [], [], np.random.default_rng(seed), 0
    for x, target, weight in zip(samples, y, w.tolist(), strict=True):
        expected.append(alone.predict_proba_one(x) if made is not GLNRegressor else {"mean": alone.predict_one(x)})
        if weight and target is not None:
            alone.learn_one(x, target, weight)
    while start < len(samples):
        part = slice(start, start + int(rng.choice([1, 7, 40, 150])))
        form: Any = rng.choice(np.array([list, pd.DataFrame, as_rows], object))
        found.append(grouped.predict_learn_many(form(samples[part]), y[part], w[part]))
        known = [place for place in range(*part.indices(len(samples))) if y[place] is not None]
        if known:
            rows = pd.DataFrame([samples[place] for place in known])
            by_frames.learn_many(rows, pd.Series([y[place] for place in known]), w[known])
        start = part.stop
    wanted = pd.DataFrame(expected).fillna(0.0)
    predicted = pd.concat(found).fillna(0.0)[wanted.columns]
    np.testing.assert_array_equal(predicted.to_numpy(), wanted.to_numpy())
    assert {"late", "often"} <= alone._stream.schema.indices.keys()
    assert {"tag", "w29"} <= alone._stream.schema.words.keys()
    for model in (grouped, by_frames):
        assert saved(model, tmp_path) == saved(alone, tmp_path)
    without = {name: value for name, value in samples[-1].items() if name not in ("id", "tag")}
    assert alone.predict_one(without | {"id": "unknown", "tag": "unknown"}) == alone.predict_one(without)


def test_absent_numbers_of_sparse_formats_are_0(tmp_path):
    samples, labels, w = bags(120, 13)
    names = {name for x in samples for name, value in x.items() if isinstance(value, float)}
    known, filled, alone = (GLNClassifier(layer_sizes=(4, 2), seed=0) for _ in range(3))
    for model in (known, filled, alone):
        model.learn_one({"number": 1.0, "w0": 1.0, "w1": 1.0}, "a")
    filled_in = [dict.fromkeys(names & {"number", "w0", "w1"}, 0.0) | x for x in samples]
    rows = as_rows(samples)
    sparse = NamedRows(rows.frame, rows.dictionaries, is_zero=lambda name: True)
    expected = filled.predict_learn_many(filled_in[:9], labels[:9], w[:9])  # until a word may become a feature
    found = known.predict_learn_many(sparse.of(slice(0, 9)), labels[:9], w[:9])
    np.testing.assert_array_equal(found.to_numpy(), expected.to_numpy())
    assert saved(known, tmp_path) == saved(filled, tmp_path)
    known.predict_learn_many(sparse.of(slice(9, 120)), labels[9:], w[9:])
    for i in range(120):
        alone.predict_learn_many(sparse.of(slice(i, i + 1)), labels[i : i + 1], w[i : i + 1])
    assert "often" in known._stream.schema.indices
    assert saved(known, tmp_path) == saved(alone, tmp_path)


# ---- Errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "targets"),
    [
        ([{"a": 1.0}, {"a": "text"}], ["x", "y"]),
        ([{"new": 1.0}, {"new": "text"}], ["x", "y"]),
        ([{"a": 1.0}, {"a": float("inf")}], ["x", "y"]),
    ],
)
def test_errors_change_nothing(rows, targets, tmp_path):
    X, labels, *_ = stream()
    model = GLNClassifier(seed=0)
    model.predict_learn_many(X, labels)
    before = saved(model, tmp_path)
    for bad in (rows, pd.DataFrame(rows, dtype=object)):
        with pytest.raises(ValueError, match="expected a"):
            model.predict_learn_many(bad, targets)
        assert saved(model, tmp_path) == before
    with pytest.raises(ValueError, match="y: expected 100 targets"):
        model.predict_learn_many(X, labels[1:])
    with pytest.raises(ValueError, match="w: expected numbers from 0 to 100"):
        model.predict_learn_many(X, labels, -1.0)
    assert saved(model, tmp_path) == before


@pytest.mark.parametrize("as_frame", [True, False])
def test_a_rate_that_fails_in_the_middle_changes_nothing(as_frame, tmp_path):
    X, labels, _, _ = stream()
    X, labels = X[["a", "b", "c"]].fillna(0), ["x" if label is None else label for label in labels]
    model = GLNClassifier(seed=0, learning_rate=lambda t: 0.5 if t < 80 else math.nan)
    model.predict_learn_many(X[:20], labels[:20])
    before = saved(model, tmp_path)
    with pytest.raises(ValueError, match="learning_rate: expected finite numbers, got 40 NaN of 100 values"):
        model.predict_learn_many(X if as_frame else X.to_dict("records"), labels)
    assert saved(model, tmp_path) == before


class Broken:
    """Stands in for a loop that cannot be compiled."""

    def compile(self, types: Any) -> Any:
        raise MemoryError

    def __call__(self, *arguments: Any) -> Any:
        raise MemoryError


@pytest.mark.slow
@pytest.mark.parametrize("call", ["learn_one", "predict_learn_many"])
@pytest.mark.parametrize("made", [GLNClassifier, GLNRegressor])
def test_nothing_is_learned_if_compiling_fails(call, made, tmp_path, monkeypatch):
    compiled_step = pytest.importorskip("gln.engine.streaming.compiled_step")
    X, labels, numbers, _ = stream()
    y: list[Any] = labels if made is GLNClassifier else numbers
    model = made(seed=0)
    model.predict_learn_many(X[:60], y[:60])
    before = saved(model, tmp_path)
    loaded = made.load(tmp_path / "model")  # which has not gathered what its steps take
    monkeypatch.setattr(compiled_step, "run", Broken())
    x, target = dictionaries(X)[60], y[60]
    with pytest.raises(MemoryError):
        loaded.learn_one(x, target) if call == "learn_one" else loaded.predict_learn_many(X[60:70], y[60:70])
    assert saved(loaded, tmp_path) == before
    monkeypatch.undo()
    loaded.learn_one(x, target)
    model.learn_one(x, target)
    assert saved(loaded, tmp_path) == saved(model, tmp_path)
