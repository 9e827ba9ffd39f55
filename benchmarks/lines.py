"""The command `gln-stream`: rows a second, and the time to the first prediction.

`OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python -m benchmarks.lines` writes 100,000 samples of ten numbers with seed 0 as
CSV and as JSON lines, and runs the command on them, each time in a process of its own, after a first run that is not
counted, because it may compile. It prints rows a second on the clock with the start of Python and all imports, and
without them, as the command itself prints them; the peak memory in MiB; and how many seconds after its start the
command answers the first line of a pipe, and milliseconds after each of the next 100 lines. All are medians.

`--repeats` sets how many runs these are of. `--quick` takes 1,000 samples, without first runs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.report import command_line, machine, show

COMMAND = [sys.executable, "-c", "import sys; from gln.apps.stream.command import main; sys.exit(main())"]
KINDS = {
    "classes": ["--target", "kind", "--ignore", "number"],
    "classes, with predictions": ["--target", "kind", "--ignore", "number", "--predictions", os.devnull],
    "numbers": ["--target", "number", "--ignore", "kind"],
    "numbers, with two quantiles": ["--target", "number", "--ignore", "kind", "--quantiles", ".05,.95"],
}


def samples(count: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(count, 10)), columns=[f"x{i}" for i in range(10)])
    rows["number"] = rows["x0"] * rows["x1"] + rows["x2"] + rng.normal(size=count)
    return rows.round(5).assign(kind=np.where(rows["number"] > 0, "yes", "no"))


def run(file: Path, options: list[str]) -> list[float]:
    """Rows a second with the start and without it, and MiB."""
    start = time.perf_counter()
    with subprocess.Popen([*COMMAND, str(file), *options], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0
    seconds = time.perf_counter() - start
    found = re.search(r"([\d,]+) samples[,;] .* ([\d,]+) a second", said)
    assert found, said
    count, rate = (float(text.replace(",", "")) for text in found.groups())
    return [count / seconds, rate, used.ru_maxrss / 1024]


def answer(lines: list[bytes], options: list[str]) -> list[float]:
    """Seconds until the first line of a pipe is answered, and milliseconds for each of the others.

    Options say what columns and target are, or the command would wait for 1,000 lines to tell.
    """
    task = ["--strings", "kind"] if options[:2] == ["--target", "kind"] else ["--regression"]
    options = [*options, *task, "--numbers", ",".join(f"x{i}" for i in range(10))]
    start = time.perf_counter()
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([*COMMAND, "--format", "jsonl", "--predictions", "-", *options], **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        times = [start]
        for line in lines:
            process.stdin.write(line)
            process.stdin.flush()
            process.stdout.readline()
            times.append(time.perf_counter())
        process.stdin.close()
    first, *others = np.diff(times).tolist()
    return [first, 1000 * median(others)]


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--repeats", type=int, default=3, help="runs, of which the median is printed")
    options = parser.parse_args()
    count, repeats = (1000, 1) if options.quick else (100_000, options.repeats)
    first = 0 if options.quick else 1  # a run that is not counted
    print(machine())
    rows, table, answers = samples(count), {}, {}
    with tempfile.TemporaryDirectory() as folder:
        files = {form: Path(folder, f"samples.{form}") for form in ("csv", "jsonl")}
        rows.to_csv(files["csv"], index=False)
        rows.to_json(files["jsonl"], orient="records", lines=True)
        lines = files["jsonl"].read_bytes().splitlines(keepends=True)[:101]
        for name, own in KINDS.items():
            for form, file in files.items() if name == "classes" else [("csv", files["csv"])]:
                found = [run(file, own) for _ in range(first + repeats)][first:]
                table[f"{form}, {name}"] = [median(each) for each in zip(*found, strict=True)]
            if "predictions" not in name:
                found = [answer(lines, own) for _ in range(first + repeats)][first:]
                answers[name] = [median(each) for each in zip(*found, strict=True)]
    headers = ["rows a second, with the start", "rows a second", "MiB"]
    show(
        f"{count:,} samples of ten numbers",
        pd.DataFrame.from_dict(table, orient="index", columns=headers),
        0,
        file=options.csv,
        columns="measure",
    )
    headers = ["first line, s", "next lines, ms"]
    waits = pd.DataFrame.from_dict(answers, orient="index", columns=headers)
    show("Lines of a pipe", waits, 2, file=options.csv, columns="measure")


if __name__ == "__main__":
    main()
