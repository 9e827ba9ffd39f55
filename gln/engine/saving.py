"""Files of models: what they hold, how it is written and read, and the one place where it is checked.

A class declares by `saved` which of its fields a file holds, and of which kind each is. `encoded` turns an object into
JSON with large arrays beside it; `decoded` makes it again and compares every field with its kind, because anyone may
change a file, and compiled loops check neither sizes nor indices. Reading runs no code.

A kind is an `Array`, a `Number`, a type, a function that tells whether it takes a value, a list of one kind, a mapping
of one kind to another, or a tuple of kinds, one of which it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import tempfile
import types
import typing
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T", bound=type)
Json: TypeAlias = Any  # of JSON types
Kind: TypeAlias = Any  # see above
Value: TypeAlias = Any  # which is to be checked, or was
Backend: TypeAlias = Any  # the class of its networks
FORMAT = "2"
UNUSABLE = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, zlib.error)
LONGEST_HEADER = 1 << 24  # characters of JSON in the header, of which safetensors reads 100 MB; more are an array
LARGE = 1000  # larger arrays of numbers are stored as tensors, not as text
# Arrays are compressed if that saves a quarter of their first bytes, as of tables with free rows; others take too long.
# A small file must not take all memory.
FIRST_BYTES, MOST_COMPRESSED = 1 << 16, 100
LARGEST = float(np.finfo(np.float64).max)
LONGEST_MESSAGE = 1000  # characters
WIDE_TEXT, PER_CHARACTER = 1 << 24, 400  # bytes of an array of texts, all of which take as many as the longest one
ENTRIES = "entries"  # the size of the mapping that a number is in


# ---- Declarations ----------------------------------------------------------------------------------------------------


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


SAVED: dict[type, dict[str, Kind]] = {}  # the declared fields of each class
CLASSES: dict[str, type] = {}  # by name
# Networks have no common class. What tells them gives the function that encodes them, and the first key of what this
# returns gives the one that decodes it.
ENCODERS: dict[Callable[[Value], bool], Callable[..., Json]] = {}
DECODERS: dict[str, Callable[..., Value]] = {}


def saved(**fields: Kind) -> Callable[[T], T]:
    """Declare the fields that a file has of a class, and their kinds.

    They are its attributes, or what its `to_save` returns. The class is called with them, or its `of_saved` is.
    """

    def declare(cls: T) -> T:
        SAVED[cls] = fields
        CLASSES[cls.__name__] = cls
        return cls

    return declare


class Part:
    """An object that is made without a file, from which it only gets fields."""

    @classmethod
    def of_saved(cls, **fields: Value) -> Self:
        """One that has the fields of a file and nothing else."""
        made = cls.__new__(cls)
        vars(made).update(fields)
        return made

    def _restore(self, fields: Mapping[str, Value]) -> None:
        """Take the fields of a file, which have been checked."""
        for name, value in fields.items():
            if isinstance(value, Part):
                getattr(self, name)._restore(vars(value))
            else:
                setattr(self, name, value)


# ---- Checks ----------------------------------------------------------------------------------------------------------


def bad(name: str, expected: str, got: object) -> ValueError:
    return ValueError(printable(f"{name}: expected {expected}, got {got}"))


def printable(message: str) -> str:
    """A message that may quote a file: not too long, and without codes that a terminal would obey."""
    if len(message) > LONGEST_MESSAGE:
        message = f"{message[: LONGEST_MESSAGE // 2]} ... {message[-LONGEST_MESSAGE // 4 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)


def checked(
    name: str, kinds: Mapping[str, Kind], fields: Mapping[str, Value], optional: Collection[str] = ()
) -> dict[str, Value]:
    """All fields of these kinds, of which only `optional` ones may be missing; else raises ValueError.

    `name` is of the part of the model, for the message.
    """
    missing = kinds.keys() - fields.keys() - {*optional}
    if missing or not fields.keys() <= kinds.keys():
        came = [*(f"no {field}" for field in sorted(missing)), *sorted(fields.keys() - kinds)]
        raise bad(name, f"the fields {[*kinds]}", ", ".join(came))
    sizes: dict[str, int] = {}
    return {field: value_of(kinds[field], name, field, fields[field], sizes) for field in kinds if field in fields}


def value_of(kind: Kind, name: str, field: str, value: Value, sizes: dict[str, int]) -> Value:
    """A value that is of this kind, with arrays of the declared dtypes; `sizes` gets those that are new."""
    match kind:
        case Array():
            return _array_of(kind, name, field, value, sizes)
        case Number():
            most = _most(kind, sizes)
            if type(value) in (int, kind.kind) and kind.least <= value <= most:
                return value
            expected = f"{field} from {kind.least:g} to {most:g}"
        case tuple():
            if value is None and None in kind:
                return None
            alike = [one for one in kind if type(value) is one]
            return value_of((alike or kind)[0], name, field, value, sizes)
        case list():
            if type(value) is list:
                return [value_of(kind[0], name, field, item, sizes) for item in value]
            expected = f"a list of {field}"
        case dict():
            if type(value) is dict:
                [(of_keys, of_values)], sizes = kind.items(), sizes | {ENTRIES: len(value)}
                pairs = [(value_of(of_keys, name, field, key, sizes), entry) for key, entry in value.items()]
                return {key: value_of(of_values, name, field, entry, sizes) for key, entry in pairs}
            expected = f"a mapping of {field}"
        case types.FunctionType():
            if kind(value):
                return value
            expected = f"{field} for which {kind.__name__}"
        case _:
            if kind is object or type(value) is kind:
                return value
            expected = f"{field} of {getattr(kind, '__name__', kind)}"
    raise bad(name, expected, repr(value)[:100])


def _array_of(kind: Array, name: str, field: str, value: Value, sizes: dict[str, int]) -> np.ndarray:
    dtype, names, came = np.dtype(kind.dtype), kind.shape.split(), type(value).__name__
    if type(value) is np.ndarray:
        came = f"{value.dtype} of shape {value.shape}"
        pairs = zip(names, value.shape, strict=False)
        wanted = [size if of == "*" else int(of) if of.isdigit() else sizes.setdefault(of, size) for of, size in pairs]
        if value.dtype.kind == dtype.kind and value.ndim == len(names) and list(value.shape) == wanted:
            most = _most(kind, sizes)
            if value.size == 0 or kind.least <= value.min().item() <= value.max().item() <= most:  # false for NaN
                return np.ascontiguousarray(value, dtype).reshape(value.shape)  # which may be ()
            raise bad(name, f"{field} from {kind.least:g} to {most:g}", f"numbers from {value.min()} to {value.max()}")
    raise bad(name, f"{field}, {dtype} of shape ({', '.join(names)}) with {sizes}", came)


def _most(kind: Array | Number, sizes: Mapping[str, int]) -> float:
    """The largest number; any, as long as the size below which it is is not known."""
    return sizes.get(kind.most, LARGEST + 1) - 1 if type(kind.most) is str else typing.cast(float, kind.most)


# ---- Objects as JSON and arrays --------------------------------------------------------------------------------------


def encoded(place: str, value: Value, arrays: dict[str, np.ndarray]) -> Json:
    """A value as JSON types; its large arrays are added to `arrays`, under names that begin with `place`."""
    if (kinds := SAVED.get(type(value))) is not None:
        fields = value.to_save() if hasattr(value, "to_save") else {name: getattr(value, name) for name in kinds}
        of_fields = {name: encoded(f"{place}.{name}", field, arrays) for name, field in fields.items()}
        return {"object": type(value).__name__, "fields": of_fields}
    for takes, encode in ENCODERS.items():
        if takes(value):
            return encode(place, value, arrays)
    match value:
        case np.ndarray():
            return _encoded_array(place, value, arrays)
        case Mapping():
            pairs = enumerate(value.items())
            return {"pairs": [[encoded(f"{place}.{i}", item, arrays) for item in pair] for i, pair in pairs]}
        case list():
            return [encoded(f"{place}.{i}", item, arrays) for i, item in enumerate(value)]
        case tuple() | range():
            return {"tuple": encoded(place, [*value], arrays)}
        case np.generic():
            return encoded(place, value.item(), arrays)
        case None | bool() | int() | float() | str():
            return value
    raise bad(place, "numbers, text or sequences of them", repr(value))


def _encoded_array(place: str, array: np.ndarray, arrays: dict[str, np.ndarray]) -> Json:
    if array.dtype.kind not in "biufUO" or (array.dtype == object and {*map(type, array.ravel())} - {str}):
        raise bad(place, "numbers or text", f"dtype {array.dtype}, {array.tolist()}")
    form = {"dtype": array.dtype.str, "shape": list(array.shape)}
    if array.size <= LARGE or array.dtype.kind not in "biuf":
        return {"array": array.ravel().tolist(), **form}
    arrays[place] = np.ascontiguousarray(array)
    data = arrays[place].reshape(-1).view(np.uint8).data
    if 4 * len(zlib.compress(data[:FIRST_BYTES], 1)) < 3 * min(len(data), FIRST_BYTES):
        compressed = np.frombuffer(zlib.compress(data, 1), np.uint8)
        if len(data) <= MOST_COMPRESSED * len(compressed):
            arrays[place] = compressed
            return {"compressed": place, **form}
    return {"tensor": place}


def decoded(place: str, value: Json, arrays: Mapping[str, np.ndarray], backend: Backend) -> Value:
    """Undo `encoded`; networks are of this backend."""
    if type(value) is list:
        return [decoded(f"{place}.{i}", item, arrays, backend) for i, item in enumerate(value)]
    if type(value) is not dict:
        return value
    [(tag, content), *_] = value.items()
    match tag:
        case "object":
            cls, items = CLASSES[content], value["fields"].items()
            fields = {name: decoded(f"{place}.{name}", field, arrays, backend) for name, field in items}
            return getattr(cls, "of_saved", cls)(**checked(place, SAVED[cls], fields))
        case "array":
            return _decoded_array(content, np.dtype(value["dtype"]), value["shape"])
        case "tensor":
            return arrays[content]
        case "compressed":
            data, dtype, shape = arrays[content], np.dtype(value["dtype"]), value["shape"]
            if not 0 < (size := dtype.itemsize * math.prod(shape)) <= MOST_COMPRESSED * data.nbytes:
                raise bad("array", f"at most {MOST_COMPRESSED} bytes for each one in the file", f"shape {shape}")
            return np.frombuffer(bytearray(zlib.decompressobj().decompress(data.data, size)), dtype).reshape(shape)
        case "tuple":
            return tuple(decoded(place, content, arrays, backend))
        case "pairs":
            pairs = enumerate(content)
            return dict([decoded(f"{place}.{i}", item, arrays, backend) for item in pair] for i, pair in pairs)
    return DECODERS[tag](value, arrays, backend)


def _decoded_array(content: Json, dtype: np.dtype, shape: Json) -> np.ndarray:
    if dtype.kind not in "biufUO" or type(content) is not list:
        raise bad("array", "numbers or texts", f"dtype {dtype}")
    if dtype.kind in "UO":
        characters = sum(map(len, content)) if {str}.issuperset(map(type, content)) else -1
        if not 0 <= dtype.itemsize * len(content) <= max(WIDE_TEXT, PER_CHARACTER * characters) or characters < 0:
            raise bad("array", "texts that are about as long as its dtype", f"{len(content)} of dtype {dtype}")
    array = np.array(content, dtype)
    if math.prod(shape) != array.size:
        raise bad("array", f"{array.size} entries", f"shape {shape}")
    return array.reshape(shape)


# ---- Files: safetensors with a checksum ------------------------------------------------------------------------------


def write(path: str | os.PathLike[str], config: Json, arrays: dict[str, np.ndarray]) -> None:
    text = json.dumps(config)
    if len(text) > LONGEST_HEADER:
        arrays, text = arrays | {"config": np.frombuffer(text.encode(), np.uint8)}, ""
    metadata = {"format": FORMAT, "config": text, "checksum": checksum(text, arrays)}
    with replacing(path) as unfinished:
        save_file(arrays, unfinished, metadata)


def checksum(config: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(config.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)  # `tobytes` would copy
    return digest.hexdigest()


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Json], dict[str, np.ndarray]]:
    """Configuration and arrays of a saved model; raises ValueError if the file is not as it was written."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, AttributeError, TypeError, ValueError) as error:
        raise bad(str(path), "a saved GLN", f"a file that cannot be read: {error}") from error
    if "checksum" not in metadata or metadata.get("format") != FORMAT:
        raise bad(str(path), f"a GLN saved in format {FORMAT}", f"format {metadata.get('format')}")
    text = metadata.get("config", "")
    if checksum(text, arrays) != metadata["checksum"]:
        raise bad(str(path), "a GLN as it was saved", "a file that was changed since: its checksum differs")
    try:
        config = json.loads(text or arrays.pop("config", np.empty(0)).tobytes())
    except (ValueError, RecursionError) as error:
        raise bad(str(path), "a saved GLN", f"a configuration that cannot be read: {error}") from error
    if type(config) is not dict:
        raise bad(str(path), "a saved GLN", f"a configuration that is not a JSON object: {text[:100]}")
    return config, arrays


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file beside `path` to write to; it is moved to `path` when the block ends without an error."""
    path = Path(os.path.realpath(path))  # keep a link and replace its target
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        unfinished = Path(folder, "unfinished")
        unfinished.touch()
        mode = unfinished.stat().st_mode & 0o777  # from the umask; safetensors makes the file private
        try:
            yield unfinished
        except SafetensorError as error:
            raise OSError(f"{path}: {error}") from error
        unfinished.chmod(mode)
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)


@contextlib.contextmanager
def usable(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise ValueError in place of any error over the contents of a file, which anyone may have written."""
    try:
        yield
    except ValueError as error:
        if (message := printable(str(error))) != str(error):
            raise ValueError(message) from None
        raise
    except UNUSABLE as error:
        raise bad(str(path), "a saved GLN", f"contents that cannot be used: {error!r}") from None


def fits(value: Value, annotation: object) -> bool:
    """Whether an argument that was saved is of the annotated type."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return any(fits(value, part) for part in parts)
    if origin is Callable:
        return callable(value)
    if origin in (Sequence, Mapping):
        value = value.tolist() if type(value) is np.ndarray else value
        is_sequence = origin is Sequence and type(value) in (list, tuple)
        items = value if is_sequence else value.values() if origin is Mapping and type(value) is dict else [fits]
        return all(fits(item, parts[-1]) for item in items)
    if annotation in (int, bool, float):
        most = 1 if annotation is bool else 1 << 63
        return annotation is type(value) is float or (type(value) in (int, bool) and -most < value <= most)
    return annotation is Any or not isinstance(annotation, type) or isinstance(value, annotation)
