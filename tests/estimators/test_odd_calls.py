"""Everything public, called in any order with ordinary and odd arguments that a seed draws.

A call raises a documented error that names an argument, and changes nothing; or what it returns is finite, of the right
length, and the same for an argument in another form. It warns of nothing that NumPy or pandas found, and never changes
its arguments.
"""

# ruff: noqa: N803 - X is a table

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import pickle
import re
import traceback
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import issparse
from sklearn.base import clone

pytest.importorskip("numba")
pytest.importorskip("polars")
pytest.importorskip("river")
pytest.importorskip("skl2onnx")

from odd_arguments import (
    FRAME,
    KINDS,
    NOT_HUGE,
    RIVER_FRAME,
    SAMPLE,
    WEIGHTS,
    Kind,
    array,
    called,
    frame,
    kind_of,
    labels,
    numbers,
    some,
)

import gln_numba
import gln_numpy
from gln import bandits, onnx, river, sklearn
from gln.novelty import GLNNovelty

ROWS, TWO, THREE = array(None, 3), labels("no", "yes"), labels(0, 1, 2)


# ---- What is called --------------------------------------------------------------------------------------------------


def reloaded(model: Any, path: Any, damage: int = 0) -> Any:
    model.save(path)
    content = bytearray(Path(path).read_bytes())
    content[damage % len(content)] ^= damage > 0
    Path(path).write_bytes(content)
    return type(model).load(path)


# Calls that are no methods.
CALLS: dict[str, Callable[..., Any]] = {
    "pickled": lambda model: pickle.loads(pickle.dumps(model)),
    "copied": copy.deepcopy,
    "cloned": lambda model: model.clone() if hasattr(model, "clone") else clone(model),
    "reloaded": reloaded,
    "shown": repr,
    "exported": lambda model, path: onnx.export(model, path),
    "made": lambda model, **given: type(model)(**given),
    "made_to_fit": lambda model, X, y, **given: clone(model).set_params(**given).fit(X, y),
    "made_to_learn": lambda model, X, y, **given: type(model)(**given).learn_many(X, y),
    "made_to_decide": lambda model, **given: type(model)(**given).learn_log([({"a": 1.0}, "p", 0.5, 1.0)]),
    "rate_set": lambda model, rate: setattr(model, "learning_rate", rate),
}
FILES = "reloaded: path damage?; pickled: ; copied: ; shown: ;"
OF_NETWORKS = (
    FILES
    + """predict: inputs context_inputs targets?; predict_online: inputs context_inputs targets batch_size?;
    explain: inputs context_inputs; fit_hyperplanes: context_inputs; set_state: state; set_learning_rate: rate;
    rate_set: rate; save: path extra?; exported: path; made: layer_sizes input_size context_size seed bias?
    context_map_size? learning_rate? pred_clipping? weight_clipping? context_bias? context_features? quantiles?;"""
)
OF_TABLES = (
    FILES
    + """fit: X y sample_weight?; predict: X; explain: X; cloned: ; exported: path;
    made_to_fit: X y layer_sizes? n_networks? context_map_size? context_bias? learning_rate? n_epochs?
    partial_learning_rate? early_stopping? shuffle? backend? random_state? categorical_features?;"""
)
OF_CLASSIFIERS = (
    OF_TABLES
    + """partial_fit: X y classes? sample_weight?; partial_fit_predict_proba: X y classes?;
    predict_proba: X; decision_function: X; made_to_fit: X y class_weight?;"""
)
OF_REGRESSORS = (
    OF_TABLES
    + """partial_fit: X y sample_weight?; partial_fit_predict: X y; log_density: X y;
    predict: X return_std?; predict_quantiles: X levels?; sample: X random_state n?;
    made_to_fit: X y quantiles? density?;"""
)
OF_STREAMS = (
    FILES
    + """learn_one: x one w?; learn_many: X y weights?; predict_learn_many: X y weights?; predict_one: x;
    predict_many: X; explain_one: x; cloned: ; made_to_learn: X y layer_sizes? context_map_size? context_bias?
    learning_rate? backend? seed?;"""
)
OF_PROBABILITIES = OF_STREAMS + "predict_proba_one: x; predict_proba_many: X;"
OF_NUMBERS = OF_STREAMS + "predict_one: x with_dist?; predict_quantiles_one: x;"
OF_NOVELTY = (
    FILES
    + """fit: X; partial_fit: X; score_samples: X; predict: X; explain: X; learn_one: x; score_one: x; explain_one: x;
    cloned: ; made_to_fit: X y contamination? window_size? random_state?;"""
)
OF_BANDITS = (
    FILES
    + """decide: context arms? k?; propensities: context arms?; predict: context;
    explain: context; learn: context arm reward features?; learn_all: context rewards;
    add_arm: arm features?; retire: arm; made_to_decide: seed arms? explore? strength? layer_sizes? learning_rate?;"""
)
RENAMED = {"one": "y", "weights": "w"}


