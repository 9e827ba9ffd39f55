"""What all benchmarks share: a command line, a description of the machine, and tables as Markdown."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from gln.backends import BACKENDS


def command_line(description: str | None) -> argparse.ArgumentParser:
    """A parser with this description and `--quick`, to which a benchmark adds its own options."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny setting, whose figures are meaningless")
    return parser


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


def show(title: str, table: pd.DataFrame, digits: int = 1) -> None:
    """Print a table, with this many decimal places."""
    print(f"\n### {title}\n")
    header = ["", *table.columns]
    print("| " + " | ".join(header) + " |\n|" + "---|" * len(header))
    for name, row in table.iterrows():
        cells = [value if isinstance(value, str) else f"{value:.{digits}f}" for value in row]
        print("| " + " | ".join([str(name), *cells]) + " |", flush=True)
