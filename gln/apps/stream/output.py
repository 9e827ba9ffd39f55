"""Text outputs that a run which goes on continues where the run before was saved, and messages."""

from __future__ import annotations

import argparse
import json
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from gln.apps.stream.formats.lines import escaped
from gln.apps.stream.signals import Signals

if TYPE_CHECKING:
    from gln.engine.types import State  # imports NumPy, which `--help` need not wait for


class Written(NamedTuple):
    """What was written to a file for good, and the text that comes next."""

    bytes: int = 0
    unwritten: str = ""


class Output:
    """A file, a pipe or standard output."""

    def __init__(self, option: str, name: str, saved: State | None = None, goes_on: bool = False) -> None:
        """`saved` is the `state` of the run that goes on, None if it wrote no file; messages begin with `option`.

        Raises OSError if the file cannot be written, and ValueError if it is not the one of that run.
        """
        kept = goes_on and name != "-" and (saved is not None or Path(name).is_file())
        self.name = name
        self._written = Written(**(saved or {})) if kept else Written()
        size = Path(name).stat().st_size if kept else 0
        if size < self._written.bytes or (saved is None and size):
            expected = "a new file, as the saved run wrote none" if saved is None else "the file of the saved run"
            raise ValueError(f"{option}: expected {expected}, got another one: {name}")
        self._file: BinaryIO = sys.stdout.buffer if name == "-" else open(name, "r+b" if kept else "wb", buffering=0)  # noqa: SIM115
        self._is_file = name != "-" and stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
        if self._is_file:
            self._file.truncate(self._written.bytes)
            self._file.seek(self._written.bytes)
        self.flush()

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been written or added."""
        return not (self._written.bytes or self._written.unwritten)

    def add(self, text: str) -> None:
        """Add text, which `flush` writes."""
        self._written = self._written._replace(unwritten=self._written.unwritten + text)

    def flush(self) -> None:
        """Write what was added; if an error or a signal ends this, it stays unwritten in the `state`."""
        done = self._written
        data = self._written.unwritten.encode()
        rest = data
        try:
            while rest:  # not by Python's buffer, which would write once more when Python ends
                rest = rest[os.write(self._file.fileno(), rest) :]
        except OSError as error:
            error.filename = self.name
            raise
        self._written = Written(done.bytes + len(data))

    def state(self) -> State | None:
        """What to save, so that a run can go on; None if this is no file."""
        if not self._is_file:
            return None
        os.fsync(self._file.fileno())
        return self._written._asdict()

    def close(self) -> None:
        if self.name != "-":
            self._file.close()


class Outputs(dict[str, Output]):
    """Those that the options `--predictions` and `--metrics` name, if any."""

    def __init__(self, options: argparse.Namespace, signals: Signals, saved: State) -> None:
        """`saved` has the `state` of the run that goes on, otherwise it is empty. Raises errors as `Output`."""
        super().__init__()
        self._signals = signals
        for name in ("predictions", "metrics"):
            file = getattr(options, name)
            if file is not None:
                self[name] = Output(f"--{name}", file, saved.get(name), bool(saved))

    def add(self, name: str, values: Mapping[str, object]) -> None:
        """Add a line of JSON, if there is such an output."""
        if name in self:
            self[name].add(json.dumps(values) + "\n")

    def flush(self) -> None:
        """Write what was added, until a signal comes."""
        for output in self.values():
            self._signals.waiting(output.flush)

    def state(self) -> State:
        return {"predictions": None, "metrics": None, **{name: output.state() for name, output in self.items()}}

    def close(self) -> None:
        if "metrics" in self:
            self["metrics"].flush()  # not predictions, which were flushed, or could not be
        for output in self.values():
            output.close()


def say(program: str, text: str) -> None:
    """Print a message of a program on standard error."""
    printed(f"{program}: {text}")


def printed(text: str) -> None:
    try:
        print(escaped(text), file=sys.stderr, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # for what is printed until Python ends
        raise
