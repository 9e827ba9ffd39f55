"""JSON lines: one object per line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import TypeAlias

from gln.apps.stream.formats.chunks import Chunk, Wanted
from gln.apps.stream.formats.column_types import ColumnTypes, Json, shown, weight_of
from gln.apps.stream.formats.lines import BadLine, Lines, Record, parsed
from gln.apps.stream.formats.namespaces import Namespaces, Sample
from gln.engine.streaming.schema import MOST_WORDS

Object: TypeAlias = dict[str, Json]
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
        self._weight = wanted.weight
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
        rows_by_name = {name: list[int]() for name in self._kinds.may_be_times()}
        samples = [sample for _, sample in records] if rows_by_name else []
        for row, sample in enumerate(samples):
            for name in sample.values.keys() & rows_by_name.keys():
                rows_by_name[name].append(row)
        for name, rows in rows_by_name.items():
            messages = self._convert_times(name, [records[row][1].values for row in rows])
            wrong = {rows[i]: message for i, message in messages.items()} | wrong
        good = [record for row, record in enumerate(records) if row not in wrong]
        return good, [BadLine(records[row][0], message) for row, message in wrong.items()]

    def _convert_times(self, name: str, rows: Sequence[dict[str, Json]]) -> dict[int, str]:
        """Replace texts of this name, if they are times; returns what is wrong, by row."""
        times = self._kinds.times(name, [row[name] for row in rows])
        if times is None:
            return {}
        values, wrong = times
        for row, value in zip(rows, values.tolist(), strict=True):
            row[name] = value
        return wrong

    def _flat(self, line: str) -> Sample:
        record = object_of(line)
        target = record.get(self._target or "")
        if isinstance(target, (dict, list)):
            raise ValueError(f"{self._target}: expected a string, a number or a bool, got {shown(target)}")
        sample = flattened(record, self._ignore)
        if self._weight is not None:
            try:
                sample = sample._replace(weight=weight_of(sample.values.pop(self._weight, None)))
            except ValueError as error:
                raise ValueError(f"{self._weight}: {error}") from None
        for name in self._namespaces.texts & sample.values.keys():
            text = sample.values[name]
            if isinstance(text, str):
                sample.names[name] = self._namespaces.words_of(name, text)
                del sample.values[name]
        return sample

    def _sample(self, line: str) -> Sample:
        sample = self._flat(line)
        values = self._kinds.values(sample.values)
        target = None if self._target is None else values.pop(self._target, None)
        return sample._replace(values=values, target=target)


def object_of(line: str) -> Object:
    """The object in a line. Raises ValueError for anything else."""
    try:
        record = DECODER.decode(line)
        if "\\u" in line:
            json.dumps(record, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("expected an object, got one that is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"expected JSON, got {shown(line)}: {error.msg} at character {error.pos + 1}") from None
    except UnicodeEncodeError:  # JSON, but no text that can be saved
        raise ValueError("expected text, got half of a surrogate pair") from None
    if not isinstance(record, dict):
        raise ValueError(f"expected an object, as in braces, got {shown(line)}")
    return record


def flattened(record: Mapping[str, Json], ignore: Set[str] = frozenset()) -> Sample:
    """The features of an object, but not those to `ignore`: `{"a": {"b": 1}}` has a value "a.b", `{"a": [1, 2]}` has
    "a.0" and "a.1", and the strings of a list are names. Raises ValueError for other lists."""
    sample = Sample({}, {})
    waiting = [*record.items()][::-1]
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
            waiting += [(f"{name}.{inner}", inner_value) for inner, inner_value in value.items()][::-1]
        elif all(isinstance(word, str) for word in value):
            sample.names[name] = [word for word in value if f"{name}={word}" not in ignore]
        elif all(number is None or isinstance(number, (int, float)) for number in value):
            waiting += [(f"{name}.{index}", number) for index, number in enumerate(value)][::-1]
        else:
            raise ValueError(f"{name}: expected a list of strings or a list of numbers, got {shown(value)}")
    return sample


def _object(pairs: list[tuple[str, Json]]) -> Object:
    record = dict(pairs)
    if len(record) < len(pairs):
        repeated = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"expected each name once, got {repeated!r} twice")
    return record


def _constant(name: str) -> None:
    """NaN, which Python's `json.dumps` writes, as a missing value."""
    if name != "NaN":
        raise ValueError(f"expected a finite number, got {name}")


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)  # `json.loads` would make one each time
