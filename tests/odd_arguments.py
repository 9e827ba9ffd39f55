"""Ordinary and odd arguments of everything public, for `test_odd_calls.py`."""

# ruff: noqa: F401 - some imports are used in texts that are evaluated

from __future__ import annotations

import collections
import functools
import types
import warnings
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
from scipy.sparse import coo_array, csr_array


class Kind(NamedTuple):
    """An argument: draws an ordinary one for some samples; other forms of it; what makes it odd; and odd values."""

    plain: Callable[[Random, int], Any]
    same: Sequence[Callable[[Any], Any]] = ()
    odd: Sequence[Callable[[Any], Any]] = ()
    values: Sequence[Any] = ()


def functions(name: str, text: str) -> list[Callable[[Any], Any]]:
    """Functions of `name`, which the text holds as expressions with a semicolon after each."""
    return [eval(f"lambda {name}: {each.strip()}", globals()) for each in text.split(";")[:-1]]


def cell(table: Any, value: Any) -> Any:
    """A table, an array or a dictionary with a value in one of its places."""
    if isinstance(table, dict):
        return {**table, next(iter(table), "a"): value}
    if isinstance(table, pd.DataFrame):
        return table.assign(**{table.columns[0]: pd.Series([*table.iloc[:-1, 0], value], table.index, object)})
    changed = np.array(table, object)
    changed[(-1,) * changed.ndim] = value
    return changed.astype(np.float32) if type(value) is float and abs(value) != 1e300 else changed


def read_only(array: Any) -> np.ndarray:
    array = np.array(array)
    array.flags.writeable = False
    return array


def falling(step: int) -> float:
    """A learning rate out of range."""
    return -1.0 - step


NAN, INF = float("nan"), float("inf")
VALUES = """None; NAN; INF; -1; 0; 3; .5; -2.5; 2**70; 1e300; True; 1j; Fraction(1, 3); np.float16(2); np.ma.masked; "";
    "text"; "é"; b"bytes"; []; (); {}; [[]]; [1, "a", None]; {1, 2}; range(3); object(); repr; np.array("x"); pd.NA;
    pd.NaT; pd.Timestamp(0); np.datetime64("NaT"); np.zeros(0); np.zeros((2, 0)); np.ones((2, 3, 4)); {"a": 1.0};
    {"a": {}}; {None: NAN}; pd.DataFrame(); pd.Series([1.0]); pl.DataFrame({"a": [1.0]}); csr_array(np.eye(3));"""
ODD = [make(None) for make in functions("_", VALUES)]
CELLS = """NAN; None; INF; 1e300; -1; "text"; ""; pd.NA; pd.Timestamp(0); object(); 1j; True; np.datetime64("NaT");"""
CELL: list[Callable[[Any], Any]] = [functools.partial(cell, value=make(None)) for make in functions("_", CELLS)]
OF_ARRAYS = """a.T; a[:0]; a[..., :0]; a.ravel(); a[None]; a[:-1]; a[:1]; np.concatenate([a, a]); [*a.tolist(), [1, 2]];
    a.astype(np.float16); a.astype(np.int64); a.astype(np.uint64); a.astype(bool); a.astype(object); a.astype(complex);
    a.astype(str); a.astype("M8[s]"); a.astype("m8[s]"); a.astype("V4"); np.ma.masked_less(a, 0); pd.DataFrame(a);
    csr_array(a); coo_array(a); np.full_like(a, 7); -a; 0 * a;"""
ARRAYS: list[Callable[[Any], Any]] = [*CELL, *functions("a", OF_ARRAYS)]
SAME_ARRAYS = """a.tolist(); list(a); np.asfortranarray(a); read_only(a); a.astype(a.dtype.newbyteorder());
    np.repeat(a, 2, axis=0)[::2]; a[::-1].copy()[::-1]; a.astype(np.float64) if a.dtype.kind == "f" else a;"""
OF_FRAMES = """X[["b", "a", "a"]]; X[["b", "c"]]; X[["c", "b", "a"]]; X.assign(d=1.0);
    X.set_axis([0, 1, 2], axis=1); X.set_axis(["a", "b", "é"], axis=1); X.set_axis(["a", 1, None], axis=1);
    X.iloc[:0]; X.iloc[:, :0]; X.iloc[:1]; X["a"];
    X.set_axis(pd.MultiIndex.from_tuples([("a", 1), ("b", 2), ("c", 3)]), axis=1); X.assign(a="text");
    X.assign(c=1); X.assign(a=pd.Timestamp(0)); X.assign(a=1j); X.assign(a=[[1]] * len(X)); X.assign(c=None);
    X.to_numpy(); X.astype(str); X.to_dict("records"); X.assign(a=pd.arrays.SparseArray(X["a"]));
    X.assign(a=X["a"] > 0); X.assign(a=pd.Period("2024")); X.assign(a=pd.Series([pd.NA] * len(X), dtype="Int64"));
    X.assign(c=b"x"); X.assign(c=object()); pl.from_pandas(X);"""
SAME_FRAMES = """X.set_axis(range(7, 7 + len(X))); X.set_axis([0] * len(X)); X.astype({"a": "Float64"});
    X.astype({"a": object}); X.astype({"c": "category"}); X.astype({"c": "string"}); X.copy(deep=False);"""
OF_SAMPLES = """{}; {"a": x["a"]}; {**x, "new": 1.0}; {**x, "é": "word"}; [*x.items()]; {**x, NAN: 1.0};
    {**x, 0: 1.0, None: 2.0, ("t",): True}; {**x, "c": 1}; {**x, "c": None};
    {**x, **{f"w{i}": 1 for i in range(30)}}; {**x, "b": np.ones(2)}; pd.Series(x); np.ones(3); [1.0, NAN, 2.0];
    np.ones((3, 1)); {**x, "b": pd.NA};"""
