"""A run of `gln-stream`: reads chunks, predicts and learns them and saves."""

from __future__ import annotations

import argparse
import bisect
import dataclasses
import datetime
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pandas as pd
from river.base import Classifier

from gln.apps.stream import learning
from gln.apps.stream.delay_queue import DelayQueue, Late
from gln.apps.stream.formats.chunks import CHUNK, DECIDING, NO_SAMPLES, Chunk, Target, Wanted, unit_of
from gln.apps.stream.formats.column_types import ids_in
from gln.apps.stream.formats.lines import BadLine
from gln.apps.stream.formats.reader import LABELLED, opened, read_chunks
from gln.apps.stream.inputs import Input, Inputs
from gln.apps.stream.metrics import Metrics
from gln.apps.stream.output import Outputs, printed, say
from gln.apps.stream.predictions import is_json, printed_lines
from gln.apps.stream.signals import CLOSED_PIPE, Signals
from gln.engine.streaming.values import NO_COLUMNS
from gln.engine.types import State
from gln.river import GLNRegressor

PATIENCE = 1.0  # seconds in which a part of a chunk should be learned, as a signal waits so long
LEAST = 16  # samples in a part; fewer take nearly as long


# Options of the run that predicts `--test` after another has learned.
TEST_OPTIONS = {
    **{"predict_only": True, "quiet": True},
    **dict.fromkeys(("save", "save_every", "load", "predictions", "metrics", "delay_by", "every"), None),
    **dict.fromkeys(("resume", "explain", "probabilities"), False),
    **dict.fromkeys(("delay", "fit_first"), 0),
}


