"""Several labels or targets of a sample, learned by one model: the classifier of tables, and River's two estimators."""

from __future__ import annotations

import itertools
import math
import os
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import assert_same_state, learner_state
from scipy.sparse import csr_array, random_array
from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import log_loss
from sklearn.model_selection import cross_val_predict

from gln.sklearn import GLNClassifier

X, Y = make_multilabel_classification(500, n_features=6, n_classes=3, n_labels=2, random_state=0)
SMALL: dict[str, Any] = {"layer_sizes": (4, 2), "n_networks": 2, "n_epochs": 2, "random_state": 0}
STREAM: dict[str, Any] = {"layer_sizes": (8, 4), "seed": 1}
NAMES = ("a", "b", "c")


def assert_same_probabilities(one: Any, other: Any, data: Any = X, atol: float = 0) -> None:
    for p, expected in zip(one.predict_proba(data), other.predict_proba(data), strict=True):
        np.testing.assert_allclose(p, expected, atol=atol)


@pytest.fixture(scope="module")
def fitted() -> GLNClassifier:
    """Learned from the first 400 samples; tests must not train it further."""
    return GLNClassifier(random_state=0, n_networks=6).fit(X[:400], Y[:400])


# ---- Tables ----------------------------------------------------------------------------------------------------------


def test_labels_are_as_good_as_those_of_a_model_each(fitted):
    for label, p in enumerate(fitted.predict_proba(X[400:])):
        alone = GLNClassifier(random_state=0, n_networks=6).fit(X[:400], Y[:400, label])
        assert log_loss(Y[400:, label], p) < log_loss(Y[400:, label], alone.predict_proba(X[400:])) + 0.02


def test_forms_are_those_of_forests(fitted):
    assert fitted.n_outputs_ == 3
    assert [classes.tolist() for classes in fitted.classes_] == 3 * [[0, 1]]
    p, predicted = fitted.predict_proba(X), fitted.predict(X)
    assert [each.shape for each in p] == 3 * [(500, 2)]
    assert (predicted.shape, predicted.dtype) == (Y.shape, Y.dtype)
    np.testing.assert_allclose(fitted.decision_function(X)[:, 1], np.log(p[1][:, 1] / p[1][:, 0]), atol=1e-4)
    assert fitted.oob_decision_function_.shape == (400, 2, 3)
    known = ~np.isnan(fitted.oob_decision_function_[:, 0, 0])
    hits = (fitted.oob_decision_function_[known].argmax(axis=1) == Y[:400][known]).all(axis=1)
    assert fitted.oob_score_ == pytest.approx(hits.mean())
    assert abs(fitted.oob_score_ - fitted.score(X[400:], Y[400:])) < 0.15
    assert fitted.feature_importances_.max() > 0.05
    contributions, constant = fitted.explain(X[:9])
    assert contributions.shape == (9, 3, 6)
    np.testing.assert_allclose(contributions.sum(axis=2) + constant, fitted.decision_function(X[:9]), atol=1e-3)


def test_a_file_has_all_labels(fitted, tmp_path):
    fitted.save(tmp_path / "m")
    loaded = GLNClassifier.load(tmp_path / "m")
    assert_same_probabilities(loaded, fitted)
    loaded.partial_fit(X[400:], Y[400:])
    assert loaded.score(X, Y) > 0.4


def test_an_onnx_file_has_all_labels(fitted, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    from gln import onnx

    onnx.export(fitted, tmp_path / "m.onnx")
    labels, p = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, {"X": X.astype(np.float32)})
    np.testing.assert_array_equal(labels, fitted.predict(X))
    np.testing.assert_allclose(p, np.stack(fitted.predict_proba(X), axis=1)[:, :, 1], atol=1e-5)


