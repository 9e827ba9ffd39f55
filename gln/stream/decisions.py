"""Logs of decisions: JSON lines, Vowpal Wabbit's text for `--cb_adf`, and its DSJSON.

The three are told apart line by line: DSJSON has "_label_cost" and "c", other objects are ours, and anything else is
text. Vowpal Wabbit has costs, which are negative rewards, and arms without names, which are features.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

from gln.bandits import LoggedDecision
from gln.stream.kinds import number_of, shown
from gln.stream.lines import BadLine, Lines, text_of
from gln.stream.vw import example_of

__all__ = ["Logged", "read_decisions"]

OF_DSJSON = "_label_cost", "_labelIndex", "_label_Action", "_skipLearn"
NEEDED = "context", "arm", "reward", "propensity"  # of our own rows, perhaps with "arms" and "weight"


class Logged(NamedTuple):
    """What stands in a log, up to a line."""

    line: int
    decision: LoggedDecision | None  # None without a reward


def read_decisions(source: BinaryIO) -> Iterator[Logged | BadLine]:
    """The decisions of a log, in their order, and what could not be read."""
    lines, event = Lines(source), list[str]()
    for line in itertools.chain(lines, [b""]):  # an event of Vowpal Wabbit's text ends with an empty line
        try:
            text = text_of(lines.number, line).strip()
            if text.startswith("{"):
                yield Logged(lines.number, _of_object(text))
            elif text:
                event.append(text)
            elif event:
                event, finished = [], event
                yield Logged(lines.number, _of_text(finished))
        except ValueError as error:
            yield error if isinstance(error, BadLine) else BadLine(lines.number, str(error))


# ---- JSON ------------------------------------------------------------------------------------------------------------


def _of_object(text: str) -> LoggedDecision | None:
    try:
        found = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"expected JSON, got {shown(text)}: {error}") from None
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
    """Flat features, without those that Vowpal Wabbit leaves out, too."""
    return _flat({name: value for name, value in features.items() if not name.startswith("_")})


def _flat_if_object(value: Any) -> Any:
    return _flat(value) if isinstance(value, dict) else value


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Features of nested objects and lists: `{"a": {"b": 1}}` is "a.b", and `{"a": ["b"]}` the word "a=b"."""
    if isinstance(value, dict):
        parts = [(inner, f"{name}.{key}" if name else key) for key, inner in value.items()]
    elif isinstance(value, list):
        parts = [(inner, name if isinstance(inner, dict) else f"{name}.{place}") for place, inner in enumerate(value)]
        if words := {f"{name}={word}": 1.0 for word in value if isinstance(word, str)}:
            return words
    else:
        return {name: value}
    return {key: feature for inner, of_inner in parts for key, feature in _flat(inner, of_inner).items()}


# ---- Text ------------------------------------------------------------------------------------------------------------


def _of_text(lines: Sequence[str]) -> LoggedDecision | None:
    """The decision of `shared |...` and a line for each arm: that of the chosen one has action:cost:propensity."""
    context: dict[str, Any] = {}
    arms: list[dict[str, Any]] = []
    chosen: list[tuple[int, float, float]] = []
    for line in lines:
        start, bar, features = line.partition("|")
        labels = [word for word in start.split() if not word.startswith("'")]  # without the tag
        if labels == ["shared"]:
            context = _features(bar + features)
            continue
        if labels:
            chosen.append((len(arms), *_cost_and_propensity(labels)))
        arms.append(_features(bar + features))
    if len(chosen) > 1:
        raise ValueError(f"expected one arm with action:cost:propensity, got {len(chosen)}")
    return LoggedDecision(context, chosen[0][0], -chosen[0][1], chosen[0][2], arms) if chosen else None


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
