"""Odd calls: everything public, called with ordinary and odd arguments in any order, drawn by a seed.

A call must not change its arguments, must return finite numbers, as many as it should, and the same for an argument in
another form; or it must raise a documented error that names the argument, and leave the model as it was.
"""

# ruff: noqa: N803, N806 - X is a table

from __future__ import annotations

import collections
import contextlib
import copy
import functools
import inspect
import io
import json
import pickle
import re
import traceback
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.sparse import coo_array, csr_array, issparse
from sklearn.base import clone

for _package in ("coba", "numba", "onnx", "river", "skl2onnx"):
    pytest.importorskip(_package)

import gln_numba
import gln_numpy
from gln import bandits, features, onnx, river, sklearn
from gln.stream.command import main

# What is known and about to be mended: a pattern of what `problem_of` says, and the reason.
KNOWN: dict[str, str] = {
    r"could not convert string to float": "text targets",
}

NAN = float("nan")
ODD: list[Any] = [
    *(None, NAN, float("inf"), -1, 0, 3, 0.5, -2.5, 2**70, 1e300, True, 1j, Fraction(1, 3), np.float16(2), np.ma.masked),
    *("", "text", "é\udc80", b"bytes", [], (), {}, [[]], [1, "a", None], {1, 2}, range(3), object(), print, np.array("x")),
    *(pd.NA, pd.NaT, pd.Timestamp("2024-02-29"), np.datetime64("NaT"), np.zeros(0), np.zeros((2, 0)), np.ones((2, 3, 4))),
    *({"a": 1.0}, {"a": {}}, {None: NAN}, pd.DataFrame(), pd.Series([1.0]), pl.DataFrame({"a": [1.0]}), csr_array(np.eye(3))),
]


# ---- Arguments -------------------------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """An argument: how to draw an ordinary one, for some samples; other forms of it, and odd ones besides ODD."""

    plain: Callable[[Random, int], Any]
    same: Sequence[Callable[[Any], Any]] = ()
    odd: Sequence[Callable[[Any], Any]] = ()
    others: Sequence[Any] = ODD


def numbers(random: Random, *shape: int) -> np.ndarray:
    return np.random.default_rng(random.getrandbits(32)).normal(size=shape).astype(np.float32).round(2)


def one_of(*values: Any) -> Kind:
    return Kind(lambda random, count: random.choice(values))


def cell(value: Any) -> Callable[[Any], Any]:
    """A function that puts a value into the last place of an array, a frame or a dictionary."""

    def change(table: Any) -> Any:
        if isinstance(table, pd.DataFrame):
            changed = table.copy()
            changed.isetitem(0, pd.Series([*[*table.iloc[:, 0]][:-1], value], table.index, object))
            return changed
        if isinstance(table, dict):
            return {**table, next(iter(table), "a"): value}
        is_float = np.asarray(table).dtype.char == "f" and value != 1e300 and isinstance(value, float)
        changed = np.array(table, np.float32 if is_float else object)
        if changed.size and changed.ndim:
            changed[(-1,) * changed.ndim] = value if not np.ndim(value) else None
        return changed

    return change


CELLS = [cell(value) for value in (NAN, None, np.inf, 1e300, -1, "text", "", pd.NA, pd.Timestamp(0), object(), [1], 1j, True)]
DTYPES = (np.float16, np.int64, np.uint64, bool, object, complex, str, "datetime64[s]", "timedelta64[s]", "V4")
OTHER_ARRAYS = [
    *(lambda a: np.asarray(a).T, lambda a: np.asarray(a)[:0], lambda a: np.asarray(a)[..., :0]),
    *(lambda a: np.asarray(a).ravel(), lambda a: np.asarray(a)[None], lambda a: np.asarray(a)[:-1]),
    *(lambda a: np.asarray(a)[:1], lambda a: np.concatenate([a, a]), lambda a: [*np.asarray(a).tolist(), [1, 2]]),
    *((lambda dtype: lambda a: np.asarray(a).astype(dtype))(dtype) for dtype in DTYPES),
    *(lambda a: np.ma.masked_less(a, 0), lambda a: csr_array(np.atleast_2d(a)), lambda a: coo_array(np.atleast_2d(a))),
    *(lambda a: pd.DataFrame(np.atleast_2d(a)), lambda a: np.asarray(a).astype(object)),
]


def read_only(array: Any) -> np.ndarray:
    array = np.array(array)
    array.flags.writeable = False
    return array


SAME_ARRAYS = [
    *(lambda a: a.tolist(), np.asfortranarray, read_only, lambda a: a.astype(a.dtype.newbyteorder())),
    *(lambda a: np.repeat(a, 2, axis=0)[::2], lambda a: a[::-1].copy()[::-1]),
    *(lambda a: a.astype(np.float64) if a.dtype.kind == "f" else a, lambda a: list(a)),
]


