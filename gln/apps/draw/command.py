"""The command `gln-draw`: a page to draw digits on and teach a network."""

from __future__ import annotations

import argparse
import importlib.util
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROJECT = "gated-linear-networks"
NEEDED = ("platformdirs", "starlette", "uvicorn")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            raise ImportError(f"the page needs {', '.join(missing)}: pip install {' '.join(missing)}")
        _run(options)
        return 0
    except (ImportError, OSError, ValueError) as error:
        print(f"gln-draw: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gln-draw",
        description="Serve a page on which you draw a digit, see what a GLN predicts and why, and teach it. The first "
        "start trains the network, which takes half a minute. Lessons are kept in your data folder. Only this machine "
        "can open the page.",
    )
    parser.add_argument("--port", type=int, default=8000, help="port, 0 for any free one (default: %(default)s)")
    saved = "network saved by gln-mnist --save or by --export; its lessons are kept in FILE.lessons"
    parser.add_argument("--model", type=Path, metavar="FILE", help=saved)
    taught = "save the network with everything it was taught, and exit"
    parser.add_argument("--export", type=Path, metavar="FILE", help=taught)
    return parser


def _run(options: argparse.Namespace) -> None:
    if options.export is not None:
        if options.export.is_dir() or not options.export.parent.is_dir():
            raise ValueError(f"--export: expected a file in a folder that exists, got {str(options.export)!r}")
        _pupil(options.model).export(options.export)
    else:
        # The port is opened first, so that a port in use is reported before anything is trained.
        with _listening(options.port) as listening:
            _serve(_pupil(options.model), listening)


def _pupil(model: Path | None) -> Any:
    import platformdirs

    from gln.apps.draw.lessons import Lessons
    from gln.apps.draw.pupil import Pupil  # takes half a second, which `--help` need not wait for

    if model is None:
        model = _trained()
        folder = platformdirs.user_data_path(PROJECT, appauthor=False, ensure_exists=True)  # no cleaner empties it
    else:
        folder = model.parent
    lessons = folder / f"{model.name}.lessons"
    count = len(Lessons(lessons).numbers()) if lessons.exists() else 0
    if count:
        print(f"gln-draw: learning the lessons again: {count}", file=sys.stderr)  # some hundreds take seconds
    return Pupil(model, lessons)


def _trained() -> Path:
    """The model in the user's cache folder, trained now if there is none."""
    import platformdirs

    model = platformdirs.user_cache_path(PROJECT, appauthor=False, ensure_exists=True) / "digits.gln"
    if not model.exists():
        print(f"gln-draw: training the network, only this once: {model}", file=sys.stderr)
        training = [sys.executable, "-m", "test_mnist", "--save", str(model)]
        if subprocess.run(training, stdout=subprocess.DEVNULL).returncode != 0:
            raise OSError("the network could not be trained")
    return model


def _listening(port: int) -> socket.socket:
    if not 0 <= port < 1 << 16:
        raise ValueError(f"--port: expected an integer from 0 to {(1 << 16) - 1}, got {port}")
    try:
        listening = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise OSError(f"--port {port}: {error.strerror}") from error
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # otherwise the end of an answer waits 40 ms
    return listening


def _serve(pupil: Any, listening: socket.socket) -> None:
    import uvicorn

    from gln.apps.draw.server import application

    print(f"gln-draw: http://127.0.0.1:{listening.getsockname()[1]} (press Ctrl+C to stop)", flush=True)
    uvicorn.Server(uvicorn.Config(application(pupil), log_level="error")).run(sockets=[listening])