class Subject(NamedTuple):
    """Something public: how to make one, its calls, kinds of arguments of its own, and the errors that it may raise."""

    make: Callable[[Random], Any]
    calls: dict[str, list[str]]
    kinds: dict[str, Kind]
    errors: tuple[type[Exception], ...]


def subject(make: Callable[[Random], Any], calls: str, *errors: type[Exception], **kinds: Kind) -> Subject:
    of_methods: dict[str, list[str]] = {}  # a method that comes twice has the arguments of both
    for name, names in (each.split(":") for each in calls.split(";")[:-1]):
        known = of_methods.setdefault(name.strip(), [])
        known.extend(each for each in names.split() if each not in known)
    return Subject(make, of_methods, KINDS | kinds, (ValueError, *errors))


def network(module: types.ModuleType, targets: Kind, **options: Any) -> Subject:
    def make(random: Random) -> Any:
        model, rng = module.GLN([4, 2], 3, 3, context_map_size=2, seed=0, **options), Random(0)
        if random.random() < 0.7:
            model.predict_online(numbers(rng, 3, 9), numbers(rng, 3, 9), targets.plain(rng, 9))
        return model

    state = some(make(Random(0)).get_state(), odd="{}; cell(v, None); {**v, 'step': -1}; {**v, 'other': 0};")
    return subject(make, OF_NETWORKS, RuntimeError, OSError, targets=targets, state=state)


def table(cls: Any, X: Kind, y: Kind, calls: str, **options: Any) -> Subject:
    def make(random: Random) -> Any:
        few: dict[str, Any] = {"layer_sizes": (3,), "n_networks": 2, "context_map_size": 2, "random_state": 0}
        few |= {} if cls is sklearn.GLNDensityClassifier else {"n_epochs": 1}
        rng, how = Random(0), random.choice(["new", "fit", "partial_fit"])
        model, rows = cls(**few, **options), (X.plain(rng, 24), y.plain(rng, 24))
        all_classes = {"classes": np.unique(rows[1])} if cls is not sklearn.GLNRegressor else {}
        return model if how == "new" else model.fit(*rows) if how == "fit" else model.partial_fit(*rows, **all_classes)

    classes = some(np.unique(y.plain(Random(0), 9)), same="v.tolist();", odd="v[:1]; v[::-1]; [*v, None]; [*v, 7];")
    return subject(make, calls, TypeError, OSError, X=X, y=y, classes=classes)


FEW: dict[str, Any] = {"layer_sizes": (3,), "seed": 0}


def stream(cls: Any, y: Kind, calls: str, **options: Any) -> Subject:
    def make(random: Random) -> Any:
        model, rng = cls(**FEW, context_map_size=2, **options), Random(0)
        if random.random() < 0.8:
            model.learn_many(frame(rng, 12), y.plain(rng, 12))
        return model

    return subject(make, calls, OSError, X=RIVER_FRAME, y=y, one=kind_of(y), weights=WEIGHTS)


OF_DETECTORS = {"contamination": some(0.01, 0.5), "window_size": some(None, 9, values=NOT_HUGE)}


def novelty(random: Random) -> Any:
    model, rng = GLNNovelty(random_state=0), Random(0)
    for _ in range(random.choice([0, 9])):
        model.learn_one(SAMPLE.plain(rng, 1))
    return model


def bandit(random: Random, arms: Any, **options: Any) -> Any:
    model, rng = bandits.GLNBandit(arms, **FEW, context_map_size=2, **options), Random(0)
    for _ in range(random.choice([0, 9])):
        context = SAMPLE.plain(rng, 1)
        model.learn(context, model.decide(context).arm, rng.random())
    return model


