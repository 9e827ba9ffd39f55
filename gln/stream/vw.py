"""Vowpal Wabbit's text: `[label] [importance] [base] [tag]|namespace[:weight] feature[:value] ... |namespace ...`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from gln.engine.model.sample_weights import STREAM_WEIGHT
from gln.engine.streaming.values import MOST
Sparse = dict
from gln.stream.chunks import Chunk, Wanted
from gln.stream.kinds import is_numeric, label_of, number_of, shown
from gln.stream.lines import BadLine, Lines, Record, numbered, parsed

__all__ = ["Example", "Examples", "example_of"]


class Example(NamedTuple):
    """The contents of a line."""

    label: float | None
    importance: float
    tag: str | None
    features: dict[str, float]  # "namespace^feature", as Vowpal Wabbit calls them


class Examples:
    """Lines of Vowpal Wabbit's text, with labels that are one number."""

    def __init__(self, lines: Lines, wanted: Wanted) -> None:
        self._lines, self._ignore = lines, wanted.ignore

    def records(self) -> Iterator[Record | BadLine | None]:
        return numbered(self._lines)

    def chunk(self, records: Sequence[Record]) -> tuple[Chunk, list[BadLine]]:
        good, bad = parsed(records, lambda line: example_of(line, self._ignore))
        examples: list[Example] = [example for _, example in good]
        rows: list[dict[str, Any]] = [Sparse(example.features) for example in examples]
        weights = [example.importance for example in examples]
        tags = [example.tag for example in examples]
        return Chunk(rows, [example.label for example in examples], weights, tags, [line for line, _ in good]), bad


def example_of(line: str, ignore: Collection[str] = ()) -> Example:
    """The example of a line. Raises ValueError for anything that has no meaning here."""
    start, bar, rest = line.partition("|")
    if not bar:
        raise ValueError(f"expected | before the features, got {shown(line)}")
    features: dict[str, float] = {}
    for part in rest.rstrip("\r").replace("\t", " ").split("|"):
        _add(part, features, ignore)
    return Example(*_label(start), features)


def _label(start: str) -> tuple[float | None, float, str | None]:
    """Label, importance and tag, which stand before the first |."""
    if "\t" in start:  # Vowpal Wabbit ignores all before it
        raise ValueError(f"expected spaces before |, got a tab in {shown(start)}")
    words, tag = start.split(), None
    if words and (start[-1] != " " or words[-1][0] == "'"):  # what touches the | is a tag, even a number
        tag = words.pop().removeprefix("'")
    if len(words) > 3:
        raise ValueError(f"expected label, importance, base and tag before |, got {shown(start)}")
    try:
        numbers = [number_of(word) for word in words]
    except ValueError:
        raise ValueError(f"expected numbers as label, importance and base, got {shown(start)}") from None
    label = label_of(numbers[0]) if numbers else None
    importance = numbers[1] if len(numbers) > 1 else 1.0
    if not 0 <= importance <= STREAM_WEIGHT:
        raise ValueError(f"expected an importance from 0 to {STREAM_WEIGHT}, got {shown(importance)}")
    if any(numbers[2:]):
        raise ValueError(f"expected no base, which is not learned here, got {numbers[2]}")
    return label, importance, tag


def _add(part: str, features: dict[str, float], ignore: Collection[str]) -> None:
    """Add the features of a namespace; those that come more than once are summed."""
    first, *words = part.split(" ")
    namespace, colon, text = first.partition(":")  # empty after "| "
    if namespace in ignore:
        return
    weight, prefix = number_of(text) if colon else 1.0, f"{namespace}^" if namespace else ""
    for word in words:
        name, colon, text = word.partition(":")
        value = weight
        if colon:
            if not name or not text or ":" in text:
                raise ValueError(f"expected a feature such as name or name:1.5, got {shown(word)}")
            if is_numeric(text):
                value *= number_of(text)
            else:
                name = f"{name}^{text}"  # a category, as Vowpal Wabbit has it
        name = prefix + name
        if word and value and name not in ignore:
            features[name] = value = features.get(name, 0.0) + value
            if not abs(value) <= MOST:
                raise ValueError(f"{name}: expected a finite number, got {value}")
