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
    shown: str = ""  # instead of the name


def warn_of(what: str, notes: Sequence[Note]) -> None:
    """Warn in one line, if there are notes, at the line that called one of these packages."""
    if not notes:  # as for nearly all samples of a stream, which need not look for that line
        return
    sentences = []
    for text in dict.fromkeys(note.text for note in notes):
        names = [note.shown or repr(note.name) for note in notes if note.text == text]
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        sentences.append(text.format(", ".join(names[:MOST_NAMES]) + more))
    level = 1
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in BETWEEN:
        level += 1
        frame = frame.f_back
    warnings.warn(what + "; ".join(sentences), UserWarning, stacklevel=level)