def array(*shape: Any) -> Kind:
    """Numbers of this shape, in which None is the number of samples."""
    draw = lambda random, count: numbers(random, *(count if n is None else n for n in shape))  # noqa: E731
    return Kind(draw, SAME_ARRAYS, [*CELLS, *OTHER_ARRAYS])


def labels(*names: Any) -> Kind:
    draw = lambda random, count: np.array([names[i % len(names)] for i in random.sample(range(count), count)])  # noqa: E731
    return Kind(draw, [np.ndarray.tolist, pd.Series, read_only], [*CELLS, *OTHER_ARRAYS])


def frame(random: Random, count: int) -> pd.DataFrame:
    words = [random.choice(["x", "y", "é"]) for _ in range(count)]
    return pd.DataFrame({"a": numbers(random, count).astype(float), "b": numbers(random, count).astype(float), "c": words})


SAME_FRAMES: list[Callable[[Any], Any]] = [
    *(lambda X: X.set_axis(range(7, 7 + len(X))), lambda X: X.set_axis([0] * len(X)), lambda X: X.astype({"a": "Float64"})),
    *(lambda X: X.astype({"a": object}), lambda X: X.astype({"c": "category"}), lambda X: X.astype({"c": "string"})),
]
OTHER_FRAMES: list[Callable[[Any], Any]] = [
    *(lambda X: X[["b", "a", "a"]], lambda X: X[["b", "c"]], lambda X: X[["c", "b", "a"]], lambda X: X.assign(d=1.0)),
    *(lambda X: X.set_axis([0, 1, 2], axis=1), lambda X: X.set_axis(["a", "b", "é"], axis=1), lambda X: X.iloc[:0]),
    *(lambda X: X.set_axis([("a", 1), ("b", 2), ("c", 3)], axis=1), lambda X: X.set_axis(["a", 1, None], axis=1)),
    *(lambda X: X.set_axis(pd.MultiIndex.from_tuples([("a", 1), ("b", 2), ("c", 3)]), axis=1), lambda X: X["a"]),
    *(lambda X: X.assign(a="text"), lambda X: X.assign(c=1), lambda X: X.assign(a=pd.Timestamp(0)), lambda X: X.iloc[:1]),
    *(lambda X: X.assign(a=1j), lambda X: X.assign(a=[[1]] * len(X)), lambda X: X.assign(c=None), lambda X: X.to_numpy()),
    *(lambda X: X.assign(a=pd.arrays.SparseArray(X["a"])), lambda X: X.assign(a=X["a"] > 0), lambda X: X.to_dict("records")),
    *(lambda X: X.assign(a=pd.Series([pd.NA] * len(X), dtype="Int64")), lambda X: X.astype(str), lambda X: X.iloc[:, :0]),
    *(lambda X: X.assign(c=X["c"].astype("category").cat.codes), lambda X: X.assign(a=pd.Period("2024"))),
    *(lambda X: X.assign(c=b"x"), lambda X: X.assign(c=object()), lambda X: X.assign(c=[["x"]] * len(X)), pl.from_pandas),
]
FRAME = Kind(frame, [*SAME_FRAMES, pl.from_pandas], [*CELLS, *OTHER_FRAMES])
RIVER_FRAME = Kind(frame, [*SAME_FRAMES, lambda X: X[["c", "a", "b"]]], [*CELLS, *OTHER_FRAMES])


def sample(random: Random, count: int) -> dict[str, Any]:
    return frame(random, 1).to_dict("records")[0]


SAME_SAMPLES: list[Callable[[Any], Any]] = [
    *(lambda x: dict(reversed(x.items())), types.MappingProxyType, lambda x: {**x, "a": np.float64(x["a"])}),
    *(collections.OrderedDict, lambda x: {**x, "c": np.str_(x["c"])}, lambda x: {**x, "b": Fraction(x["b"])}),
]
OTHER_SAMPLES: list[Callable[[Any], Any]] = [
    *(lambda x: {}, lambda x: {"a": x["a"]}, lambda x: {**x, "new": 1.0}, lambda x: {**x, "é": "word"}, lambda x: [*x.items()]),
    *(lambda x: {**x, 0: 1.0, None: 2.0, ("t",): True}, lambda x: {**x, NAN: 1.0}, lambda x: {**x, "c": 1}, pd.Series),
    *(lambda x: {**x, "c": None}, lambda x: {**x, **{f"w{i}": 1 for i in range(30)}}, lambda x: {**x, "b": np.ones(2)}),
]
SAMPLE = Kind(sample, SAME_SAMPLES, [*CELLS, *OTHER_SAMPLES])
WEIGHTS = Kind(lambda random, count: np.array([random.choice([0.5, 1.0, 2.0]) for _ in range(count)]),
               [np.ndarray.tolist, pd.Series, read_only], [*CELLS, *OTHER_ARRAYS, lambda w: w * 0, lambda w: -w])  # fmt: skip
