"""Logs of decisions: JSON lines, Vowpal Wabbit's text for `--cb` and for `--cb_adf`, and its DSJSON.

Vowpal Wabbit has costs, which are negative rewards. Arms have no names: they are numbers in `--cb`, else features.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from gln.apps.stream.formats.column_types import Json, finite_number, shown
from gln.apps.stream.formats.jsonl import Object, flattened, object_of
from gln.apps.stream.formats.lines import LONGEST, TOO_LONG, BadLine, Lines, Record, text_of
from gln.apps.stream.formats.vw import example_of
from gln.bandits import LoggedDecision

DANGLING = "RewardValue", "DeferredAction"  # of the observation of an event whose decision is not in the log
OF_DSJSON = "_label_cost", "_labelIndex", "_label_Action", "_skipLearn", "_multi", *DANGLING
LABEL = re.compile(rb"[^|]*\d+:[^:|\s]+:[^:|\s]+[^|]*\|")  # action:cost:propensity
READ_AS = {
    "jsonl": "JSON lines with context, arm, reward, propensity",
    "dsjson": "Vowpal Wabbit's DSJSON",
    "cb": "Vowpal Wabbit's text for --cb: a decision per line, arms are numbers",
    "cb_adf": "Vowpal Wabbit's text for --cb_adf: an arm per line, decisions end with an empty line",
}
NEEDED = "context", "arm", "reward", "propensity"  # of our own rows, perhaps with "arms" and "weight"


class Logged(NamedTuple):
    """What stands in a log, up to a line."""

    line: int
    decision: LoggedDecision | None
    why: str = "without a reward"  # there is none


def read_decisions(
    source: BinaryIO | Lines, form: str | None = None, say: Callable[[str], object] = lambda text: None
) -> Iterator[Logged | BadLine]:
    """The decisions of a log, in their order, and what could not be read; `say` is told the format of the first lines.

    Values are checked where they are learned.
    """
    lines = source if isinstance(source, Lines) else Lines(source)
    if form is None:
        form = _form_of(lines)
        say(f"reading {READ_AS[form]}\n    (--format reads another format)")
    event: list[Record] = []
    size = 0  # of the event
    for line in itertools.chain(lines.or_bad(), [b""]):  # an event of Vowpal Wabbit's text ends with an empty line
        try:
            if isinstance(line, BadLine):
                event = []
                size = LONGEST + 1  # what follows of it would be another decision
                raise line
            if form != "cb_adf":
                text = text_of(lines.number, line).strip()
                if text:
                    yield PARSERS[form](lines.number, text)
            elif line.strip():
                was_short = size <= LONGEST
                size += len(line)
                if size <= LONGEST:
                    event.append((lines.number, line))
                elif was_short:
                    event = []
                    raise BadLine(lines.number, TOO_LONG)
            else:
                finished = event
                event = []
                size = 0
                if finished:
                    yield Logged(lines.number, _parse_event(finished))
        except ValueError as error:
            yield error if isinstance(error, BadLine) else BadLine(lines.number, str(error))


def _form_of(lines: Lines) -> str:
    """The format of a log, by its first two lines, which stay to be read."""
    taken = [next(lines, b"")]
    if not lines.must_wait():
        taken.append(next(lines))
    lines.again(taken[: lines.number])
    first, second = ([line.strip() for line in taken] + [b""])[:2]
    if first.startswith(b"{"):
        return "dsjson" if any(f'"{key}"'.encode() in first for key in OF_DSJSON) else "jsonl"
    return "cb" if LABEL.match(first) and (LABEL.match(second) or len(taken) < 2) else "cb_adf"


def _parse_object(line: int, text: str) -> Logged:
    record = object_of(text)
    missing = [name for name in NEEDED if name not in record]
    if missing:
        expected = f"the keys {', '.join(NEEDED)}, and perhaps arms and weight"
        raise ValueError(f"expected {expected}, got none of {', '.join(missing)}")
    context, arm, reward, propensity = (record[name] for name in NEEDED)
    arms = record.get("arms")
    if isinstance(arms, dict):
        arms = {name: _flat(features) for name, features in arms.items()}
    elif isinstance(arms, list):
        arms = [*map(_flat, arms)]
    weight = record.get("weight", 1.0)
    return Logged(line, LoggedDecision(_flat(context), arm, reward, propensity, arms, weight))


def _parse_dsjson(line: int, text: str) -> Logged:
    """A decision of DSJSON: costs, shared features in "c", and those of each arm in "_multi" there.

    "pdrop" is the probability with which such an event was left out of the log; this one stands for 1 / (1 - pdrop), as
    in Vowpal Wabbit (its pull request 3055).
    """
    record = object_of(text)
    if "c" not in record and not record.keys().isdisjoint(DANGLING):
        return Logged(line, None, "rewards without a decision")
    if record.get("_skipLearn") or "_label_cost" not in record:
        return Logged(line, None)
    try:
        cost = float(record["_label_cost"])
        shared = _visible(record["c"])
        arms = [_visible(arm) for arm in record["c"]["_multi"]]
        index = record["_labelIndex"] if "_labelIndex" in record else record["a"][0] - 1  # the chosen arm comes first
        propensity = record["_label_probability"] if "_label_probability" in record else record["p"][0]
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError) as error:
        raise ValueError(f"expected DSJSON with a list of arms, got {type(error).__name__}: {error}") from None
    dropped = record.get("pdrop", 0.0)
    if not (isinstance(dropped, (int, float)) and 0 <= dropped < 1):
        raise ValueError(f"expected pdrop from 0 to 1, exclusive, got {dropped!r}")
    return Logged(line, LoggedDecision(shared, index, -cost, propensity, arms, 1 / (1 - dropped)))


def _visible(features: Object) -> Object:
    """Flat features, without those that Vowpal Wabbit leaves out, too. A list of objects is one object."""
    return _flat({name: _joined(name, value) for name, value in features.items() if not name.startswith("_")})


def _joined(name: str, value: Json) -> Json:
    if not (isinstance(value, list) and value and all(isinstance(part, dict) for part in value)):
        return value
    joined = {key: inner for part in value for key, inner in part.items()}
    if len(joined) < sum(map(len, value)):
        raise ValueError(f"{name}: expected each name once in a list of objects, got {shown(value)}")
    return joined


def _flat(value: Json) -> Json:
    """Features of an object as `gln-stream` reads them, `{"a": ["b"]}` as "a=b"; what is no object stays as it is."""
    if not isinstance(value, dict):
        return value
    values, names, *_ = flattened(value)
    return values | {f"{name}={word}": 1.0 for name, words in names.items() for word in words}


def _parse_event(event: list[Record]) -> LoggedDecision | None:
    """A decision of `shared |...` and a line for each arm: that of the chosen one has action:cost:propensity."""
    context: Object = {}
    arms: list[Object] = []
    chosen: tuple[int, float, float] | None = None
    for number, text in event:
        start, bar, features = text_of(number, text).strip().partition("|")
        labels = [word for word in start.split() if not word.startswith("'")]  # without the tag
        try:
            if labels == ["shared"]:
                context = _features(bar + features)
                continue
            if labels and chosen is not None:
                raise ValueError("expected one arm with action:cost:propensity before an empty line, got a second one")
            if labels:
                chosen = (len(arms), *_cost_and_propensity(labels))
            arms.append(_features(bar + features))
        except ValueError as error:
            raise BadLine(number, str(error)) from None
    if chosen is None:
        return None
    index, cost, propensity = chosen
    return LoggedDecision(context, index, -cost, propensity, arms)


def _cost_and_propensity(labels: list[str]) -> tuple[float, float]:
    numbers = labels[0].split(":")
    if len(labels) > 1 or len(numbers) != 3:
        raise ValueError(f"expected shared, action:cost:propensity or nothing before |, got {shown(' '.join(labels))}")
    return finite_number(numbers[1]), finite_number(numbers[2])


def _parse_cb(line: int, text: str) -> Logged:
    """A line for `--cb`: before the |, the numbers of the arms, of which the chosen one has action:cost:propensity."""
    start, bar, features = text.partition("|")
    labels = [word for word in start.split() if not word.startswith("'")]
    chosen = [word for word in labels if ":" in word]
    if not chosen:
        return Logged(line, None)
    cost, propensity = _cost_and_propensity(chosen)
    arms = [int(finite_number(word.partition(":")[0])) for word in labels]
    arm = int(finite_number(chosen[0].partition(":")[0]))
    offered = arms if len(arms) > 1 else None
    return Logged(line, LoggedDecision(_features(bar + features), arm, -cost, propensity, offered))


@functools.lru_cache(1 << 10)  # arms are often the same
def _features(text: str) -> Object:
    """The features of `|namespace name=level name:number ...`; a name alone is 1."""
    sample = example_of(text)
    features = {}
    for namespace, names in sample.names.items():
        for full in names:
            name, is_level, level = full.partition("=")
            features[f"{namespace}^{name}" if namespace else name] = level if is_level else 1.0
    return features | sample.values


PARSERS: dict[str, Callable[[int, str], Logged]] = {"jsonl": _parse_object, "dsjson": _parse_dsjson, "cb": _parse_cb}
