"""Parameters that several classes have, documented once."""

from __future__ import annotations

import re
from collections.abc import Callable
from inspect import cleandoc
from typing import TypeVar

Class = TypeVar("Class", bound=type)


def documented_like(other: type) -> Callable[[Class], Class]:
    """A decorator for a class that shares parameters and attributes with another one.

    In its docstring, these are a line of names, such as `backend, seed`, and the other's text is put instead.
    """
    entries = {entry[1]: entry[0] for entry in re.finditer(r"(?m)^(\w+)\b.*\n(?:    .*\n)+", _text(other))}

    def document(own: Class) -> Class:
        def text(names: re.Match[str]) -> str:
            return "".join(entries[name] for name in names[0].split(", ")).removesuffix("\n")

        own.__doc__ = re.sub(rf"(?m)^(?:(?:{'|'.join(entries)})(?:, |$))+$(?!\n    )", text, _text(own))
        return own

    return document


def _text(documented: type) -> str:
    return cleandoc(documented.__doc__ or "")
