"""The command `gln-draw`: a page on this machine on which a digit is drawn, and a network is taught."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["main"]

PROJECT = "gated-linear-networks"
NEEDED = ("platformdirs", "starlette", "uvicorn")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
            raise ImportError(f'this needs {", ".join(missing)}: pip install "gated-linear-networks[page]"')
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
        description="A page, for this machine alone, on which you draw a digit, see what a GLN takes it for and why, "
        "and teach it. The first start trains the network, in half a minute. Lessons are kept in your data folder.",
    )
    parser.add_argument("--port", type=int, default=8000, help="of the page, 0 for any that is free: %(default)s")
    parser.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="a network that gln-mnist --all-classes --save, or --export, wrote; its lessons are kept in FILE.lessons",
    )
    parser.add_argument(
        "--export", type=Path, metavar="FILE", help="write the network with all that it was taught, and start no page"
    )
    return parser


def _run(options: argparse.Namespace) -> None:
    if options.export is not None:
        if options.export.is_dir() or not options.export.parent.is_dir():
            raise ValueError(f"--export: expected a file in a folder that exists, got {str(options.export)!r}")
        _pupil(options).export(options.export)
    else:
        with _listening(options.port) as listening:  # a port that is taken is found so before anything is trained
            _serve(_pupil(options), listening)


def _pupil(options: argparse.Namespace) -> Any:
    from gln.page.pupil import Pupil  # half a second, which `--help` need not take

    model = _trained() if options.model is None else options.model
    beside = model.with_name(f"{model.name}.lessons")
    return Pupil(model, _kept(beside) if options.model is None else beside)


def _kept(cached: Path) -> Path:
    """The lessons of the user's data folder, for nobody can make them again; a file in the cache folder moves there."""
    import platformdirs

    lessons = Path(platformdirs.user_data_dir(PROJECT, appauthor=False, ensure_exists=True), cached.name)
    if cached.exists() and not lessons.exists():
        moving = lessons.with_name(f"{lessons.name}.moving")
        with (
            contextlib.closing(sqlite3.connect(cached)) as old,
            contextlib.closing(sqlite3.connect(moving)) as new,
        ):
            old.backup(new)  # with what a killed process left in the journal
        moving.replace(lessons)
        cached.unlink()
    return lessons


def _trained() -> Path:
    """The model of the user's cache folder, trained now if there is none."""
    import platformdirs

    model = Path(platformdirs.user_cache_dir(PROJECT, appauthor=False, ensure_exists=True), "digits.gln")
    if not model.exists():
        print(f"gln-draw: training a network, once: {model}", file=sys.stderr)
        command = importlib.util.find_spec("test_mnist")
        assert command is not None
        assert command.origin is not None
        training = [sys.executable, command.origin, "--all-classes", "--save", str(model)]
        if subprocess.run(training, stdout=subprocess.DEVNULL).returncode != 0:
            raise OSError("the network could not be trained")
    return model


def _listening(port: int) -> socket.socket:
    from gln.page.server import HOST

    if not 0 <= port < 1 << 16:
        raise ValueError(f"--port: expected an integer from 0 to {(1 << 16) - 1}, got {port}")
    try:
        listening = socket.create_server((HOST, port))
    except OSError as error:
        raise OSError(f"--port {port}: {error.strerror}; another may be free") from error
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or an answer's end waits 40 ms for a receipt
    return listening


def _serve(pupil: Any, listening: socket.socket) -> None:
    import uvicorn

    from gln.page.server import application

    print("gln-draw: http://{}:{} (Ctrl+C ends it)".format(*listening.getsockname()), flush=True)
    server = uvicorn.Server(uvicorn.Config(application(pupil), log_level="warning"))
    server.run(sockets=[listening])
