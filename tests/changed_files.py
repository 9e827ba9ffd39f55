"""Saved models of all kinds, and files of them with one number, type, shape or name changed and a valid checksum.

As a script, `python changed_files.py FOLDER FIRST LAST` loads the changed files with these numbers, predicts and learns
with what was loaded, and prints a line before and after each, so that whoever reads them knows which one crashed.
"""

from __future__ import annotations

import copy
import importlib
import math
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

import gln_numba
from gln import river, sklearn
from gln.bandits import GLNBandit
from gln.engine.saving import read, write
from gln.novelty import GLNNovelty

SMALL: dict[str, Any] = {"layer_sizes": (3, 2), "context_map_size": 2}
RNG = np.random.default_rng(3)
X = RNG.normal(size=(60, 3))
LEVELS = pd.DataFrame({"a": X[:, 0], "few": RNG.choice([*"xyz"], 60), "many": RNG.choice([*"abcdefghijklmno"], 60)})
Y = np.where(X[:, 0] > 0, "yes", np.where(X[:, 1] > 0, "no", "?"))
WIDE = csr_array((RNG.random((40, 1100)) < 0.05) * 1.0)
ROWS: list[dict[str, Any]] = [
    {
        "a": float(X[i, 0]),
        "b": i % 5,
        "kind": "xyzuvw"[i % 6],
        **({f"w{i % 9}": 1.0, "tag": "pq"[i % 2]} if i % 3 else {}),
    }
    for i in range(60)
]
NEW: dict[str, Any] = {"a": 0.5, "b": 2, "kind": "new", "w3": 2.0, "other": 1.0}


class Kind(NamedTuple):
    """A kind of model."""

    make: Callable[[], Any]
    use: Callable[[Any], Any]  # predicts, learns and predicts


def table(model: Any, x: Any, y: Any, learns: bool = True) -> Any:
    before = model.predict(x[:2])
    if learns:
        model.partial_fit(x[:1], y[:1])
    return [before, model.predict_proba(x[:2]) if hasattr(model, "predict_proba") else model.predict(x[:2])]


def predicted(model: Any, x: dict[str, Any]) -> Any:
    if isinstance(model, GLNNovelty):
        return model.score_one(x)
    found = [model.predict_proba_one(x) if hasattr(model, "predict_proba_one") else model.predict_one(x)]
    found += [model.predict_quantiles_one(x)] if getattr(model, "quantiles", None) else []
    found += [model.predict_one(x, with_dist=True).mu] if getattr(model, "density", False) else []
    return found


def stream(model: Any) -> Any:
    found = [predicted(model, ROWS[1])]
    for x in (ROWS[1], NEW):
        if isinstance(model, GLNNovelty):
            model.learn_one(x)
        else:
            model.learn_one(x, 0.5 if hasattr(model, "quantiles") else "yes")
        found.append(predicted(model, x))
    return found


def streamed(model: Any) -> Any:
    for i, x in enumerate(ROWS * (3 if isinstance(model, GLNNovelty) else 1)):
        if isinstance(model, GLNNovelty):
            model.learn_one(x)
        else:
            model.learn_one(x, X[i, 0] if hasattr(model, "quantiles") else Y[i])
    return model


def late(model: Any) -> Any:
    """With samples that wait for their labels."""
    for i, x in enumerate(ROWS[:30]):
        model.learn_one(x, X[i, 0] if hasattr(model, "quantiles") else Y[i])
    for x in (*ROWS[1:4], ROWS[1]):
        model.predict_one(x)
    return model


def bandit(arms: Any) -> Kind:
    def learned() -> Any:
        model = GLNBandit(arms, seed=0, **SMALL)
        for x in ROWS[:20]:
            model.learn(x, model.decide(x).arm, x["a"])
        model.retire("r")
        return model

    def use(model: Any) -> Any:
        found = [model.predict(ROWS[1]), model.propensities(NEW)]
        decision = model.decide(ROWS[1])
        model.learn(ROWS[1], "p", 1.0)
        model.learn_log([(NEW, "s", 0.0, 1.0)])
        return [*found, decision.propensity, model.predict(NEW)]

    return Kind(learned, use)


def network() -> Any:
    model = gln_numba.GLN([3, 2], 3, 3, context_map_size=2, seed=0)
    model.predict_online(X.T, X.T, X[:, 0] > 0)
    return model


def estimator(kind: Any, **parameters: Any) -> Any:
    settings = {"n_networks": 2, "random_state": 0} | ({} if kind is DENSITIES else {"n_epochs": 1})
    return kind(**{**SMALL, **settings, **parameters})


