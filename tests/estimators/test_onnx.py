"""ONNX files: ONNX Runtime predicts the same as the models, for any number of samples."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import to_numpy
from scipy.sparse import random_array
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

if not os.environ.get("GLN_REQUIRE_BACKENDS"):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("skl2onnx")

import onnx
import onnxruntime
import skl2onnx

import gln.onnx
from gln.onnx import export
from gln.sklearn import GLNClassifier, GLNRegressor
from gln_numpy import GLN

COUNT = 1000
SLICES = (slice(None), slice(0), slice(1), slice(100, 177))  # samples for one session
INPUTS = np.random.default_rng(0).normal(size=(6, COUNT)).astype(np.float32)
CONTEXT = np.random.default_rng(1).normal(size=(5, COUNT)).astype(np.float32)
KINDS: dict[str, dict[str, Any]] = {
    "binary": {"layer_sizes": (8, 4, 2)},
    "classes": {"layer_sizes": (8, 4), "num_classes": 4, "context_features": 2},
    "means": {"layer_sizes": (8, 4), "loss": "squared_error", "num_outputs": 2, "bias": False},
    "quantiles": {"layer_sizes": (8, 1), "loss": "quantile", "quantiles": (0.1, 0.5, 0.9), "value_clipping": 1.0},
    "variances": {"layer_sizes": (4,), "loss": "variance"},
    "no halfspaces": {"layer_sizes": (4, 4), "num_classes": 3, "context_map_size": 0},
}


def float32_table() -> tuple[np.ndarray, np.ndarray]:
    """Rows with a large number that varies little, missing values, a constant and outliers; and their targets."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(COUNT, 5))
    targets = np.abs(rows[:, 0]) + rows[:, 1] * rows[:, 2] + 0.1 * rng.normal(size=COUNT)
    rows[:, 0] = 1e6 + 100 * rows[:, 0]
    rows[:, 3] = 7
    rows[rng.random(rows.shape) < 0.05] = np.nan
    rows[5:7, 1] = 10, 1e6
    return rows.astype(np.float32), targets


X, TARGET = float32_table()
CLASSES = np.digitize(TARGET, (0.3, 1.2))
SMALL: dict[str, Any] = {"layer_sizes": (8, 4), "random_state": 0, "n_networks": 4, "n_epochs": 1}


