"""Vowpal Wabbit's text: `[label] [importance] [base] [tag]|namespace[:weight] feature[:value] ... |namespace ...`."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence

from gln.apps.stream.formats.chunks import Chunk, Wanted
from gln.apps.stream.formats.column_types import as_label, finite_number, shown
from gln.apps.stream.formats.lines import Lines, Record, parsed
from gln.apps.stream.formats.namespaces import Namespaces, Sample
from gln.engine.model.sample_weights import STREAM_WEIGHT
from gln.engine.streaming.values import MOST


class VwParser:
    """Lines of Vowpal Wabbit's text, with labels that are one number."""

    def __init__(self, lines: Lines, wanted: Wanted) -> None:
        self.records = lines.texts
        self._example = functools.partial(example_of, ignore=wanted.ignore)
        self._namespaces = Namespaces(wanted, "^")

    def knows(self, record: Record) -> bool:
        """Whether options or the model say what the namespaces in a line are."""
        samples, _ = parsed([record], self._example)
        return any(sample.names.keys() <= self._namespaces.decided for _, sample in samples)

    def chunk(self, records: Sequence[Record]) -> Chunk:
        good, bad = parsed(records, self._example)
        chunk = self._namespaces.chunk(good, is_zero=lambda name: True)
        return chunk._replace(bad=[*bad, *chunk.bad])


def example_of(line: str, ignore: Collection[str] = ()) -> Sample:
    """The example of a line. Raises ValueError for anything that has no meaning here."""
    start, bar, rest = line.partition("|")
    if not bar:
        raise ValueError(f"expected | before the features, got {shown(line)}")
    numbers = set[str]()
    names = dict[str, list[str]]()
    sample = Sample({}, names, numbers, *_start(start))
    for part in rest.rstrip("\r").replace("\t", " ").split("|"):
        _add(part, sample, numbers, ignore)
    return sample


@functools.lru_cache(1 << 10)  # most lines have the same few
def _start(text: str) -> tuple[float | None, float, str | None]:
    """Label, importance and tag, which stand before the first |."""
    if "\t" in text:  # Vowpal Wabbit ignores all before it
        raise ValueError(f"expected spaces before |, got a tab in {shown(text)}")
    words = text.split()
    tag = None
    if words and (text[-1] != " " or words[-1][0] == "'"):  # what touches the | is a tag, even a number
        tag = words.pop().removeprefix("'")
    if len(words) > 3:
        raise ValueError(f"expected label, importance, base and tag before |, got {shown(text)}")
    try:
        numbers = [finite_number(word) for word in words]
    except ValueError:
        raise ValueError(f"expected numbers as label, importance and base, got {shown(text)}") from None
    label = as_label(numbers[0]) if numbers else None
    importance = numbers[1] if len(numbers) > 1 else 1.0
    if not 0 <= importance <= STREAM_WEIGHT:
        raise ValueError(f"expected an importance from 0 to {STREAM_WEIGHT}, got {shown(importance)}")
    if any(numbers[2:]):
        raise ValueError(f"expected no base, which is not learned here, got {numbers[2]}")
    return label, importance, tag


def _add(part: str, sample: Sample, numbers: set[str], ignore: Collection[str]) -> None:
    """Add the features of a namespace, some with values; those that come more than once are summed."""
    first, *words = part.split(" ")
    namespace, colon, text = first.partition(":")  # empty after "| "
    weight = finite_number(text) if colon else 1.0
    prefix = f"{namespace}^" if namespace else ""
    if namespace in ignore:
        return
    for word in words:
        name, colon, text = word.partition(":")
        if colon and (not name or not text or ":" in text):
            raise ValueError(f"expected a feature such as name or name:1.5, got {shown(word)}")
        full = prefix + name
        number = _times(weight, text)  # None for a name or a category
        if not name or full in ignore or (number is None and not weight):
            continue
        if number is None and weight == 1.0:  # color:red is the name red in a namespace color
            sample.names.setdefault(full if colon else namespace, []).append(text or name)
            continue
        if number is not None:
            numbers.add(full)
        elif colon:
            full = f"{full}^{text}"
        sample.values[full] = sample.values.get(full, 0.0) + (weight if number is None else number)
        if not abs(sample.values[full]) <= MOST:
            raise ValueError(f"{full}: expected a finite number, got {sample.values[full]}")


def _times(weight: float, text: str) -> float | None:
    """The product with a number, or None for another text."""
    try:
        return weight * float(text)
    except ValueError:
        return None