@functools.cache
def subjects() -> dict[str, Subject]:
    of_features = functools.partial(bandit, arms={"p": {"g": "u", "h": 1.0}, "q": {"g": "v"}}, rewards="probabilities")
    levels: dict[str, Any] = {"density": True, "quantiles": (0.1, 0.9)}
    return {
        "GLN of two classes": network(gln_numpy, labels(0, 1)),
        "GLN of three classes": network(gln_numba, THREE, num_classes=3),
        "GLN of numbers": network(gln_numpy, array(2, None), loss="squared_error", num_outputs=2),
        "GLN of quantiles": network(gln_numba, array(None), loss="quantile", quantiles=(0.1, 0.9)),
        "GLN of variances": network(gln_numba, array(None), loss="variance"),
        "sklearn.GLNClassifier": table(sklearn.GLNClassifier, ROWS, TWO, OF_CLASSIFIERS),
        "sklearn.GLNClassifier of frames": table(sklearn.GLNClassifier, FRAME, THREE, OF_CLASSIFIERS),
        "sklearn.GLNDensityClassifier": table(sklearn.GLNDensityClassifier, FRAME, TWO, OF_CLASSIFIERS),
        "sklearn.GLNRegressor": table(sklearn.GLNRegressor, ROWS, array(None), OF_REGRESSORS),
        "sklearn.GLNRegressor of frames": table(sklearn.GLNRegressor, FRAME, array(None, 2), OF_REGRESSORS, **levels),
        "river.GLNClassifier": stream(river.GLNClassifier, TWO, OF_PROBABILITIES),
        "river.GLNDensityClassifier": stream(river.GLNDensityClassifier, THREE, OF_PROBABILITIES),
        "river.GLNRegressor": stream(river.GLNRegressor, array(None), OF_NUMBERS, **levels),
        "GLNNovelty": subject(novelty, OF_NOVELTY, TypeError, OSError, X=FRAME, y=TWO, **OF_DETECTORS),
        "GLNBandit": subject(functools.partial(bandit, arms=["p", "q"], explore="inverse-gap"), OF_BANDITS, OSError),
        "GLNBandit of features": subject(of_features, OF_BANDITS, OSError, features=some({"g": "u"}, None)),
    }


# ---- What must hold --------------------------------------------------------------------------------------------------

CACHES = ("'_known'", "'_converted'", "'_table'", "'_version'")  # what a model keeps only to be faster
# Usual names of arguments, columns, and methods to call before, besides the arguments and parameters of each subject.
NAMES = {"X", "y", "x", "a", "b", "c", "w", "arms", "classes", "fit", "fitted", "_labels", "_heads"}


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
        if isinstance(value, np.ndarray):
            value = [value.shape, *value.ravel().tolist()]
        if isinstance(value, Mapping):
            pairs = [(key.item() if isinstance(key, np.generic) else key, each) for key, each in value.items()]
            parts = {re.sub(" at 0x[0-9a-f]+", "", repr(key)): each for key, each in pairs if repr(key) not in CACHES}
        elif isinstance(value, (list, tuple, set, frozenset, range)):
            parts = {str(i): each for i, each in enumerate(value)}
        else:
            state = value.toarray() if issparse(value) else "" if callable(value) else value.__reduce_ex__(4)
            parts = {type(value).__name__: state[1:3] if isinstance(state, tuple) else state}
        yield place, len(parts)
        for name, each in parts.items():
            yield from leaves(each, f"{place}/{name}", seen)


def differs(first: Mapping[str, Any], second: Mapping[str, Any], tolerance: float = 0) -> str | None:
    """Where the leaves of two values differ, if they do."""
    for place in [*first, *second]:
        one, other = first.get(place, "nothing"), second.get(place, "nothing")
        if all(np.asarray(each).dtype.kind in "biufc" for each in (one, other)):
            equal = np.shape(one) == np.shape(other) and np.allclose(one, other, tolerance, tolerance, equal_nan=True)
        else:
            equal = one is other or np.array_equal(one, other)
        if not equal:
            return f"{place}: {one!r:.80} and {other!r:.80}"
    return None