CLASSIFIER, REGRESSOR, DENSITIES = sklearn.GLNClassifier, sklearn.GLNRegressor, sklearn.GLNDensityClassifier
KINDS: dict[str, Kind] = {
    "table": Kind(lambda: estimator(CLASSIFIER).fit(X, Y), lambda model: table(model, X, Y)),
    "levels": Kind(lambda: estimator(CLASSIFIER).fit(LEVELS, Y), lambda model: table(model, LEVELS, Y)),
    "levels, stream": Kind(
        lambda: estimator(CLASSIFIER).partial_fit(LEVELS, Y, classes=[*"?", "no", "yes"]),
        lambda model: table(model, LEVELS, Y),
    ),
    "regressor": Kind(
        lambda: estimator(REGRESSOR, quantiles=(0.1, 0.9), density=True).fit(X, X[:, :2]),
        lambda model: [table(model, X, X[:, :2]), model.predict_quantiles(X[:2]), model.log_density(X[:2], X[:2, :2])],
    ),
    "regressor, stream": Kind(
        lambda: estimator(REGRESSOR, quantiles=(0.1, 0.9)).partial_fit(LEVELS, X[:, 0]),
        lambda model: [table(model, LEVELS, X[:, 0]), model.predict_quantiles(LEVELS[:2])],
    ),
    "alone": Kind(
        lambda: estimator(DENSITIES).fit(LEVELS, Y),
        lambda model: table(model, LEVELS, Y),
    ),
    "wide": Kind(
        lambda: sklearn.GLNClassifier(n_networks=2, n_epochs=1, random_state=0).fit(WIDE, Y[:40]),
        lambda model: table(model, WIDE, Y),
    ),
    "wide, stream": Kind(
        lambda: sklearn.GLNRegressor(random_state=0).partial_fit(WIDE, X[:40, 0]),
        lambda model: table(model, WIDE, X[:, 0]),
    ),
    "river": Kind(lambda: streamed(river.GLNClassifier(seed=0, **SMALL)), stream),
    "river, regressor": Kind(lambda: streamed(river.GLNRegressor(seed=0, quantiles=(0.1, 0.9), **SMALL)), stream),
    "river, density": Kind(lambda: streamed(river.GLNRegressor(seed=0, density=True, **SMALL)), stream),
    "river, late": Kind(lambda: late(river.GLNRegressor(seed=0, density=True, waiting=9, **SMALL)), stream),
    "table, late": Kind(
        lambda: late(river.GLNRegressor.of(estimator(REGRESSOR, density=True).fit(LEVELS, X[:, 0]), waiting=9)),
        lambda model: stream(river.GLNRegressor.of(model)),
    ),
    "river, alone": Kind(lambda: streamed(river.GLNDensityClassifier(seed=0, **SMALL)), stream),
    "novelty": Kind(lambda: streamed(GLNNovelty(random_state=0)), stream),
    "fresh": Kind(lambda: river.GLNClassifier(seed=0, **SMALL), stream),
    "bandit": bandit(["p", "q", "r"]),
    "bandit of features": bandit({"p": {"f": 1.0, "g": "x"}, "q": {"f": 2.0, "g": "y"}, "r": {"f": 0.0}}),
    "network": Kind(network, lambda model: [model.predict(X.T, X.T), model.predict(X.T, X.T, X[:, 0] > 0)]),
}


# ---- Changes ---------------------------------------------------------------------------------------------------------

NUMBERS = [
    -1,
    0,
    1,
    2,
    9,
    300,
    10**8,
    -(10**8),
    -200,
    0.5,
    math.nan,
    math.inf,
    -math.inf,
    1e308,
    2**63,
    10**30,
    True,
    3,
    5,
    17,
    1000,
    0.1,
    1e-300,
    1e30,
]
OTHERS: list[Any] = [None, "text", "", [], {}, [1], {"pairs": []}, {"tuple": [1]}, {"fields": {}}, False]
DTYPES = ["<f8", "<f4", "<i8", "<i4", "|b1", "<f2", "|u1", ">f8"]


def changed(config: dict[str, Any], arrays: dict[str, np.ndarray], rng: Random) -> tuple[Any, Any, str]:
    """A configuration and arrays with one thing changed, and what it was."""
    if arrays and rng.random() < 0.35:
        arrays = dict(arrays)
        return config, arrays, _change_array(arrays, rng)
    config = copy.deepcopy(config)
    return config, arrays, _change_config(config, rng)


