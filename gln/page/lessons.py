"""The lessons that somebody gave, in an SQLite file: a row each, kept before anybody says that it was learned."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from gln.page.strokes import Drawing, checked

__all__ = ["ConflictError", "Lesson", "Lessons"]

# A number is never given twice, so that a lesson taken back and another in its place are not mistaken for one another.
TABLE = """CREATE TABLE IF NOT EXISTS lessons
    (id INTEGER PRIMARY KEY AUTOINCREMENT, drawing TEXT NOT NULL, label TEXT NOT NULL, time TEXT NOT NULL)"""
LONGEST_LABEL = 20


class ConflictError(Exception):
    """Somebody else gave a lesson, or took one back, that whoever asked has not heard of."""


class Lesson(NamedTuple):
    number: int
    drawing: Drawing
    label: str


class Lessons:
    """A file of lessons. Each call opens it anew, so that threads and processes can share it."""

    def __init__(self, file: Path) -> None:
        """Make the file if there is none.

        Raises:
            OSError: it cannot be opened, read or written; so all other calls.
            ValueError: it is there, and no file of lessons; so all other calls.
        """
        self.file = file
        with self._opened() as database:
            database.execute(TABLE)
            database.execute("PRAGMA user_version = 1")  # a write, which clears the journal of who was killed in one

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(sqlite3.connect(self.file)) as database, database:  # commits, or rolls back
                database.execute("PRAGMA secure_delete = on")  # what is forgotten is overwritten
                yield database
        except sqlite3.OperationalError as error:
            raise OSError(f"{self.file}: {error}") from error
        except (sqlite3.DatabaseError, ValueError) as error:
            raise ValueError(f"{self.file}: expected a file of lessons, got {error}") from error

    def numbers(self) -> list[int]:
        """Those of all lessons, in the order in which they were given."""
        with self._opened() as database:
            return [number for (number,) in database.execute("SELECT id FROM lessons ORDER BY id")]

    def after(self, number: int) -> list[Lesson]:
        """All lessons given after the one of this number, from first to last."""
        with self._opened() as database:
            rows = database.execute("SELECT id, drawing, label FROM lessons WHERE id > ? ORDER BY id", (number,))
            return [Lesson(id, checked(json.loads(drawing)), checked_label(label)) for id, drawing, label in rows]

    def add(self, drawing: Drawing, label: str) -> None:
        """Keep a lesson: when this returns it is on the disk."""
        text = json.dumps([stroke.tolist() for stroke in drawing])
        now = _written(datetime.now(timezone.utc))
        with self._opened() as database:
            database.execute("INSERT INTO lessons (drawing, label, time) VALUES (?, ?, ?)", (text, label, now))

    def take_back(self, number: int) -> None:
        """Delete the lesson of this number.

        Raises:
            ConflictError: there is none.
        """
        if self._delete("id = ?", number) == 0:
            raise ConflictError(f"lesson: expected the number of a lesson, got {number}")

    def forget(self, last: int) -> None:
        """Delete all lessons, if the last has this number.

        Raises:
            ConflictError: it has another.
        """
        if self._delete("? = (SELECT max(id) FROM lessons)", last) == 0:
            raise ConflictError(f"last: expected the number of the last lesson, got {last}")

    def forget_before(self, moment: datetime) -> None:
        """Delete the lessons given before a moment, which has a time zone."""
        self._delete("time < ?", _written(moment))

    def _delete(self, which: str, value: int | str) -> int:
        with self._opened() as database:
            return database.execute(f"DELETE FROM lessons WHERE {which}", (value,)).rowcount


def _written(moment: datetime) -> str:
    """A time as the file has it: in order of the alphabet where in order of time."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds")


def checked_label(label: Any) -> str:
    """A class by its name, without spaces round it.

    Raises:
        ValueError: it is no text of 1 to 20 characters that can be shown.
    """
    if not isinstance(label, str) or not label.isprintable() or not 0 < len(label.strip()) <= LONGEST_LABEL:
        raise ValueError(f"label: expected 1 to {LONGEST_LABEL} characters that can be shown, got {repr(label)[:50]}")
    return label.strip()