def run(options: argparse.Namespace, inputs: Inputs, tests: Inputs | None, signals: Signals) -> int:
    """Run the command with checked options; returns the exit status. `tests` are the files of `--test`."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: (
            None if options.quiet else say("gln-stream", f"warning: {message}")
        )
        try:
            return Run(options, inputs, signals, tests).all()
        except BrokenPipeError:  # nobody reads what is printed, not even after saving
            return CLOSED_PIPE


class Run:
    """Samples of some files or a pipe, with a model that may exist already."""

    _metrics: Metrics  # there are these as soon as there is a model
    _outputs: Outputs

    def __init__(
        self, options: argparse.Namespace, inputs: Inputs, signals: Signals, tests: Inputs | None = None
    ) -> None:
        self._options = options
        self._inputs = inputs
        self._tests = tests
        self._test: Run | None = None  # once all is learned
        self._signals = signals
        is_text = not is_json(options.predictions or "", inputs.current.form)
        if is_text and (options.explain or (options.probabilities and not options.predict_only)):
            option, why = (
                ("explain", "") if options.explain else ("probabilities", ", as classes may appear while it learns")
            )
            expected = f"JSON lines (a .jsonl file, or - with --format jsonl){why}"
            raise ValueError(f"--{option}: expected {expected}, got {options.predictions}")
        self._most = LEAST  # samples in a part of a chunk
        self._waiting = DelayQueue(options.delay, options.delay_by)
        self._forms: dict[str, str] = {}  # of columns of numbers with units, how they are printed
        self._model: Any = None  # an `Estimator`, or None before its kind is known
        if options.resume and Path(options.save).exists():
            self._load(options.save, goes_on=True)
        elif options.load:
            self._load(options.load, goes_on=False)

    def _load(self, path: str, goes_on: bool) -> None:
        """Begin with a saved model, and perhaps where its run was saved."""
        options = self._options
        model = learning.loaded(path, self._options)
        state = dict(model.extra)  # what that run says of itself, empty if it was none
        if goes_on:
            self._check_run(state)
        ngrams = state.get("ngrams", options.ngrams)
        if options.ngrams not in (None, ngrams):
            raise ValueError(f"--ngrams: expected {ngrams or 1}, as in {path}, got {options.ngrams}")
        options.ngrams = ngrams
        self._forms = dict(state.get("forms", {}))
        for name in ("target", "weight"):
            given = getattr(options, name)
            if given in model.known_names:
                raise ValueError(f"--{name}: expected another name than the features of {path}, got {given!r}")
            if not (given or options.predict_only or self._inputs.current.form in LABELLED):
                setattr(options, name, state.get(name))
        self._begin(model, state if goes_on else {})
        if not options.predict_only:
            self._waiting.resume(state.get("waiting", ()))
        if goes_on:
            self._say(f"going on after {state['figures']['samples']:,} samples")

    def _check_run(self, state: State) -> None:
        """Know which lines were learned. Raises ValueError if the saved run had another target, or other files."""
        options = self._options
        if "inputs" not in state:
            raise ValueError(f"--resume: expected a model that gln-stream saved, got another one: {options.save}")
        for name in ("target", "weight"):
            given = getattr(options, name)
            if given not in (None, state[name]):
                raise ValueError(f"--{name}: expected {state[name]!r}, as in {options.save}, got {given!r}")
        try:
            self._inputs.resume(state["inputs"])
        except ValueError as error:
            raise ValueError(f"{error} (--load {options.save} without --resume goes on learning from it)") from None

    def _begin(self, model: learning.Estimator, state: State) -> None:
        self._metrics = Metrics.of(model, self._options.every, self._waiting.is_late)
        if state:
            self._metrics.resume(state["figures"])
        self._outputs = Outputs(self._options, self._signals, state)
        self._model = model

    # ---- The run -----------------------------------------------------------------------------------------------------

    def all(self) -> int:
        return self._signals.take_all(self._parts(), self._take, self._end, self._can_end)

    def _can_end(self, error: Exception) -> bool:
        # Others are of options, or of a file that does not go with those before it.
        return isinstance(error, (BadLine, OSError)) or (self._model is not None and self._metrics.taken > 0)

    def _parts(self) -> Iterator[tuple[Input, Chunk]]:
        """All chunks; those before the first target wait for it, as it tells whether to learn classes or numbers."""
        waiting: list[tuple[Input, Chunk]] = []
        most = self._options.save_every or CHUNK  # as it saves after whole parts
        for of in self._inputs:
            for number, chunk in enumerate(self._chunks_of(of)):
                if chunk.lines and not number:
                    self._waiting.check(chunk.rows)
                waiting += [(of, part) for part in chunk.parts(most)]
                if self._model is None:
                    self._start(chunk, waiting, 1 if number else DECIDING)
                if self._model is not None:
                    yield from waiting
                    waiting.clear()
        count = sum(len(chunk.lines) for _, chunk in waiting)
        if count:
            if count < self._options.fit_first:
                raise ValueError(f"--fit-first: expected at most as many samples as there are, {count:,}")
            raise ValueError(f"expected a target in at least one sample, got {count:,} samples without")
        if (self._options.save or self._tests) and not self._options.resume:
            yield self._inputs.current, NO_SAMPLES  # after which all labels have come
        if self._tests is not None:
            self._tests.are_named = True
            self._test = Run(argparse.Namespace(**vars(self._options) | TEST_OPTIONS), self._tests, self._signals)
            self._test._forms = self._forms
            self._test._begin(self._model, {})
            yield from self._test._parts()

    def _chunks_of(self, of: Input) -> Iterator[Chunk]:
        """Those of a file, until it is known to be as long as what was learned of it."""
        options = self._options
        last = 0
        decides = self._model is None and not self._is_told()
        with opened(of.name) as source:
            size = os.fstat(source.fileno()).st_size
            try:
                for chunk in read_chunks(source, of.form, self._wanted(), options.skip_bad, decides=decides):
                    if options.target is None and not options.predict_only and chunk.form not in LABELLED:
                        raise ValueError("--target: expected the name of what to predict, got none")
                    for note in chunk.notes:
                        self._say(note)
                    yield chunk
                    last = max([last, *chunk.lines[-1:], *(bad.line for bad in chunk.bad)])
            except BadLine as bad:
                raise self._inputs.named(bad, of) from None
        of.check_length(last)
        of.size = size

    def _wanted(self) -> Wanted:
        """What to read, with values of the kinds that the model has learned, if there is one."""
        options = self._options
        target = options.target
        model = self._model
        waiting = self._waiting.queue
        names: dict[str, bool] = {}
        if model is not None:
            known = learning.names_in(late.part.rows for late in waiting) | model.known_names
            names = {name: is_text for name, is_text in known.items() if isinstance(name, str)}
        if isinstance(model, Classifier) and target is not None:  # "1" and 1 would be two classes
            labels = [label for late in waiting for label in late.part.targets if label is not None]
            for label in [*labels[:1], *model.predict_proba_one({})]:
                names[target] = isinstance(label, str)
        numbers = options.numbers
        if target is not None and (options.regression or isinstance(model, GLNRegressor)):
            numbers |= {target}
        lists = options.strings, numbers, options.words, options.ignore
        return Wanted(target, *lists, options.weight, known=names, forms=self._forms, ngrams=options.ngrams or 1)

    def _take(self, part: tuple[Input, Chunk]) -> None:
        """Predict and learn the lines of a chunk that were not learned before, and save the model now and then."""
        if self._test is not None:
            self._test._take(part)
            return
        of, chunk = part
        if chunk is NO_SAMPLES:
            self._learn_late(0)
            return
        every = self._options.save_every
        taken = self._metrics.taken
        for few in self._few(chunk.part(slice(bisect.bisect_right(chunk.lines, of.line), None))):
            since = of.line
            self._learn(of, few)
            self._leave_out(of, [bad for bad in chunk.bad if since < bad.line < of.line])
        if not self._signals.received:
            self._leave_out(of, [bad for bad in chunk.bad if bad.line > of.line])
        if every and self._metrics.taken // every > taken // every:
            self._save()

    def _few(self, chunk: Chunk) -> Iterator[Chunk]:
        """Parts of a chunk up to a signal, which does not wait long for the next one."""
        start = 0
        options = self._options
        ends = self._waiting.ends(chunk.rows)
        if options.delay:
            rows = dataclasses.replace(chunk.rows, frame=NO_COLUMNS, dictionaries=chunk.rows.records())
            chunk = chunk._replace(rows=rows)  # of which one is fast
        # One by one if they are explained by what predicts them, or the label of another comes between.
        are_single = options.delay or (options.explain and not options.predict_only)
        while start < len(chunk.lines) and not self._signals.received:
            stop = start + 1 if are_single else min(start + self._most, ends[bisect.bisect(ends, start)])
            part = chunk.part(slice(start, stop))
            before = monotonic()
            start = stop
            yield part
            took = max(monotonic() - before, 1e-3)
            self._most = max(LEAST, int(len(part.lines) * PATIENCE / took))

    def _learn(self, of: Input, part: Chunk) -> None:
        """Predict samples, and learn each one that has a target before the next is predicted, or before these, what
        waited for its label until now. Write predictions.

        Samples that the model refuses are bad lines; so is a target that is no number where numbers are learned, even
        if it is held out.
        """
        waiting = self._waiting
        explanations: list[learning.Explanation] = []
        if waiting.count:
            most = waiting.most(part.rows)
            self._learn_late(most)
            if waiting.count > most:  # a signal came
                return
        try:
            if self._options.explain:
                explanations = learning.explained(self._model, part.rows)
            predicted, earlier = self._predict(part)
        except ValueError as error:
            if len(part.lines) == 1:
                self._leave_out(of, [BadLine(part.lines[0], str(error), unit_of(part.form))])
                return
            for row in range(len(part.lines)):
                self._learn(of, part.part(slice(row, row + 1)))
            return
        lines = self._metrics.advance(predicted, part.targets, part.weights)
        of.line = part.lines[-1]  # before anything that may fail, as these samples were learned
        if waiting.is_late:
            waiting.add(Late(of, part, earlier))
        self._write(predicted, part, explanations)
        for line in lines:
            self._add_metrics("progress", line.values)
        self._outputs.flush()  # all that was added, since an error or a signal may end this
        for line in lines:
            self._print(line.text)

    def _predict(self, part: Chunk) -> tuple[pd.DataFrame, np.ndarray | None]:
        """Predict samples, and what to keep of them if their labels come late; otherwise learn each one, too."""
        if isinstance(self._model, GLNRegressor):
            np.array([math.nan if target is None else target for target in part.targets], np.float64)
        if self._waiting.is_late:
            return self._model.predict_with_models_many(part.rows)
        to_learn = [None] * len(part.lines) if self._options.predict_only else part.targets
        return self._model.predict_learn_many(part.rows, to_learn, part.weights), None

    def _write(self, predicted: pd.DataFrame, part: Chunk, explanations: list[learning.Explanation]) -> None:
        output = self._outputs.get("predictions")
        if output is not None:
            are_classes = self._metrics.are_classes
            output.add(printed_lines(output, predicted, part, explanations, are_classes, self._options.probabilities))

    def _learn_late(self, most: int) -> None:
        """Learn samples whose labels have come, the first ones, until at most so many wait or a signal comes."""
        waiting = self._waiting
        while waiting.count > most and not self._signals.received:
            of, part, earlier = waiting.first(waiting.count - most)
            try:
                learning.learn(self._model, part, earlier)
            except ValueError as error:
                if len(part.lines) > 1:
                    waiting.split()
                    continue
                self._leave_out(of, [BadLine(part.lines[0], str(error), unit_of(part.form))])
            waiting.pop()
            self._metrics.learn(part.targets, part.weights)

    def _is_told(self) -> bool:
        """Whether an option says what is learned."""
        return self._options.regression or self._options.target in self._options.strings

    def _start(self, chunk: Chunk, waiting: Sequence[tuple[Input, Chunk]], most: int) -> None:
        """Make a model, perhaps fitted to the first lines, if enough wait, for what at most so many targets look like;
        or none if neither they nor an option tell."""
        options = self._options
        first = _first(waiting, options.fit_first)
        if sum(len(part.lines) for _, part in first) < options.fit_first:
            return
        parts = [part for _, part in first]
        targets = [target for part in parts for target in part.targets] if first else chunk.targets
        known = [target for target in targets if target is not None][: DECIDING if first else most]
        if not known and not self._is_told():
            return
        are_classes = not options.regression and learning.are_labels(known)
        self._begin(learning.fitted(options, are_classes, parts) if first else learning.made(options, are_classes), {})
        for of, part in first:
            of.line = part.lines[-1]
            self._leave_out(of, [bad for bad in part.bad if bad.line < of.line])
        if known and not options.regression:
            self._say_kind(are_classes, known[0])
        self._say_ids(chunk)

    def _say_ids(self, chunk: Chunk) -> None:
        ids = [] if chunk.form in LABELLED else ids_in(chunk.rows)
        listed = ",".join(name for name in ids if name not in self._options.numbers)
        if listed:
            self._say(f"{listed}: read as numbers, but named like ids\n    (--strings {listed} reads categories)")

    def _say_kind(self, are_classes: bool, first: Target) -> None:
        """Tell what is learned, and which option learns the other kind."""
        name = self._options.target or "the target"
        other = "--regression learns numbers" if are_classes else f"--strings {name} learns classes"
        kind = "classes" if are_classes else "numbers"
        self._say(f"learning {kind}, since {name} begins with {first!r}\n    ({other})")

    def _leave_out(self, of: Input, bad: Sequence[BadLine]) -> None:
        """Count bad lines, or raise the first one."""
        for bad_line in bad:
            if not self._options.skip_bad:
                raise self._inputs.named(bad_line.advised(), of)
            if not self._metrics.skipped:
                self._say(f"leaving out {self._inputs.named(bad_line, of)}")
            self._metrics.skipped += 1
            of.line = max(of.line, bad_line.line)

    def _say(self, text: str) -> None:
        self._print(f"gln-stream: {text}")

    def _print(self, text: str) -> None:
        if not self._options.quiet:
            printed(text)

    def _add_metrics(self, event: str, values: State) -> None:
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        self._outputs.add("metrics", {"event": event, "time": now, **values})

    # ---- The end -----------------------------------------------------------------------------------------------------

    def _end(self, why: str) -> None:
        saved = self._save()
        if why and saved:
            why += f"; saved, and --resume continues from there: {self._options.save}"
        if self._model is not None:
            self._print(self._metrics.summary())
        if self._test is not None and not why:
            self._print(f"test: {self._test._metrics.summary()}")
            self._add_metrics("test", self._test._metrics.totals("test"))
        if why:
            say("gln-stream", why)
        if self._model is not None:
            self._add_metrics("end", self._metrics.totals())
            self._outputs.close()

    def _save(self) -> bool:
        """Save the model and how far the run is, in one file; returns False if there is nothing to save."""
        if self._options.save is None or self._model is None:
            return False
        state = {"inputs": self._inputs.state(), "figures": self._metrics.state()}
        state |= {name: getattr(self._options, name) for name in ("target", "weight", "ngrams")}
        state["forms"] = self._forms
        state |= self._outputs.state() | {"waiting": self._waiting.state(self._model.known_names)}
        self._model.save(self._options.save, state)
        return True


def _first(waiting: Sequence[tuple[Input, Chunk]], count: int) -> list[tuple[Input, Chunk]]:
    """The first so many samples, with the bad lines among them."""
    first = []
    for of, chunk in waiting:
        part = chunk.part(slice(count))
        if part.lines:
            first.append((of, part._replace(bad=chunk.bad)))
        count -= len(part.lines)
    return first