WEIGHT = Kind(lambda random, count: random.choice([1.0, 2.0, 0.5]), [np.float64, np.array], [lambda w: 101.0, lambda w: 0.0])
RATE = Kind(lambda random, count: random.choice([None, 0.1, 0, 1e-3]), [], [lambda rate: lambda step: step - 1.0])
SEED, LEVELS = one_of(0, 7), Kind(lambda *_: (0.1, 0.9), [list], [lambda q: (1.0,), lambda q: (0.1, NAN)])
ARMS = Kind(lambda random, count: random.sample(["p", "q", "r"], 2), [tuple],
            [lambda a: [*a, *a], lambda a: [*a, None], lambda a: {a[0]: {"g": 1.0}}, lambda a: [["p"]], lambda a: "pq"])  # fmt: skip
ARM, REWARD = one_of("p", "q"), Kind(lambda random, count: random.random(), [np.float64], [])

# ---- What is called --------------------------------------------------------------------------------------------------


class Subject(NamedTuple):
    """Something public: how to make one, and its calls, by the name of a method or of a function in `FUNCTIONS`; the
    names of optional arguments end in "?"."""

    make: Callable[[Random], Any]
    calls: dict[str, dict[str, Kind]]
    errors: tuple[type[Exception], ...] = (ValueError,)


