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

    def check(self, saved: Mapping[str, int] | None) -> None:
        """Raise ValueError if the input does not begin as the one with this `state`."""
        kinds = ["a pipe" if head is None else "a file" for head in (saved, self._bytes)]
        if kinds[0] != kinds[1]:
            raise ValueError(f"expected {kinds[0]}, from which the saved run learned, got {kinds[1]}")
        if saved is not None and self._bytes is not None and saved != _checksum(self._bytes[: saved["bytes"]]):
            raise ValueError("expected the file from which the saved run learned, got one that begins differently")


def _beginning(source: BinaryIO, form: str) -> bytes:
    start, head = source.tell(), b""
    if form in TYPED:
        from gln.stream.formats.arrow import first_rows  # optional

        head = first_rows(source, form)
        source.seek(start)
        return head[:LENGTH]
    with contextlib.suppress(EOFError, OSError, zlib.error):  # which `Lines` will meet again
        while len(head) < LENGTH and (block := source.read1(LENGTH)):  # type: ignore[attr-defined]
            head += block
    source.seek(start)
    return head[:LENGTH]


def _checksum(head: bytes) -> dict[str, int]:
    return {"bytes": len(head), "crc32": zlib.crc32(head)}
