"""A text output that a run which goes on continues where the run before was saved."""

from __future__ import annotations

import os
import stat
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

__all__ = ["Output"]

BLOCK = 1 << 20  # bytes that are checked at once


class Written(NamedTuple):
    """What was written to a file for good, and the text that comes next."""

    bytes: int = 0
    crc32: int | None = 0  # None in a model of an earlier version
    unwritten: str = ""


class Output:
    """A file, a pipe or standard output."""

    def __init__(self, option: str, name: str, saved: Mapping[str, Any] | None = None, goes_on: bool = False) -> None:
        """`saved` is the `state` of the run that goes on, None if it wrote no file; messages begin with `option`.

        Raises OSError if the file cannot be written, and ValueError if it is not the one of that run.
        """
        kept = goes_on and name != "-" and (saved is not None or Path(name).is_file())
        self.name, self._option, self._written = name, option, Written(**(kept and saved) or {})
        if kept:
            self._check(saved)
        self._file: BinaryIO = sys.stdout.buffer if name == "-" else open(name, "r+b" if kept else "wb", buffering=0)  # noqa: SIM115
        self._is_file = name != "-" and stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
        if self._is_file:
            self._file.truncate(self._written.bytes)
            self._file.seek(self._written.bytes)
        self.flush()

    def _check(self, saved: Mapping[str, Any] | None) -> None:
        """Raise ValueError if the file does not begin with what was written, or holds anything if that was no file."""
        left, crc32 = self._written.bytes, 0
        with open(self.name, "rb") as file:
            while left and (block := file.read(min(left, BLOCK))):
                left, crc32 = left - len(block), zlib.crc32(block, crc32)
            if saved is None and file.read(1):
                raise ValueError(f"{self._option}: expected a new file, as the saved run wrote none, got {self.name}")
        if left or self._written.crc32 not in (None, crc32):
            raise ValueError(f"{self._option}: expected the file of the saved run, got another one: {self.name}")
        self._written = self._written._replace(crc32=crc32)

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been written or added."""
        return not (self._written.bytes or self._written.unwritten)

    def add(self, text: str) -> None:
        """Add text, which `flush` writes."""
        self._written = self._written._replace(unwritten=self._written.unwritten + text)

    def flush(self) -> None:
        """Write what was added; if an error or a signal ends this, it stays unwritten in the `state`."""
        done, data = self._written, self._written.unwritten.encode()
        rest = data
        try:
            while rest:  # not by Python's buffer, which would write once more when Python ends
                rest = rest[os.write(self._file.fileno(), rest) :]
        except OSError as error:
            error.filename = self.name
            raise
        self._written = Written(done.bytes + len(data), zlib.crc32(data, done.crc32 or 0))

    def state(self) -> dict[str, Any] | None:
        """What to save, so that a run can go on; None if this is no file."""
        if not self._is_file:
            return None
        os.fsync(self._file.fileno())
        return self._written._asdict()

    def close(self) -> None:
        if self.name != "-":
            self._file.close()