def in_folder(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a model and of a path, which is made from a name in the folder of the test."""
    return lambda model, path, **more: function(model, path, **more)


def reloaded(model: Any, path: Any, damage: int = 0) -> Any:
    model.save(path)
    if damage:
        content = bytearray(Path(path).read_bytes())
        content[damage % len(content)] ^= 1
        Path(path).write_bytes(content)
    return type(model).load(path)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "pickled": lambda model: pickle.loads(pickle.dumps(model)),
    "copied": copy.deepcopy,
    "cloned": lambda model: model.clone() if hasattr(model, "clone") else clone(model),
    "reloaded": reloaded,
    "shown": repr,
    "exported": lambda model, path: onnx.export(model, path),
    "set and fitted": lambda model, X, y, **parameters: clone(model).set_params(**parameters).fit(X, y),
    "made": lambda model, **parameters: type(model)(**parameters),
    "made and taught": lambda model, X, y, **parameters: type(model)(**parameters).learn_many(X, y),
    "made and rewarded": lambda model, **parameters: type(model)(**parameters).learn_and_add({"a": 1.0}, {"p": 0.5}),
    "rate set": lambda model, rate: setattr(model, "learning_rate", rate),
}
PATHS = Kind(lambda *_: "model.gln", [Path], [lambda path: ".", lambda path: "missing/model.gln"], [])
DAMAGE = Kind(lambda random, count: random.choice([0, random.randrange(1, 10**5)]), others=[])
SAVING: dict[str, dict[str, Kind]] = {"reloaded": {"path": PATHS, "damage?": DAMAGE}, "pickled": {}, "copied": {}, "shown": {}}


def network(module: types.ModuleType, targets: Kind, **kind: Any) -> Subject:
    def make(random: Random) -> Any:
        model, rng = module.GLN([4, 2], 3, 3, context_map_size=2, seed=0, **kind), Random(0)
        if random.random() < 0.7:
            model.predict_online(numbers(rng, 3, 9), numbers(rng, 3, 9), targets.plain(rng, 9))
        return model

    inputs, state = {"inputs": array(3, None), "context_inputs": array(3, None)}, make(Random(0)).get_state()
    sizes = {"layer_sizes": Kind(lambda *_: [3, 1], [tuple, np.array]), "input_size": one_of(3), "context_size": one_of(3)}
    options = {"num_classes?": one_of(2), "context_map_size?": one_of(0, 3), "bias?": one_of(True), "normalize?": one_of(False)}
    sizes |= {"seed": SEED}
    options |= {"base_predictor?": one_of(None), "learning_rate?": RATE, "context_bias?": one_of(0.0, 1.0)}
    options |= {"pred_clipping?": one_of(0.01), "weight_clipping?": one_of(5.0), "context_features?": one_of(None, 1, 9)}
    calls = {
        "predict": inputs | {"targets?": targets},
        "predict_online": inputs | {"targets": targets, "batch_size?": one_of(1, 2, 100)},
        "explain": inputs,
        "fit_hyperplanes": {"context_inputs": array(3, None)},
        "set_state": {"state": Kind(lambda *_: dict(state), [lambda s: dict(reversed(s.items()))], [*CELLS, lambda s: {}])},
        "set_learning_rate": {"rate": RATE},
        "rate set": {"rate": RATE},
        "save": {"path": PATHS, "extra?": Kind(lambda *_: {"a": np.ones(3)}, [], CELLS)},
        "made": sizes | options | {"loss?": one_of("log_loss"), "num_outputs?": one_of(1), "quantiles?": one_of(None)},
        "exported": {"path": PATHS},
    }
    return Subject(make, calls | SAVING, (ValueError, RuntimeError, OSError))


TABLES = {False: (array(None, 3), "X"), True: (FRAME, "X")}


def estimator(kind: Any, X: Kind, y: Kind, others: dict[str, dict[str, Kind]], **parameters: Any) -> Subject:
    def make(random: Random) -> Any:
        model, rng = kind(layer_sizes=(3,), n_networks=2, n_epochs=1, context_map_size=2, random_state=0, **parameters), Random(0)
        how, rows = random.choice(["new", "fit", "partial_fit"]), (X.plain(rng, 24), y.plain(rng, 24))
        classes = {"classes": np.unique(rows[1])} if kind is sklearn.GLNClassifier else {}
        return model if how == "new" else model.fit(*rows) if how == "fit" else model.partial_fit(*rows, **classes)

    learned = {"X": X, "y": y, "sample_weight?": WEIGHTS}
    options = {"layer_sizes?": Kind(lambda *_: [2], [tuple, np.array]), "n_networks?": one_of(1), "context_map_size?": one_of(0, 2)}
    options |= {"context_bias?": one_of(1.0), "learning_rate?": RATE, "n_epochs?": one_of(1), "max_seconds?": one_of(9.0)}
    options |= {"batch_size?": one_of(1, 3), "shuffle?": one_of(False), "backend?": one_of("numba", "numpy"), "n_jobs?": one_of(1)}
    options |= {"random_state?": SEED, "verbose?": one_of(False), "categorical_features?": one_of("from_dtype", None)}
    calls = {
        "fit": learned,
        "partial_fit": learned,
        "predict": {"X": X},
        "explain": {"X": X},
        "novelty": {"X": X},
        "score": {"X": X, "y": y},
        "set and fitted": {"X": X, "y": y, **options},
        "cloned": {},
        "exported": {"path": PATHS},
    }
    return Subject(make, calls | others | SAVING, (ValueError, TypeError, OSError))


def classifier(X: Kind, y: Kind, classes: Kind, **parameters: Any) -> Subject:
    learned = {"X": X, "y": y, "classes?": classes}
    others = {"partial_fit": learned | {"sample_weight?": WEIGHTS}, "partial_fit_predict_proba": learned}
    others |= {"predict_proba": {"X": X}, "decision_function": {"X": X}}
    others |= {"set and fitted": {"X": X, "y": y, "class_weight?": one_of(None, "balanced"), "negatives?": one_of(True)}}
    return estimator(sklearn.GLNClassifier, X, y, others, **parameters)


def regressor(X: Kind, y: Kind, **parameters: Any) -> Subject:
    others = {
        "predict": {"X": X, "return_std?": one_of(True, False)},
        "predict_quantiles": {"X": X, "levels?": LEVELS},
        "log_density": {"X": X, "y": y},
        "sample": {"X": X, "n?": one_of(1, 2), "random_state": SEED},
        "partial_fit_predict": {"X": X, "y": y},
        "set and fitted": {"X": X, "y": y, "quantiles?": LEVELS, "density?": one_of(True, False)},
    }
    return estimator(sklearn.GLNRegressor, X, y, others, **parameters)


SMALL: dict[str, Any] = {"layer_sizes": (3,), "context_map_size": 2, "seed": 0}


def stream(kind: Any, y: Kind, others: dict[str, dict[str, Kind]], **parameters: Any) -> Subject:
    def make(random: Random) -> Any:
        model, rng = kind(**SMALL, **parameters), Random(0)
        if random.random() < 0.8:
            model.learn_many(frame(rng, 12), y.plain(rng, 12))
        return model

    of_frame = {"X": RIVER_FRAME, "y": y, "w?": WEIGHTS}
    one = Kind(lambda random, count: y.plain(random, 1).tolist()[0], [], [lambda y: [y], lambda y: (y,)])
    calls = {
        "learn_one": {"x": SAMPLE, "y": one, "w?": WEIGHT},
        "learn_many": of_frame,
        "predict_learn_many": of_frame,
        "predict_one": {"x": SAMPLE},
        "predict_many": {"X": RIVER_FRAME},
        "explain_one": {"x": SAMPLE},
        "cloned": {},
        "made and taught": {"X": RIVER_FRAME, "y": y, "layer_sizes?": Kind(lambda *_: [2], [tuple]), "context_map_size?": one_of(2), "context_bias?": one_of(1.0),
                 "learning_rate?": RATE, "backend?": one_of("numba", "numpy"), "seed?": SEED},
    }  # fmt: skip
    return Subject(make, calls | others | SAVING, (ValueError, OSError))


def novelty() -> Subject:
    def make(random: Random) -> Any:
        model, rng = river.GLNNovelty(neurons=4, context_map_size=2, seed=0), Random(0)
        for _ in range(random.choice([0, 9])):
            model.learn_one(sample(rng, 1))
        return model

    made = {"neurons?": one_of(3), "context_map_size?": one_of(2), "context_bias?": one_of(1.0), "seed?": SEED}
    calls = {"learn_one": {"x": SAMPLE}, "score_one": {"x": SAMPLE}, "cloned": {}, "made": made}
    return Subject(make, calls | SAVING, (ValueError, OSError))


CONTEXT = SAMPLE._replace(odd=[*SAMPLE.odd, lambda x: np.ones(3), lambda x: [1.0, NAN, 2.0], lambda x: np.ones((3, 1))])


def bandit(arm_features: bool, **parameters: Any) -> Subject:
    arms = {"p": {"g": "u", "h": 1.0}, "q": {"g": "v"}} if arm_features else ["p", "q"]

    def make(random: Random) -> Any:
        model, rng = bandits.GLNBandit(arms, **SMALL, **parameters), Random(0)
        for _ in range(random.choice([0, 9])):
            context = sample(rng, 1)
            model.learn(context, model.decide(context).arm, rng.random())
        return model

    reward, given = {"context": CONTEXT}, one_of(None, *([{"g": "u"}] if arm_features else []))
    calls = {
        "decide": {"context": CONTEXT, "arms?": ARMS, "k?": one_of(1, 2, 9)},
        "propensities": {"context": CONTEXT, "arms?": ARMS},
        "predict": {"context": CONTEXT},
        "novelty": {"context": CONTEXT},
        "explain": {"context": CONTEXT},
        "learn": reward | {"arm": ARM, "reward": REWARD, "features?": given},
        "learn_all": reward | {"rewards": Kind(lambda random, count: {"p": random.random(), "q": 1.0}, [], CELLS)},
        "learn_and_add": reward | {"rewards": Kind(lambda random, count: {"p": random.random(), "r": 1.0}, [], CELLS)},
        "add_arm": {"arm": one_of("r", "p"), "features?": given},
        "retire": {"arm": one_of("r", "q")},
        "made and rewarded": {"arms?": ARMS, "explore?": one_of(*bandits.STRENGTHS), "strength?": one_of(None, 0.5), "rewards?": one_of("numbers"),
                 "layer_sizes?": Kind(lambda *_: [2], [tuple]), "learning_rate?": RATE, "seed": SEED},
    }  # fmt: skip
    return Subject(make, calls | SAVING, (ValueError, OSError))


ACTIONS = Kind(lambda *_: ["p", "q"], [tuple], [lambda a: ["p", "p"], lambda a: [{"g": 1.0}, {"g": 2.0}], lambda a: [(1, 2)]])
COBA: dict[str, dict[str, Kind]] = {
    "predict": {"context": CONTEXT, "actions": ACTIONS},
    "score": {"context": CONTEXT, "actions": ACTIONS, "action": one_of("p", "q")},
    "learn": {"context": CONTEXT, "action": one_of("p", "q"), "reward": REWARD, "probability": one_of(0.5)},
}
POLICY: dict[str, dict[str, Kind]] = {
    "pull": {"arm_ids": ARMS, "context?": CONTEXT},
    "update": {"arm_id": ARM, "context": CONTEXT, "reward": REWARD},
}
FUNCTIONS["update"] = lambda model, arm_id, context, reward: model.update(arm_id, context, reward)
POINTS = array(3, None)
SCALER = {"learn": {"samples": POINTS}, "transform": {"samples": POINTS}, "pickled": {}, "copied": {}}
SIZE = one_of(3)._replace(others=[value for value in ODD if type(value) is not int])  # of 2**70, no memory
MADE = {"floor?": one_of(0.1), "limit?": one_of(5.0), "far_is_missing?": one_of(True)}


@functools.cache
def subjects() -> dict[str, Subject]:
    rows, classes, three = array(None, 3), labels("no", "yes"), labels(0, 1, 2)
    negatives = {"negatives": False}
    return {
        "network": network(gln_numpy, labels(0, 1)),
        "network of classes, Numba": network(gln_numba, three, num_classes=3),
        "network of numbers": network(gln_numpy, array(2, None), loss="squared_error", num_outputs=2),
        "network of quantiles, Numba": network(gln_numba, array(None), loss="quantile", quantiles=(0.1, 0.9)),
        "network of variances, Numba": network(gln_numba, array(None), loss="variance"),
        "Standardizer": Subject(lambda random: features.Standardizer(3), SCALER | {"made": {"size": SIZE, **MADE}}),
        "SparseScaler": Subject(lambda random: features.SparseScaler(3), SCALER | {"made": {"size": SIZE}}),
        "GLNClassifier": classifier(rows, classes, Kind(lambda *_: np.array(["no", "yes"]), SAME_ARRAYS[:1], OTHER_ARRAYS)),
        "GLNClassifier, frames": classifier(FRAME, three, Kind(lambda *_: np.arange(3), SAME_ARRAYS[:1], OTHER_ARRAYS)),
        "GLNClassifier alone": classifier(FRAME, classes, Kind(lambda *_: np.array(["no", "yes"])), **negatives),
        "GLNRegressor": regressor(rows, array(None)),
        "GLNRegressor, frames": regressor(FRAME, array(None, 2), density=True, quantiles=(0.1, 0.9)),
        "river.GLNClassifier": stream(river.GLNClassifier, classes, PROBABILITIES),
        "river.GLNClassifier, memory": stream(river.GLNClassifier, three, PROBABILITIES, memory=True),
        "river.GLNClassifier alone": stream(river.GLNClassifier, three, PROBABILITIES, **negatives),
        "river.GLNRegressor": stream(river.GLNRegressor, array(None), INTERVALS, density=True, quantiles=(0.1, 0.9)),
        "river.GLNNovelty": novelty(),
        "GLNBandit": bandit(False, explore="inverse-gap"),
        "GLNBandit, arms with features": bandit(True, rewards="probabilities"),
        "CobaLearner": Subject(lambda random: bandits.CobaLearner(**SMALL), COBA | {"copied": {}}),
        "GLNPolicy": Subject(
            lambda random: river.GLNPolicy(layer_sizes=(3,), seed=0), POLICY | {"cloned": {}}, (ValueError, TypeError)
        ),
    }


PROBABILITIES = {"predict_proba_one": {"x": SAMPLE}, "predict_proba_many": {"X": RIVER_FRAME}}
INTERVALS = {"predict_one": {"x": SAMPLE, "with_dist?": one_of(True)}, "predict_quantiles_one": {"x": SAMPLE}}


# ---- What must hold --------------------------------------------------------------------------------------------------


CACHES = ("'_known'", "'_converted'", "'_table'", "'_version'")  # what a model keeps only to be faster


def name_of(key: Any) -> str:
    return re.sub(" at 0x[0-9a-f]+", "", repr(key.item() if isinstance(key, np.generic) else key))


def leaves(value: Any, place: str = "", seen: frozenset[int] = frozenset()) -> Iterator[tuple[str, Any]]:
    """The arrays, numbers and texts that a value consists of, and where."""
    if id(value) in seen or isinstance(value, (type, types.ModuleType)) or value is pd.NA:
        yield place, str(value)
    elif isinstance(value, np.ndarray) and value.dtype.kind not in "OU":
        yield place, np.array(value)
    elif value is None or isinstance(value, (str, bytes, bool, int, float, complex, np.generic)):
        yield place, value
    else:
        seen = seen | {id(value)}
        if isinstance(value, (pd.DataFrame, pd.Series, pd.Index)):
            value = [np.asarray(value), *([value.columns] if isinstance(value, pd.DataFrame) else [])]
        elif issparse(value):
            value = [value.tocsr().toarray()]
        if isinstance(value, np.ndarray):
            value = [value.shape, *value.ravel().tolist()]  # of objects
        if isinstance(value, Mapping):
            value = {name_of(key): each for key, each in value.items() if repr(key) not in CACHES}
        elif isinstance(value, (list, tuple, set, frozenset, range)):
            value = dict(enumerate(value))
        else:
            state = value.__reduce_ex__(4) if not callable(value) else ""
            value = {type(value).__name__: state[1:3] if isinstance(state, tuple) else str(type(value))}
        yield place, len(value)
        for name, each in value.items():
            yield from leaves(each, f"{place}/{name}", seen)


def differs(first: Mapping[str, Any], second: Mapping[str, Any], atol: float = 0) -> str | None:
    """Where the leaves of two values differ, if they do."""
    for place in [*first, *second]:
        pair = first.get(place, "nothing"), second.get(place, "nothing")
        numeric = all(np.asarray(each).dtype.kind in "biufc" for each in pair)
        if not (np.shape(pair[0]) == np.shape(pair[1]) and (
            np.allclose(*pair, rtol=atol, atol=atol, equal_nan=True) if numeric else np.array_equal(*pair) or pair[0] is pair[1]
        )):  # fmt: skip
            return f"{place}: {pair[0]!r:.80} and {pair[1]!r:.80}"
    return None


RETURN_MODELS = ("pickled", "copied", "reloaded")
DOCUMENTED = {"X", "y", "x", "a", "b", "c", "classes", "arms", "fit", "fitted"}  # usual arguments, columns, and methods to call before


def called(function: Callable[..., Any], *arguments: Any, **named: Any) -> tuple[Any, Exception | None, list[str]]:
    """What a call returns, the error that it raises, and its warnings that no user was meant to read."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value, error = function(*arguments, **named), None
        except Exception as raised:
            value, error = None, raised
    return value, error, [str(each.message) for each in caught if not issubclass(each.category, (UserWarning, ResourceWarning))]


def is_documented(error: Exception, subject: Subject, model: Any, method: str) -> bool:
    """Whether an error is of a documented type and names an argument, or is one of scikit-learn's or of the system's."""
    if not isinstance(error, subject.errors) or isinstance(error, UnicodeError | pickle.PickleError):
        return False
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, OSError) or any(re.search("site-packages/(sklearn|river)/", file) for file in files):
        return True
    names = {name.removesuffix("?") for name in subject.calls[method]} | {*inspect.signature(type(model)).parameters}
    return bool(set(re.findall(r"\w+", str(error))) & (names | DOCUMENTED))


