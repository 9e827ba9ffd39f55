"""Logs of decisions: JSON lines, Vowpal Wabbit's text for `--cb_adf`, and its DSJSON.

The three are told apart line by line: DSJSON has "_label_cost" and "c", other objects are ours, and anything else is
text. Vowpal Wabbit has costs, which are negative rewards, and arms without names, which are features.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from gln.bandits import LoggedDecision
from gln.stream.formats.column_types import number_of, shown
from gln.stream.formats.jsonl import flattened, object_of
from gln.stream.formats.lines import BadLine, Lines, text_of
from gln.stream.formats.vw import example_of

__all__ = ["Logged", "read_decisions"]

OF_DSJSON = "_label_cost", "_labelIndex", "_label_Action", "_skipLearn"
NEEDED = "context", "arm", "reward", "propensity"  # of our own rows, perhaps with "arms" and "weight"


class Logged(NamedTuple):
    """What stands in a log, up to a line."""

    line: int
    decision: LoggedDecision | None  # None without a reward


def read_decisions(source: BinaryIO) -> Iterator[Logged | BadLine]:
    """The decisions of a log, in their order, and what could not be read.

    Values are checked where they are learned.
    """
    lines, event = Lines(source), Event()
    for line in itertools.chain(lines, [b""]):  # an event of Vowpal Wabbit's text ends with an empty line
        try:
            text = text_of(lines.number, line).strip()
            if text.startswith("{"):
                yield Logged(lines.number, _of_object(text))
            elif text:
                event.add(text)
            elif event.lines:
                event, finished = Event(), event
                if not finished.is_bad:
                    yield Logged(lines.number, finished.decision())
        except ValueError as error:
            yield error if isinstance(error, BadLine) else BadLine(lines.number, str(error))


# ---- JSON ------------------------------------------------------------------------------------------------------------


def _of_object(text: str) -> LoggedDecision | None:
    found = object_of(text)
    if any(key in found for key in OF_DSJSON):
        return _of_dsjson(found)
    if missing := [name for name in NEEDED if name not in found]:
        expected = f"the keys {', '.join(NEEDED)}, and perhaps arms and weight"
        raise ValueError(f"expected {expected}, got none of {', '.join(missing)}")
    context, arm, reward, propensity = (found[name] for name in NEEDED)
    arms = found.get("arms")
    if isinstance(arms, dict):
        arms = {name: _flat_if_object(features) for name, features in arms.items()}
    elif isinstance(arms, list):
        arms = [*map(_flat_if_object, arms)]
    return LoggedDecision(_flat_if_object(context), arm, reward, propensity, arms, found.get("weight", 1.0))


def _of_dsjson(found: dict[str, Any]) -> LoggedDecision | None:
    """A decision of DSJSON: costs, shared features in "c", and those of each arm in "_multi" there.

    "pdrop" is the probability with which such an event was left out of the log; this one stands for 1 / (1 - pdrop), as
    in Vowpal Wabbit (its pull request 3055).
    """
    if found.get("_skipLearn") or "_label_cost" not in found:
        return None
    try:
        cost, shared = float(found["_label_cost"]), _visible(found["c"])
        arms = [_visible(arm) for arm in found["c"]["_multi"]]
        place = found["_labelIndex"] if "_labelIndex" in found else found["a"][0] - 1  # the chosen arm comes first
        propensity = found["_label_probability"] if "_label_probability" in found else found["p"][0]
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"expected DSJSON with a list of arms, got {type(error).__name__}: {error}") from None
    dropped = found.get("pdrop", 0.0)
    if not (isinstance(dropped, (int, float)) and 0 <= dropped < 1):
        raise ValueError(f"expected pdrop from 0 to 1, exclusive, got {dropped!r}")
    return LoggedDecision(shared, place, -cost, propensity, arms, 1 / (1 - dropped))


def _visible(features: dict[str, Any]) -> dict[str, Any]:
    """Flat features, without those that Vowpal Wabbit leaves out, too. A list of objects is one object."""
    return _flat({name: _joined(name, value) for name, value in features.items() if not name.startswith("_")})


def _joined(name: str, value: Any) -> Any:
    if not (isinstance(value, list) and value and all(isinstance(part, dict) for part in value)):
        return value
    joined = {key: inner for part in value for key, inner in part.items()}
    if len(joined) < sum(map(len, value)):
        raise ValueError(f"{name}: expected each name once in a list of objects, got {shown(value)}")
    return joined


def _flat_if_object(value: Any) -> Any:
    return _flat(value) if isinstance(value, dict) else value


def _flat(found: dict[str, Any]) -> dict[str, Any]:
    """Features as `gln-stream` reads them, and of a list of strings each as a feature: `{"a": ["b"]}` has "a=b"."""
    values, names, *_ = flattened(found)
    return values | {f"{name}={word}": 1.0 for name, words in names.items() for word in words}


# ---- Text ------------------------------------------------------------------------------------------------------------


class Event:
    """A decision of `shared |...` and a line for each arm: that of the chosen one has action:cost:propensity."""

    def __init__(self) -> None:
        self.lines, self.is_bad = 0, False
        self._context: dict[str, Any] = {}
        self._arms: list[dict[str, Any]] = []
        self._chosen: tuple[int, float, float] | None = None

    def add(self, line: str) -> None:
        """Read one more line, unless one before was bad. Raises ValueError for a bad one."""
        if self.is_bad:
            return
        self.lines, self.is_bad = self.lines + 1, True
        start, bar, features = line.partition("|")
        labels = [word for word in start.split() if not word.startswith("'")]  # without the tag
        if labels == ["shared"]:
            self._context = _features(bar + features)
        else:
            if labels and self._chosen is not None:
                raise ValueError("expected one arm with action:cost:propensity before an empty line, got a second one")
            if labels:
                self._chosen = (len(self._arms), *_cost_and_propensity(labels))
            self._arms.append(_features(bar + features))
        self.is_bad = False

    def decision(self) -> LoggedDecision | None:
        if self._chosen is None:
            return None
        place, cost, propensity = self._chosen
        return LoggedDecision(self._context, place, -cost, propensity, self._arms)


def _cost_and_propensity(labels: list[str]) -> tuple[float, float]:
    numbers = labels[0].split(":")
    if len(labels) > 1 or len(numbers) != 3:
        raise ValueError(f"expected shared, action:cost:propensity or nothing before |, got {shown(' '.join(labels))}")
    return number_of(numbers[1]), number_of(numbers[2])


def _features(text: str) -> dict[str, Any]:
    """The features of `|namespace name=level name:number ...`; a name alone is 1."""
    sample, features = example_of(text).sample, {}
    for namespace, names in sample.names.items():
        for full in names:
            name, is_level, level = full.partition("=")
            features[f"{namespace}^{name}" if namespace else name] = level if is_level else 1.0
    return features | sample.values