def is_documented(error: Exception, subject: Subject, model: Any, method: str) -> bool:
    """Whether an error is of a documented type and names an argument, or is of the system, scikit-learn or River."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    if any(re.search("site-packages/(sklearn|river)/", file) for file in files):
        return isinstance(error, (TypeError, ValueError))
    names = {name.removesuffix("?") for name in subject.calls[method]} | {*inspect.signature(type(model)).parameters}
    is_named = isinstance(error, OSError) or bool(set(re.findall(r"\w+", str(error))) & (names | NAMES))
    return is_named and isinstance(error, subject.errors) and not isinstance(error, UnicodeError)


def unsound(method: str, value: Any, given: Mapping[str, Any], is_label: bool) -> str | None:
    """What is wrong with what a call returned, if anything is."""
    if (
        not re.search("predict|explain|novelty|one$|propens|learn|transform|density|sample|function|decide", method)
        or is_label
    ):
        return None
    if method == "decide":  # an arm may be any number
        value = [each[1:] for each in (value if isinstance(value, list) else [value])]
    for place, leaf in leaves(value.to_numpy() if isinstance(value, pd.DataFrame) else value):
        if np.asarray(leaf).dtype.kind in "fc" and not np.isfinite(leaf).all():
            return f"not finite at {place}"
    rows = np.shape(given["X"])[:1] if "X" in given else ()
    if (
        rows
        and re.search("predict|novelty|sample|function|density", method)
        and np.shape(value)[:1] not in (rows, (2,))
    ):
        return f"{len(value)} results for {rows[0]} rows"
    if "proba" in method or method == "propensities":
        p = np.array([*value.values()] if isinstance(value, dict) else value, float)
        if p.size and not (p.min() >= 0 and np.allclose(p.sum(axis=-1), 1, atol=1e-6)):
            return f"probabilities {p.tolist()}"
    return None


def problem_of(subject: Subject, model: Any, method: str, given: dict[str, Any], other: Any) -> tuple[Any, str | None]:
    """What a call returns, and what is wrong with it, if anything is; `other` is how an equal call ended, or None."""
    before, arguments = dict(leaves(model)), dict(leaves(given))
    value, error, warning = called(CALLS.get(method) or getattr(type(model), method), model, **given)
    if warning:
        return value, f"warns: {warning}"
    if found := differs(arguments, dict(leaves(given))):
        return value, f"changes an argument at {found}"
    if error is not None:
        if not is_documented(error, subject, model, method):
            return value, f"raises {error!r:.300}"
        if found := differs(before, dict(leaves(model))):
            return value, f"changes the model, and raises {error!r:.200}: {found}"
    is_label = method in ("predict", "predict_one", "predict_many") and hasattr(model, "predict_proba_one")
    if error is None and (found := unsound(method, value, given, is_label)):
        return value, found
    if other is not None and (other[1] is None) != (error is None):
        return value, f"raises {error!r:.300}, and with an equal argument {other[1]!r:.300}"
    if other is not None and error is None and (found := differs(other[0], dict(leaves((value, model))), 1e-4)):
        return value, f"another result with an equal argument: {found}"
    return value, None


def odd_calls(name: str, seed: int, count: int) -> Iterator[str]:
    """Make calls, and report those that have a problem."""
    subject, random = subjects()[name], Random(f"{name} {seed}")
    model = subject.make(random)
    for _ in range(count):
        method, rows = random.choice(sorted(subject.calls)), random.choice([1, 2, 7, 12])
        keys = [
            key.removesuffix("?") for key in subject.calls[method] if not key.endswith("?") or random.random() < 0.3
        ]
        given = {RENAMED.get(key, key): subject.kinds[key].plain(random, rows) for key in keys}
        how, key, other = random.choice(["plain", "same", "odd", "odd"]), random.choice([*keys, ""]), None
        kind, changed = subject.kinds.get(key, Kind(lambda *_: None)), RENAMED.get(key, key)
        if how == "odd" and (changes := [*kind.odd, *kind.values]):
            change = random.choice(changes)
            with contextlib.suppress(Exception):  # what cannot be made odd in this way stays as it is
                given[changed] = change(given[changed]) if change in kind.odd else change
        elif how == "same" and kind.same:
            twin, equal = copy.deepcopy(model), copy.deepcopy(given)
            value, error, _ = called(CALLS.get(method) or getattr(type(twin), method), twin, **equal)
            other = dict(leaves((value, twin))), error
            given[changed] = random.choice(kind.same)(given[changed])
        value, problem = problem_of(subject, model, method, given, other)
        report = f"{name}: {method}({changed}={given.get(changed)!r:.200}, {how})\n    {problem}"
        if problem is not None:
            yield report
        if problem is not None or random.random() < 0.1:
            model = subject.make(random)
        elif method in ("pickled", "copied", "reloaded") and value is not None:
            model = value


SUBJECTS = re.findall(
    r'^        "(.*)": (?:network|table|stream|subject)\(', inspect.getsource(subjects.__wrapped__), re.M
)


@pytest.mark.slow
@pytest.mark.parametrize("name", SUBJECTS)
def test_odd_calls(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert list(odd_calls(name, 440, 200)) == []


def test_all_subjects_are_called():
    assert list(subjects()) == SUBJECTS