def unsound(method: str, value: Any, arguments: Mapping[str, Any], labels: bool) -> str | None:
    """What is wrong with what a call returned, if anything is."""
    if not re.search("predict|explain|novelty|score_one|propens|learn|transform|density|sample|decision|decide", method):
        return None
    is_label = labels and method in ("predict", "predict_one", "predict_many")
    for place, leaf in leaves(value.to_numpy() if isinstance(value, pd.DataFrame) else value) if not is_label else ():
        if np.asarray(leaf).dtype.kind in "fc" and not np.isfinite(leaf).all():
            return f"not finite at {place}"
    rows = np.shape(arguments.get("X"))[:1]
    if rows and re.search("predict|novelty|sample|decision|density", method) and np.shape(value)[:1] not in [rows, (2,)]:
        return f"{len(value)} results for {rows[0]} rows"
    if "proba" in method or method == "propensities":
        p = np.array([*value.values()] if isinstance(value, dict) else value, float)
        if p.size and not (p.min() >= 0 and np.allclose(p.sum(axis=-1), 1, atol=1e-6)):
            return f"probabilities {p.tolist()}"
    return None


def problem_of(subject: Subject, model: Any, method: str, arguments: dict[str, Any], twin: Any = None) -> tuple[Any, str | None]:
    """What a call returns, and what is wrong with it; a `twin` is what an equal call returned, and its model."""
    function = FUNCTIONS.get(method) or getattr(type(model), method, None)
    before, given = dict(leaves(model)), dict(leaves(arguments))
    value, error, said = called(function, model, **arguments)
    if said:
        return value, f"warns: {said[0]}"
    if found := differs(given, dict(leaves(arguments))):
        return value, f"changes an argument at {found}"
    if error is not None:
        if not is_documented(error, subject, model, method):
            return value, f"raises {error!r:.300}"
        if found := differs(before, dict(leaves(model))):
            return value, f"changes the model and raises {error!r:.200}: {found}"
    elif found := unsound(method, value, arguments, hasattr(model, "predict_proba_one")):
        return value, found
    if twin is not None:
        result, failed = dict(leaves((value, model))), error is not None
        if twin[1] != failed:
            return value, f"raises {error!r:.300}, but with an equal argument not: {twin[1]}"
        if found := None if failed else differs(twin[0], result, 1e-4):
            return value, f"another result with an equal argument: {found}"
    return value, None


