"""The page of `gln-draw`: drawings, lessons, HTTP requests, and the page itself in a browser."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import load_backend
from helpers import ROOT

import test_mnist
from benchmarks.handwriting import DIGITS, STAR, draw, shaken
from gln.apps.draw import command
from gln.apps.draw.lessons import ConflictError, Lessons, checked_label
from gln.apps.draw.pupil import AMONG, BLOCK, KNOWN, LESSON_RATE, MOST_STEPS, REHEARSAL, REHEARSED, Pupil
from gln.apps.draw.strokes import checked_drawing, image, variants
from gln.backends import load_backend as backend_of_name
from gln.features import Standardizer
from gln.mnist import deskew, load_mnist

COMMAND = "import sys; from gln.apps.draw.command import main; sys.exit(main())"
DATA = Path(str(resources.files("gln.mnist"))) / "mnist.npz"
AXE = Path(os.environ.get("AXE", ROOT / "node_modules" / "axe-core" / "axe.min.js"))
SEVEN, NINE = DIGITS[7][0], DIGITS[9][0]


def needs(*modules: str) -> None:
    """Skip a test if a module is missing, or fail it in CI, which requires everything."""
    if not os.environ.get("GLN_REQUIRE_BACKENDS"):
        for module in modules:
            pytest.importorskip(module)


def plain(drawing: Any) -> list:
    """A drawing as parsed JSON."""
    return json.loads(json.dumps(drawing))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network after 10,000 digits, to save time."""
    load_backend("numba")
    folder = tmp_path_factory.mktemp("small")
    with np.load(DATA) as arrays:
        few = {name: array[: 10000 if "train" in name else 100] for name, array in arrays.items()}
    np.savez(folder / "few.npz", **few)
    options = ["--data", str(folder / "few.npz"), "--layer-sizes", "16", "16", "--halfspaces", "4"]
    assert test_mnist.main(["--quiet", "--save", str(folder / "digits.gln"), *options]) == 0
    return folder / "digits.gln"


@pytest.fixture(scope="module", autouse=True)
def _digits_are_read_once() -> Iterator[None]:
    """Every pupil reads them otherwise, which takes a second."""
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr("gln.apps.draw.pupil.load_mnist", functools.cache(load_mnist))
        yield


