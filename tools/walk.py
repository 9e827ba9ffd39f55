"""Write two lists of ARCHITECTURE.md: the functions that the sample of `learn_one` and the table of `fit` pass through.

python -m tools.walk            # write them
python -m tools.walk --check    # fail if they would change
"""

from __future__ import annotations

import itertools
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import numpy as np

from gln.river import GLNClassifier as StreamClassifier
from gln.sklearn import GLNClassifier as TableClassifier

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "ARCHITECTURE.md"
PLAIN = bool, int, float, str, type(None)  # values that do not carry a sample


def pieces(value: object) -> list[object]:
    """The value and what it holds, one level deep."""
    if isinstance(value, PLAIN):
        return []
    if isinstance(value, (list, tuple)):
        return [value, *(part for part in value if not isinstance(part, PLAIN))]
    return [value]


def walk(call: Callable[[], object], sample: object) -> list[tuple[str, str]]:
    """File and name of each function of the package that gets the sample, or what another one made of it, once each."""
    carriers: dict[int, object] = {id(sample): sample}  # kept alive, so that no other object has these ids
    stops: dict[tuple[str, str], None] = {}
    entered: set[FrameType] = set()

    def follow(frame: FrameType, event: str, result: object) -> None:
        path = Path(frame.f_code.co_filename)
        if not path.is_relative_to(ROOT) or frame.f_code.co_name.startswith("<"):
            return
        if event == "call":
            count = frame.f_code.co_argcount + frame.f_code.co_kwonlyargcount
            names = [name for name in frame.f_code.co_varnames[:count] if name not in ("self", "cls")]
            values = [part for name in names for part in pieces(frame.f_locals.get(name))]
            if any(id(value) in carriers for value in values):
                entered.add(frame)
                stops[path.relative_to(ROOT).as_posix(), frame.f_code.co_qualname] = None
        elif event == "return" and frame in entered:
            entered.remove(frame)
            carriers.update((id(part), part) for part in pieces(result))

    sys.setprofile(follow)
    try:
        call()
    finally:
        sys.setprofile(None)
    return list(stops)


def stream_walk() -> list[tuple[str, str]]:
    """The walk of one sample of numbers and a category through `gln.river.GLNClassifier.learn_one`."""
    model = StreamClassifier(seed=0)
    for i in range(20):
        model.learn_one({"age": float(i % 7), "city": "xyz"[i % 3]}, i % 2 == 0)
    sample = {"age": 3.0, "city": "x"}
    return walk(lambda: model.learn_one(sample, True), sample)


def table_walk() -> list[tuple[str, str]]:
    """The walk of an array through `gln.sklearn.GLNClassifier.fit`."""
    table = np.random.default_rng(0).normal(size=(60, 4))
    model = TableClassifier(layer_sizes=(4,), n_networks=2, random_state=0)
    return walk(lambda: model.fit(table, table[:, 0] > 0), table)


def shown(stops: list[tuple[str, str]]) -> str:
    """A table of visits: a file, and the functions that the sample passes there one after another."""
    visits = [(file, [name for _, name in group]) for file, group in itertools.groupby(stops, lambda stop: stop[0])]
    files = len({file for file, _ in visits})
    rows = [f"| `{file}` | {', '.join(f'`{name}`' for name in names)} |" for file, names in visits]
    summary = f"{len(stops)} functions in {files} files; {len(visits) - files} returns to a file."
    return "\n".join([summary, "", "| file | functions |", "|---|---|", *rows, ""])


def main() -> None:
    warnings.simplefilter("ignore")
    old = PAGE.read_text(encoding="utf-8")
    new = old
    for name, stops in {"stream walk": stream_walk(), "table walk": table_walk()}.items():
        mark = f"<!-- {name} -->\n"
        before, _, after = new.partition(mark)
        new = before + mark + shown(stops) + after[after.index("<!-- end -->") :]
    if "--check" not in sys.argv:
        PAGE.write_text(new, encoding="utf-8")
    elif new != old:
        sys.exit(f"{PAGE.name}: the walks have changed; run python -m tools.walk")


if __name__ == "__main__":
    main()