def test_a_frame_with_categories_texts_and_missing_values():
    rng, cities = np.random.default_rng(0), np.array([f"city {i}" for i in range(20)])
    frame = pd.DataFrame(X, columns=list("abcdef")).mask(rng.random(X.shape) < 0.1)
    codes = rng.integers(0, 20, 500)
    frame["city"] = cities[codes]
    frame["text"] = [f"sample {i} of {'red' if i % 3 else 'blue'} colour" for i in range(500)]
    labels = np.column_stack([Y, codes < 7, np.arange(500) % 3 == 0])
    model = GLNClassifier(**SMALL, text_features=["text"]).fit(frame[:400], labels[:400])
    assert ((model.predict(frame[400:]) == labels[400:]).mean(axis=0)[3:] > 0.95).all()
    assert model.explain_words(frame[:2]).columns.tolist() == ["row", "column", "word", *range(5)]
    stream = GLNClassifier(random_state=0, layer_sizes=(8, 4)).partial_fit(frame.drop(columns="text"), labels)
    assert stream.score(frame.drop(columns="text"), labels) > 0.2


@pytest.mark.parametrize("kind", ["sparse", "lists", "bools", "frame", "weights", "zero weights"])
def test_the_same_labels_in_another_form(kind):
    expected, model = (GLNClassifier(**SMALL, shuffle=False) for _ in range(2))
    expected.fit(X[:200], Y[:200])
    forms: dict[str, Any] = {"sparse": csr_array(Y), "lists": Y.tolist(), "bools": Y > 0, "frame": pd.DataFrame(Y)}
    if kind == "zero weights":
        model.fit(X[:210], Y[:210], sample_weight=[1] * 200 + [0] * 10)
        assert np.isnan(model.oob_decision_function_[200:]).all()
    elif kind == "weights":
        model.fit(X[:200], Y[:200], sample_weight=np.ones(200))
    else:
        labels = forms[kind]
        model.fit(X[:200], labels[:200])
    assert_same_probabilities(model, expected)
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))


def test_parts_of_a_stream_are_the_stream():
    whole, parts = (GLNClassifier(random_state=0, layer_sizes=(8, 4)) for _ in range(2))
    expected = whole.partial_fit_predict_proba(X, Y)
    found = [parts.partial_fit_predict_proba(X[rows], Y[rows]) for rows in np.array_split(np.arange(500), 4)]
    np.testing.assert_allclose(np.concatenate(found, axis=1), expected, atol=1e-5)
    assert log_loss(Y[250:, 0], expected[0][250:]) < 0.56


def test_labels_of_a_wide_stream_are_those_of_a_model_each():
    """No base models: heads share nothing but halfspaces, of which there are none."""
    table = csr_array(random_array((300, 1200), density=0.02, rng=np.random.default_rng(0)))
    labels = np.asarray((table[:, :40] @ np.ones((40, 1)) > 0.4) ^ (table[:, 40:42].toarray() > 0)).astype(int)
    together = GLNClassifier(random_state=0).partial_fit(table, labels)
    for label, p in enumerate(together.predict_proba(table)):
        alone = GLNClassifier(random_state=0).partial_fit(table, labels[:, label], classes=[0, 1])
        np.testing.assert_allclose(p, alone.predict_proba(table), atol=1e-5)
    wide = GLNClassifier(**SMALL | {"layer_sizes": None}).fit(table, labels)
    assert (wide.predict(table) == labels).mean() > 0.8


def test_predictions_of_cross_validation():
    p = cross_val_predict(GLNClassifier(**SMALL), X[:150], Y[:150], cv=3, method="predict_proba")
    assert np.shape(p) == (3, 150, 2)


def test_groups_are_left_out_together():
    groups = np.arange(200) // 2
    model = GLNClassifier(**SMALL).fit(X[:200], Y[:200], groups=groups)
    is_left_out = ~np.isnan(model.oob_decision_function_[:, 0, 0])
    assert (is_left_out[::2] == is_left_out[1::2]).all()


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "classes in several columns": (
        Y + np.array([0, 0, 1]),
        {},
        "y: expected one column of classes, or 0 and 1",
    ),
    "text": (np.where(Y, "yes", "no"), {}, "y: .*sklearn.multioutput.MultiOutputClassifier"),
    "missing": (np.where(Y[:, :1], np.nan, Y), {}, "Input y contains NaN"),
    "weights of classes": (Y, {"class_weight": "balanced"}, "class_weight: expected None for several labels, got 'bal"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_labels_cannot_be(kind):
    labels, options, message = BAD[kind]
    model = GLNClassifier(**options)
    for call in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=message):
            call(X, labels)
        assert not hasattr(model, "learner_")


