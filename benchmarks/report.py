"""What all benchmarks share: a command line, a description of the machine, and tables as Markdown and as CSV files."""

from __future__ import annotations

import argparse
import csv
import functools
import importlib
import importlib.util
import os
import platform
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from gln.backends import BACKENDS, load_backend

KEYS = ["measure", "kind", "task", "model"]  # columns of a CSV file, which are followed by the value
Rows = dict[tuple[str, ...], str]  # values by KEYS
CHOSEN = "GLN_BENCHMARK_BACKEND"  # the environment variable that takes `--backend` to the processes of a benchmark


def command_line(description: str | None, backend: bool = False) -> argparse.ArgumentParser:
    """A parser with this description, `--quick`, `--csv` and, if GLNs take `network()`, `--backend`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny setting, whose figures are meaningless")
    text = "also write the values to this file; other values in it stay"
    parser.add_argument("--csv", type=Path, metavar="FILE", help=text)
    if backend:
        text = "of GLNs: a name, or the file of a changed copy; by default the fastest installed one"
        parser.add_argument("--backend", type=_choose, metavar="NAME", help=text)
    return parser


def _choose(name: str) -> str:
    os.environ[CHOSEN] = name
    try:
        network()
    except (ImportError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return name


def network() -> Any:
    """The class `GLN` that `--backend` names, as the `backend` of estimators."""
    return _load(os.environ.get(CHOSEN, "auto"))


@functools.cache
def _load(name: str) -> Any:
    return load_backend(name).GLN


def read_rows(path: Path) -> Rows:
    """The values of a CSV file, by measure, kind of task, task and model."""
    with path.open(encoding="utf-8", newline="") as file:
        return {tuple(row[:-1]): row[-1] for row in list(csv.reader(file))[1:]}


def write_rows(path: Path, rows: Rows) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([[*KEYS, "value"], *([*key, rows[key]] for key in rows)])


def machine() -> str:
    """One line that describes the machine."""
    cpu, cpuinfo = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if cpuinfo.exists():
        cpu = next(line.split(":")[1].strip() for line in cpuinfo.open() if line.startswith("model name"))
    versions = []
    for package in ["scikit-learn", *BACKENDS.values()]:
        try:
            versions.append(f"{package} {metadata.version(package).split('+')[0]}")
        except metadata.PackageNotFoundError:
            versions.append(f"no {package}")
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}, {', '.join(versions)}"


def boosters(kind: str) -> dict[str, Callable[[int], Any]]:
    """LightGBM's and CatBoost's "Classifier" or "Regressor", if installed, as functions of a seed.

    All settings are defaults, except that they use one thread and print nothing.
    """
    options = {
        ("lightgbm", "LGBM"): {"n_jobs": 1, "verbose": -1},
        ("catboost", "CatBoost"): {"thread_count": 1, "verbose": False, "allow_writing_files": False},
    }
    found: dict[str, Callable[[int], Any]] = {}
    for (package, name), own in options.items():
        if importlib.util.find_spec(package):
            make = getattr(importlib.import_module(package), f"{name}{kind}")
            found[f"{name}{kind}"] = lambda seed, make=make, own=own: make(random_state=seed, **own)  # type: ignore[misc]
    return found


def as_rows(title: str, table: pd.DataFrame, columns: str, kinds: Mapping[str, str]) -> Rows:
    """The values of a table for a CSV file; see `show`."""
    rows: Rows = {}
    for name, cells in table.iterrows():
        for column, value in cells.items():
            keys = {
                "model": (title, name, column),
                "measure": (column, title, name),
                "task": (title, column, name),
            }
            measure, task, model = map(str, keys[columns])
            if text := _cell(value):
                rows[measure, kinds.get(task, ""), task, model] = text
    return rows


def _cell(value: float | str, form: str = ".6g") -> str:
    return value if isinstance(value, str) else "" if pd.isna(value) else format(value, form)


def show(
    title: str,
    table: pd.DataFrame,
    digits: int = 1,
    *,
    file: Path | None,
    columns: str = "model",
    kinds: Mapping[str, str] | None = None,
    summary: pd.DataFrame | None = None,
) -> None:
    """Print a table with this many decimal places, and write its values to the CSV file that `--csv` names, if it does.

    `columns` says what the columns are. If they are models, the rows are tasks and the title is the measure; if they
    are measures, the rows are models and the title is the task; if they are tasks, the rows are models and the title
    is the measure. `kinds` gives the kind of a task. The lines of `summary` are printed below and not written.
    """
    print(f"\n### {title}\n")
    header = ["", *map(str, table.columns)]
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    for part in (table, summary):
        for name, row in part.iterrows() if part is not None else ():
            cells = [_cell(value, f".{digits}f") for value in row]
            print("| " + " | ".join([str(name), *cells]) + " |", flush=True)
    if file:
        known = read_rows(file) if file.exists() else {}
        write_rows(file, known | as_rows(title, table, columns, kinds or {}))
