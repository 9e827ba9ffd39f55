"""Warnings that name the user's line, whatever lies between it and them, such as a search of scikit-learn."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Hashable, Sequence
from typing import NamedTuple

BETWEEN = {"gln", "sklearn", "joblib"}  # packages
MOST_NAMES = 5  # in a sentence


class Note(NamedTuple):
    """A sentence to tell once about a name."""

    text: str  # with {} for all that it is true of
    name: Hashable
    shown: str = ""  # in place of the name


def in_one_line(notes: Sequence[Note]) -> str:
    """Sentences, those of equal text as one."""
    sentences = []
    for text in dict.fromkeys(note.text for note in notes):
        names = [note.shown or repr(note.name) for note in notes if note.text == text]
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        sentences.append(text.format(", ".join(names[:MOST_NAMES]) + more))
    return "; ".join(sentences)


def warn_caller(message: str) -> None:
    """Warn at the line that called one of these packages."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in BETWEEN:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)