def test_other_labels_than_in_the_first_call_change_nothing(fitted):
    before = learner_state(fitted.learner_)
    for labels in (Y[:, :2], np.column_stack([Y, Y]), Y[:, 0]):
        with pytest.raises(ValueError, match="y: expected as many columns as in the first call, 3, got shape"):
            fitted.partial_fit(X, labels)
    assert_same_state(learner_state(fitted.learner_), before)


def test_labels_after_the_backends():
    expected, model = (GLNClassifier(**SMALL, backend=name).fit(X[:100], Y[:100]) for name in ("numpy", "numba"))
    assert_same_probabilities(model, expected, atol=1e-3)


# ---- Streams ---------------------------------------------------------------------------------------------------------

if not os.environ.get("GLN_REQUIRE_BACKENDS"):
    pytest.importorskip("river")

from river import checks, datasets, evaluate, metrics  # noqa: E402

from gln.river import GLNMultiLabelClassifier, GLNMultiTargetRegressor  # noqa: E402

KINDS = [GLNMultiLabelClassifier, GLNMultiTargetRegressor]


class Labelled:
    """Replaces River's music data, which would be downloaded."""

    def take(self, count: int) -> list[tuple[dict[str, Any], dict[str, bool]]]:
        return [(x, dict(zip(NAMES, y, strict=True))) for x, y in samples(count)]


def samples(count: int) -> list[tuple[dict[str, Any], Any]]:
    return [(dict(zip("abcdef", x, strict=True)), y) for x, y in zip(X[:count].tolist(), Y[:count] > 0, strict=True)]


def stream(kind: Any, count: int = 60, names: Any = NAMES) -> list[tuple[dict[str, Any], dict[Any, Any]]]:
    """Samples with a category, and labels or numbers."""
    found = []
    for i, (x, y) in enumerate(samples(count)):
        targets = y if kind is GLNMultiLabelClassifier else 10.0 * y + i % 3
        found.append((x | {"city": f"city {i % 13}"}, dict(zip(names, targets.tolist(), strict=True))))
    return found


def learned(pairs: Any, model: Any) -> Any:
    for x, y in pairs:
        model.learn_one(x, y)
    return model


def values(model: Any, x: Any) -> dict[Any, float]:
    if isinstance(model, GLNMultiLabelClassifier):
        return {name: p[True] for name, p in model.predict_proba_one(x).items()}
    return model.predict_one(x)


with pytest.MonkeyPatch.context() as patch:
    patch.setattr(datasets, "Music", Labelled)
    CHECKS = [(kind(**STREAM), check) for kind in KINDS for check in checks.yield_checks(kind(**STREAM))]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "check"), CHECKS, ids=lambda value: getattr(value, "__name__", type(value).__name__))
def test_checks_of_river(model, check):
    check(model.clone())


def test_labels_of_a_stream():
    metric = metrics.multioutput.SampleAverage(metrics.Jaccard())
    model = GLNMultiLabelClassifier(seed=0)
    evaluate.progressive_val_score(datasets.Yeast().take(600), model, metric)
    assert metric.get() > 0.49
    contributions, constants = model.explain_one(x := next(iter(datasets.Yeast()))[0])
    p = model.predict_proba_one(x)["Class2"]
    total = sum(contributions["Class2"].values()) + constants["Class2"]
    assert total == pytest.approx(math.log(p[True] / p[False]), abs=1e-3)


def test_targets_of_a_stream():
    metric, model = metrics.multioutput.MicroAverage(metrics.MAE()), GLNMultiTargetRegressor(seed=0)
    evaluate.progressive_val_score(datasets.SolarFlare().take(600), model, metric)
    assert metric.get() < 0.2  # it is 0.25 for the mean so far
    contributions, constants = model.explain_one(x := next(iter(datasets.SolarFlare()))[0])
    for name, predicted in model.predict_one(x).items():
        unlimited = sum(contributions[name].values()) + constants[name]
        assert max(unlimited, 0) == pytest.approx(predicted, abs=1e-3)  # no target was below 0


