"""`save_pipeline` and `load_pipeline`: a loaded pipeline continues with the same numbers."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest

pytest.importorskip("river")

from river import compose, preprocessing, stats

from gln.engine.saving import read, write
from gln.river import GLNClassifier, GLNNovelty, GLNRegressor
from gln.river_pipelines import load_pipeline, save_pipeline

RNG = np.random.default_rng(54)
ROWS = [
    {"a": float(a), "b": float(b), "group": f"g{c}", "unused": "x"}
    for a, b, c in zip(RNG.normal(3, 5, 200), RNG.normal(size=200), RNG.integers(0, 4, 200), strict=True)
]
SMALL: dict[str, Any] = {"layer_sizes": (6, 3), "context_map_size": 2, "seed": 0}


def scaled(model):
    numbers = compose.Select("a", "b") | (preprocessing.StandardScaler() + compose.Prefixer("raw "))
    levels = compose.Select("group") | preprocessing.OneHotEncoder(drop_zeros=False)
    return (numbers + levels) | preprocessing.MinMaxScaler() | model


PIPELINES = {
    "classifier": lambda: scaled(GLNClassifier(**SMALL)),
    "regressor": lambda: scaled(GLNRegressor(**SMALL)),
    "renamed": lambda: (
        compose.Discard("unused")
        | compose.Renamer({"a": "c"})
        | compose.Suffixer("!")
        | preprocessing.FeatureHasher(n_features=16)
        | preprocessing.Normalizer()
        | preprocessing.MaxAbsScaler()
        | GLNClassifier(**SMALL)
    ),
    "known levels": lambda: (
        compose.Select("group")
        | preprocessing.OneHotEncoder(categories={"group": {"g0", "g1"}})
        | GLNRegressor(**SMALL)
    ),
}


def continued(pipeline, rows):
    found = []
    for row in rows:
        found.append(pipeline.predict_one(row) if is_regressor(pipeline) else pipeline.predict_proba_one(row))
        pipeline.learn_one(row, row["a"] * row["b"] if is_regressor(pipeline) else row["a"] > 3)
    return found


def is_regressor(pipeline) -> bool:
    return isinstance([*pipeline.steps.values()][-1], GLNRegressor)


@pytest.mark.parametrize("kind", PIPELINES)
def test_a_loaded_pipeline_continues_with_the_same_numbers(kind, tmp_path):
    pipeline = PIPELINES[kind]()
    continued(pipeline, ROWS[:100])
    save_pipeline(pipeline, tmp_path / "p.gln", extra={"rows": 100})
    loaded = load_pipeline(tmp_path / "p.gln")
    assert str(loaded) == str(pipeline)
    assert [*loaded.steps.values()][-1].extra == {"rows": 100}
    expected = continued(pipeline, ROWS[100:])
    assert continued(loaded, ROWS[100:]) == expected
    assert len({str(p) for p in expected}) > (3 if kind == "known levels" else 50)


def test_an_anomaly_detector_as_the_last_step(tmp_path):
    pipeline = compose.Select("a", "b") | preprocessing.StandardScaler() | GLNNovelty(seed=0)
    for row in ROWS[:150]:
        pipeline.learn_one(row)
    save_pipeline(pipeline, tmp_path / "p.gln")
    loaded = load_pipeline(tmp_path / "p.gln")
    assert [loaded.score_one(row) for row in ROWS] == [pipeline.score_one(row) for row in ROWS]
    assert GLNNovelty.load(tmp_path / "p.gln").window_size == 250


class Doubled(preprocessing.Normalizer):
    pass


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (preprocessing.StandardScaler(window_size=5), r"pipeline\['StandardScaler'\]: expected a step without windows"),
        (compose.FuncTransformer(dict), r"expected one of \['Discard', .* got a FuncTransformer"),
        (preprocessing.StatImputer(("a", stats.Mean())), r"pipeline\['StatImputer'\]: expected one of"),
        (Doubled(), r"pipeline\['Doubled'\]: expected one of"),
        (compose.TransformerUnion(compose.Select("a"), Doubled()), r"pipeline\['TransformerUnion.Doubled'\]"),
    ],
)
def test_a_step_that_cannot_be_saved_is_named(step, message, tmp_path):
    pipeline = step | GLNClassifier(**SMALL)
    for row in ROWS[:3]:
        pipeline.learn_one({"a": row["a"], "b": row["b"]}, True)
    with pytest.raises(ValueError, match=message):
        save_pipeline(pipeline, tmp_path / "p.gln")
    assert not (tmp_path / "p.gln").exists()


def test_the_last_step_is_a_gln(tmp_path):
    from river import linear_model

    with pytest.raises(ValueError, match=r"pipeline\['LogisticRegression'\]: expected a last step out of \['gln.river"):
        save_pipeline(preprocessing.StandardScaler() | linear_model.LogisticRegression(), tmp_path / "p.gln")


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "p.gln"
    GLNClassifier(**SMALL).save(path)
    with pytest.raises(ValueError, match=r"expected a pipeline that `save_pipeline` wrote, got a saved gln.river.GLNC"):
        load_pipeline(path)
    save_pipeline(preprocessing.StandardScaler() | GLNClassifier(**SMALL), path)
    config, arrays = read(path)
    text = json.dumps(config)
    assert '"StandardScaler"' in text
    write(path, json.loads(text.replace('"StandardScaler"', '"Popen"')), arrays)
    with pytest.raises(ValueError, match=r"expected one of .* got Popen"):
        load_pipeline(path)
    path.write_bytes(pickle.dumps({}))
    with pytest.raises(ValueError, match="expected a saved GLN"):
        load_pipeline(path)
