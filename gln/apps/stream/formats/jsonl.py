"""JSON lines: one object per line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any

from gln.apps.stream.formats.chunks import Chunk, Wanted
from gln.apps.stream.formats.column_types import ColumnTypes, shown
from gln.apps.stream.formats.lines import BadLine, Lines, Record, parsed
from gln.apps.stream.formats.namespaces import Namespaces, Sample
from gln.engine.streaming.schema import MOST_WORDS

SCALARS = frozenset([float, int, str, bool, type(None)])


class JsonParser:
    """Objects, in which `{"a": {"b": 1}}` is a feature "a.b".

    A list of names is a category if no sample has several, and otherwise its names are counted, as in scikit-learn's
    `DictVectorizer`: `{"tags": ["new", "red"]}` has "tags=new" and "tags=red". The numbers of a list are features by
    position, "position.0", "position.1".
    """

    def __init__(self, lines: Lines, wanted: Wanted) -> None:
        self.records = lines.texts
        self._target = wanted.target
        self._ignore = wanted.ignore
        self._kinds = ColumnTypes(wanted)
        self._namespaces = Namespaces(wanted, "=")

    def chunk(self, records: Sequence[Record]) -> Chunk:
        if self._kinds.are_deciding:
            self._kinds.decide(sample.values for _, sample in parsed(records, self._flat)[0])
        good, bad = parsed(records, self._sample)
        good, wrong = self._with_times(good)
        chunk = self._namespaces.chunk(good, self._namespaces.is_word)
        notes = *self._kinds.end_chunk(), *chunk.notes
        return chunk._replace(tags=None, notes=notes, bad=[*bad, *wrong, *chunk.bad])

    def knows(self, record: Record) -> bool:
        """Whether options or the model say what the names in a line are."""
        samples, _ = parsed([record], self._flat)
        known = self._kinds.decided | self._namespaces.decided
        return any(sample.values.keys() | sample.names.keys() <= known for _, sample in samples)

    def _with_times(self, records: Sequence[Record]) -> tuple[list[Record], list[BadLine]]:
        """Samples whose dates and times are no texts, and the bad ones."""
        wrong: dict[int, str] = {}
        found_in: dict[str, list[int]] = {name: [] for name in self._kinds.may_be_times()}
        for place, (_, sample) in enumerate(records) if found_in else ():
            for name in sample.values.keys() & found_in.keys():
                found_in[name].append(place)
        for name, places in found_in.items():
            rows = [records[place][1].values for place in places]
            if (found := self._kinds.times(name, [row[name] for row in rows])) is not None:
                for row, value in zip(rows, found[0].tolist(), strict=True):
                    row[name] = value
                wrong = {places[i]: message for i, message in found[1].items()} | wrong
        good = [record for place, record in enumerate(records) if place not in wrong]
        return good, [BadLine(records[place][0], message) for place, message in wrong.items()]

    def _flat(self, line: str) -> Sample:
        found = object_of(line)
        if isinstance(found.get(self._target), (dict, list)):
            raise ValueError(f"{self._target}: expected a string, a number or a bool, got {shown(found[self._target])}")
        sample = flattened(found, self._ignore)
        for name in self._namespaces.texts & sample.values.keys():
            if isinstance(text := sample.values[name], str):
                sample.names[name] = self._namespaces.words_of(name, text)
                del sample.values[name]
        return sample

    def _sample(self, line: str) -> Sample:
        sample = self._flat(line)
        values = self._kinds.values(sample.values)
        target = None if self._target is None else values.pop(self._target, None)
        return sample._replace(values=values, target=target)


def object_of(line: str) -> dict[Any, Any]:
    """The object in a line. Raises ValueError for anything else."""
    try:
        found = DECODER.decode(line)
        if "\\u" in line:
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("expected an object, got one that is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"expected JSON, got {shown(line)}: {error.msg} at character {error.pos + 1}") from None
    except UnicodeEncodeError:  # JSON, but no text that can be saved
        raise ValueError("expected text, got half of a surrogate pair") from None
    if not isinstance(found, dict):
        raise ValueError(f"expected an object, as in braces, got {shown(line)}")
    return found


def flattened(found: Mapping[str, Any], ignore: Set[str] = frozenset()) -> Sample:
    """The features of an object, but not those to `ignore`: `{"a": {"b": 1}}` has a value "a.b", `{"a": [1, 2]}` has
    "a.0" and "a.1", and the strings of a list are names. Raises ValueError for other lists."""
    sample = Sample({}, {})
    waiting = [*found.items()][::-1]
    while waiting:
        name, value = waiting.pop()
        if name in ignore:
            continue
        if value.__class__ in SCALARS:  # most are
            if name in sample.values:
                raise ValueError(f"expected each name once, got {name!r} twice")
            sample.values[name] = value
        elif len(value) > MOST_WORDS:
            raise ValueError(f"{name}: expected at most {MOST_WORDS:,} values, got {len(value):,}")
        elif isinstance(value, dict):
            waiting += [(f"{name}.{inner}", of_inner) for inner, of_inner in value.items()][::-1]
        elif all(isinstance(word, str) for word in value):
            sample.names[name] = [word for word in value if f"{name}={word}" not in ignore]
        elif all(number is None or isinstance(number, (int, float)) for number in value):
            waiting += [(f"{name}.{place}", number) for place, number in enumerate(value)][::-1]
        else:
            raise ValueError(f"{name}: expected a list of strings or a list of numbers, got {shown(value)}")
    return sample


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


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)  # `json.loads` would make one each time
