"""A run of `gln-bandit`: reads decisions, judges and learns them, and saves."""

from __future__ import annotations

import argparse
import copy
import functools
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from gln.apps.bandit.formats import Logged, read_decisions
from gln.apps.stream.formats.lines import BadLine, Lines
from gln.apps.stream.formats.reader import opened
from gln.apps.stream.inputs import Inputs
from gln.apps.stream.output import Outputs, printed, say
from gln.apps.stream.signals import Signals
from gln.bandits import GLNBandit
from gln.engine.types import State
from gln.off_policy import Estimates

NAMES = {"logged": "logged reward", "ips": "IPS", "snips": "self-normalised IPS", "dr": "doubly robust"}
# Why rows do not count.
UNKNOWN = "before any arm was known"
BAD = "that could not be read"


def run_log(options: argparse.Namespace, signals: Signals) -> int:
    """Run the command with checked options; returns the exit status."""
    with opened(options.file) as source:
        return LogRun(options, source, signals).all()


class LogRun:
    """The decisions of one source, with a bandit that may exist already."""

    def __init__(self, options: argparse.Namespace, source: BinaryIO, signals: Signals) -> None:
        self._options = options
        self._source = source
        self._signals = signals
        self._inputs = Inputs([options.file], "")
        self._input = self._inputs.current
        self._estimates = Estimates()
        self._left_out = Counter[str]()
        self._start = time.monotonic()
        self._taken = 0  # decisions of this process
        goes_on = bool(options.resume and Path(options.save).exists())
        state: State = {}
        if goes_on or options.load:
            self._bandit = GLNBandit.load(options.save if goes_on else options.load)
        else:
            choices = {} if options.explore is None else {"explore": options.explore}
            rewards = "probabilities" if options.probabilities else "numbers"
            self._bandit = GLNBandit(rewards=rewards, seed=options.seed, **choices)
        if goes_on:
            state = dict(self._bandit.extra)
            if "inputs" not in state:
                raise ValueError(f"--resume: expected a file that gln-bandit saved, got {options.save}")
            self._inputs.resume(state["inputs"])
            self._estimates = Estimates(state["estimates"])
            self._left_out = Counter(state["left_out"])
            say("gln-bandit", f"going on after {self._estimates.rows:,} decisions")
        self._outputs = Outputs(options, self._signals, state)
        self._model = copy.deepcopy(self._bandit) if options.fixed else self._bandit  # what predicts rewards

    def all(self) -> int:
        return self._signals.take_all(self._parts(), self._take, self._end)

    def _parts(self) -> Iterator[list[Logged | BadLine]]:
        """New rows, up to as many as may be judged together, of those that can be read without waiting."""
        lines = Lines(self._source)
        rows = read_decisions(lines, self._options.format, functools.partial(say, "gln-bandit"))
        new: Iterator[Logged | BadLine | None] = (row if row.line > self._input.line else None for row in rows)
        part: list[Logged | BadLine] = lines.gathered(new, self._estimates.block_size)
        while part:
            yield part
            part = lines.gathered(new, self._estimates.block_size)
        self._input.check_length(lines.number)

    def _take(self, rows: list[Logged | BadLine]) -> None:
        """Judge and learn rows, and save now and then."""
        every = self._options.save_every
        before = self._estimates.rows
        for _, block in itertools.groupby(rows, _kind_of):
            self._judge([*block])
        if every and self._estimates.rows // every > before // every:
            self._save()

    def _judge(self, rows: list[Logged | BadLine]) -> None:
        """Judge decisions with the same arms, and then learn them; one by one if one cannot be read or learned."""
        try:
            self._learn(rows)
        except ValueError as error:
            if len(rows) > 1:
                for row in rows:
                    self._judge([row])
                return
            bad = error if isinstance(error, BadLine) else BadLine(rows[0].line, str(error))
            if not self._options.skip_bad:
                raise bad from error
            self._left_out[BAD] += 1
        self._input.line = rows[-1].line

    def _learn(self, rows: list[Any]) -> None:
        if isinstance(rows[0], BadLine):
            raise rows[0]
        first = rows[0].decision
        before = self._estimates.rows
        if first is None:
            self._left_out.update(row.why for row in rows)
            return
        if not (before or first.arms is not None or self._bandit.predict(first.context)):  # there is no policy yet
            self._bandit.learn_log([first])
            self._left_out[UNKNOWN] += 1
            return
        judged = self._estimates.judge([row.decision for row in rows], self._bandit.propensities, self._model)
        self._input.line = rows[-1].line  # before anything that may fail, as it was learned
        for row, p in zip(rows, judged, strict=True):
            if p:
                arm = max(p, key=p.__getitem__)
                values = {"line": row.line, "arm": arm, "propensity": p[arm]}
                self._outputs.add("predictions", values | {"of_logged_arm": p.get(row.decision.arm, 0.0)})
        count = self._estimates.rows
        self._taken += count - before
        if count.bit_length() > before.bit_length():  # 1, 2, 4, 8, ...
            figures = self._estimates.result()
            means = "".join(f"{figures[name].mean:>13.4g}" for name in NAMES)
            if self._taken == 1:
                printed(f"{'decisions':>12}{'logged':>13}{'IPS':>13}{'SNIPS':>13}{'DR':>13}{'decisions/s':>13}")
            printed(f"{count:>12,}{means}{self._taken / self._seconds():>13,.0f}")
            self._outputs.add("metrics", {"event": "progress", **figures, "seconds": self._seconds()})
        self._outputs.flush()

    def _seconds(self) -> float:
        return max(time.monotonic() - self._start, 1e-9)

    def _save(self) -> None:
        state = self._outputs.state() | {"inputs": self._inputs.state()}
        state |= {"estimates": self._estimates.state(), "left_out": dict(self._left_out)}
        self._bandit.save(self._options.save, state)

    def _end(self, why: str) -> None:
        if self._options.save:
            self._save()
            why += why and f"; saved, and --resume continues from there: {self._options.save}"
        if self._estimates.rows:
            figures = self._estimates.result()
            print("\n".join(self._report(figures)))
            self._outputs.add("metrics", {"event": "end", **figures, "seconds": self._seconds()})
        elif not why:
            why = "expected one or more decisions that a policy can have chosen, got none"
        if why:
            say("gln-bandit", why)
        self._outputs.close()

    def _report(self, figures: State) -> list[str]:
        counts = {"that no policy can have chosen": figures["impossible_rows"], **self._left_out}
        left_out = [f"{count:,} {why}" for why, count in counts.items() if count]
        speed = f"; {self._taken:,} in {self._seconds():.1f} s"
        lines = [f"{figures['rows']:,} decisions{'; left out: ' if left_out else ''}{', '.join(left_out)}{speed}"]
        for key, name in {**NAMES, "weight": "weight, about 1"}.items():
            mean, error = figures[key]
            lines.append(f"{name:<20} {mean:.4g} +- {1.96 * error:.2g}")
        lines.append(f"largest weight {figures['largest_weight']:.4g}, effective rows {figures['effective_rows']:,.0f}")
        return lines


def _kind_of(row: Logged | BadLine) -> object:
    """What rows that are judged together have in common."""
    return BadLine if isinstance(row, BadLine) else row.decision and [row.decision.arms]