def test_predicted_labels_have_the_highest_expected_jaccard_score():
    """Against all sets of labels, and the exact expectation over all true ones."""
    model = learned(stream(GLNMultiLabelClassifier, 80), GLNMultiLabelClassifier(**STREAM))
    sets = np.array(list(itertools.product([False, True], repeat=3)))

    def expected(one: np.ndarray, p: np.ndarray) -> float:
        both, either = (one & sets).sum(axis=1), (one | sets).sum(axis=1)
        jaccard = np.where(either > 0, both / either.clip(1), 1)
        return jaccard @ np.where(sets, p, 1 - p).prod(axis=1)

    for x, _ in stream(GLNMultiLabelClassifier, 80):
        p = np.array([*values(model, x).values()])
        found = np.array([model.predict_one(x)[name] for name in NAMES])
        assert expected(found, p) > max(expected(one, p) for one in sets) - 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_before_the_first_sample(kind):
    model = kind(**STREAM)
    assert (model.predict_one({"a": 1.0}), model.explain_one({"a": 1.0})) == ({}, ({}, {}))
    model.learn_one({}, {"a": True})
    assert values(model, {"a": 1.0}) == {"a": 0.5 if kind is GLNMultiLabelClassifier else 0.0}
    learned(stream(kind), model)
    assert [*values(model, {"a": 1.0})] == ["a", "b", "c"]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_learned_about_an_unknown_target(kind):
    model, (x, y) = learned(stream(kind), kind(**STREAM)), stream(kind)[7]
    before = learner_state(model._stream.learner)
    model.learn_one(x, {name: None for name in NAMES})
    model.learn_one(x, {})
    model.learn_one(x, y, w=0)
    assert_same_state(learner_state(model._stream.learner), before)
    model.learn_one(x, {"a": y["a"], "c": math.nan})
    after = learner_state(model._stream.learner)
    for name in (name for name in before if "weights" in name):
        changes = before[name] != after[name]  # (N, 2^k, C, K), or (T, E) of the last neuron
        changed = changes.any(axis=(0, 1, 3)) if changes.ndim == 4 else changes.any(axis=1)
        assert changed.tolist() == [True, False, False]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_new_target_changes_no_other(kind, backend):
    pairs = [({name: x[name] for name in "abcdef"}, y) for x, y in stream(kind, 40)]
    model = learned(((x, {"a": y["a"]}) for x, y in pairs), kind(**STREAM, backend=backend))
    before = [values(model, x)["a"] for x, _ in pairs]
    grown = model._stream.learner.with_targets(2)
    found = [grown.predict(model._stream.schema.encode(x))[0, 0] for x, _ in pairs]
    np.testing.assert_allclose(found, before, rtol=1e-5)
    learned(pairs, model)
    assert [*values(model, pairs[0][0])] == ["a", "b", "c"]
    predicted = np.array([[*values(model, x).values()] for x, _ in pairs])
    targets = np.array([[*y.values()] for _, y in pairs], float)
    assert (np.abs(predicted - targets).mean(axis=0) < np.abs(targets - targets.mean(axis=0)).mean(axis=0)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_backends_agree_on_streams(kind):
    """NumPy learns sample by sample in Python, Numba in one compiled step."""
    models = [learned(stream(kind), kind(**STREAM, backend=name)) for name in ("numpy", "numba")]
    for x, _ in stream(kind, 20):
        expected, found = (values(model, x) for model in models)
        assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_learning_continues_after_loading(kind, tmp_path):
    pairs = stream(kind, 60, names=(1, "b", ("c", 2)))
    model = learned(pairs[:30], kind(**STREAM))
    model.save(tmp_path / "m")
    resumed = learned(pairs[30:], kind.load(tmp_path / "m"))
    learned(pairs[30:], model)
    assert values(resumed, pairs[0][0]) == values(model, pairs[0][0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("y", [True, None, [1, 0], {"a": "yes"}, {"a": math.inf}, {"a": True, "new": [1]}, {"a": 1j}])
def test_bad_targets_change_nothing(kind, y):
    model = learned(stream(kind, 30), kind(**STREAM))
    before = learner_state(model._stream.learner)
    with pytest.raises(ValueError, match="y: expected"):
        model.learn_one({"a": 1.0}, y)
    if kind is GLNMultiLabelClassifier:
        with pytest.raises(ValueError, match=r"y: expected True or False for each label, got .*0\.5"):
            model.learn_one({"a": 1.0}, {"a": 0.5})
    assert_same_state(learner_state(model._stream.learner), before)
    assert [*model._stream.schema.classes] == ["a", "b", "c"]
