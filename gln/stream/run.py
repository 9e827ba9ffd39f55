"""A run of `gln-stream`: reads chunks, predicts and learns them, prints figures, writes predictions, and saves."""

from __future__ import annotations

import argparse
import bisect
import gc
import math
import os
import re
import signal
import stat
import sys
import warnings
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pandas as pd

from gln.river import GLNClassifier
from gln.stream.chunks import Chunk, unit_of
from gln.stream.figures import POINTS, Figures
from gln.stream.formats import LABELLED, form_of, opened, read
from gln.stream.head import Head
from gln.stream.kinds import ids_in
from gln.stream.learning import are_labels, loaded, made, taught
from gln.stream.lines import BadLine
from gln.stream.predictions import Predictions
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
        with opened(options.file) as source, warnings.catch_warnings():
            for name in options.strings:  # which are text on purpose, even if it reads as numbers
                warnings.filterwarnings("ignore", re.escape(f"x[{name!r}] is text"))
            return Run(options, source, options.format or form_of(options.file)).all()
    except BrokenPipeError:  # nobody reads what is printed, not even after saving
        return CLOSED_PIPE


class Run:
    """Samples of one source, with a model that may exist already."""

    def __init__(self, options: argparse.Namespace, source: Any, form: str) -> None:
        self._options, self._source, self._form = options, source, form
        self._is_file = stat.S_ISREG(os.fstat(source.fileno()).st_mode)
        self._head = Head(source if self._is_file else None, form)
        self._signals, self._bar = Signals(), _progress(source) if self._is_file else None
        self._line = 0  # the last one that was counted
        self._bad: list[int] = []  # the bad lines after it, so far
        self._met = 0  # the last line with a sample or a bad one, counted or not
        self._most = LEAST  # samples in a part of a chunk
        self._recent: deque[tuple[float, list[float]]] = deque(maxlen=POINTS // 2)  # numbers, and what was predicted
        self._model: Any = None
        self._figures: Figures | None = None
        state = self._resumed()
        if options.load:
            self._begin(loaded(options.load, options))
        self._predictions: Predictions | None = None
        if options.predictions is not None:
            self._predictions = Predictions(options.predictions, state.get("predictions"), bool(state))
        if state:
            self._say(f"going on after {state['figures']['samples']:,} samples")

    def _resumed(self) -> dict[str, Any]:
        """What the model's file says about the run to continue; empty if there is none."""
        options = self._options
        if not (options.resume and Path(options.save).exists()):
            return {}
        model = loaded(options.save, options)
        if not (state := vars(model).get("extra")):
            raise ValueError(f"--resume: expected a model that gln-stream saved, got another one: {options.save}")
        self._check_input(state)
        if isinstance(written := state["predictions"], int):  # of an earlier version
            state["predictions"] = {"bytes": written, "crc32": None}
        self._begin(model).resume(state["figures"])
        self._line = state["line"] if self._is_file else 0  # what comes from a pipe now was not read before
        return state

    def _check_input(self, state: dict[str, Any]) -> None:
        """Raise ValueError if the saved run learned from another input, whose lines would be skipped."""
        try:
            if "input" in state:  # otherwise an earlier version saved it
                self._head.check(state["input"])
        except ValueError as error:
            advice = f"--load {self._options.save} without --resume goes on learning from it"
            raise ValueError(f"--resume: {error}: {self._options.file} ({advice})") from None

    def _begin(self, model: Any) -> Figures:
        vars(model).pop("extra", None)
        self._model, are_classes = model, isinstance(model, GLNClassifier)
        self._figures = Figures(are_classes, not are_classes and len(model.quantiles or ()) > 1)
        return self._figures

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

    def _check_length(self) -> None:
        """Raise ValueError if the input has ended before the lines that were learned."""
        if self._met < self._line:
            expected = f"a file of at least {self._line:,} {unit_of(self._form)}s, as the saved run learned from"
            raise ValueError(f"--resume: expected {expected}, got a shorter one: {self._options.file}")

    def _chunks(self) -> Iterator[Chunk]:
        """All chunks; those before the first target wait for it, as it tells whether to learn classes or numbers."""
        waiting: list[Chunk] = []
        for chunk in self._read():
            if self._options.target is None and not self._options.predict_only and chunk.form not in LABELLED:
                raise ValueError("--target: expected the name of what to predict, got none")
            for note in chunk.notes:
                self._say(note)
            waiting.append(chunk)
            if self._model is not None or self._decide(chunk):
                yield from waiting
                waiting.clear()
        if count := sum(len(each.lines) for each in waiting):
            raise ValueError(f"expected a target in at least one sample, got {count:,} samples without")

    def _read(self) -> Iterator[Chunk]:
        """The chunks of the source."""
        options, model = self._options, self._model
        names = {} if model is None else {n: text for n, text in model.known_names.items() if isinstance(n, str)}
        if isinstance(model, GLNClassifier) and options.target is not None:  # "1" and 1 would be two classes
            for label in model.predict_proba_one({}):
                names[options.target] = isinstance(label, str)
        lists = {
            "strings": options.strings,
            "numbers": options.numbers,
            "words": options.words,
            "ignore": options.ignore,
        }
        skip = self._skip if options.skip_bad else None
        return read(self._source, self._form, target=options.target, known=names, skip_bad=skip, **lists)

    def _take(self, chunk: Chunk) -> None:
        """Predict and learn a chunk, and all that follows from it."""
        options, before = self._options, 0 if self._figures is None else self._figures.samples
        self._met = max(self._met, chunk.lines[-1])
        if done := bisect.bisect_right(chunk.lines, self._line):
            chunk = chunk.part(slice(done, None))
        for part in self._parts(chunk):
            for predicted, own in taught(self._model, part, not options.predict_only, self._refused):
                self._report(predicted, own)
            self._count_skipped(part.lines[-1])
        assert self._figures is not None
        if options.save_every and self._figures.samples // options.save_every > before // options.save_every:
            self._save()
        if self._bar is not None:
            self._bar.update(os.lseek(self._source.fileno(), 0, os.SEEK_CUR) - self._bar.n)

    def _parts(self, chunk: Chunk) -> Iterator[Chunk]:
        """Parts of a chunk up to a signal, which does not wait long for the next one."""
        while chunk.lines and not self._signals.received:
            part, chunk, before = chunk.part(slice(self._most)), chunk.part(slice(self._most, None)), monotonic()
            yield part
            took = monotonic() - before
            if took > PATIENCE:
                self._most = max(LEAST, self._most // 2)
            elif took < PATIENCE / 2 and len(part.lines) == self._most:
                self._most *= 2

    def _decide(self, chunk: Chunk) -> bool:
        """Make a model for what the first targets look like; returns False if neither they nor an option tell."""
        options, known = self._options, [target for target in chunk.targets if target is not None]
        if not known and not options.regression and options.target not in options.strings:
            return False
        are_classes = not options.regression and are_labels(known)
        self._begin(made(options, are_classes))
        if known and not options.regression:
            name, seen = options.target or "the target", known[0]
            other = "--regression learns numbers" if are_classes else f"--strings {name} learns classes"
            kind = "classes" if are_classes else "numbers"
            self._say(f"learning {kind}, since {name} begins with {seen!r}\n    ({other})")
        ids = [] if chunk.form in LABELLED else ids_in(chunk.rows)
        if listed := ",".join(name for name in ids if name not in options.numbers):
            self._say(f"{listed}: read as numbers, but named like ids\n    (--strings {listed} reads categories)")
        return True

    def _refused(self, bad: BadLine) -> None:
        """The model does not take a sample."""
        if not self._options.skip_bad:
            raise bad
        self._skip(bad)

    def _report(self, predicted: pd.DataFrame, chunk: Chunk) -> None:
        """Count and write the predictions for samples."""
        assert self._figures is not None
        lines = list(self._figures.count(predicted, chunk.targets, chunk.weights))
        self._line = chunk.lines[-1]  # before anything that may fail, as these samples were learned
        if self._figures.intervals and self._options.plot:
            rows = zip(chunk.targets, predicted.to_numpy().tolist(), strict=True)
            self._recent.extend(row for row in rows if row[0] is not None)
        if self._predictions is not None:
            self._predictions.add(predicted, self._figures.are_classes, chunk)
            self._signals.waiting(self._predictions.flush)
        for line in lines:
            self._print(line)

    def _skip(self, bad: BadLine) -> None:
        """Leave a bad line out, and count it with the samples around it."""
        self._met = max(self._met, bad.line)
        if bad.line > self._line:  # otherwise it was counted before the run went on
            if not self._bad and (self._figures is None or not self._figures.skipped):
                self._say(f"leaving out {bad}")
            self._bad.append(bad.line)

    def _count_skipped(self, last: float = math.inf) -> None:
        """Count the bad lines up to the last line that was learned; those after it may be read again."""
        if self._figures is not None:
            counted = [line for line in self._bad if line <= last]
            self._bad = [line for line in self._bad if line > last]
            self._figures.skipped += len(counted)
            self._line = max([self._line, *counted])

    # ---- The end -----------------------------------------------------------------------------------------------------

    def _end(self, why: str) -> None:
        """Save, draw and print all that there is."""
        saved = self._save()
        if self._predictions is not None:
            self._predictions.close()
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if self._figures is not None:
            self._print(self._figures.summary())
            if self._options.plot:
                from gln.stream.plot import plot

                outer = 1, len(getattr(self._model, "quantiles", None) or ())
                plot(self._figures, list(self._recent), outer).savefig(self._options.plot, dpi=150)
        if why:
            self._say(why + (f"; saved, and --resume continues from there: {saved}" if saved else ""))

    def _save(self) -> str | None:
        """Save the model and how far the run is, in one file; returns its name, or None if there is nothing to save."""
        if self._options.save is None or self._model is None or self._figures is None:
            return None
        written = None if self._predictions is None else self._predictions.state()
        line, head = self._line if self._is_file else 0, self._head.state(self._line)
        self._model.extra = {"line": line, "input": head, "predictions": written, "figures": self._figures.state()}
        self._model.save(self._options.save)
        return self._options.save

    def _say(self, text: str) -> None:
        self._print(f"gln-stream: {text}")

    def _print(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
            return
        try:
            print(text, file=sys.stderr, flush=True)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # for what is printed until Python ends
            raise


def _progress(source: Any) -> Any:
    """A progress bar of the bytes that were read, on a terminal."""
    if not sys.stderr.isatty():
        return None
    from tqdm import tqdm

    return tqdm(total=os.fstat(source.fileno()).st_size, unit="B", unit_scale=True, leave=False)
