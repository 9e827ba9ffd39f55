"""A run of `gln-stream`: reads chunks, predicts and learns them and saves."""

from __future__ import annotations

import argparse
import bisect
import gc
import math
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pandas as pd

from gln.stream.formats.chunks import Chunk, unit_of
from gln.stream.formats.column_types import ids_in
from gln.stream.formats.lines import BadLine
from gln.stream.formats.reader import LABELLED, form_of, opened
from gln.stream.head import Head
from gln.stream.learning import are_labels, kind_of, loaded, made, predict_then_learn, samples_of, taught
from gln.stream.predictions import is_json
from gln.stream.report import Report, say
from gln.stream.signals import Signals, Stopped

__all__ = ["run"]

CLOSED_PIPE = 128 + 13  # the status of programs that SIGPIPE ends
PATIENCE = 1.0  # seconds in which a part of a chunk should be learned, as a signal waits so long
LEAST = 16  # samples in a part; fewer take nearly as long


def run(options: argparse.Namespace) -> int:
    """Run the command with checked options; returns the exit status."""
    gc.collect()
    gc.freeze()  # imported modules stay: going through them again and again takes a sixth of the time
    try:
        with opened(options.file) as source:
            return Run(options, source, options.format or form_of(options.file)).all()
    except BrokenPipeError:  # nobody reads what is printed, not even after saving
        return CLOSED_PIPE


