"""Pages of `gln-stream` run as they stand: Python and shell blocks in order, each compared with the output shown."""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, assert_shown, blocks

pytest.importorskip("river")
COMMAND = f"""#!/bin/sh
exec {sys.executable} -c 'import sys; from gln.apps.stream.command import main; sys.exit(main())' "$@"
"""
PAGES = {"stream": 2}  # and their numbers of compared blocks


def run_shell(text: str, folder: Path, tools: Path) -> str:
    """What a block prints to both outputs."""
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    environ = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    command = ["bash", "-eu", "-c", text]
    done = subprocess.run(command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("page", "comparisons"), PAGES.items())
def test_pages_run_as_they_stand(page, comparisons, tmp_path, monkeypatch):
    folder, tools = tmp_path / "work", tmp_path / "tools"
    folder.mkdir()
    tools.mkdir()
    (tools / "gln-stream").write_text(COMMAND, encoding="utf-8")
    (tools / "gln-stream").chmod(stat.S_IRWXU)
    monkeypatch.chdir(folder)
    namespace: dict[str, object] = {}
    output, compared = "", 0
    for kind, text in blocks(f"docs/{page}.md"):
        if kind == "python":
            stream = io.StringIO()
            with contextlib.redirect_stdout(stream):
                exec(compile(text, page, "exec"), namespace)
            output = stream.getvalue()
        elif kind == "bash":
            output = run_shell(text, folder, tools)
        elif output:
            assert_shown(steady(output), steady(text))
            output, compared = "", compared + 1
    assert compared == comparisons


def steady(output: str) -> str:
    """An output without what depends on the machine: how fast it was, and whether loops had to be compiled."""
    output = re.sub(r"(?m)^gln_numba: .*\n", "", output)
    output = re.sub(r"(?m)^( +[\d,]+ .*[^ ]) +[\d,]+$", r"\1", output)  # samples a second, in a line of figures
    return re.sub(r"; [\d,]+ in [\d.]+ s, [\d,]+ a second", "", output)
