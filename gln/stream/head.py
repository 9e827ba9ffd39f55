"""The beginning of the input, by which a run that goes on recognises it."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Mapping
from typing import BinaryIO

from gln.stream.formats.chunks import TYPED

__all__ = ["Head"]

LENGTH = 1 << 20  # bytes that are compared


class Head:
    """The first bytes of a file, or its first rows if it has no lines. A pipe has none, since what comes from it is
    always new."""

    def __init__(self, source: BinaryIO | None, form: str) -> None:
        """Reads from a file, which is then where it was before; None for a pipe."""
        self._bytes = None if source is None else _beginning(source, form)

    def state(self, line: int) -> dict[str, int] | None:
        """What to save when so many lines were learned. Later ones may still change, such as a bad one."""
        return None if self._bytes is None else _checksum(b"\n".join(self._bytes.split(b"\n", line)[:line]))

    def is_as(self, saved: Mapping[str, int] | None) -> bool:
        """Whether the input begins as the one with this `state`."""
        if saved is None or self._bytes is None:
            return saved is self._bytes
        return saved == _checksum(self._bytes[: saved["bytes"]])


def _beginning(source: BinaryIO, form: str) -> bytes:
    start, head = source.tell(), b""
    if form in TYPED:
        from gln.stream.formats.arrow import first_rows  # optional

        head = first_rows(source, form)
    else:
        with contextlib.suppress(EOFError, OSError, zlib.error):  # which `Lines` will meet again
            while len(head) < LENGTH and (block := source.read1(LENGTH)):  # type: ignore[attr-defined]
                head += block
    source.seek(start)
    return head[:LENGTH]


def _checksum(head: bytes) -> dict[str, int]:
    return {"bytes": len(head), "crc32": zlib.crc32(head)}