SAME_SAMPLES = """dict(reversed(x.items())); types.MappingProxyType(x); collections.OrderedDict(x);
    {**x, "a": np.float64(x["a"])}; {**x, "c": np.str_(x["c"])}; {**x, "b": Fraction(x["b"])};"""


def numbers(random: Random, *shape: int) -> np.ndarray:
    return np.random.default_rng(random.getrandbits(32)).normal(size=shape).astype(np.float32).round(2)


def frame(random: Random, count: int) -> pd.DataFrame:
    a, b = numbers(random, 2, count).astype(float)
    return pd.DataFrame({"a": a, "b": b, "c": random.choices(["x", "y", "é"], k=count)})


def labels_of(names: Sequence[Any], random: Random, count: int) -> np.ndarray:
    return np.array([names[i % len(names)] for i in random.sample(range(count), count)])


def array(*shape: int | None) -> Kind:
    """Numbers of this shape, in which None is the number of samples."""
    draw = lambda random, count: numbers(random, *(count if n is None else n for n in shape))  # noqa: E731
    return Kind(draw, functions("a", SAME_ARRAYS), ARRAYS, ODD)


def labels(*names: Any) -> Kind:
    same = functions("y", "y.tolist(); pd.Series(y); read_only(y);")
    return Kind(functools.partial(labels_of, names), same, ARRAYS, ODD)


def some(*plain: Any, same: str = "", odd: str = "", values: Sequence[Any] = ODD) -> Kind:
    return Kind(lambda random, _: random.choice(plain), functions("v", same), functions("v", odd), values)


def kind_of(y: Kind) -> Kind:  # of one sample
    return Kind(lambda random, _: y.plain(random, 1).tolist()[0], (), functions("y", "[y]; (y,);"), ODD)


SAMPLE = Kind(lambda random, _: frame(random, 1).to_dict("records")[0], functions("x", SAME_SAMPLES),
              [*CELL, *functions("x", OF_SAMPLES)], ODD)  # fmt: skip
FRAME = Kind(frame, functions("X", SAME_FRAMES + "pl.from_pandas(X);"), [*CELL, *functions("X", OF_FRAMES)], ODD)
RIVER_FRAME = FRAME._replace(same=functions("X", SAME_FRAMES + 'X[["c", "a", "b"]];'))
WEIGHTS = Kind(lambda random, count: np.array(random.choices([0.5, 1.0, 2.0], k=count)), labels(0).same, ARRAYS, ODD)
NOT_HUGE = [each for each in ODD if type(each) is not int]  # NumPy says that there is no memory for 2^70 networks
KINDS: dict[str, Kind] = {  # of arguments, by name
    **dict.fromkeys(["inputs", "context_inputs"], array(3, None)),
    **dict.fromkeys(["x", "context"], SAMPLE),
    **dict.fromkeys(["rate", "learning_rate", "partial_learning_rate"], some(None, 0.1, 0, odd="falling;")),
    **dict.fromkeys(["seed", "random_state"], some(0, 7)),
    **dict.fromkeys(["bias", "shuffle", "return_std", "with_dist", "density"], some(True, False)),
    "early_stopping": some(True, False),
    **dict.fromkeys(["batch_size", "k", "context_features", "n_epochs"], some(1, 2)),
    **dict.fromkeys(["n", "n_networks"], some(1, 2, values=NOT_HUGE)),
    **dict.fromkeys(["context_bias", "weight_clipping"], some(1.0, 9.0)),
    **dict.fromkeys(["pred_clipping", "strength"], some(0.1, 0.4)),
    **dict.fromkeys(["layer_sizes"], some([2], [3, 1], same="tuple(v);")),
    **dict.fromkeys(["levels", "quantiles"], some((0.1, 0.9), same="list(v);", odd="(1.0,); (.1, NAN);")),
    "arms": some(["p", "q"], ["q", "r"], same="tuple(v);", odd="v * 2; [v]; [None];"),
    "arm": some("p", "q"),
    **dict.fromkeys(["size", "input_size", "context_size"], some(3, values=NOT_HUGE)),
    "w": some(1.0, 0.5, 2.0, same="np.float64(v); np.array(v);", odd="101.0; 0.0;"),
    "sample_weight": WEIGHTS,
    "context_map_size": some(0, 2),
    "backend": some("numba", "numpy"),
    "categorical_features": some("from_dtype", None, odd="[0]; [5]; [True];"),
    "text_features": some("auto", None, odd="[0]; [5]; [True]; 'words';"),
    "class_weight": some(None, "balanced"),
    "explore": some("counts", "inverse-gap", "epsilon", "greedy"),
    "reward": Kind(lambda random, _: random.random(), functions("r", "np.float64(r);"), (), ODD),
    "rewards": some({"p": 0.25, "q": 1.0}, odd="cell(v, INF); cell(v, None); {'new': .5};"),
    "features": some(None, odd="{'g': 'u'};"),
    "extra": some({"a": np.ones(3)}, odd="cell(v, 'text'); cell(v, 1j);"),
    "path": some("model.gln", same="Path(v);", odd="'.'; 'missing/model.gln';", values=()),
    "damage": some(0, 0, 3, 777, 9999, values=()),  # to a byte of a file
}


def called(function: Callable[..., Any], *arguments: Any, **named: Any) -> tuple[Any, Exception | None, str]:
    """What a call returns, the error that it raises, and its first warning that was not written for users."""
    value = error = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = function(*arguments, **named)
        except Exception as raised:
            error = raised
    return (
        value,
        error,
        next((str(w.message) for w in caught if not issubclass(w.category, (UserWarning, ResourceWarning))), ""),
    )
