"""What files may hold: each class declares its fields by `saved`, and `checked` compares them with that.

Compiled loops check neither sizes nor indices, and anyone may change a file. A field is an `Array`, a `Number`, a type,
a list of one kind, a mapping of one kind to another, or, as a tuple of one kind, that or None.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

T = TypeVar("T", bound=type)
LARGEST = float(np.finfo(np.float64).max)
LONGEST = 1000  # characters of an error message
ENTRIES = "entries"  # the size of the mapping that a number is in


class Array(NamedTuple):
    """An array of this dtype. Sizes of equal names are equal, and "*" is any; numbers are from `least` to `most`."""

    dtype: str
    shape: str
    least: float = -LARGEST  # finite
    most: float | str = LARGEST  # or the name of a size, below which all numbers are


class Number(NamedTuple):
    kind: type  # int or float
    least: float = -LARGEST
    most: float | str = LARGEST  # as for `Array`


SAVED: dict[type, dict[str, Any]] = {}  # the declared fields of each class


def saved(**fields: Any) -> Callable[[T], T]:
    """Declare the fields that a file has of a class, for `checked`."""

    def declare(cls: T) -> T:
        SAVED[cls] = fields
        return cls

    return declare


def bad(name: str, expected: str, got: object) -> ValueError:
    return ValueError(printable(f"{name}: expected {expected}, got {got}"))


def printable(message: str) -> str:
    """A message that may quote a file: not too long, and without codes that a terminal would obey."""
    if len(message) > LONGEST:
        message = f"{message[: LONGEST // 2]} ... {message[-LONGEST // 4 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)


def checked(name: str, made: Any, **sizes: int) -> Any:
    """What was made of a file, as it is declared, with arrays of the declared dtypes; else raises ValueError.

    `name` is of the part of the model, for the message; `sizes` are those that are known.
    """
    found = {
        field: value_of(name, field, getattr(made, field), kind, sizes) for field, kind in SAVED[type(made)].items()
    }
    if hasattr(made, "_replace"):
        return made._replace(**found)
    vars(made).update(found)
    return made


def value_of(name: str, field: str, value: Any, kind: Any, sizes: dict[str, int]) -> Any:
    """A value that is as declared, with arrays of the declared dtypes; `sizes` gets those that are new."""
    if isinstance(kind, Array):
        return _array(name, field, value, kind, sizes)
    if isinstance(kind, Number):
        most = sizes[kind.most] - 1 if isinstance(kind.most, str) else kind.most
        if type(value) in (int, kind.kind) and kind.least <= value <= most:
            return value
        raise bad(name, f"{field} from {kind.least:g} to {most:g}", repr(value)[:100])
    if isinstance(kind, tuple):
        return value if value is None else value_of(name, field, value, kind[0], sizes)
    if isinstance(kind, list) and type(value) is list:
        return [value_of(name, field, item, kind[0], sizes) for item in value]
    if isinstance(kind, dict) and type(value) is dict:
        [(key_kind, kind)], sizes = kind.items(), sizes | {ENTRIES: len(value)}
        pairs = [(value_of(name, field, key, key_kind, sizes), entry) for key, entry in value.items()]
        return {key: value_of(name, field, entry, kind, sizes) for key, entry in pairs}
    if kind is object or type(value) is kind:
        return value
    raise bad(name, f"{field} of {kind}", repr(value)[:100])


def _array(name: str, field: str, value: Any, kind: Array, sizes: dict[str, int]) -> np.ndarray:
    dtype, names, came = np.dtype(kind.dtype), kind.shape.split(), type(value).__name__
    if isinstance(value, np.ndarray):
        came = f"{value.dtype} of shape {value.shape}"
        pairs = zip(names, value.shape, strict=False)
        wanted = [size if of == "*" else int(of) if of.isdigit() else sizes.setdefault(of, size) for of, size in pairs]
        if value.dtype.kind == dtype.kind and value.ndim == len(names) and list(value.shape) == wanted:
            most = sizes[kind.most] - 1 if isinstance(kind.most, str) else kind.most
            if value.size == 0 or kind.least <= value.min().item() <= value.max().item() <= most:  # false for NaN
                return np.ascontiguousarray(value, dtype)
            raise bad(name, f"{field} from {kind.least:g} to {most:g}", f"numbers from {value.min()} to {value.max()}")
    raise bad(name, f"{field}, {dtype} of shape ({', '.join(names)}) with {sizes}", came)


def fits(value: Any, annotation: Any) -> bool:
    """Whether an argument that was saved is of the annotated type."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return any(fits(value, part) for part in parts)
    if origin is Callable:
        return callable(value)
    if origin in (Sequence, Mapping):
        value = value.tolist() if isinstance(value, np.ndarray) else value
        is_sequence = origin is Sequence and isinstance(value, (list, tuple))
        items = value if is_sequence else value.values() if origin is Mapping and isinstance(value, dict) else [fits]
        return all(fits(item, parts[-1]) for item in items)
    if annotation in (int, bool, float):
        most = 1 if annotation is bool else 1 << 63
        return annotation is type(value) is float or (isinstance(value, int) and -most < value <= most)
    return annotation is Any or not isinstance(annotation, type) or isinstance(value, annotation)