@pytest.fixture
def files(trained: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The files of the model and of the lessons."""
    return trained, tmp_path / "lessons"


@pytest.fixture
def pupil(files: tuple[Path, Path]) -> Pupil:
    return Pupil(*files)


def name(pupil: Pupil, drawing: Any) -> str:
    state, answer = pupil.look(checked_drawing(plain(drawing)))
    return state.classes[answer.probabilities.argmax()]


def said(pupil: Pupil) -> np.ndarray:
    """Unrounded probabilities for all thirty digits."""
    return np.array(
        [pupil.look(checked_drawing(plain(one)))[1].probabilities for three in DIGITS.values() for one in three]
    )


# ---- Drawings


def test_an_image_does_not_depend_on_place_and_size():
    one = image(checked_drawing(plain(SEVEN)))
    other = image([np.array(stroke) * 0.3 + (500, -200) for stroke in SEVEN])
    np.testing.assert_allclose(other, one, atol=1e-5)
    assert one.shape == (784,)
    assert one.dtype == np.float32


def test_an_image_is_like_those_of_mnist():
    wide = image([np.array([[0.0, 0], [100, 0]]), np.array([[0.0, 10], [100, 10]])]).reshape(28, 28)
    assert np.flatnonzero(wide.max(axis=0) > 0.5).tolist() == list(range(4, 24))  # 20 pixels of 28
    digits, _, _, _ = test_mnist.load_mnist(deskew=False)
    drawn = np.mean([image(checked_drawing(plain(one))) for three in DIGITS.values() for one in three])
    assert abs(drawn / digits[:5000].mean() - 1) < 0.1  # about as much ink


def test_points_add_ink_but_not_near_others():
    assert 2 < image([np.array([[3.0, 4.0]])]).sum() < 8
    often = [np.repeat(np.array(stroke), 20, axis=0) for stroke in SEVEN]
    np.testing.assert_allclose(image(often), image(checked_drawing(plain(SEVEN))), atol=1e-5)


@pytest.mark.parametrize(
    "bad",
    [
        *(None, 3, "x", {}, [], [[]], [3], [[3]], [[[1]]], [[[1, 2, 3]]], [[["1", 2]]], [[[True, 2]]], [[[1, None]]]),
        *([[[1, float("nan")]]], [[[1, float("inf")]]], [[[1, 10**400]]], [[[0, 1]] * 2001], [{"x": 1}]),
    ],
    ids=lambda bad: repr(bad)[:30],
)
def test_invalid_drawings(bad):
    with pytest.raises(ValueError, match=r"^drawing: expected .*, got "):
        checked_drawing(bad)


def test_digits_are_known_before_any_lesson(pupil):
    known = [name(pupil, one) == str(digit) for digit, three in DIGITS.items() for one in three]
    assert sum(known) >= 27


# ---- Lessons


def test_a_lesson_is_steps_of_five_drawings_and_of_digits_like_them(pupil, files):
    network = backend_of_name("auto").GLN.load(files[0], learning_rate=LESSON_RATE)
    standardizer = Standardizer(784)
    standardizer.set_state(network.extra)
    drawing = checked_drawing(plain(SEVEN))
    z = standardizer.transform(deskew(np.stack([image(one) for one in variants(drawing)])).T)
    one = z[:, :1].copy()
    images, labels, _, _ = test_mnist.load_mnist(deskew=False)
    digits = standardizer.transform(deskew(images[:AMONG]).T)
    shared = (network.contexts(digits) == network.contexts(one)).sum(axis=1)
    like = np.argsort(-shared, kind="stable")[:REHEARSED]
    assert labels[like[0]] == 7
    for _ in range(MOST_STEPS):
        p = network.predict(z, z)
        if p[1].min() >= KNOWN and np.delete(p, 1, axis=0).max() <= 1 - KNOWN:
            break
        network.set_learning_rate(LESSON_RATE)
        network.predict(z, z, np.full(5, 1))
        network.set_learning_rate(LESSON_RATE * REHEARSAL)
        for part in np.split(like, 4):
            network.predict(digits[:, part], digits[:, part], labels[part])
    before = pupil.look(drawing)[1].probabilities[1]
    assert pupil.teach(drawing, "1") == pytest.approx(before)
    np.testing.assert_allclose(pupil.look(drawing)[1].probabilities, network.predict(one, one)[:, 0], rtol=1e-5)
    logits = np.log(network.predict(one, one) / (1 - network.predict(one, one)))[:, 0]
    _, constant, _ = network.explain(one, one)
    contributions = pupil.look(drawing)[1].contributions
    assert contributions.sum() + constant[logits.argmax(), 0] == pytest.approx(logits.max(), abs=1e-3)


def test_one_lesson_is_known_and_what_is_known_changes_nothing(pupil):
    drawing = checked_drawing(plain(SEVEN))
    assert name(pupil, SEVEN) == "7"
    assert pupil.teach(drawing, "1") < 0.1
    assert name(pupil, SEVEN) == "1"
    assert pupil.teach(checked_drawing(plain(STAR)), "star") == 0
    before = said(pupil)
    assert pupil.teach(checked_drawing(plain(STAR)), "star") >= KNOWN
    np.testing.assert_array_equal(said(pupil), before)


def test_a_new_class(pupil):
    before, rng = said(pupil), np.random.default_rng(0)
    for _ in range(3):
        pupil.teach(checked_drawing(plain(shaken(STAR, rng))), "star")
    assert pupil.state().classes[10:] == ["star"]
    assert [name(pupil, shaken(STAR, rng)) for _ in range(3)] == ["star"] * 3
    assert [name(pupil, three[0]) for three in DIGITS.values()] == [str(digit) for digit in DIGITS]
    now, at_the_start = pupil.accuracy()
    assert at_the_start == pytest.approx(0.966, abs=0.003)
    assert now >= at_the_start - 0.002
    pupil.lessons.forget(pupil.state().lessons[-1])
    np.testing.assert_array_equal(said(pupil), before)


def test_a_lesson_taken_back_leaves_no_trace_and_copies_no_network_for_each_class(pupil, trained, tmp_path):
    numbers = range(20, 20 + BLOCK + 2)  # more than a network has room for
    things = [(str(i), [[[0, i], [i, 0], [7, i]]]) for i in numbers]
    for label, drawing in things:
        pupil.teach(checked_drawing(drawing), label)
    size = sum(array.nbytes for network in pupil._networks for array in network.get_state(copy=False).values())
    tracemalloc.start()
    pupil.lessons.take_back(3)
    assert pupil.state().classes[10:] == [label for label, _ in things if label != "22"]
    assert tracemalloc.get_traced_memory()[1] < 1.5 * size
    tracemalloc.stop()
    other = Pupil(trained, tmp_path / "others")
    for label, drawing in [*things[:2], *things[3:]]:
        other.teach(checked_drawing(drawing), label)
    np.testing.assert_array_equal(said(pupil), said(other))


def test_processes_share_the_lessons(pupil, files):
    other = Pupil(*files)
    pupil.teach(checked_drawing(plain(SEVEN)), "1")
    (last,) = pupil.state().lessons
    other.teach(checked_drawing(plain(NINE)), "4")
    with pytest.raises(ConflictError, match="last"):  # nobody takes back lessons that they do not know
        pupil.lessons.forget(last)
    with pytest.raises(ConflictError, match="lesson"):
        pupil.lessons.take_back(last + 2)
    assert pupil.state() == other.state()
    other.lessons.take_back(last + 1)
    other.teach(checked_drawing(plain(STAR)), "8")  # in its place
    np.testing.assert_array_equal(said(pupil), said(Pupil(*files)))


@pytest.mark.slow
def test_no_lesson_is_lost_between_threads(pupil, files):
    def teach(label):
        for _ in range(5):
            pupil.teach(checked_drawing(plain(SEVEN)), label)
            name(pupil, NINE)

    threads = [threading.Thread(target=teach, args=(label,)) for label in ("1", "7", "star", "moon")]
    for thread in threads:
        thread.start()
    pupil.accuracy()
    for thread in threads:
        thread.join()
    assert len(pupil.state().lessons) == 20
    np.testing.assert_array_equal(said(pupil), said(Pupil(*files)))


def test_an_exported_network_continues(pupil, tmp_path):
    names = [f"star {i}" for i in range(BLOCK + 1)]
    for label in names:
        pupil.teach(checked_drawing(plain(STAR)), label)
    file = tmp_path / "taught.gln"
    pupil.export(file)
    again = Pupil(file, tmp_path / "others")
    assert again.state() == ([*"0123456789", *names], [])
    np.testing.assert_allclose(said(again), said(pupil), rtol=1e-5)
    assert load_backend("numpy").GLN.load(file).config.num_classes == 10 + len(names)


def test_a_file_of_something_else_is_refused(trained, tmp_path):
    (tmp_path / "text").write_text("no lessons" * 1000)
    with pytest.raises(ValueError, match="text: expected a file of lessons"):
        Lessons(tmp_path / "text")
    with pytest.raises(OSError, match="nowhere"):
        Lessons(tmp_path / "nowhere" / "lessons")
    for number, drawing in enumerate(("[[1]]", "[" * 100_000, None)):
        file = tmp_path / f"changed{number}"
        with contextlib.closing(sqlite3.connect(file)) as database, database:
            database.execute("CREATE TABLE lessons (id INTEGER PRIMARY KEY, drawing TEXT, label TEXT, time TEXT)")
            database.execute("INSERT INTO lessons VALUES (1, ?, '7', '')", (drawing,))
        with pytest.raises(ValueError, match=f"{file.name}: expected a file of lessons"):
            Pupil(trained, file)
    load_backend("numpy").GLN([2], 784, 784, num_classes=10).save(tmp_path / "bare.gln")
    with pytest.raises(ValueError, match=r"bare.gln: expected a network of 784 pixels"):
        Pupil(tmp_path / "bare.gln", tmp_path / "lessons")


def test_a_name_is_text_that_can_be_shown():
    for label in ("7", "Stern", " ★ ", "👨\u200d👩\u200d👧", "क\u094d\u200dष"):
        assert checked_label(label) == label.strip()
    assert checked_label("e\u0301") == "é"
    for bad in (None, 7, "", "  ", "\u200d", "\u202eabc", "a\nb", "\ud800", "x" * 21, "\ufb2c" * 20):
        with pytest.raises(ValueError, match=r"^label: expected 1 to 20 printable characters, got "):
            checked_label(bad)


# ---- HTTP


@pytest.fixture
def client(pupil: Pupil) -> Any:
    needs("starlette", "httpx")
    from starlette.testclient import TestClient

    from gln.apps.draw.server import application

    return TestClient(application(pupil), base_url="http://127.0.0.1:8000", raise_server_exceptions=False)


def test_requests_are_answered(client):
    drawing = plain(SEVEN)
    assert "<h1>Draw a digit" in client.get("/").text
    answer = client.post("/predictions", json={"drawing": drawing}).json()
    assert np.argmax(answer["probabilities"]) == 7
    assert len(answer["image"]) == len(answer["contributions"]) == 784
    taught = client.post("/lessons", json={"drawing": drawing, "label": " star "}).json()
    assert (taught["classes"][10:], taught["lessons"], len(taught["probabilities"])) == (["star"], [1], 11)
    assert taught["label"] == "star"
    assert taught["before"] == 0
    assert client.get("/lessons").json()["lessons"] == [{"number": 1, "drawing": drawing, "label": "star"}]
    assert client.get("/lessons?after=1").json()["lessons"] == []
    assert client.get("/lessons?after=x").status_code == 400
    assert client.post("/undo", json={"lesson": 2}).status_code == 409
    assert client.post("/undo", json={"lesson": 1}).json()["lessons"] == []
    assert set(client.get("/accuracy").json()) == {"now", "before"}


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/predictions", b"", 400, "body: expected JSON"),
        ("/predictions", b"[" * 50000, 400, "body: expected JSON"),
        ("/predictions", b"[]", 400, "body: expected a JSON object, got list"),
        ("/predictions", b"{}", 400, "drawing: expected a list of strokes"),
        ("/predictions", b'{"drawing": [[[1e999, 2]]]}', 400, "drawing: expected points"),
        ("/lessons", b'{"drawing": [[[1, 2]]], "label": "\\ud800"}', 400, "label: expected 1 to 20 printable"),
        ("/undo", b"{}", 400, "lesson: expected the number of a lesson"),
        ("/forget", b'{"last": true}', 400, "last: expected the number of a lesson"),
        ("/undo", b'{"lesson": 99999999999999999999}', 400, "lesson: expected the number of a lesson"),
        ("/forget", b'{"last": 3}', 409, "last: expected the number of the last lesson, got 3"),
        ("/nowhere", b"{}", 404, "Not Found"),
        ("/state", b"{}", 405, "Method Not Allowed"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_bad_requests(client, path, body, status, error):
    answer = client.post(path, content=body)
    assert answer.status_code == status
    assert answer.json()["error"].startswith(error)
    assert client.get("/state").json()["lessons"] == []


def test_a_large_body_is_refused_and_others_do_not_wait_for_one_that_is_read(client, pupil, monkeypatch):
    parts = iter([b" " * (1 << 18)] * 240)  # 60 MB
    refused = client.post("/predictions", content=parts)
    assert refused.status_code == 413
    assert refused.json() == {"error": "body: expected at most 1,048,576 bytes, got more"}

    def in_a_thread(text: bytes) -> Any:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        return {"drawing": [[[0, 0], [0, 9]]]}

    monkeypatch.setattr("gln.apps.draw.server._asked", in_a_thread)
    assert len(client.post("/predictions", content=b" " * (1 << 20)).json()["probabilities"]) == 10


def test_other_origins_and_hosts_are_refused(client):
    asked = {"drawing": plain(SEVEN), "label": "1"}
    for origin in ("http://example.org", "null", "http://127.0.0.1:8001", "https://127.0.0.1:8000"):
        answer = client.post("/lessons", json=asked, headers={"Origin": origin})
        assert (answer.status_code, answer.json()["error"].split(":")[0]) == (403, "Origin")
    for host in ("example.org", "192.168.1.5:8000", "127.0.0.1.example.org", "", "localhost:8000.example.org"):
        answer = client.get("/state", headers={"Host": host})
        assert (answer.status_code, answer.json()["error"].split(":")[0]) == (400, "Host")
    own = {"Host": "localhost:8000", "Origin": "http://localhost:8000"}
    assert client.get("/state", headers=own).json()["lessons"] == []


def test_too_many_classes_raise_an_error(client, pupil, monkeypatch):
    monkeypatch.setattr("gln.apps.draw.pupil.MOST_CLASSES", 10)
    answer = client.post("/lessons", json={"drawing": plain(STAR), "label": "star"})
    assert answer.status_code == 507
    assert answer.json()["error"] == "label: expected a known class, because 10 is the maximum, got 'star'"
    assert pupil.state().lessons == []


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (OSError("lessons: database or disk is full"), 503, "lessons: database or disk is full"),
        (ZeroDivisionError(), 500, "something went wrong; see the terminal where gln-draw runs"),
    ],
)
def test_what_is_not_stored_is_not_learned(client, pupil, monkeypatch, error, status, text):
    def fail(*_):
        raise error

    before = said(pupil)
    monkeypatch.setattr(pupil.lessons, "add", fail)
    answer = client.post("/lessons", json={"drawing": plain(SEVEN), "label": "1"})
    assert (answer.status_code, answer.json()["error"]) == (status, text)
    np.testing.assert_array_equal(said(pupil), before)


# ---- The command


def test_lessons_are_kept_with_data(trained, tmp_path, monkeypatch):
    needs("platformdirs")
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: tmp_path)
    monkeypatch.setattr(command, "_trained", lambda: trained)
    Lessons(tmp_path / f"{trained.name}.lessons").add(checked_drawing(plain(SEVEN)), "3")
    assert command._pupil(None).state().lessons == [1]


@contextlib.contextmanager
def served(model: Path, stderr: Any = None) -> Iterator[tuple[str, subprocess.Popen]]:
    """Run the command with a model: the address that it prints, and its process."""
    needs("starlette", "uvicorn", "platformdirs")
    asked = [sys.executable, "-c", COMMAND, "--port", "0", "--model", str(model)]
    process = subprocess.Popen(asked, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[1], process
    finally:
        process.kill()
        process.wait()


def asked(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=30) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_the_command_ends_and_exports(trained, tmp_path, capsys):
    model = Path(shutil.copy(trained, tmp_path))
    with (tmp_path / "stderr").open("w") as stderr, served(model, stderr) as (url, process):
        asked(f"{url}/lessons", {"drawing": plain(STAR), "label": "star"})
        for path, status in (("lessons", 400), ("nowhere", 404), ("state", 405)):
            with pytest.raises(urllib.error.HTTPError, match=str(status)):
                asked(f"{url}/{path}", {})
        taken = url.rpartition(":")[2]
        with socket.create_connection(("127.0.0.1", int(taken))) as half:  # of a request
            half.sendall(b"POST /undo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\n{")
        assert command.main(["--port", taken, "--model", str(model)]) == 2
        assert f"gln-draw: --port {taken}: Address already in use" in capsys.readouterr().err
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
    assert (tmp_path / "stderr").read_text() == ""
    assert command.main(["--model", str(model), "--export", str(tmp_path / "taught.gln")]) == 0
    assert "gln-draw: learning the lessons again: 1" in capsys.readouterr().err
    assert load_backend("numba").GLN.load(tmp_path / "taught.gln").config.num_classes == 11
    for arguments, error in (
        (["--export", str(tmp_path / "none" / "x")], "--export: expected a file in a folder that exists"),
        (["--port", "70000"], "--port: expected an integer from 0 to 65535, got 70000"),
        (["--port", "0", "--model", str(tmp_path / "none")], "none"),
    ):
        assert command.main(arguments) == 2
        assert error in capsys.readouterr().err


# ---- In a browser


@pytest.fixture(scope="module")
def site(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(Path(shutil.copy(trained, tmp_path_factory.mktemp("site")))) as (url, _):
        yield url


@pytest.fixture
def page(chromium: Any, site: str) -> Iterator[Any]:
    """The page, without any lessons."""
    if lessons := asked(f"{site}/state")["lessons"]:
        asked(f"{site}/forget", {"last": lessons[-1]})
    chromium.get(site)
    eventually(lambda: text(chromium, "before") != "…")
    yield chromium
    assert [entry for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"] == []


def eventually(holds: Any, seconds: float = 30) -> None:
    from selenium.common.exceptions import StaleElementReferenceException  # only needed by tests in a browser

    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(StaleElementReferenceException):  # the page replaced an element while it was read
            if holds():
                return
        assert time.monotonic() < end
        time.sleep(0.02)


def text(driver: Any, id: str) -> str:
    return driver.find_element("id", id).text


def press(driver: Any, label: str) -> None:
    driver.find_element("css selector", f'button[aria-label="It is a {label}"]').click()


def strip(driver: Any) -> list[Any]:
    return driver.find_elements("css selector", "#strip button")


def percent(driver: Any, label: str) -> str:
    (row,) = [row for row in driver.find_elements("css selector", "#bars tr") if row.text.split()[0] == label]
    return row.text.split()[-1]


def answer_dialog(driver: Any, answer: str) -> None:
    driver.find_element("css selector", f"dialog[open] button[value={answer}]").click()


@pytest.mark.slow
def test_a_drawn_seven_becomes_a_seven_and_is_taught(page):
    invitation = page.find_element("id", "invitation")
    assert invitation.is_displayed()
    draw(page, SEVEN)
    assert not invitation.is_displayed()
    eventually(lambda: text(page, "said") == "Prediction: 7")
    before = percent(page, "1")
    press(page, "1")
    eventually(lambda: text(page, "lessons") == "One lesson" and "→" in text(page, "told"))
    assert text(page, "told") == f"1: {before} → {percent(page, '1')}"
    assert text(page, "said") == "Prediction: 1"
    press(page, "7")  # for the same drawing
    assert "as 1. Teach it again, as 7?" in text(page, "question")
    answer_dialog(page, "no")
    draw(page, STAR)
    press(page, "7")
    eventually(lambda: text(page, "lessons") == "2 lessons" and len(strip(page)) == 2)
    page.refresh()
    eventually(lambda: text(page, "lessons") == "2 lessons" and len(strip(page)) == 2)
    assert [each.text for each in strip(page)] == ["7", "1"]
    strip(page)[1].click()
    answer_dialog(page, "yes")
    eventually(lambda: [each.text for each in strip(page)] == ["7"])
    page.find_element("id", "undo").click()
    eventually(lambda: text(page, "lessons") == "No lessons yet" and not strip(page))
    draw(page, SEVEN)
    eventually(lambda: text(page, "said") == "Prediction: 7" and percent(page, "1") == before)
    press(page, "1")
    eventually(lambda: text(page, "lessons") == "One lesson")
    page.find_element("id", "forget").click()
    answer_dialog(page, "yes")
    eventually(lambda: text(page, "lessons") == "No lessons yet" and percent(page, "1") == before)


@pytest.mark.slow
def test_what_cannot_be_done_is_told(page):
    draw(page, SEVEN)
    for bad in ("  ", "\u202e"):
        page.find_element("id", "name").send_keys(f"{bad}\n")
        eventually(lambda: text(page, "wrong") == "A name has 1 to 20 printable characters.")
        page.execute_script("document.getElementById('own').reset(); complain('')")
    page.get_log("browser")  # which has the answer 400
    for status, message in ((500, "See the terminal"), (503, "cannot be read or written: disk"), (507, "more classes")):
        answer = f"async () => new Response(JSON.stringify({{error: 'disk'}}), {{status: {status}}})"
        page.execute_script(f"window.fetch = {answer}; teach('7')")
        eventually(lambda message=message: message in text(page, "wrong"))
    page.execute_script("window.fetch = async () => new Response('half an'); teach('7')")
    eventually(lambda: "Is gln-draw still running?" in text(page, "wrong"))


@pytest.mark.slow
def test_what_is_taken_back_is_told_beside_the_lessons(page, site):
    for drawing, label in ((SEVEN, "1"), (NINE, "4")):
        asked(f"{site}/lessons", {"drawing": plain(drawing), "label": label})  # in another tab
    draw(page, STAR)
    eventually(lambda: len(strip(page)) == 2)
    now = asked(f"{site}/accuracy")["now"]
    eventually(lambda: text(page, "now") == f"{100 * now:.2f}%")
    strip(page)[0].click()
    answer_dialog(page, "yes")
    eventually(lambda: text(page, "taken") == "Taken back." and len(strip(page)) == 1)
    assert text(page, "told") == ""
    assert page.switch_to.active_element.get_attribute("id") == "undo"  # where one goes on by keyboard


@pytest.mark.slow
def test_everything_works_by_keyboard(page):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    ActionChains(page).send_keys(Keys.TAB).perform()
    assert page.switch_to.active_element.get_attribute("id") == "pad"
    keys = [Keys.ARROW_UP] * 15 + [Keys.SPACE] + [Keys.ARROW_DOWN] * 30
    ActionChains(page).send_keys(*keys).perform()
    eventually(lambda: text(page, "said") == "Prediction: 1")
    reached = set()
    for _ in range(17):
        ActionChains(page).send_keys(Keys.TAB).perform()
        focused = page.switch_to.active_element
        reached.add(focused.get_attribute("aria-label") or focused.text or focused.get_attribute("id"))
    buttons = {"Clear", "Teach", "Undo the last lesson", "Forget all", "name"}
    assert reached >= {f"It is a {digit}" for digit in range(10)} | buttons


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_all_elements_have_names_for_screen_readers(page, dark):
    if not AXE.exists() and not os.environ.get("GLN_REQUIRE_BACKENDS"):
        pytest.skip("axe-core is not there: npm install --no-save axe-core")
    scheme = {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
    draw(page, SEVEN)
    press(page, "7")
    eventually(lambda: text(page, "lessons") == "One lesson" and len(strip(page)) == 1)
    page.execute_script(AXE.read_text(encoding="utf-8"))
    for opened in (False, True):
        if opened:
            page.find_element("id", "forget").click()
        found = page.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
        assert len(found["passes"]) > 10
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]] == []