class Run:
    """Samples of one source, with a model that may exist already."""

    _report: Report  # there is one as soon as there is a model

    def __init__(self, options: argparse.Namespace, source: Any, form: str) -> None:
        self._options, self._form = options, form
        if options.probabilities and not (options.predict_only or is_json(options.predictions, form)):
            expected = "JSON lines (a .jsonl file, or - with --format jsonl), as classes may appear while it learns"
            raise ValueError(f"--probabilities: expected {expected}, got {options.predictions}")
        self._source, self._is_file = source, stat.S_ISREG(os.fstat(source.fileno()).st_mode)
        self._head = Head(source if self._is_file else None, form)
        self._signals = Signals()
        self._target: str | None = options.target
        self._line = 0  # the last one that was counted
        self._met = 0  # the last one with a sample or a bad one, counted or not
        self._bad: list[int] = []  # the bad lines after it, so far
        self._most = LEAST  # samples in a part of a chunk
        self._model: Any = None
        if options.resume and Path(options.save).exists():
            self._load(options.save, goes_on=True)
        elif options.load:
            self._load(options.load, goes_on=False)

    def _load(self, path: str, goes_on: bool) -> None:
        """Begin with a saved model, and perhaps where its run was saved."""
        options, model = self._options, loaded(path, self._options)
        state: dict[str, Any] = dict(model.extra)  # what that run says of itself, empty if it was none
        given, saved = options.target, state.get("target")
        if goes_on:
            self._check_run(state)
        if given in model.known_names:
            raise ValueError(f"--target: expected another name than the features of {path}, got {given!r}")
        if not (given or options.predict_only or self._form in LABELLED):
            self._target = saved
        self._begin(model, state if goes_on else {})
        if goes_on:
            self._line = state["line"] if self._is_file else 0  # what comes from a pipe now was not read before
            say(f"going on after {state['figures']['samples']:,} samples")

    def _check_run(self, state: dict[str, Any]) -> None:
        """Raise ValueError if the saved run had another target, or another input, whose lines would be skipped."""
        options = self._options
        if not state:
            raise ValueError(f"--resume: expected a model that gln-stream saved, got another one: {options.save}")
        if None not in (options.target, state["target"]) and options.target != state["target"]:
            raise ValueError(f"--target: expected {state['target']!r}, as in {options.save}, got {options.target!r}")
        if not self._head.is_as(state["input"]):
            expected = "the file from which the saved run learned, or a pipe if that was one"
            advice = f"--load {options.save} without --resume goes on learning from it"
            raise ValueError(f"--resume: expected {expected}, got another input: {options.file} ({advice})")

    def _begin(self, model: Any, state: dict[str, Any]) -> None:
        self._report = Report(self._options, self._signals, *kind_of(model), state)
        self._model = model

    # ---- The run -----------------------------------------------------------------------------------------------------

    def all(self) -> int:
        """Take all chunks; returns the exit status."""
        status, why = 0, ""
        with self._signals.handled():
            try:
                for chunk in self._signals.each(self._chunks()):
                    self._take(chunk)
                if not self._signals.received:
                    self._count_skipped()
                    self._check_length()
            except Stopped:  # while predictions were written
                pass
            except BadLine as bad:
                status, why = 2, str(bad)
            except BrokenPipeError:
                status = CLOSED_PIPE
            except OSError as error:
                status, why = 2, str(error)
            if number := self._signals.received:
                status, why = 128 + number, f"ended by {signal.Signals(number).name}"
            self._end(why)
        return status

    def _chunks(self) -> Iterator[Chunk]:
        """All chunks; those before the first target wait for it, as it tells whether to learn classes or numbers."""
        options, waiting = self._options, []
        skip = self._skip if options.skip_bad else None
        for chunk in samples_of(self._source, self._form, options, self._target, self._model, skip):
            if self._target is None and not options.predict_only and chunk.form not in LABELLED:
                raise ValueError("--target: expected the name of what to predict, got none")
            for note in chunk.notes:
                say(note)
            waiting.append(chunk)
            if self._model is not None or self._decide(chunk):
                yield from waiting
                waiting.clear()
        if count := sum(len(chunk.lines) for chunk in waiting):
            raise ValueError(f"expected a target in at least one sample, got {count:,} samples without")

    def _take(self, chunk: Chunk) -> None:
        """Predict and learn the lines of a chunk that were not learned before, and save the model now and then."""
        every, taken = self._options.save_every, self._report.progress.taken
        self._met = max(self._met, chunk.lines[-1])
        for part in self._parts(chunk.part(slice(bisect.bisect_right(chunk.lines, self._line), None))):
            self._learn(part)
            self._count_skipped(part.lines[-1])
        if every and self._report.progress.taken // every > taken // every:
            self._save()

    def _parts(self, chunk: Chunk) -> Iterator[Chunk]:
        """Parts of a chunk up to a signal, which does not wait long for the next one."""
        while chunk.lines and not self._signals.received:
            part, chunk, before = chunk.part(slice(self._most)), chunk.part(slice(self._most, None)), monotonic()
            yield part
            took = max(monotonic() - before, 1e-3)
            self._most = max(LEAST, int(len(part.lines) * PATIENCE / took))

    def _learn(self, part: Chunk) -> None:
        """Predict and learn samples, but those that are held out, and write their predictions."""

        def learn(samples: Chunk) -> pd.DataFrame:
            is_frozen = self._options.predict_only
            targets = [None] * len(samples.targets) if is_frozen else self._report.learned(samples.targets)
            return predict_then_learn(self._model, samples, targets)

        for predicted, samples in taught(part, learn, self._skip):
            lines = self._report.count(predicted, samples)
            self._line = samples.lines[-1]  # before anything that may fail, as these samples were learned
            self._report.write(lines, predicted, samples)

    def _decide(self, chunk: Chunk) -> bool:
        """Make a model for what the first targets look like; returns False if neither they nor an option tell."""
        options, known = self._options, [target for target in chunk.targets if target is not None]
        if not known and not options.regression and self._target not in options.strings:
            return False
        are_classes = not options.regression and are_labels(known)
        self._begin(made(options, are_classes), {})
        if known and not options.regression:
            name, seen = self._target or "the target", known[0]
            other = "--regression learns numbers" if are_classes else f"--strings {name} learns classes"
            kind = "classes" if are_classes else "numbers"
            say(f"learning {kind}, since {name} begins with {seen!r}\n    ({other})")
        ids = [] if chunk.form in LABELLED else ids_in(chunk.rows)
        if listed := ",".join(name for name in ids if name not in options.numbers):
            say(f"{listed}: read as numbers, but named like ids\n    (--strings {listed} reads categories)")
        return True

    def _skip(self, bad: BadLine) -> None:
        """Leave a bad line out, and count it with the samples around it."""
        if not self._options.skip_bad:
            raise bad
        self._met = max(self._met, bad.line)
        if bad.line > self._line:  # otherwise it was counted before the run went on
            if not self._bad and (self._model is None or not self._report.progress.skipped):
                say(f"leaving out {bad}")
            self._bad.append(bad.line)

    def _count_skipped(self, last: float = math.inf) -> None:
        """Count the bad lines up to the last line that was learned; those after it may be read again."""
        if self._model is not None:
            counted = [line for line in self._bad if line <= last]
            self._bad = [line for line in self._bad if line > last]
            self._report.progress.skipped += len(counted)
            self._line = max([self._line, *counted])

    def _check_length(self) -> None:
        """Raise ValueError if the input has ended before the lines that were learned."""
        if self._met < self._line:
            expected = f"a file of at least {self._line:,} {unit_of(self._form)}s, as the saved run learned from"
            raise ValueError(f"--resume: expected {expected}, got a shorter one: {self._options.file}")

    # ---- The end -----------------------------------------------------------------------------------------------------

    def _end(self, why: str) -> None:
        """Save and print all that there is."""
        saved = self._save()
        if why and saved:
            why += f"; saved, and --resume continues from there: {self._options.save}"
        if self._model is not None:
            self._report.end(why)
        elif why:
            say(why)

    def _save(self) -> bool:
        """Save the model and how far the run is, in one file; returns False if there is nothing to save."""
        if self._options.save is None or self._model is None:
            return False
        place = {"line": self._line if self._is_file else 0, "input": self._head.state(self._line)}
        state = {**place, "target": self._target, **self._report.state()}
        self._model.save(self._options.save, state)
        return True
