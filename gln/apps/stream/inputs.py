"""The files of a run, in their order, and how far each has been learned."""

from __future__ import annotations

import dataclasses
import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from gln.apps.stream.formats.chunks import unit_of
from gln.apps.stream.formats.lines import BadLine
from gln.apps.stream.formats.reader import file_format
from gln.engine.types import State


@dataclasses.dataclass
class Input:
    """A file or a pipe."""

    name: str  # or - for standard input
    form: str
    key: str | None  # by which a run that goes on knows it; None for a pipe, whose lines are always new
    line: int = 0  # the last one that was counted
    size: int | None = None  # bytes, if it was learned to its end

    def check_length(self, last: int) -> None:
        """Raise ValueError if its last line is before those that were learned."""
        if last < self.line:
            expected = f"a file of at least {self.line:,} {unit_of(self.form)}s, as the saved run learned from"
            raise ValueError(f"--resume: expected {expected}, got a shorter one: {self.name}")


class Inputs:
    """All of a run."""

    def __init__(self, names: Sequence[str], form: str | None) -> None:
        """None is the format of each name, "" one of lines. Raises OSError if there is none of a name, and ValueError
        for a name whose format is unknown."""
        files = [file for name in names for file in files_of(name)]
        self.all = [Input(name, file_format(name) if form is None else form, _key(name)) for name in files]
        self.current = self.all[0]
        self.are_named = len(files) > 1  # in messages of bad lines
        self._saved: State = {}  # of all files of the run that goes on
        if len({file.key or file.name for file in self.all}) < len(files) or ("-" in files and len(files) > 1):
            raise ValueError(f"expected different files, or standard input alone, got {', '.join(files)}")

    def __iter__(self) -> Iterator[Input]:
        """Those that are to be learned, of which each is the `current` one."""
        for file in self.all:
            if file.size is None:
                self.current = file
                yield file

    def named(self, bad: BadLine, of: Input) -> BadLine:
        """A bad line, perhaps with the name of its file."""
        return BadLine(bad.line, bad.message, f"{of.name}, {unit_of(of.form)}") if self.are_named else bad

    def state(self) -> State:
        """What to save, so that a run can go on: the last file, and of each the last line and the size at its end."""
        files = {file.key: [file.line, file.size] for file in self.all if file.key and (file.line or file.size)}
        return {"file": self.current.key, "files": self._saved | files}

    def resume(self, state: State) -> None:
        """Continue from a `state`. Raises ValueError if its last file is missing, or a file is shorter than before."""
        if state["file"] not in [file.key for file in self.all]:
            expected = "a pipe" if state["file"] is None else f"{state['file']} among the files"
            raise ValueError(f"--resume: expected {expected}, as in the saved run, got {self.all[0].name}")
        self._saved = state["files"]
        for file in self.all:
            file.line, size = self._saved.get(file.key or "", (0, None))
            if size is None:
                continue
            now = _status(file.name).st_size
            if now < size:
                expected = f"a file of at least {size:,} bytes, as the saved run learned from"
                raise ValueError(f"--resume: expected {expected}, got a shorter one: {file.name}")
            if now == size:
                file.size = size


def files_of(name: str) -> list[str]:
    """A file, those of a folder and its folders that end like a format, or those of a pattern such as `day-*.csv`.

    They are in order of their names and the numbers in these: day-2 comes before day-10.
    """
    path = Path(name)
    if path.is_dir():
        paths = [file for file in path.rglob("*") if file.is_file() and _has_form(str(file))]
        is_hidden = re.compile(r"(.*/)?[._]").match  # as Spark's _SUCCESS
        files = [str(file) for file in paths if not is_hidden(file.relative_to(path).as_posix())]
    elif name == "-" or path.exists() or not glob.has_magic(name):
        return [name]
    else:
        files = [file for file in glob.glob(name, recursive=True) if Path(file).is_file()]
    if not files:
        raise ValueError(f"expected a file, or a folder or a pattern with files to read, got {name!r}")
    return sorted(
        files, key=lambda file: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", file)]
    )


def _has_form(name: str) -> bool:
    try:
        return bool(file_format(name))
    except ValueError:
        return False


def _key(name: str) -> str | None:
    if not stat.S_ISREG(_status(name).st_mode):
        return None
    return name if name == "-" else os.path.abspath(name)


def _status(name: str) -> os.stat_result:
    return os.fstat(0) if name == "-" else os.stat(name)