def odd_calls(name: str, seed: int, count: int) -> Iterator[tuple[str, str]]:
    """Make calls, and yield those with a problem, and the problem."""
    subject, random = subjects()[name], Random(f"{name} {seed}")
    model = subject.make(random)
    for _ in range(count):
        if random.random() < 0.1:
            model = subject.make(random)
        method, rows = random.choice(sorted(subject.calls)), random.choice([1, 2, 7, 12])
        kinds = subject.calls[method]
        chosen = {key.removesuffix("?"): kind for key, kind in kinds.items() if not key.endswith("?") or random.random() < 0.3}
        arguments, twin = {key: kind.plain(random, rows) for key, kind in chosen.items()}, None
        how, text = random.choice(["plain", "same", "odd", "odd"]), f"{name}: {method}"
        key = random.choice(sorted(chosen)) if chosen else ""
        if how == "odd" and key:
            own = arguments[key]
            change = random.choice([*chosen[key].odd, *(lambda _, value=value: value for value in chosen[key].others)] or [copy.copy])
            with contextlib.suppress(Exception):  # what cannot be made so odd stays ordinary
                arguments[key] = change(own)
        elif how == "same" and key and chosen[key].same:
            other = copy.deepcopy(model)
            value, error, _ = called(FUNCTIONS.get(method) or getattr(type(other), method), other, **copy.deepcopy(arguments))
            twin = dict(leaves((value, other))), error is not None
            arguments[key] = random.choice(chosen[key].same)(arguments[key])
        value, problem = problem_of(subject, model, method, arguments, twin)
        if problem is not None:
            yield f"{text}({key}={arguments.get(key)!r:.200} {how})", problem
            model = subject.make(random)
        elif method in RETURN_MODELS and value is not None:
            model = value