def _change_config(config: Any, rng: Random) -> str:
    node: Any = None
    key: Any = None
    below, path = config, ""
    while isinstance(below, (dict, list)) and len(below) and (node is None or rng.random() < 0.93):
        node = below
        key = rng.choice([*node]) if isinstance(node, dict) else rng.randrange(len(node))
        below, path = node[key], f"{path}/{key}"
    assert node is not None
    kind = rng.random()
    if kind < 0.7:
        node[key] = (
            rng.choice(NUMBERS) if rng.random() < (0.4 if isinstance(below, str) else 0.75) else rng.choice(OTHERS)
        )
        return f"{path} = {node[key]!r}"
    if kind < 0.8 and isinstance(below, list) and below:
        below[rng.randrange(len(below))] = below[rng.randrange(len(below))]
        return f"{path} has an entry twice"
    if kind < 0.9:
        del node[key]
        return f"{path} deleted"
    if isinstance(node, dict):
        node[rng.choice(["other", "fields", "\x1b[31m", str(key) + "_"])] = node.pop(key) if rng.random() < 0.5 else 3
        return f"{path} renamed or beside something else"
    node.insert(key, rng.choice([below, 0, None, "text"]))
    return f"{path} has one more before"


def _change_array(arrays: dict[str, np.ndarray], rng: Random) -> str:
    name = rng.choice([*arrays])
    array = arrays.pop(name)
    kind = rng.random()
    if kind < 0.5 and array.size:
        value, place = rng.choice(NUMBERS), rng.randrange(array.size)
        array = array.copy()
        with np.errstate(all="ignore"):
            number = (
                float(value) if array.dtype.kind == "f" else np.clip(np.nan_to_num(float(value)), -(2.0**31), 2**31 - 1)
            )
            array.reshape(-1)[place] = np.float64(number).astype(array.dtype)
        arrays[name] = array
        return f"{name}: {value} at {place}"
    if kind < 0.65:
        with np.errstate(all="ignore"):
            arrays[name] = array.astype(np.dtype(rng.choice(DTYPES)).newbyteorder("="))
        return f"{name}: {arrays[name].dtype}"
    if kind < 0.9:
        shapes = [array[None], array.reshape(-1)[:0]]
        if array.ndim:
            shapes += [array[:-1], array[..., :-1], np.concatenate([array, array])]
        arrays[name] = np.ascontiguousarray(rng.choice(shapes))
        return f"{name}: shape {arrays[name].shape}"
    if kind < 0.95:
        arrays[name + rng.choice(["_", ".rows", "\x1b[31m"])] = array
        return f"{name}: renamed"
    return f"{name}: deleted"


# ---- What becomes of them --------------------------------------------------------------------------------------------


def is_finite(found: Any) -> bool:
    if isinstance(found, dict):
        return all(map(is_finite, found.values()))
    if isinstance(found, (list, tuple)):
        return all(map(is_finite, found))
    return (
        not isinstance(found, (float, np.ndarray))
        or np.asarray(found).dtype.kind not in "f"
        or bool(np.isfinite(found).all())
    )


def outcome(kind: Kind, cls: Any, path: Path) -> str:
    """What becomes of a file: "refused" or "used", or "FAILED" and why."""
    found, seconds = tried(kind, cls, path)
    if seconds > 2:  # once more, because the first time may compile
        found, seconds = tried(kind, cls, path)
    return f"FAILED: {seconds:.1f} s, {found}" if seconds > 2 else found


def tried(kind: Kind, cls: Any, path: Path) -> tuple[str, float]:
    """What becomes of a file, and the seconds that it takes."""
    start, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step = "load"
    try:
        model = cls.load(path)
        step = "use"
        found = "used" if is_finite(kind.use(model)) else "used, not finite"
    except ValueError as error:
        text = str(error)
        found = "refused" if step == "load" else f"late: {ascii(error)[:300]}"
        if len(text) > 1000 or not (text if step == "load" else text.replace("\n", "")).isprintable():
            found = f"FAILED: message of {len(text)}: {ascii(text)[:300]}"
    except Exception as error:
        found = f"FAILED at {step}: {ascii(error)[:300]}"
    seconds = time.process_time() - start
    if (more := resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) > 200_000:
        found = f"FAILED: {more >> 10} MB, {found}"
    return found, seconds


def class_of(name: str, config: dict[str, Any]) -> Any:
    """The class whose `load` takes a file of this kind."""
    module, _, cls = config.get("estimator", "gln_numba.GLN").rpartition(".")
    return getattr(importlib.import_module(module), cls)


def main(folder: Path, first: int, last: int, names: list[str]) -> None:
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    saved = {}
    for name in names:
        if not (folder / name).exists():
            KINDS[name].make().save(folder / name)
        saved[name] = read(folder / name)
        cls = class_of(name, saved[name][0])
        KINDS[name].use(cls.load(folder / name))  # which compiles everything
    for number in range(first, last):
        rng, name = Random(number), names[number % len(names)]
        config, arrays, what = changed(*saved[name], rng)
        print(f"{number} {name}: {what!a}", end=": ", flush=True)
        write(folder / "changed", config, arrays)
        print(outcome(KINDS[name], class_of(name, saved[name][0]), folder / "changed"), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:] or [*KINDS])
