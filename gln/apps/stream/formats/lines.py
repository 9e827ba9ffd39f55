"""Lines of a file or a pipe, and the message for a bad one."""

from __future__ import annotations

import io
import select
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, TypeVar

BLOCK = 1 << 18  # bytes that are read at once
LONGEST = 1 << 22  # bytes of a line or a record, and about the bytes of lines that are parsed together
TOO_LONG = f"expected at most {LONGEST:,} bytes, got more"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
S = TypeVar("S")
T = TypeVar("T")


class BadLine(ValueError):  # noqa: N818 - it is the line that is bad
    """A line, or a row of a file without lines, that cannot be read. `line` is its number, from 1."""

    def __init__(self, line: int, message: str, unit: str = "line") -> None:
        super().__init__(f"{unit} {line}: {message}")
        self.line = line
        self.message = message
        self._unit = unit

    def advised(self) -> BadLine:
        """With what to do, for one that ends a run."""
        return BadLine(self.line, f"{self.message} (--skip-bad leaves bad {self._unit}s out)", self._unit)


class Lines:
    """Lines without their "\\n". `number` is that of the last line returned."""

    def __init__(self, source: BinaryIO) -> None:
        self.number = 0
        self._source: Any = source
        self._lines: deque[bytes | None] = deque()  # None is a line that is too long
        self._rest: list[bytes] = []  # of a line that has not been read to its end
        self._rest_size = 0  # bytes of it, also of those that were left out as it is too long
        self._size = 0  # bytes of the lines returned
        self._ended = False
        self._failure = ""  # why a compressed file could not be read to its end

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        while not self._lines and not self._ended:
            self._read()
        if not self._lines:
            if not self._failure:
                raise StopIteration
            message = self._failure
            self._failure = ""
            raise BadLine(self.number + 1, message)
        self.number += 1
        line = self._lines.popleft()
        if line is None:
            self._size += LONGEST + 1
            raise BadLine(self.number, TOO_LONG)
        self._size += len(line)
        return line.removeprefix(BYTE_ORDER_MARK) if self.number == 1 else line

    def or_bad(self) -> Iterator[bytes | BadLine]:
        """Lines, and messages for those that cannot be read."""
        while True:
            try:
                yield next(self)
            except StopIteration:
                return
            except BadLine as bad:
                yield bad

    def gathered(
        self, records: Iterator[T | None], most: int, waits: Callable[[T], bool] = lambda first: False
    ) -> list[T]:
        """Records made from the next lines, at most so many: those that can be had without waiting, or else the first
        one that comes; empty at the end. None is left out. If `waits` is true of the first record, it waits for others.
        Those of very long lines are fewer.
        """
        end = self._size + LONGEST
        taken: list[T] = []
        for record in records:
            if record is not None:
                taken.append(record)
            is_full = len(taken) == most or self._size > end
            if taken and (is_full or (self.must_wait() and not waits(taken[0]))):
                break
        return taken

    def at_hand(self, most: int) -> list[bytes]:
        """The next lines, after the first one, that can be had without waiting, at most so many. Very long lines, which
        are fewer, end before one that is too long."""
        self._fill(most)
        taken: list[bytes] = []
        while self._lines and len(taken) < most:
            line = self._lines[0]
            if line is None:
                break
            taken.append(line)
            self._lines.popleft()
        self.number += len(taken)
        return taken

    def texts(self) -> Iterator[Record | BadLine | None]:
        """Lines as text, with their numbers; None for a blank one."""
        for line in self.or_bad():
            try:
                if isinstance(line, BadLine):
                    raise line
                text = text_of(self.number, line)
                yield (self.number, text) if text.strip() else None
            except BadLine as bad:
                yield bad

    def again(self, lines: Sequence[bytes]) -> None:
        """Put back these lines, the last ones, to be read again."""
        self._lines.extendleft(reversed(lines))
        self.number -= len(lines)

    def must_wait(self) -> bool:
        """Whether the next line has not arrived yet, or there is none."""
        self._fill(1)
        return not self._lines

    def _fill(self, least: int) -> None:
        """Read without waiting, until there are so many lines."""
        size = 0
        while len(self._lines) < least and size < LONGEST and not self._ended and self._is_ready():
            size += self._read()

    def _is_ready(self) -> bool:
        """Whether a read returns at once."""
        try:
            return bool(select.select([self._source], [], [], 0)[0])
        except io.UnsupportedOperation:  # no file, but bytes in memory
            return True
        except OSError:  # Windows asks sockets only
            return False

    def _read(self) -> int:
        """Read a block; returns how many bytes came."""
        try:
            block = self._source.read1(BLOCK)
        except (EOFError, zlib.error, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # of the system, not of the compressed file
                raise
            self._failure = f"the compressed file is damaged or incomplete: {error}"
            self._rest = []
            self._ended = True
            return 0
        first, *others = block.split(b"\n")
        self._ended = not block
        was_too_long = self._rest_size > LONGEST
        self._rest_size += len(first)
        if self._rest_size <= LONGEST:
            self._rest.append(first)
            if others or (self._ended and self._rest_size):
                self._lines.append(b"".join(self._rest))
        elif not was_too_long:
            self._lines.append(None)
            self._rest = []
        if others:
            self._lines.extend(others[:-1])
            self._rest = others[-1:]
            self._rest_size = len(others[-1])
        return len(block)


def escaped(text: str) -> str:
    """A text for a terminal, without control codes that a name may have."""
    return "".join(sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1] for sign in text)


def text_of(number: int, line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise BadLine(number, f"expected UTF-8, got the byte {line[error.start]:#x}") from None


Record = tuple[int, Any]  # the number of a line, and what stands there


def parsed(records: Sequence[tuple[int, S]], parse: Callable[[S], T]) -> tuple[list[tuple[int, T]], list[BadLine]]:
    """The result of a function for what stands in each line, and the lines for which it raises a ValueError."""
    good: list[tuple[int, T]] = []
    bad: list[BadLine] = []
    for number, line in records:
        try:
            good.append((number, parse(line)))
        except ValueError as error:
            bad.append(BadLine(number, str(error)))
    return good, bad
