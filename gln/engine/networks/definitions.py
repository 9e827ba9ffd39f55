"""Which functions a network computes with: those of this package's files, or of a copy that was changed.

A file holds numbers and no code, so it says by which functions they were learned, and is loaded by these alone.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import linecache
import sys
from pathlib import Path
from typing import Any

from gln.backends import BACKENDS
from gln.engine.networks.protocol import backend_of
from gln.engine.saving import Json, bad

FOLDER = Path(__file__).parents[3]  # where the files of the networks lie, also when they are installed
CALLS = ("predict", "predict_online", "predict_arrays", "prepare", "contexts", "forward", "serve")
NEURON = ("gate", "mix", "output", "residual", "update")


def check_calls(kind: type) -> None:
    """Raise ValueError for a subclass that overrides how it predicts, which a file cannot hold."""
    network = backend_of(kind)
    changed = [name for name in CALLS if getattr(kind, name, None) is not getattr(network, name, None)]
    if changed:
        raise bad("model", "one whose predictions a file holds", f"a {kind.__name__}, which overrides {changed[0]}")


def check_definitions(name: str, saved: Json, kind: type) -> None:
    """Raise ValueError if a class has other definitions than those that a model was saved with."""
    own = definitions(kind)
    if saved[:1] != own[:1]:
        names = " and ".join(f"`{definition}`" for definition in (saved or own)[1:])
        raise bad(name, f"a model made with the {names} of {backend_of(kind).__module__}", "one made with another")


def definitions(kind: type) -> list[str]:
    """Nothing for a class of this package; else a hash of all that the class of a copy computes with, and the names of
    what differs from the file that is most like it.

    Raises ValueError if its source cannot be read, or a function was replaced while Python ran.
    """
    network = backend_of(kind)
    file = inspect.unwrap(network.contexts).__code__.co_filename  # perhaps of a cell of a notebook
    module = sys.modules[network.__module__]
    for name in NEURON:
        function: Any = inspect.unwrap(getattr(module, name, network))
        if function is network or function.__code__.co_filename != file:
            raise bad("model", f"a network with `{name}` in the source of its class", module.__name__)
    if Path(file) in {FOLDER / f"gln_{name}.py" for name in BACKENDS}:
        return []
    linecache.checkcache(file)
    own = _definitions("".join(linecache.getlines(file)))
    if "GLN" not in own:
        raise bad("model", "a network whose source can be read", f"{module.__name__} of {file}")
    originals = [_definitions((FOLDER / f"gln_{name}.py").read_text(encoding="utf-8")) for name in BACKENDS]
    closest = max(originals, key=lambda original: len(original.items() & own.items()))
    changed = [name for name in own | closest if own.get(name) != closest.get(name)]
    return [hashlib.sha256(repr(sorted(own.items())).encode()).hexdigest(), *changed] if changed else []


@functools.cache
def _definitions(source: str) -> dict[str, str]:
    """The functions, classes and constants that `GLN` and the neuron use, without comments and docstrings."""
    tree = ast.parse(source)
    sources = dict[str, str]()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    nodes: dict[str, ast.stmt] = {}
    for part in tree.body:
        names = [name for name in ast.walk(part) if isinstance(name, ast.Name)]
        stored = [name.id for name in names if isinstance(name.ctx, ast.Store)]
        nodes |= dict.fromkeys([part.name] if isinstance(part, (ast.FunctionDef, ast.ClassDef)) else stored, part)
    waiting = [*NEURON, "GLN"]
    while waiting:
        name = waiting.pop(0)
        if name in nodes and name not in sources:
            sources[name] = ast.unparse(nodes[name])
            waiting += [node.id for node in ast.walk(nodes[name]) if isinstance(node, ast.Name)]
    return sources
