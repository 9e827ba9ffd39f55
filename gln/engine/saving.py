"""Files of models: what they hold, how it is written and read, and where it is checked.

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
FORMAT = "gln-2"
UNUSABLE = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, zlib.error)
LARGE = 1000  # larger arrays of numbers are stored as tensors, not as text
# Arrays are compressed if that saves a quarter of their first bytes, as of tables with free rows; others take too long.
FIRST_BYTES = 1 << 16
FREE = 1 << 25  # bytes that any file may make
MOST_TIMES = 100  # how many bytes it may make for each of its own
NUMBERS = {np.dtype(kind).str for kind in "?bhiqBHIQefd"}  # dtypes of arrays
TEXTS = {"U", "O"}
MOST_DIMENSIONS = 32
LARGEST_INTEGER = 16  # bytes
LONGEST_INTEGER = 40  # characters
COMMON_INTEGER = 18  # characters; no more than MOST_ALIKE of these integers have one hash
MOST_ALIKE = 32  # different keys of one hash
LARGEST = float(np.finfo(np.float64).max)
LONGEST_MESSAGE = 1000  # characters
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
            if isinstance(value, Part) and hasattr(self, name):
                getattr(self, name)._restore(vars(value))
            else:
                setattr(self, name, value)


class Arrays(dict[str, np.ndarray]):
    """The arrays of a file, and how much may still be made of it.

    That is limited in all, and in proportion to its size: a small file must not take all memory, nor much time.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray] = types.MappingProxyType({})) -> None:
        super().__init__(arrays)
        self.left = FREE  # bytes
        self._alike: dict[int, list[object]] = {}  # keys by hash

    def has_room(self, made: int, stored: int = 0) -> bool:
        """Whether so many bytes may be made, for which a file that is written gets so many; if so, they count."""
        more = max(0, made - MOST_TIMES * stored)
        if more > self.left:
            return False
        self.left -= more
        return True

    def make_room(self, name: str, itemsize: int, shape: Sequence[int]) -> None:
        """Raise ValueError unless an array may be made; one without numbers counts, because loops go over its sizes."""
        if len(shape) > MOST_DIMENSIONS or not all(type(size) is int and size >= 0 for size in shape):
            raise bad(name, "an array", f"shape {shape}")
        if not self.has_room(itemsize * math.prod(max(1, size) for size in shape)):
            raise bad(name, f"at most {self.left} bytes, because the file is small", f"shape {shape}")

    def count_hash(self, key: object) -> None:
        """Raise ValueError if many keys have the hash of this one: a mapping would take as long as for their square."""
        alike = self._alike.setdefault(hash(key), [])
        if key not in alike:
            alike.append(key)
        if len(alike) > MOST_ALIKE:
            raise bad("keys", f"at most {MOST_ALIKE} of one hash", f"{key!r} too")

    def integer(self, text: str) -> int:
        """An integer of a file."""
        if len(text) > LONGEST_INTEGER:
            raise bad("integer", f"at most {LONGEST_INTEGER} characters", len(text))
        if len(text) > COMMON_INTEGER:
            self.count_hash(int(text))
        return int(text)


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
                [(key_kind, value_kind)] = kind.items()
                sizes = sizes | {ENTRIES: len(value)}
                pairs = [(value_of(key_kind, name, field, key, sizes), entry) for key, entry in value.items()]
                return {key: value_of(value_kind, name, field, entry, sizes) for key, entry in pairs}
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
    dtype = np.dtype(kind.dtype)
    names = kind.shape.split()
    came = type(value).__name__
    if type(value) is np.ndarray:
        came = f"{value.dtype} of shape {value.shape}"
        pairs = zip(names, value.shape, strict=False)
        wanted = [size if s == "*" else int(s) if s.isdigit() else sizes.setdefault(s, size) for s, size in pairs]
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


def encoded(prefix: str, value: Value, arrays: Arrays) -> Json:
    """A value as JSON types; its large arrays are added to `arrays`, under names that begin with `prefix`."""
    kinds = SAVED.get(type(value))
    if kinds is not None:
        fields = value.to_save() if hasattr(value, "to_save") else {name: getattr(value, name) for name in kinds}
        parts = {name: encoded(f"{prefix}.{name}", field, arrays) for name, field in fields.items()}
        return {"object": type(value).__name__, "fields": parts}
    for takes, encode in ENCODERS.items():
        if takes(value):
            return encode(prefix, value, arrays)
    match value:
        case np.ndarray():
            return _encoded_array(prefix, value, arrays)
        case Mapping():
            pairs = enumerate(value.items())
            return {"pairs": [[encoded(f"{prefix}.{i}", item, arrays) for item in pair] for i, pair in pairs]}
        case list():
            return [encoded(f"{prefix}.{i}", item, arrays) for i, item in enumerate(value)]
        case tuple() | range():
            return {"tuple": encoded(prefix, [*value], arrays)}
        case np.generic():
            return encoded(prefix, value.item(), arrays)
        case int() if value.bit_length() > 8 * LARGEST_INTEGER:
            raise bad(prefix, f"integers of at most {LARGEST_INTEGER} bytes", f"one of {value.bit_length()} bits")
        case None | bool() | int() | float() | str():
            return value
    raise bad(prefix, "numbers, text or sequences of them", repr(value))


