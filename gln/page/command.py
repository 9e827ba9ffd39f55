"""The command `gln-draw`: a page on which a digit is drawn, and a network is taught."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import ipaddress
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from datetime import time
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
        description="A page on which you draw a digit, see what a GLN takes it for and why, and teach it. The first "
        "start trains the network, in half a minute. Lessons are kept in your data folder.",
    )
    parser.add_argument("--port", type=int, default=8000, help="of the page, 0 for any that is free: %(default)s")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="the address of this machine at which others reach the page, 0.0.0.0 for any; they need the password. By "
        "default the page is for this machine alone",
    )
    parser.add_argument(
        "--password",
        help="8 characters or more, which whoever has an account here can read; else --host prints a random one",
    )
    parser.add_argument(
        "--fair",
        type=time_of_day,
        nargs="?",
        const=time(4),
        metavar="HH:MM",
        help="for fairs: clear the drawing after a lesson, and forget all lessons each night at this time, 04:00. "
        "These lessons have a file of their own",
    )
    parser.add_argument("--language", metavar="XX", help="of the page, en or de: the one that the browser asks for")
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


def time_of_day(text: str) -> time:
    return time.fromisoformat(text)


def _run(options: argparse.Namespace) -> None:
    if options.export is not None:
        if options.export.is_dir() or not options.export.parent.is_dir():
            raise ValueError(f"--export: expected a file in a folder that exists, got {str(options.export)!r}")
        _pupil(options).export(options.export)
    else:
        _check(options)
        # a port that is taken is found so before anything is trained
        with _listening(options.host, options.port) as listening:
            _serve(options, listening)


def _check(options: argparse.Namespace) -> None:
    from gln.page.door import LEAST_CHARACTERS
    from gln.page.words import languages

    if options.password is not None and len(options.password) < LEAST_CHARACTERS:
        raise ValueError(f"--password: expected at least {LEAST_CHARACTERS} characters, got {len(options.password)}")
    if options.language not in (None, *languages()):
        raise ValueError(f"--language: expected one of {', '.join(languages())}, got {options.language!r}")


def _pupil(options: argparse.Namespace) -> Any:
    from gln.page.pupil import Pupil  # half a second, which `--help` need not take

    model = _trained() if options.model is None else options.model
    beside = model.with_name(f"{model.name}.{'lessons' if options.fair is None else 'fair'}")
    return Pupil(model, _kept(beside) if options.model is None else beside, options.fair)


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


def _listening(host: str, port: int) -> socket.socket:
    if not 0 <= port < 1 << 16:
        raise ValueError(f"--port: expected an integer from 0 to {(1 << 16) - 1}, got {port}")
    try:
        listening = socket.create_server((host, port))
    except OSError as error:
        raise OSError(f"--host {host} --port {port}: {error.strerror}") from error
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or an answer's end waits 40 ms for a receipt
    return listening


def _serve(options: argparse.Namespace, listening: socket.socket) -> None:
    import uvicorn

    from gln.page.door import new_password
    from gln.page.server import application

    address, port = listening.getsockname()
    is_open = not ipaddress.ip_address(address).is_loopback
    password = options.password or (new_password() if is_open else None)
    app = application(_pupil(options), password, options.language, fair=options.fair is not None)
    print(f"gln-draw: http://{_reached_at(address)}:{port} (Ctrl+C ends it)", flush=True)
    if options.password is None and password is not None:
        print(f"gln-draw: the password is {password}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])


def _reached_at(address: str) -> str:
    """Where others reach a page that listens at an address: of 0.0.0.0 the one that this machine goes out from."""
    if address != "0.0.0.0":
        return address
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect(("192.0.2.1", 9))  # an address for documentation, to which nothing is sent
        return out.getsockname()[0]
    return "127.0.0.1"
