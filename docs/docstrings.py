"""Docstrings and defaults that are put together when a class is imported."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        decorators = " ".join(str(each.value) for each in cls.decorators)
        is_network = cls.path in ("gln_numpy.GLN", "gln_numpy.Config")
        if not is_network and "documented_like" not in decorators:
            return
        imported = getattr(importlib.import_module(cls.module.path), cls.name)
        text = inspect.getdoc(imported) or ""
        parser: Any = "google" if is_network else None
        cls.docstring = griffe.Docstring(text, parent=cls, parser=parser)
        if is_network:
            _show_defaults(cls, inspect.signature(imported))


def _show_defaults(cls: griffe.Class, signature: inspect.Signature) -> None:
    """Show values in place of the expressions that give them."""
    for name, argument in signature.parameters.items():
        is_required = argument.default is argument.empty
        shown = cls.members["__init__"].parameters[name]
        shown.default = None if is_required else repr(argument.default)
