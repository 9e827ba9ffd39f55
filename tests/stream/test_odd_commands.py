"""The command `gln-stream` on damaged files, with options that need not fit together, drawn by a seed.

It ends with status 0, or with status 2 and a message; it never changes its input, and no file if it prints its usage.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

pytest.importorskip("polars")
pytest.importorskip("river")

from odd_arguments import called, functions

from gln.stream.command import main

KINDS_OF_FILES = {
    "csv": ["a,b,c,y", *(f"{i % 5},{i / 7:.3f},{'xyz'[i % 3]},{['no', 'yes'][i % 2]}" for i in range(12))],
    "tsv": ["a\tb\ty", *(f"{i % 5}\t{i / 7:.3f}\t{i % 3}" for i in range(12))],
    "jsonl": [json.dumps({"a": i, "b": {"c": i / 3}, "c": ["x", "y"][i % 2], "y": i / 7}) for i in range(12)],
    "vw": [f"{i % 2 * 2 - 1} |n a:{i} b |m c_{i % 3}" for i in range(12)],
    "libsvm": [f"{i % 2} 1:{i} 3:{i / 7:.3f}" for i in range(12)],
}
BAD_LINES = r"""""; s[:-3]; s + ",1"; s + "\t1"; '"' + s; "{" + s; s.replace("1", "1e999"); s.replace("1", "NaN");
    s.upper(); s.replace("1", ""); "\0" + s; s + "\udcff"; "é" + s; s.replace("a", "b"); "null"; "[1]";
    s.replace(":", "::"); s + "\r"; 9 * s; s.replace("2", "-2"); "|" + s;"""
OPTIONS = """target y; target no; target c; regression; quantiles .1,.9; quantiles 2; density; no-negatives;
    skip-bad; strings a; strings y; numbers c; ignore b; ignore y; save m; save .; save-every 3; save-every 0; resume;
    load m; load missing; predict-only; predictions p.csv; predictions p.jsonl; predictions -; predictions no/p;
    format csv; format vw; format no; seed 1; seed x; backend numpy; backend no; no-such-option; layers 4,2; layers 4,;
    learning-rate .1; learning-rate -1; probabilities; explain; every 3; every 0; ngrams 2; ngrams 0; quiet;
    metrics m.jsonl; metrics -; metrics no/m"""


def run_command(arguments: Sequence[str]) -> tuple[Any, str]:
    """The status of the command in this process, and what it wrote to standard output and standard error."""
    out, err = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status: Any = main(arguments)
        except SystemExit as end:
            status = end.code
        out.flush()
        return status, out.buffer.read().decode() + err.getvalue()


def odd_commands(seed: int, count: int) -> Iterator[str]:
    """Run the command on damaged files with options that need not fit together, and report what has a problem."""
    random, damages, options = Random(seed), functions("s", BAD_LINES), OPTIONS.split(";")
    for _ in range(count):
        form = random.choice(sorted(KINDS_OF_FILES))
        lines, file = list(KINDS_OF_FILES[form]), Path(f"in.{form}")
        for place in random.sample(range(len(lines)), random.choice([0, 0, 1, 2])):
            lines[place] = random.choice(damages)(lines[place])
        content = "\n".join(lines[: random.choice([0, 1, 2, 13, 13, 13])]).encode(errors="surrogateescape")
        file.write_bytes(content)
        chosen = random.sample(options, random.choice([0, 1, 2, 3, 5]))
        if form not in ("vw", "libsvm") and random.random() < 0.7:
            chosen.append("target y")
        arguments = [str(file), *(word for option in chosen for word in f"--{option.strip()}".split())]
        before = {each: each.read_bytes() for each in Path().glob("[mp]*")}
        result, error, warning = called(run_command, arguments)
        status, said = result or (None, "")
        fails = status == 2 and "gln-stream: " in said and "Traceback" not in said
        same = file.read_bytes() == content
        if "usage: " in said:
            same = same and before == {each: each.read_bytes() for each in Path().glob("[mp]*")}
        if error is not None or warning or not (status == 0 or fails) or not same:
            ended = f"status {status}, {error!r}, warning {warning!r}, files kept: {same}"
            yield f"{arguments} {content!r}: {ended}\n{said}"


@pytest.mark.slow
def test_odd_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert list(odd_commands(760, 760)) == []
