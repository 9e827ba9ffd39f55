"""Lessons in an SQLite file, one row each; a lesson is stored before the page reports it as learned."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import unicodedata
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from gln.apps.draw.strokes import Drawing, checked_drawing

# A number is never used again, so that a deleted lesson is not confused with a later one.
TABLE = """CREATE TABLE IF NOT EXISTS lessons
    (id INTEGER PRIMARY KEY AUTOINCREMENT, drawing TEXT NOT NULL, label TEXT NOT NULL, time TEXT NOT NULL)"""
LONGEST_LABEL = 20
JOINERS = "\u200c\u200d"  # do not show, but a Persian word or an emoji of a family needs them


class ConflictError(Exception):
    """The request refers to a lesson that somebody else has deleted, or misses one that somebody else has added."""


class Lesson(NamedTuple):
    number: int
    drawing: Drawing
    label: str


class Lessons:
    """A file of lessons. Each call reopens it, so threads and processes can share it."""

    def __init__(self, file: Path) -> None:
        """Create the file if there is none. As all other methods, raises OSError if it cannot be opened, read or
        written, and ValueError if it is not a file of lessons."""
        self.file = file
        with self._opened() as database:
            database.execute(TABLE)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(sqlite3.connect(self.file)) as database, database:  # commits, or rolls back
                yield database
        except sqlite3.OperationalError as error:
            raise OSError(f"{self.file}: {error}") from error
        except (sqlite3.DatabaseError, ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{self.file}: expected a file of lessons, got {error}") from error

    def numbers(self) -> list[int]:
        """The numbers of all lessons, oldest first."""
        with self._opened() as database:
            return [number for (number,) in database.execute("SELECT id FROM lessons ORDER BY id")]

    def after(self, number: int) -> list[Lesson]:
        """All lessons after the one with this number, oldest first."""
        with self._opened() as database:
            rows = database.execute("SELECT id, drawing, label FROM lessons WHERE id > ? ORDER BY id", (number,))
            return [
                Lesson(id, checked_drawing(json.loads(drawing)), checked_label(label)) for id, drawing, label in rows
            ]

    def add(self, drawing: Drawing, label: str) -> None:
        """Store a lesson; it is on disk when this returns."""
        text = json.dumps([stroke.tolist() for stroke in drawing])
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        with self._opened() as database:
            database.execute("INSERT INTO lessons (drawing, label, time) VALUES (?, ?, ?)", (text, label, now))

    def take_back(self, number: int) -> None:
        """Delete the lesson with this number. Raises `ConflictError` if there is none."""
        if self._delete("id = ?", number) == 0:
            raise ConflictError(f"lesson: expected the number of a lesson, got {number}")

    def forget(self, last: int) -> None:
        """Delete all lessons. Raises `ConflictError` if the last one has another number."""
        if self._delete("? = (SELECT max(id) FROM lessons)", last) == 0:
            raise ConflictError(f"last: expected the number of the last lesson, got {last}")

    def _delete(self, which: str, value: int) -> int:
        with self._opened() as database:
            return database.execute(f"DELETE FROM lessons WHERE {which}", (value,)).rowcount


def checked_label(label: object) -> str:
    """The name of a class, normalised (NFC) and without surrounding spaces. Raises ValueError if it is not a string of
    1 to 20 printable characters."""
    name = unicodedata.normalize("NFC", label.strip()) if isinstance(label, str) else ""
    shown = re.sub(f"[{JOINERS}]", "", name)
    if not shown or not shown.isprintable() or len(name) > LONGEST_LABEL:
        raise ValueError(f"label: expected 1 to {LONGEST_LABEL} printable characters, got {repr(label)[:50]}")
    return name