def not_known(problems: Iterator[tuple[str, str]]) -> list[str]:
    texts = [f"{call}\n    {problem}" for call, problem in problems]
    return [text for text in texts if not any(re.search(pattern, text, re.DOTALL) for pattern in KNOWN)]


NAMES = [name for name in inspect.getsource(subjects.__wrapped__).split('"')[1::2] if name in subjects()]


@pytest.mark.parametrize("name", NAMES)
def test_a_few_odd_calls(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not_known(odd_calls(name, 0, 15)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_many_odd_calls(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not_known(odd_calls(name, 1, 500)) == []


# ---- The command -----------------------------------------------------------------------------------------------------

FILES = {
    "csv": ["a,b,c,y", *(f"{i % 5},{i / 7:.3f},{'xyz'[i % 3]},{'no yes'.split()[i % 2]}" for i in range(12))],
    "tsv": ["a\tb\ty", *(f"{i % 5}\t{i / 7:.3f}\t{i % 3}" for i in range(12))],
    "jsonl": [json.dumps({"a": i, "b": {"c": i / 3}, "c": ["x", "y"][i % 2], "y": i / 7}) for i in range(12)],
    "vw": [f"{i % 2 * 2 - 1} |n a:{i} b |m c_{i % 3}" for i in range(12)],
    "libsvm": [f"{i % 2} 1:{i} 3:{i / 7:.3f}" for i in range(12)],
}
BAD_LINES: list[Callable[[str], str]] = [
    *(lambda line: "", lambda line: line[:-3], lambda line: line + ",1", lambda line: line + "\t1", lambda line: '"' + line),
    *(lambda line: "{" + line, lambda line: line.replace("1", "1e999"), lambda line: line.replace("1", "NaN"), str.upper),
    *(lambda line: line.replace("1", ""), lambda line: "\0" + line, lambda line: line + "\udcff", lambda line: "é" + line),
    *(lambda line: line.replace("a", "b"), lambda line: "null", lambda line: "[1]", lambda line: line.replace(":", "::")),
    *(lambda line: line + "\r", lambda line: 9 * line, lambda line: line.replace("2", "-2"), lambda line: "|" + line),
]
OPTIONS = [
    *("--target y", "--target no", "--target c", "--regression", "--quantiles .1,.9", "--quantiles 2", "--density", "--memory"),
    *("--no-negatives", "--skip-bad", "--strings a", "--strings y", "--numbers c", "--ignore b", "--ignore y", "--save m"),
    *("--save-every 3", "--save-every 0", "--resume", "--load m", "--load missing", "--predict-only", "--predictions p.csv"),
    *("--predictions p.jsonl", "--predictions -", "--predictions no/p", "--format csv", "--format vw", "--format no"),
    *("--seed 1", "--seed x", "--backend numpy", "--backend no", "--save .", "--no-such-option"),
]


def run_command(arguments: Sequence[str]) -> tuple[Any, str, str]:
    """Status of the command in this process, and what it wrote to standard output and error."""
    out, err = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(arguments)
        except SystemExit as end:
            status = end.code
        out.flush()
    return status, out.buffer.getvalue().decode(), err.getvalue()


def odd_commands(seed: int, count: int) -> Iterator[tuple[str, str]]:
    """Run the command on damaged files with options that need not fit together, and yield problems."""
    random = Random(seed)
    for _ in range(count):
        form = random.choice(sorted(FILES))
        lines, file = list(FILES[form]), Path(f"in.{form}")
        for place in random.sample(range(len(lines)), random.choice([0, 0, 1, 2])):
            lines[place] = random.choice(BAD_LINES)(lines[place])
        content = "\n".join(lines[: random.choice([0, 1, 2, 13, 13, 13])]).encode(errors="surrogateescape")
        file.write_bytes(content)
        chosen = random.sample(OPTIONS, random.choice([0, 1, 2, 3, 5]))
        if form not in ("vw", "libsvm") and random.random() < 0.7:
            chosen.append("--target y")
        arguments = [str(file), *(word for option in chosen for word in option.split())]
        text, before = f"command: {arguments} {content!r}", {each: each.read_bytes() for each in Path().glob("[mp]*")}
        result, error, said = called(run_command, arguments)
        if error is not None or said:
            yield text, f"raises {error!r}, warns {said}"
            continue
        status, written, read = result
        if status not in (0, 2) or (status == 2 and "gln-stream: " not in read) or "Traceback" in read:
            yield text, f"status {status}: {read}"
        elif file.read_bytes() != content:
            yield text, "changes its input"
        elif re.search(r"\b(nan|inf)\b", (written + read).lower().replace(content.decode(errors="ignore").lower(), "")):
            yield text, f"not finite: {written} {read}"
        if status == 2 and "usage" in read and before != {each: each.read_bytes() for each in Path().glob("[mp]*")}:
            yield text, "changes files in spite of wrong options"