def _encoded_array(name: str, array: np.ndarray, arrays: Arrays) -> Json:
    array = np.asarray(array, array.dtype.newbyteorder("="))
    dtype = array.dtype.str if array.dtype.kind in "biuf" else array.dtype.kind
    if dtype == "U" and not arrays.has_room(array.nbytes, int(np.char.str_len(array).sum()) + array.size):
        dtype = "O"  # all would be as wide as the longest
    if dtype not in NUMBERS and (dtype not in TEXTS or {*map(type, array.ravel().tolist())} - {str}):
        raise bad(name, "numbers or text, of at most 8 bytes per number", f"dtype {array.dtype}, {array.tolist()}")
    form = {"dtype": dtype, "shape": list(array.shape)}
    if array.size <= LARGE or dtype in TEXTS:
        return {"array": array.ravel().tolist(), **form}
    arrays[name] = np.ascontiguousarray(array)
    data = arrays[name].reshape(-1).view(np.uint8).data
    if 4 * len(zlib.compress(data[:FIRST_BYTES], 1)) < 3 * min(len(data), FIRST_BYTES):
        compressed = np.frombuffer(zlib.compress(data, 1), np.uint8)
        if arrays.has_room(len(data), len(compressed)):
            arrays[name] = compressed
            return {"compressed": name, **form}
    return {"tensor": name}


def decoded(name: str, value: Json, arrays: Arrays, backend: Backend) -> Value:
    """Undo `encoded`; networks are of this backend, and `name` is for messages. Each array is taken out of `arrays`."""
    if type(value) is list:
        return [decoded(name, item, arrays, backend) for item in value]
    if type(value) is not dict:
        return value
    [(tag, content), *_] = value.items()
    match tag:
        case "object":
            cls = CLASSES[content]
            items = value["fields"].items()
            fields = {field: decoded(field, item, arrays, backend) for field, item in items}
            return getattr(cls, "of_saved", cls)(**checked(name, SAVED[cls], fields))
        case "array":
            return _decoded_array(name, content, value["dtype"], value["shape"], arrays)
        case "tensor":
            return arrays.pop(content)
        case "compressed":
            return _decoded_array(name, arrays.pop(content), value["dtype"], value["shape"], arrays)
        case "tuple":
            made = tuple(decoded(name, content, arrays, backend))
            with contextlib.suppress(TypeError):  # it need not be hashable
                arrays.count_hash(made)
            return made
        case "pairs":
            return dict([decoded(name, item, arrays, backend) for item in pair] for pair in content)
    return DECODERS[tag](value, arrays, backend)


def _decoded_array(name: str, content: Json | np.ndarray, dtype: str, shape: Json, arrays: Arrays) -> np.ndarray:
    """An array of a list, or of compressed bytes."""
    are_texts = dtype in TEXTS and {*map(type, content)} <= {str}
    if dtype not in NUMBERS and not are_texts:
        raise bad(name, "an array of numbers or texts", f"dtype {dtype}")
    # All texts of an array take as much as the longest one.
    itemsize = 4 * max(map(len, content), default=1) if dtype == "U" else np.dtype(dtype).itemsize
    arrays.make_room(name, itemsize, shape)
    size = math.prod(shape)
    if type(content) is np.ndarray:  # a limit of 0 bytes would be none
        data = zlib.decompressobj().decompress(content.data, max(1, size * itemsize))
        return np.frombuffer(bytearray(data), dtype).reshape(shape)
    if len(content) != size:
        raise bad(name, f"{len(content)} entries", f"shape {shape}")
    return np.array(content, dtype).reshape(shape)


# ---- Files: safetensors with a checksum ------------------------------------------------------------------------------


def write(path: str | os.PathLike[str], config: Json, arrays: Mapping[str, np.ndarray]) -> None:
    arrays = {**arrays, "config": np.frombuffer(json.dumps(config).encode(), np.uint8)}
    with replacing(path) as unfinished:
        save_file(arrays, unfinished, {FORMAT: checksum(arrays)})  # in a random order if there were several


def checksum(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)  # `tobytes` would copy
    return digest.hexdigest()


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Json], Arrays]:
    """Configuration and arrays of a saved model; raises ValueError if the file is not as it was written."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if FORMAT not in metadata:
                raise bad("format", FORMAT, [*metadata])
            arrays = Arrays({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 - no mapping
    except (SafetensorError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise bad(str(path), "a saved GLN", f"a file that cannot be read: {error}") from error
    if checksum(arrays) != metadata[FORMAT]:
        raise bad(str(path), "a GLN as it was saved", "a file that was changed since: its checksum differs")
    text = arrays.pop("config", np.empty(0)).tobytes()
    arrays.left += MOST_TIMES * (len(text) + sum(array.nbytes for array in arrays.values()))
    try:
        for array in arrays.values():
            arrays.make_room("shape", 1, [] if array.size else array.shape)  # it takes no bytes, but loops go over it
        config = json.loads(text, parse_int=arrays.integer)
    except (ValueError, RecursionError) as error:
        raise bad(str(path), "a saved GLN", f"a configuration that cannot be read: {error}") from error
    if type(config) is not dict:
        raise bad(str(path), "a saved GLN", f"a configuration that is not a JSON object: {config!r:.100}")
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
    """Raise ValueError instead of any error over the contents of a file, which anyone may have written."""
    try:
        yield
    except ValueError as error:
        message = printable(str(error))
        if message != str(error):
            raise ValueError(message) from None
        raise
    except UNUSABLE as error:
        raise bad(str(path), "a saved GLN", f"contents that cannot be used: {error!r}") from None


def fits(value: Value, annotation: object) -> bool:
    """Whether an argument that was saved is of the annotated type."""
    origin = typing.get_origin(annotation)
    parts = typing.get_args(annotation)
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
