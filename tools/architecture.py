"""Write the drawing of ARCHITECTURE.md: which parts import which.

python -m tools.architecture            # write it
python -m tools.architecture --check    # fail if it would change: an arrow is new, or has gone
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "ARCHITECTURE.md"
DRAWING = re.compile(r"(?<=<!-- drawing -->\n).*?(?=<!-- end -->)", re.DOTALL)
ROOMS = [
    "networks",
    "preprocessing",
    "base_models",
    "ensemble",
    "model",
    "streaming",
    "novelty",
    "tabular",
    "class_density",
]
BELOW = "backends", "rates"  # modules of `gln` that the engine imports, too


def part_of(module: str) -> str | None:
    """The part of the project that a module belongs to; None if it is of another project."""
    match module.split("."):
        case [name] if re.fullmatch(r"gln_(numpy|torch|tf|jax|numba)", name):
            return "gln_*.py"
        case ["test_mnist"]:
            return "test_mnist.py"
        case ["gln", "engine", room, *_]:
            return f"engine/{room}" if room in ROOMS else "engine"
        case ["gln", name, *_] if name in BELOW:
            return "backends, rates"
        case ["gln", "apps", program, *_]:
            return f"apps/{program}"
        case ["gln", "mnist", *_]:
            return "mnist"
        case ["gln", *_]:
            return "doors"
    return None


def imported(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "gln":
            names.update(f"gln.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def arrows() -> dict[str, set[str]]:
    """The parts that each part imports, at the top of a file or in a function."""
    below: dict[str, set[str]] = defaultdict(set)
    for file in [*ROOT.glob("gln_*.py"), ROOT / "test_mnist.py", *(ROOT / "gln").rglob("*.py")]:
        part = part_of(".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
        if part is not None and file.name != "__init__.py":
            parts = map(part_of, imported(file))
            below[part] |= {other for other in parts if other is not None and other != part}
    return below


def without_detours(below: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The arrows that no chain of others implies."""

    def reached(part: str) -> set[str]:
        return below[part].union(*map(reached, below[part]))

    direct = {part: parts - set().union(*map(reached, parts)) for part, parts in [*below.items()]}
    return sorted((part, other) for part, parts in direct.items() for other in parts)


def drawing() -> str:
    below = arrows()
    below.pop("gln_*.py")  # their methods import `gln` when they are called
    lines = [f'    {node(part)}["{part}"] --> {node(other)}["{other}"]' for part, other in without_detours(below)]
    table = [f"| `{part}` | {', '.join(f'`{other}`' for other in sorted(below[part]))} |" for part in sorted(below)]
    mermaid = ["```mermaid", "flowchart TD", *lines, "```"]
    return "\n".join([*mermaid, "", "| part | imports |", "|---|---|", *table, ""])


def node(part: str) -> str:
    return re.sub(r"\W+", "_", part)


def main() -> int:
    text = PAGE.read_text(encoding="utf-8")
    new = DRAWING.sub(lambda _: drawing(), text)
    if new == text:
        return 0
    if "--check" in sys.argv[1:]:
        print("ARCHITECTURE.md: an arrow is new or has gone; python -m tools.architecture writes the drawing")
        return 1
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
