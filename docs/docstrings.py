"""Docstrings and defaults that are put together when a class is imported."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        decorators = " ".join(str(each.value) for each in cls.decorators)
        if "documented_like" in decorators:
            cls.docstring = griffe.Docstring(
                inspect.getdoc(_imported(cls)) or "", parent=cls
            )
        elif cls.path in ("gln_numpy.GLN", "gln_numpy.Config"):
            cls.docstring = griffe.Docstring(
                inspect.getdoc(_imported(cls)) or "", parent=cls, parser="google"
            )
            arguments = inspect.signature(_imported(cls)).parameters.values()
            values = {
                one.name: None if one.default is one.empty else repr(one.default)
                for one in arguments
            }
            for name in (
                values.keys() & cls.members.keys()
            ):  # the fields of `Config`
                cls.members[name].value = values[name]
            for one in getattr(cls.members.get("__init__"), "parameters", ()):
                one.default = values.get(one.name)


def _imported(cls: griffe.Class) -> Any:
    return getattr(importlib.import_module(cls.module.path), cls.name)
