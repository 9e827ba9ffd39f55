"""A run of `gln-bandit`: reads decisions, judges and learns them, and saves."""

from __future__ import annotations

import argparse
import copy
import functools
import gc
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from gln.bandit_logs.formats import Logged, read_decisions
from gln.bandits import GLNBandit, LoggedDecision
from gln.off_policy import Estimates
from gln.stream.formats.lines import BadLine
from gln.stream.formats.reader import opened
from gln.stream.inputs import Inputs
from gln.stream.output import Outputs, printed, say
from gln.stream.signals import Interruptible

NAMES = {"logged": "logged reward", "ips": "IPS", "snips": "self-normalised IPS", "dr": "doubly robust"}
UNKNOWN, BAD = "before any arm was known", "that could not be read"  # why rows do not count


def run(options: argparse.Namespace) -> int:
    """Run the command with checked options; returns the exit status."""
    gc.collect()
    gc.freeze()  # imported modules stay
    with opened(options.file) as source:
        return Run(options, source).all()


class Run(Interruptible):
    """The decisions of one source, with a bandit that may exist already."""

    def __init__(self, options: argparse.Namespace, source: BinaryIO) -> None:
        super().__init__()
        self._options, self._source, self._inputs = options, source, Inputs([options.file], "")
        self._estimates, self._left_out = Estimates(), Counter[str]()
        self._line, self._start, self._taken = 0, time.monotonic(), 0  # the last line; decisions of this process
        goes_on = bool(options.resume and Path(options.save).exists())
        state: dict[str, Any] = {}
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
            self._estimates, self._left_out = Estimates(state["estimates"]), Counter(state["left_out"])
            self._line = self._inputs.current.line
            say("gln-bandit", f"going on after {self._estimates.rows:,} decisions")
        self._outputs = Outputs(options, self._signals, state)
        self._model = copy.deepcopy(self._bandit) if options.fixed else self._bandit  # what predicts rewards
        self._knows_arms = bool(self._estimates.rows)

    def _parts(self) -> Iterator[Logged | BadLine]:
        rows = read_decisions(self._source, self._options.format, functools.partial(say, "gln-bandit"))
        for row in rows:
            self._inputs.current.met = row.line
            if row.line > self._line:
                yield row
        self._inputs.current.check_length()

    def _take(self, row: Logged | BadLine) -> None:
        """Judge the decision of a row and learn its reward, and save now and then."""
        options, rows = self._options, self._estimates.rows
        try:
            if isinstance(row, BadLine):
                raise row
            if row.decision is None:
                self._left_out[row.why] += 1
            else:
                self._learn(row.line, row.decision)
        except ValueError as error:
            bad = error if isinstance(error, BadLine) else BadLine(row.line, str(error))
            if not options.skip_bad:
                raise bad from error
            self._left_out[BAD] += 1
        self._line = row.line
        if options.save_every and self._estimates.rows // options.save_every > rows // options.save_every:
            self._save()

    def _learn(self, line: int, decision: LoggedDecision) -> None:
        self._knows_arms = self._knows_arms or decision.arms is not None or bool(self._bandit.predict(decision.context))
        if not self._knows_arms:  # there is no policy yet
            self._bandit.learn_log([decision])
            self._left_out[UNKNOWN] += 1
            return
        p = self._estimates.judge(decision, self._bandit.propensities, self._model)
        self._line = line  # before anything that may fail, as it was learned
        if not p:
            return
        rows, self._taken = self._estimates.rows, self._taken + 1
        arm = max(p, key=p.__getitem__)
        found = {"line": line, "arm": arm, "propensity": p[arm], "of_logged_arm": p.get(decision.arm, 0.0)}
        self._outputs.add("predictions", found)
        if rows & (rows - 1) == 0:  # 1, 2, 4, 8, ...
            figures = self._estimates.result()
            means = "".join(f"{figures[name].mean:>13.4g}" for name in NAMES)
            if self._taken == 1:
                printed(f"{'decisions':>12}{'logged':>13}{'IPS':>13}{'SNIPS':>13}{'DR':>13}{'decisions/s':>13}")
            printed(f"{rows:>12,}{means}{self._taken / self._seconds():>13,.0f}")
            self._outputs.add("metrics", {"event": "progress", **_values(figures), "seconds": self._seconds()})
        self._outputs.flush()

    def _seconds(self) -> float:
        return max(time.monotonic() - self._start, 1e-9)

    def _save(self) -> None:
        self._inputs.current.line = self._line
        place = {"inputs": self._inputs.state()}
        figures = {"estimates": self._estimates.state(), "left_out": dict(self._left_out)}
        self._bandit.save(self._options.save, {**self._outputs.state(), **place, **figures})

    def _end(self, why: str) -> None:
        """Save and print all that there is."""
        if self._options.save:
            self._save()
            why += why and f"; saved, and --resume continues from there: {self._options.save}"
        if self._estimates.rows:
            figures = self._estimates.result()
            print("\n".join(self._report(figures)))
            self._outputs.add("metrics", {"event": "end", **_values(figures), "seconds": self._seconds()})
        elif not why:
            why = "expected one or more decisions that a policy can have chosen, got none"
        if why:
            say("gln-bandit", why)
        self._outputs.close()

    def _report(self, found: dict[str, Any]) -> list[str]:
        counts = {"that no policy can have chosen": found["impossible_rows"], **self._left_out}
        left_out = [f"{count:,} {why}" for why, count in counts.items() if count]
        speed = f"; {self._taken:,} in {self._seconds():.1f} s"
        lines = [f"{found['rows']:,} decisions{'; left out: ' if left_out else ''}{', '.join(left_out)}{speed}"]
        for key, name in {**NAMES, "weight": "weight, about 1"}.items():
            mean, error = found[key]
            lines.append(f"{name:<20} {mean:.4g} +- {1.96 * error:.2g}")
        lines.append(f"largest weight {found['largest_weight']:.4g}, effective rows {found['effective_rows']:,.0f}")
        return lines


def _values(found: dict[str, Any]) -> dict[str, Any]:
    """Estimates as JSON has them: each mean, and its standard error."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}