def session_of(model: Any, folder: Path) -> Any:
    file = folder / "model.onnx"
    export(model, file)
    onnx.checker.check_model(str(file), full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(file, options)


def answers(session: Any, **inputs: Any) -> dict[str, np.ndarray]:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def expected_of(model: Any, rows: Any) -> dict[str, np.ndarray]:
    if isinstance(model, GLNClassifier):
        return {"label": model.predict(rows), "probabilities": model.predict_proba(rows)}
    found = {"variable": model.predict(rows)}
    if model.quantiles is not None:
        found["quantiles"] = model.predict_quantiles(rows)
    if model.density:
        found["std"] = model.predict(rows, return_std=True)[1]
    return found


def assert_same_predictions(model: Any, folder: Path, rows: Any, given: np.ndarray | None = None) -> None:
    """Assert equal outputs for none, one, some and all of the rows; the session gets them as `given` (N, F)."""
    session = session_of(model, folder)
    given = np.asarray(rows if given is None else given, np.float32)
    expected = expected_of(model, rows)
    for chosen in SLICES:
        found = answers(session, X=given[chosen])
        assert found.keys() == expected.keys()
        for name, array in found.items():
            assert array.shape == expected[name][chosen].shape
            if name == "label":
                assert array.tolist() == expected[name][chosen].tolist()
            else:
                rtol, atol = (0, 1e-5) if name == "probabilities" else (1e-5, 1e-5 * np.std(expected[name]))
                np.testing.assert_allclose(array, expected[name][chosen], rtol=rtol, atol=atol, err_msg=name)


# ---- Networks --------------------------------------------------------------------------------------------------------


def learned(**arguments: Any) -> GLN:
    model = GLN(**arguments, input_size=6, context_size=5, context_bias=0.5, seed=0)
    targets = np.random.default_rng(0).random((model.config.num_outputs, COUNT)).round()
    model.predict_online(INPUTS, CONTEXT, targets if model.config.num_outputs > 1 else targets[0])
    return model


def assert_network_predicts_the_same(model: Any, folder: Path) -> None:
    session = session_of(model, folder)
    inputs = INPUTS * np.float32(9)  # so that some are clipped
    expected = to_numpy(model.predict(inputs, CONTEXT))
    assert np.ptp(expected) > 0.2
    for chosen in SLICES:
        found = answers(session, inputs=inputs[:, chosen], context_inputs=CONTEXT[:, chosen])["predictions"]
        assert found.shape == expected[..., chosen].shape
        np.testing.assert_allclose(found, expected[..., chosen], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_networks_of_each_loss(kind, tmp_path):
    assert_network_predicts_the_same(learned(**KINDS[kind]), tmp_path)


@pytest.mark.compiles
def test_networks_of_each_backend(backend, tmp_path):
    model = backend.GLN(**KINDS["classes"], input_size=6, context_size=5)
    model.set_state(learned(**KINDS["classes"]).get_state())
    assert_network_predicts_the_same(model, tmp_path)


def test_base_predictors_are_refused(tmp_path):
    model = GLN([4], 6, 5, base_predictor=lambda inputs: 1 / (1 + np.exp(-inputs)))
    with pytest.raises(ValueError, match="base_predictor: expected None, because a file cannot hold a callable"):
        export(model, tmp_path / "m")
    assert os.listdir(tmp_path) == []


# ---- Estimators ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [np.array(["low", "middle", "high"]), np.array([3, 7]), np.array([False, True])])
def test_classifiers(labels, tmp_path):
    model = GLNClassifier(**SMALL).fit(X, labels[CLASSES % len(labels)])
    assert_same_predictions(model, tmp_path, X)


def test_many_classes(tmp_path):
    model = GLNClassifier(**SMALL).fit(X, np.arange(COUNT) % 100)
    assert_same_predictions(model, tmp_path, X)


@pytest.mark.parametrize("targets", [TARGET, np.stack([TARGET, 1000 - TARGET], axis=1)], ids=["one", "several"])
def test_regressors(targets, tmp_path):
    model = GLNRegressor(**SMALL)
    assert_same_predictions(model.fit(X, targets), tmp_path, X)
    model = clone(model).set_params(quantiles=(0.9, 0.1), density=True)
    assert_same_predictions(model.fit(X, targets), tmp_path, X)


@pytest.mark.parametrize("estimator", [GLNClassifier, GLNRegressor])
def test_a_fit_that_partial_fit_continued(estimator, tmp_path):
    model = estimator(**SMALL).fit(X[: COUNT // 2], CLASSES[: COUNT // 2])
    before = model.predict(X)
    model.partial_fit(X[COUNT // 2 :], CLASSES[COUNT // 2 :])
    assert (model.predict(X) != before).any()
    assert_same_predictions(model, tmp_path, X)


@pytest.mark.parametrize("estimator", [GLNClassifier, GLNRegressor])
def test_the_stream_of_a_table_that_went_on(estimator, tmp_path):
    model = estimator(**SMALL).fit(X[: COUNT // 2], CLASSES[: COUNT // 2])
    model.partial_fit(X[COUNT // 2 :], CLASSES[COUNT // 2 :])
    weights = model.learner_.means.combination.weights
    weights[:] = 0.0
    weights[:, -2] = 1.0  # nothing but the stream
    assert_same_predictions(model, tmp_path, X)


def test_a_class_that_came_after_fit(tmp_path):
    labels = np.array(["middle", "low", "high"])[CLASSES]  # the new one, "high", is the first of `classes_`
    is_old = labels != "high"
    model = GLNClassifier(**SMALL).fit(X[is_old], labels[is_old])
    assert_same_predictions(model.partial_fit(X, labels, classes=["high"]), tmp_path, X)


@pytest.mark.parametrize("estimator", [GLNClassifier, GLNRegressor])
def test_models_of_streams_are_refused(estimator, tmp_path):
    more = {"classes": [0, 1, 2]} if estimator is GLNClassifier else {}
    model = estimator(**SMALL).partial_fit(X, CLASSES, **more)
    refused = (
        r"^model: expected an estimator that learned by `fit`, got one that learned by `partial_fit` alone; fit it"
    )
    with pytest.raises(ValueError, match=refused):
        export(model, tmp_path / "m")
    assert os.listdir(tmp_path) == []
    with pytest.raises(ValueError, match=refused):
        skl2onnx.to_onnx(model, X[:1].astype(np.float32))


def test_deviations_of_a_target_that_never_varied(tmp_path):
    model = GLNRegressor(**SMALL, density=True).fit(X, np.ones(COUNT))
    assert_same_predictions(model, tmp_path, X)


@pytest.mark.parametrize("estimator", [GLNClassifier, GLNRegressor])
def test_categories_of_numbers(estimator, tmp_path):
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.integers(30, 50, COUNT), X[:, :2], rng.integers(0, 3, COUNT) * 5, X[:, 2]])
    rows[rng.random(COUNT) < 0.1, 0] = np.nan
    model = estimator(**SMALL, categorical_features=[0, 3])
    model.fit(rows, (CLASSES + rows[:, 3].astype(int)) % 3)
    rows[:50, 0], rows[50:60, 3] = 99, 2.5  # levels that were never seen
    assert_same_predictions(model, tmp_path, rows)


TYPES = {"tensor(string)": object, "tensor(int64)": np.int64, "tensor(float)": np.float32}


def columns_for(session: Any, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Each column of a frame as the input of its name; "" is a missing level."""
    given = {}
    for asked in session.get_inputs():
        kind, column = TYPES[asked.type], frame[asked.name]
        if kind is object:
            column = column.astype(object).where(column.notna(), "")
        given[asked.name] = column.to_numpy(kind)[:, None]
    return given


def mixed_table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"colour": rng.choice(["red", "green", "blue"], COUNT), "size": X[:, 1], "weight": X[:, 2]})
    frame["kind"] = rng.integers(0, 3, COUNT) + 2**24  # float32 does not tell these apart
    frame["shape"] = pd.Categorical(rng.choice(["round", "square"], COUNT))
    frame.loc[rng.random(COUNT) < 0.1, ["colour", "shape"]] = None
    return frame


def unlike(frame: pd.DataFrame) -> pd.DataFrame:
    """With levels that were never seen."""
    return frame.assign(
        colour=frame.colour.where(frame.index % 7 > 0, "violet"), kind=frame.kind.where(frame.index % 9 > 0, 7)
    )


def expected_class(frame: pd.DataFrame) -> np.ndarray:
    return np.where((frame.colour == "red").to_numpy() ^ (frame["size"] > 0).to_numpy(), "yes", "no")


def test_categories_are_named_columns_of_text_and_integers(tmp_path):
    frame = mixed_table()
    model = GLNClassifier(**SMALL, categorical_features=["colour", "kind", "shape"])
    model.fit(frame, expected_class(frame))
    session, asked = session_of(model, tmp_path), unlike(frame)
    kinds = {asked.name: (asked.type, asked.shape) for asked in session.get_inputs()}
    text, number = ("tensor(string)", ["B", 1]), ("tensor(float)", ["B", 1])
    assert kinds == {
        **{"colour": text, "size": number, "weight": number, "kind": ("tensor(int64)", ["B", 1]), "shape": text}
    }
    found = answers(session, **columns_for(session, asked))
    assert found["label"].tolist() == model.predict(asked).tolist()
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(asked), atol=1e-5)
    assert np.ptp(found["probabilities"][:, 0]) > 0.5


def test_columns_may_have_any_name_but_those_of_outputs(tmp_path):
    frame = pd.DataFrame({"Gather_1": ["a", "b"] * 30, "constant_0": np.arange(60.0)})
    model = GLNClassifier(**SMALL).fit(frame, np.arange(60) % 3)
    found = answers(session_of(model, tmp_path), **columns_for(session_of(model, tmp_path), frame))
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(frame), atol=1e-5)
    model.fit(frame.set_axis(["label", "size"], axis=1), np.arange(60) % 3)
    with pytest.raises(ValueError, match=r"^model: expected no feature named 'label', which is an output of the file"):
        export(model, tmp_path / "m")


def test_columns_without_names_are_numbered(tmp_path):
    rows = np.array([["a", 1.0], ["b", 2.0], [None, 3.0]] * 20, object)
    model = GLNRegressor(**SMALL, categorical_features=[0]).fit(rows, np.arange(60) % 3)
    session = session_of(model, tmp_path)
    found = answers(session, x0=np.array([["a"], ["b"], [""]]), x1=np.array([[1], [2], [3]], np.float32))
    np.testing.assert_allclose(found["variable"], model.predict(rows[:3]), atol=1e-5)


LARGE = 2**63 + 1
UNLIKE: dict[str, tuple[list[Any], str]] = {
    "a number and its text": ([1, "1"], "levels of column 'kind' that differ as text, got 1 and '1'"),
    "a bool and its text": ([True, "True"], "levels of column 'kind' that differ as text, got True and 'True'"),
    "not Unicode": (["\ud800", "a"], r"levels of column 'kind' that text can hold, got '\\ud800'"),
    "large": ([2**24, 2**24 + 1, 0.5], "levels .* 'kind' that differ as float32, got 16777216 and 16777217"),
    "small": ([0.0, 1e-60], "levels of column 'kind' that differ as float32, got 0.0 and 1e-60"),
    "beyond float32": ([1e300, 2e300], r"levels of column 'kind' that differ as float32, got 1e\+300 and 2e\+300"),
    "beyond int64": ([LARGE, 5], f"levels of column 'kind' that int64 can hold, got {LARGE}"),
    "beyond float64": ([10**400, 5], "levels of column 'kind' that int64 can hold, got 10+"),
    "with fractions": ([10**400, 0.5], "levels of column 'kind' that float32 can hold, got 10+"),
}


def of_levels(levels: list[Any]) -> tuple[Any, pd.DataFrame]:
    """A classifier of a category with these levels, and its table."""
    frame = pd.DataFrame({"size": np.arange(60.0), "kind": pd.Series((levels * 60)[:60], dtype=object)})
    return GLNClassifier(**SMALL, categorical_features=["kind"]).fit(frame, np.arange(60) % len(levels)), frame


@pytest.mark.parametrize("kind", UNLIKE)
def test_levels_that_an_input_cannot_tell_apart_are_refused(kind, tmp_path):
    levels, message = UNLIKE[kind]
    model, _ = of_levels(levels)
    with pytest.raises(ValueError, match=f"^model: expected {message}"):
        export(model, tmp_path / "m")
    assert os.listdir(tmp_path) == []


KEPT: dict[str, tuple[list[Any], dict[Any, Any]]] = {
    "bools": ([True, False, None], {None: np.nan}),
    "zeros": ([-0.0, 1.5, np.nan], {}),
    "beyond float32": ([1e300, 0.5], {}),
    "within int64": ([2**63 - 1, 2**63 - 2, -(2**63)], {}),
    "text and numbers": (["a", "a\0", "A", 1, 1.5, True, ""], {True: "1"}),
    "names of missing values": (["None", "nan", None], {None: ""}),
    "bytes": ([b"a", b"b"], {}),
}


@pytest.mark.parametrize("kind", KEPT)
def test_levels_that_differ_stay_different(kind, tmp_path):
    levels, as_given = KEPT[kind]
    model, frame = of_levels(levels)
    session, rows, kinds = session_of(model, tmp_path), frame[: len(levels)], [as_given.get(x, x) for x in levels]
    assert len(np.unique(model.predict_proba(rows).round(3), axis=0)) >= len(levels) - (True in as_given)
    inputs = {asked.name: asked.type for asked in session.get_inputs()}
    if "X" in inputs:
        with np.errstate(over="ignore"):
            given = {"X": np.column_stack([rows["size"], np.array(kinds, np.float64)]).astype(np.float32)}
    else:
        dtype = inputs["kind"]
        values = np.array([str(x) for x in kinds] if dtype == "tensor(string)" else kinds, TYPES[dtype])
        given = {"size": rows[["size"]].to_numpy(np.float32), "kind": values[:, None]}
    np.testing.assert_allclose(answers(session, **given)["probabilities"], model.predict_proba(rows), atol=1e-5)


@pytest.mark.parametrize("name", ["", "gln/constant_0"])
def test_names_that_an_input_cannot_have_are_refused(name, tmp_path):
    frame = pd.DataFrame({name: np.arange(60.0), "kind": ["a", "b"] * 30})
    model = GLNClassifier(**SMALL).fit(frame, np.arange(60) % 2)
    with pytest.raises(ValueError, match=f"^model: expected names of features that are all different.*got '{name}'$"):
        export(model, tmp_path / "m")
    model.feature_names_in_ = np.array(["kind", "kind"], object)  # scikit-learn may refuse it in `fit`
    with pytest.raises(ValueError, match=r"^model: expected names of features that are all different.*got 'kind'$"):
        export(model, tmp_path / "m")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("labels", [np.array([LARGE, 5], np.uint64), np.array(["2020", "2021"], "M8[Y]")])
def test_classes_that_a_label_cannot_be_are_refused(labels, tmp_path):
    model = GLNClassifier(**SMALL).fit(np.arange(60.0)[:, None], labels[np.arange(60) % 2])
    with pytest.raises(ValueError, match=r"^model: expected classes that are text, bools, or numbers within int64"):
        export(model, tmp_path / "m")
    assert os.listdir(tmp_path) == []


def test_numbers_that_float32_would_round_away_are_refused(tmp_path):
    times = pd.DataFrame({"size": np.arange(60.0), "time": 1.7e9 + 3600.0 * np.arange(60)})  # float32: every 128 s
    with pytest.raises(ValueError, match=r"^model: expected numbers that vary by 1.28e.05 in column 'time'.*subtract"):
        export(GLNClassifier(**SMALL).fit(times, np.arange(60) % 2), tmp_path / "m")
    assert os.listdir(tmp_path) == []


# ---- Pipelines -------------------------------------------------------------------------------------------------------


def pipeline_of(estimator: Any) -> Any:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = [("numbers", numbers, ["size", "weight"]), ("text", OneHotEncoder(handle_unknown="ignore"), ["colour"])]
    return make_pipeline(ColumnTransformer(columns), estimator)


def converted(model: Any, frame: pd.DataFrame) -> Any:
    options = {"zipmap": False} if hasattr(model, "predict_proba") else None
    file = skl2onnx.to_onnx(model, frame[:1], options=options)
    onnx.checker.check_model(file, full_check=True)
    return onnxruntime.InferenceSession(file.SerializeToString())


def preprocessed(model: Any, frame: pd.DataFrame, asked: pd.DataFrame) -> np.ndarray:
    """What a file makes of samples before the last step. skl2onnx scales in float32, which puts about one sample in
    five hundred on the other side of a halfspace or of a cell's end."""
    session = converted(model[:-1], frame)
    [found] = session.run(None, columns_for(session, asked))
    np.testing.assert_allclose(found, model[:-1].transform(asked), atol=1e-5)
    return found


@pytest.mark.parametrize("labels", [["no", "yes"], [3, 7], [False, True]])
def test_pipelines_from_text_and_numbers(labels):
    frame = mixed_table()[["colour", "size", "weight"]].fillna({"colour": "none"})
    model = pipeline_of(GLNClassifier(**SMALL)).fit(
        frame, np.array(labels)[(expected_class(frame) == "yes").astype(int)]
    )
    session, asked = converted(model, frame), frame.assign(colour=frame.colour.where(frame.index % 7 > 0, "violet"))
    assert asked["size"].isna().any()
    found = answers(session, **columns_for(session, asked))
    expected = model[-1].predict_proba(preprocessed(model, frame, asked))
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
    assert found["label"].tolist() == model.classes_[expected.argmax(axis=1)].tolist()
    assert np.ptp(expected[:, 0]) > 0.5
    assert (np.abs(expected - model.predict_proba(asked)).max(axis=1) > 1e-5).mean() < 0.01


@pytest.mark.parametrize("targets", [1, 2])
def test_pipelines_of_regressors(targets):
    frame = mixed_table()[["colour", "size", "weight"]].fillna({"colour": "none"})
    model = pipeline_of(GLNRegressor(**SMALL)).fit(frame, np.stack([TARGET, -TARGET])[:targets].T.squeeze())
    session = converted(model, frame)
    found = answers(session, **columns_for(session, frame))["variable"]
    assert found.shape == (COUNT, targets)
    np.testing.assert_allclose(found.squeeze(), model[-1].predict(preprocessed(model, frame, frame)), atol=1e-5)


def test_two_estimators_in_one_file():
    frame = mixed_table()[["colour", "size", "weight"]].fillna({"colour": "none"})
    both = VotingClassifier(
        [(str(seed), GLNClassifier(**SMALL | {"random_state": seed})) for seed in (0, 1)],
        voting="soft",
        flatten_transform=False,
    )
    model = pipeline_of(both).fit(frame, expected_class(frame))
    session = converted(model, frame)
    found = answers(session, **columns_for(session, frame))["probabilities"]
    expected = model[-1].predict_proba(preprocessed(model, frame, frame))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_skl2onnx_converts_an_estimator_of_named_columns():
    frame = mixed_table()
    model = GLNClassifier(**SMALL).fit(frame, expected_class(frame))
    session, asked = converted(model, frame.dropna().astype({"shape": str, "colour": str})), unlike(frame)
    found = answers(session, **columns_for(session, asked))["probabilities"]
    np.testing.assert_allclose(found, model.predict_proba(asked), atol=1e-5)


@pytest.mark.parametrize(("levels", "kind"), [([0, 0.5], "int64"), (["a", 0], "int64"), ([0, 0.5, "1"], "float32")])
def test_levels_that_the_input_of_a_pipeline_cannot_hold_are_refused(levels, kind):
    model, frame = of_levels(levels)
    with pytest.raises(ValueError, match=f"^model: expected levels of column 'kind' that {kind} can hold, got"):
        skl2onnx.to_onnx(model, frame[:1].assign(kind=np.zeros(1, kind)))


def test_text_that_is_no_category_is_refused():
    frame = pd.DataFrame({"a": np.arange(60.0), "b": np.arange(60.0) % 7})
    model = GLNClassifier(**SMALL).fit(frame, np.arange(60) % 2)
    with pytest.raises(ValueError, match=r"^model: expected no text in 'b', which is not a category, got text$"):
        skl2onnx.to_onnx(model, frame.astype({"b": str})[:1])


# ---- Other kinds -----------------------------------------------------------------------------------------------------


def test_wide_sparse_models_take_dense_rows(tmp_path):
    counts = random_array((COUNT, 1200), density=0.02, rng=0, format="csr", dtype=np.float32)
    classifier = GLNClassifier(random_state=0).fit(counts, np.digitize(counts[:, :300].sum(axis=1), (2, 4)))
    assert classifier.glns_[0].config.input_size == 1200
    dense = counts.toarray()
    assert_same_predictions(classifier, tmp_path, counts, np.where(dense == 0, np.nan, dense))
    regressor = GLNRegressor(random_state=0, density=True).partial_fit(counts, counts[:, :300].sum(axis=1))
    assert_same_predictions(regressor, tmp_path, counts, dense)


def test_a_loaded_estimator_is_exported(tmp_path):
    GLNRegressor(**SMALL, density=True).fit(X, TARGET).save(tmp_path / "m")
    assert_same_predictions(GLNRegressor.load(tmp_path / "m"), tmp_path, X)


# ---- Files and errors ------------------------------------------------------------------------------------------------


def test_other_models_are_refused(tmp_path):
    for model in (None, "model", {"config": 1}, make_pipeline(StandardScaler())):
        with pytest.raises(
            ValueError, match=r"^model: expected a GLN, or a GLNClassifier or GLNRegressor .*to_onnx exports"
        ):
            export(model, tmp_path / "m")
    with pytest.raises(NotFittedError):
        export(GLNRegressor(), tmp_path / "m")
    assert os.listdir(tmp_path) == []


def test_a_model_too_large_for_a_file_leaves_the_old_file(tmp_path, monkeypatch):
    export(GLN([2], 3, 3, seed=0), tmp_path / "m")
    before = (tmp_path / "m").read_bytes()
    monkeypatch.setattr(gln.onnx, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match=r"^model: expected at most 1000 bytes, .* 2 GiB, got \d+ bytes$"):
        export(GLN([8], 3, 3, seed=0), tmp_path / "m")
    assert os.listdir(tmp_path) == ["m"]
    assert (tmp_path / "m").read_bytes() == before
    with pytest.raises(OSError, match="nowhere"):
        export(GLN([2], 3, 3, seed=0), tmp_path / "nowhere" / "m")


def test_without_onnx_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "gln.onnx")
    with pytest.raises(ImportError, match=r"^gln.onnx needs ONNX and skl2onnx: pip install onnx skl2onnx$"):
        importlib.import_module("gln.onnx")
