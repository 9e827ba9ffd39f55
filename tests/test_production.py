"""docs/production.md: its service learns while it serves, and continues from its file."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import ROOT, run_python
from test_readme import blocks

from gln.sklearn import GLNClassifier


def post(port: int, sample: Any) -> tuple[int, Any]:
    """Status and body of the answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}", json.dumps(sample).encode())
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def python_blocks() -> list[str]:
    return [text for language, text in blocks("docs/production.md") if language == "python"]


@contextmanager
def service(folder: Path, stop: signal.Signals) -> Iterator[int]:
    """The port of a service that saves when it is stopped at the end."""
    (folder / "service.py").write_text(python_blocks()[0])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "uvicorn", "service:app", "--port", str(port)]
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(600):
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    assert process.poll() is None
                    time.sleep(0.1)
            yield port
        finally:
            process.send_signal(stop)
    assert process.returncode in (0, -stop)  # uvicorn shuts down, and then passes the signal on


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")
def test_the_service_learns_while_it_serves(tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 2))  # noqa: N806
    with service(tmp_path, signal.SIGTERM) as port:
        assert post(port, {"x": [0.0, 1.0]})[0] == 400  # it has not learned yet
        for x in X:
            assert post(port, {"x": x.tolist(), "y": int(x[0] > 0)})[0] == 200
        wrong: list[Any] = [{"x": [0.0, 1.0], "y": 2}, {"x": [0.0]}, {"x": None}, {"x": [0.0, 10**400]}, {"y": 1}, []]
        for bad in wrong:
            assert post(port, bad)[0] == 400, bad
        answers = [post(port, {"x": x.tolist()}) for x in X]
    model = GLNClassifier.load(tmp_path / "model.gln")
    np.testing.assert_allclose([p for _, p in answers], model.predict_proba(X), atol=1e-6)
    assert (model.predict(X) == (X[:, 0] > 0)).mean() > 0.8
    with service(tmp_path, signal.SIGINT) as port:  # continues
        assert post(port, {"x": X[0].tolist()}) == answers[0]
        assert post(port, {"x": [0.0, 1.0], "y": 1})[0] == 200
    assert GLNClassifier.load(tmp_path / "model.gln").glns_[0].step == len(X) + 1


@pytest.mark.skipif(sys.platform == "win32", reason="the module resource is missing")
@pytest.mark.parametrize("argument", [[], ["numpy"]], ids=str)
def test_a_first_prediction_is_measured(argument):
    said = run_python(f"import sys; sys.argv[1:] = {argument}\n{python_blocks()[1]}")
    assert re.fullmatch(r"\d+\.\d s, \d+ MiB\n", said)
