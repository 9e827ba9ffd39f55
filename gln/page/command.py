"""The command `gln-draw`: a page to draw digits on and teach a network."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import ipaddress
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, time
from pathlib import Path
from typing import Any

__all__ = ["main"]

PROJECT = "gated-linear-networks"
NEEDED = ("platformdirs", "starlette", "uvicorn")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
            raise ImportError(f'the page needs {", ".join(missing)}: pip install "gated-linear-networks[page]"')
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
        "start trains the network, which takes half a minute. Lessons are kept in your data folder.",
    )
    parser.add_argument("--port", type=int, default=8000, help="port, 0 for any free one (default: %(default)s)")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address at which other machines reach the page, with the password; 0.0.0.0 is all addresses of this "
        "machine. By default only this machine can open the page",
    )
    parser.add_argument(
        "--password",
        help="password of at least 8 characters; other users of this machine can see it in the list of processes. "
        "Without it, --host prints a random one",
    )
    parser.add_argument(
        "--fair",
        type=time_of_day,
        nargs="?",
        const=time(4),
        metavar="HH:MM",
        help="for fairs: clear the drawing after each lesson and forget all lessons every night at this time, 04:00 if "
        "none is given. These lessons are kept in a separate file",
    )
    parser.add_argument("--language", metavar="XX", help="language of the page, en or de (default: the browser's)")
    parser.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="network saved by gln-mnist --save or by --export; its lessons are kept in FILE.lessons",
    )
    parser.add_argument(
        "--export", type=Path, metavar="FILE", help="save the network with everything it was taught, and exit"
    )
    return parser


def time_of_day(text: str) -> time:
    return datetime.strptime(text, "%H:%M").time()


def _run(options: argparse.Namespace) -> None:
    if options.export is not None:
        if options.export.is_dir() or not options.export.parent.is_dir():
            raise ValueError(f"--export: expected a file in a folder that exists, got {str(options.export)!r}")
        _pupil(options).export(options.export)
    else:
        _check(options)
        # The port is opened first, so that a port in use is reported before anything is trained.
        with _listening(options.host, options.port) as listening:
            _serve(options, listening)


def _check(options: argparse.Namespace) -> None:
    from gln.page.door import LEAST_CHARACTERS
    from gln.page.words import languages

    if options.password is not None and len(options.password) < LEAST_CHARACTERS:
        raise ValueError(f"--password: expected at least {LEAST_CHARACTERS} characters, got {len(options.password)}")
    if options.password is not None and not options.password.isprintable():  # bytes that are not UTF-8 are not
        raise ValueError("--password: expected printable characters, got others")
    if options.language not in (None, *languages()):
        raise ValueError(f"--language: expected one of {', '.join(languages())}, got {options.language!r}")


def _pupil(options: argparse.Namespace) -> Any:
    from gln.page.lessons import Lessons
    from gln.page.pupil import Pupil  # takes half a second, which `--help` need not wait for

    model = _trained() if options.model is None else options.model
    folder = model.parent
    if options.model is None:
        import platformdirs

        folder = Path(platformdirs.user_data_dir(PROJECT, appauthor=False, ensure_exists=True))  # no cleaner empties it
    lessons = folder / f"{model.name}.{'lessons' if options.fair is None else 'fair'}"
    if lessons.exists() and (count := len(Lessons(lessons).numbers())):
        print(f"gln-draw: learning the lessons again: {count}", file=sys.stderr)  # some hundreds take seconds
    return Pupil(model, lessons, options.fair)


def _trained() -> Path:
    """The model in the user's cache folder, trained now if there is none."""
    import platformdirs

    model = Path(platformdirs.user_cache_dir(PROJECT, appauthor=False, ensure_exists=True), "digits.gln")
    if not model.exists():
        print(f"gln-draw: training the network, only this once: {model}", file=sys.stderr)
        command = importlib.util.find_spec("test_mnist")
        assert command is not None
        assert command.origin is not None
        training = [sys.executable, command.origin, "--save", str(model)]
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
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # otherwise the end of an answer waits 40 ms
    return listening


def _serve(options: argparse.Namespace, listening: socket.socket) -> None:
    import uvicorn

    from gln.page.connection import LIMITS, Connection
    from gln.page.door import new_password
    from gln.page.server import application

    address, port = listening.getsockname()
    is_open = not ipaddress.ip_address(address).is_loopback
    password = options.password or (new_password() if is_open else None)
    app = application(_pupil(options), password, options.language, fair=options.fair is not None)
    print(f"gln-draw: http://{_reached_at(address)}:{port} (press Ctrl+C to stop)", flush=True)
    if options.password is None and password is not None:
        print(f"gln-draw: the password is {password}", flush=True)
    config = uvicorn.Config(app, http=Connection, ws="none", loop="asyncio", **LIMITS)
    uvicorn.Server(config).run(sockets=[listening])


def _reached_at(address: str) -> str:
    """Where others reach a page that listens on an address: for 0.0.0.0, the address of outgoing connections."""
    if address != "0.0.0.0":
        return address
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect(("192.0.2.1", 9))  # reserved for documentation; nothing is sent to it
        return out.getsockname()[0]
    return "127.0.0.1"
