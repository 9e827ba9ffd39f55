"""A class documented like another has the docstring of the imported class."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import griffe


class DocumentedLike(griffe.Extension):
    def on_class(self, *, cls: griffe.Class, **_: Any) -> None:
        decorators = " ".join(str(each.value) for each in cls.decorators)
        if cls.docstring and "documented_like" in decorators:
            module = importlib.import_module(cls.module.path)
            cls.docstring.value = inspect.getdoc(getattr(module, cls.name))
