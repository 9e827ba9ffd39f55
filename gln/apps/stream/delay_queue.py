"""Samples that were predicted and wait for their labels, which come so many lines later or when a column changes."""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Collection, Hashable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from gln.apps.stream.formats.chunks import Chunk
from gln.apps.stream.inputs import Input
from gln.engine.streaming.values import NO_COLUMNS, NamedRows, is_missing
from gln.engine.types import Row, State

MOST = 1_000_000  # samples that may wait, as memory is bounded


class Late(NamedTuple):
    """Samples that were predicted together."""

    of: Input
    part: Chunk
    earlier: np.ndarray | None  # (M, C, N), what all models predicted


class DelayQueue:
    """A queue of samples. Before others are predicted, the first ones are learned, whose labels have come by then."""

    def __init__(self, delay: int, column: str | None) -> None:
        """Labels come `delay` samples later, 0 at once, or when the value of the column changes."""
        self._delay = delay
        self._column = column
        self.queue: deque[Late] = deque()
        self.count = 0  # samples
        self._value: object = None  # the last one of the column
        self.is_late = delay > 0 or column is not None

    def add(self, late: Late) -> None:
        self.queue.append(late)
        self.count += len(late.part.lines)
        self._value = self._values(late.part.rows)[-1]

    def first(self, most: int) -> Late:
        """The samples that came first, at most so many."""
        if len(self.queue[0].part.lines) > most:
            self.split()
        return self.queue[0]

    def split(self) -> None:
        """Let the samples that came first be learned one by one."""
        of, part, earlier = self.queue.popleft()
        rows = [slice(row, row + 1) for row in reversed(range(len(part.lines)))]
        self.queue.extendleft(Late(of, part.part(row), None if earlier is None else earlier[..., row]) for row in rows)

    def pop(self) -> None:
        self.count -= len(self.queue.popleft().part.lines)

    def _values(self, rows: NamedRows) -> list[object]:
        """The value of the column before these samples and in each; where it is missing, the one before."""
        values = [self._value]
        new = [None] * len(rows) if self._column is None else named_values(rows, self._column)
        for value in new:
            values.append(values[-1] if is_missing(value) else value)
        return values

    def ends(self, rows: NamedRows) -> list[int]:
        """Up to where samples can be predicted before labels come."""
        if self._column is None:
            return [len(rows)]
        values = self._values(rows)
        return [*(row for row in range(1, len(rows)) if values[row + 1] != values[row]), len(rows)]

    def most(self, rows: NamedRows) -> int:
        """How many samples wait on while these are predicted. Raises ValueError if these are too many."""
        if self._column is None:
            return self._delay
        if self._values(rows)[-1] != self._value:
            return 0
        if self.count >= MOST:
            expected = f"a column whose value changes within {MOST:,} samples"
            raise ValueError(f"--delay-by: expected {expected}, got {self._column!r}, which is still {self._value!r}")
        return self.count

    def check(self, rows: NamedRows) -> None:
        """Raise ValueError if the column has no value in the first samples of a file."""
        if self._column is not None and all(map(is_missing, named_values(rows, self._column))):
            expected = "a column or key with values that are read"
            raise ValueError(f"--delay-by: expected {expected}, got {self._column!r}, which has none at first")

    def state(self, known: Collection[Hashable]) -> list[State]:
        """What to save, so that a run can go on; the model knows these names."""
        names = sorted({*known}.union(*(late.part.rows.names for late in self.queue)), key=str)
        return [_state([*group], names) for _, group in itertools.groupby(self.queue, _kind)]

    def resume(self, state: Sequence[State]) -> None:
        for group in state:
            self.add(_late(group))


def named_values(rows: NamedRows, name: str) -> list[object]:
    """The values of a column or key, in each sample."""
    return rows.frame[name].tolist() if name in rows.frame else [x.get(name) for x in rows.dictionaries]


def _kind(late: Late) -> tuple[object, ...]:
    """Equal for samples that can be saved together."""
    return late.of.name, late.part.form, None if late.earlier is None else late.earlier.shape[:2]


def _state(group: Sequence[Late], names: Collection[Hashable]) -> State:
    last = group[-1]
    parts = [late.part for late in group]
    samples = [
        [_known(x) for part in parts for x in part.rows.records()],
        [target for part in parts for target in part.targets],
        [weight for part in parts for weight in part.weights],
        [line for part in parts for line in part.lines],
    ]
    return {
        "file": [last.of.name, last.of.form, last.part.form],
        "samples": json.dumps(samples, default=lambda time: [time.value]),
        "zeros": [name for name in names if last.part.rows.is_zero(name)],
        "earlier": None if last.earlier is None else np.concatenate([late.earlier for late in group], axis=-1),
    }


def _known(x: Row) -> Row:
    return {name: value for name, value in x.items() if not is_missing(value)}


def _late(state: State) -> Late:
    """The samples of a `_state`."""
    name, form, part_form = state["file"]
    samples, targets, weights, lines = json.loads(state["samples"])
    for x in samples:
        x |= {key: pd.Timestamp(value[0]) for key, value in x.items() if isinstance(value, list)}
    texts = frozenset().union(*samples)  # of which the user was warned
    rows = NamedRows(NO_COLUMNS, samples, frozenset(state["zeros"]).__contains__, texts)
    return Late(Input(name, form, None), Chunk(rows, targets, weights, None, lines, part_form), state["earlier"])
