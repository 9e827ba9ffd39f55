"""JSON lines: one object per line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from gln.stream.chunks import Chunk, Wanted
from gln.stream.kinds import Kinds, shown
from gln.stream.lines import BadLine, Lines, Record, numbered, parsed

__all__ = ["Objects"]


class Objects:
    """Objects, in which `{"a": {"b": 1}}` is a feature "a.b".

    As in scikit-learn's `DictVectorizer`, the words of a list are counted: `{"tags": ["new", "red"]}` has "tags=new"
    and "tags=red". The numbers of a list are features by position, "position.0", "position.1".
    """

    def __init__(self, lines: Lines, wanted: Wanted) -> None:
        self._lines = lines
        self._target, self._ignore = wanted.target, wanted.ignore
        self._kinds = Kinds(wanted.strings, wanted.numbers, wanted.known)

    def records(self) -> Iterator[Record | BadLine | None]:
        return numbered(self._lines)

    def chunk(self, records: Sequence[Record]) -> tuple[Chunk, list[BadLine]]:
        good, bad = parsed(records, self._sample)
        rows = [x for _, x in good]
        targets = [x.pop(self._target, None) for x in rows]
        return Chunk(rows, targets, None, None, [number for number, _ in good]), bad

    def _sample(self, line: str) -> dict[str, Any]:
        try:
            found = json.loads(line, object_pairs_hook=_object, parse_constant=_constant)
        except RecursionError:
            raise ValueError("expected an object, got one that is nested too deeply") from None
        except json.JSONDecodeError as error:
            raise ValueError(f"expected JSON, got {shown(line)}: {error.msg} at character {error.pos + 1}") from None
        if not isinstance(found, dict):
            raise ValueError(f"expected an object, as in braces, got {shown(line)}")
        if "\\u" in line:
            _check_text(found)
        if isinstance(found.get(self._target), (dict, list)):
            raise ValueError(f"{self._target}: expected a string, a number or a bool, got {shown(found[self._target])}")
        wanted = ((name, value) for name, value in found.items() if name not in self._ignore)
        pairs = [pair for name, value in wanted for pair in _flat(name, value) if pair[0] not in self._ignore]
        return self._kinds.values(_object(pairs))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        repeated = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"expected each name once, got {repeated!r} twice")
    return found


def _constant(name: str) -> None:
    """NaN, which Python's `json.dumps` writes, as a missing value."""
    if name != "NaN":
        raise ValueError(f"expected a finite number, got {name}")


def _check_text(found: Any) -> None:
    """Raise a ValueError for half of a surrogate pair, which is JSON, but no text that can be saved."""
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("expected text, got half of a surrogate pair") from None


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The features of a value of an object."""
    if isinstance(value, dict):
        for inner, each in value.items():
            yield from _flat(f"{name}.{inner}", each)
    elif not isinstance(value, list):
        yield name, value
    elif all(isinstance(each, str) for each in value):
        yield from Counter(f"{name}={word}" for word in value).items()
    elif all(each is None or isinstance(each, (int, float)) for each in value):
        yield from ((f"{name}.{place}", each) for place, each in enumerate(value))
    else:
        raise ValueError(f"{name}: expected a list of strings or a list of numbers, got {shown(value)}")
