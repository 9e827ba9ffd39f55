"""The page of `gln-draw`: drawings, lessons, HTTP requests, and the page itself in a browser."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
import json
import os
import re
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
from datetime import datetime, timedelta
from datetime import time as clock_time
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import load_backend
from helpers import ROOT

import test_mnist
from benchmarks.handwriting import DIGITS, STAR, draw, shaken
from gln.backends import load_backend as backend_of_name
from gln.features import Standardizer
from gln.mnist import deskew, load_mnist
from gln.page import command
from gln.page.lessons import ConflictError, Lessons, checked_label
from gln.page.pupil import AMONG, BLOCK, KNOWN, LESSON_RATE, MOST_STEPS, REHEARSAL, REHEARSED, Pupil
from gln.page.strokes import checked, image, variants
from gln.page.words import languages, words

COMMAND = "import sys; from gln.page.command import main; sys.exit(main())"
DATA = Path(str(resources.files("gln.mnist"))) / "mnist.npz"
AXE = Path(os.environ.get("AXE", ROOT / "node_modules" / "axe-core" / "axe.min.js"))
REQUESTS, KILLS = 500, 3
SEVEN, NINE = DIGITS[7][0], DIGITS[9][0]
LOGIN_SAYS = ["wrong_password", "too_many_tries"]  # texts that no template names


def needs(*modules: str) -> None:
    """Skip a test if a module is missing, or fail it in CI, which requires everything."""
    if not os.environ.get("GLN_REQUIRE_BACKENDS"):
        for module in modules:
            pytest.importorskip(module)


def plain(drawing: Any) -> list:
    """A drawing as parsed JSON."""
    return json.loads(json.dumps(drawing))


def train(folder: Path, *options: str) -> Path:
    load_backend("numba")
    file = folder / "digits.gln"
    assert test_mnist.main(["--quiet", "--save", str(file), *options]) == 0
    return file


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network after 10,000 digits, to save time."""
    folder = tmp_path_factory.mktemp("small")
    with np.load(DATA) as arrays:
        few = {name: array[: 10000 if "train" in name else 100] for name, array in arrays.items()}
    np.savez(folder / "few.npz", **few)
    return train(folder, "--data", str(folder / "few.npz"), "--layer-sizes", "16", "16", "--halfspaces", "4")


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network that the command trains at its first start."""
    return train(tmp_path_factory.mktemp("default"))


@pytest.fixture(scope="module", autouse=True)
def _digits_are_read_once() -> Iterator[None]:
    """Every pupil reads them otherwise, which takes a second."""
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr("gln.page.pupil.load_mnist", functools.cache(load_mnist))
        yield


RIGHT = {"trained": 0.966, "default": 0.983}  # shares of the test set
EACH_MODEL = pytest.mark.parametrize("model", ["trained", pytest.param("default", marks=pytest.mark.slow)])


@pytest.fixture
def files(trained: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The files of the model and of the lessons."""
    return trained, tmp_path / "lessons"


@pytest.fixture
def pupil(files: tuple[Path, Path]) -> Pupil:
    return Pupil(*files)


def name(pupil: Pupil, drawing: Any) -> str:
    state, answer = pupil.look(checked(plain(drawing)))
    return state.classes[answer.probabilities.argmax()]


def said(pupil: Pupil) -> np.ndarray:
    """Unrounded probabilities for all thirty digits."""
    return np.array([pupil.look(checked(plain(one)))[1].probabilities for three in DIGITS.values() for one in three])


# ---- Drawings


def test_an_image_does_not_depend_on_place_and_size():
    one = image(checked(plain(SEVEN)))
    other = image([np.array(stroke) * 0.3 + (500, -200) for stroke in SEVEN])
    np.testing.assert_allclose(other, one, atol=1e-5)
    assert one.shape == (784,)
    assert one.dtype == np.float32


def test_an_image_is_like_those_of_mnist():
    wide = image([np.array([[0.0, 0], [100, 0]]), np.array([[0.0, 10], [100, 10]])]).reshape(28, 28)
    assert np.flatnonzero(wide.max(axis=0) > 0.5).tolist() == list(range(4, 24))  # 20 pixels of 28
    digits, _, _, _ = test_mnist.load_mnist(deskew=False)
    drawn = np.mean([image(checked(plain(one))) for three in DIGITS.values() for one in three])
    assert abs(drawn / digits[:5000].mean() - 1) < 0.1  # about as much ink


def test_a_point_is_a_drawing():
    assert 2 < image([np.array([[3.0, 4.0]])]).sum() < 8


def test_points_that_are_near_add_no_ink():
    often = [np.repeat(np.array(stroke), 20, axis=0) for stroke in SEVEN]
    np.testing.assert_allclose(image(often), image(checked(plain(SEVEN))), atol=1e-5)


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
        checked(bad)


@EACH_MODEL
def test_digits_are_known_before_any_lesson(model, request, tmp_path):
    pupil = Pupil(request.getfixturevalue(model), tmp_path / "lessons")
    known = [name(pupil, one) == str(digit) for digit, three in DIGITS.items() for one in three]
    assert sum(known) >= 27


# ---- Lessons


def test_a_lesson_is_steps_of_five_drawings_and_of_digits_like_them(pupil, files):
    network = backend_of_name("auto").GLN.load(files[0], learning_rate=LESSON_RATE)
    standardizer = Standardizer(784)
    standardizer.set_state(network.extra)
    drawing = checked(plain(SEVEN))
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
    drawing = checked(plain(SEVEN))
    assert name(pupil, SEVEN) == "7"
    assert pupil.teach(drawing, "1") < 0.1
    assert name(pupil, SEVEN) == "1"
    assert pupil.teach(checked(plain(STAR)), "star") == 0
    before = said(pupil)
    assert pupil.teach(checked(plain(STAR)), "star") >= KNOWN
    np.testing.assert_array_equal(said(pupil), before)


@EACH_MODEL
def test_a_new_class(model, request, tmp_path):
    pupil, rng = Pupil(request.getfixturevalue(model), tmp_path / "lessons"), np.random.default_rng(0)
    before = said(pupil)
    for _ in range(3):
        pupil.teach(checked(plain(shaken(STAR, rng))), "star")
    assert pupil.state().classes[10:] == ["star"]
    assert [name(pupil, shaken(STAR, rng)) for _ in range(3)] == ["star"] * 3
    assert [name(pupil, three[0]) for three in DIGITS.values()] == [str(digit) for digit in DIGITS]
    now, at_the_start = pupil.accuracy()
    assert at_the_start == pytest.approx(RIGHT[model], abs=0.003)
    assert now >= at_the_start - 0.002
    pupil.forget(pupil.state().lessons[-1])
    np.testing.assert_array_equal(said(pupil), before)


def test_a_lesson_taken_back_from_among_others_leaves_no_trace(pupil, trained, tmp_path):
    lessons = [("2", SEVEN), ("star", STAR), ("3", NINE)]
    for label, drawing in lessons:
        pupil.teach(checked(plain(drawing)), label)
    pupil.undo(pupil.state().lessons[1])
    other = Pupil(trained, tmp_path / "others")
    for label, drawing in lessons[::2]:
        other.teach(checked(plain(drawing)), label)
    np.testing.assert_array_equal(said(pupil), said(other))
    assert [lesson.label for lesson in pupil.lessons()] == ["2", "3"]
    assert [lesson.label for lesson in pupil.lessons(after=1)] == ["3"]


def test_taking_back_a_lesson_copies_no_network_for_each_class(pupil, trained, tmp_path):
    things = [
        (str(i), [[[0, i], [i, 0], [7, i]]]) for i in range(20, 20 + BLOCK + 2)
    ]  # more than a network has room for
    for label, drawing in things:
        pupil.teach(checked(drawing), label)
    size = sum(array.nbytes for network in pupil._networks for array in network.get_state(copy=False).values())
    tracemalloc.start()
    pupil.undo(1)
    assert pupil.state().classes[10:] == [label for label, _ in things[1:]]
    assert tracemalloc.get_traced_memory()[1] < 1.5 * size
    tracemalloc.stop()
    other = Pupil(trained, tmp_path / "others")
    for label, drawing in things[1:]:
        other.teach(checked(drawing), label)
    np.testing.assert_array_equal(said(pupil), said(other))
    pupil.export(tmp_path / "taught.gln")
    np.testing.assert_allclose(said(Pupil(tmp_path / "taught.gln", tmp_path / "none")), said(pupil), rtol=1e-5)


def test_lessons_are_forgotten_at_night(trained, tmp_path, monkeypatch):
    now = datetime(2024, 5, 1, 23, 0).astimezone()

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return now.astimezone(tz)

    for module in ("pupil", "lessons"):
        monkeypatch.setattr(f"gln.page.{module}.datetime", Clock)
    pupil = Pupil(trained, tmp_path / "lessons", night=clock_time(4))
    before = said(pupil)
    pupil.teach(checked(plain(SEVEN)), "1")
    now += timedelta(hours=4)
    assert len(pupil.state().lessons) == 1
    now += timedelta(hours=2)
    assert pupil.lessons() == []
    np.testing.assert_array_equal(said(pupil), before)
    pupil.teach(checked(plain(SEVEN)), "1")
    assert len(Pupil(trained, tmp_path / "lessons", night=clock_time(4)).state().lessons) == 1


def test_nobody_takes_back_lessons_without_knowing_the_latest(pupil, files):
    pupil.teach(checked(plain(SEVEN)), "1")
    (last,) = pupil.state().lessons
    Pupil(*files).teach(checked(plain(NINE)), "4")  # another process
    with pytest.raises(ConflictError, match="last"):
        pupil.forget(last)
    with pytest.raises(ConflictError, match="lesson"):
        pupil.undo(last + 2)
    assert len(pupil.state().lessons) == 2
    np.testing.assert_array_equal(said(pupil), said(Pupil(*files)))


def test_a_lesson_in_place_of_another_is_learned(pupil, files):
    other = Pupil(*files)
    pupil.teach(checked(plain(SEVEN)), "1")
    other.undo(*other.state().lessons)
    other.teach(checked(plain(NINE)), "4")
    np.testing.assert_array_equal(said(pupil), said(Pupil(*files)))


@pytest.mark.slow
def test_no_lesson_is_lost_between_threads(pupil, files):
    def teach(label):
        for _ in range(5):
            pupil.teach(checked(plain(SEVEN)), label)
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
    pupil.teach(checked(plain(STAR)), "star")
    pupil.teach(checked(plain(SEVEN)), "1")
    file = tmp_path / "taught.gln"
    pupil.export(file)
    again = Pupil(file, tmp_path / "others")
    assert again.state() == ([*"0123456789", "star"], [])
    np.testing.assert_array_equal(said(again), said(pupil))
    assert load_backend("numpy").GLN.load(file).num_classes == 11


def test_a_journal_that_a_kill_left_is_cleared(tmp_path):
    file, journal = tmp_path / "lessons", tmp_path / "lessons-journal"
    Lessons(file).add(checked(plain(SEVEN)), "7")
    journal.write_bytes(b"\0" * 512)  # as SQLite leaves it if killed before its first write
    assert [lesson.label for lesson in Lessons(file).after(0)] == ["7"]
    assert not journal.exists()


def test_forgotten_lessons_are_not_in_the_file(tmp_path):
    lessons = Lessons(tmp_path / "lessons")
    lessons.add(checked(plain(STAR)), "moonshine")
    assert b"moonshine" in lessons.file.read_bytes()
    lessons.forget(1)
    assert b"moonshine" not in lessons.file.read_bytes()


def test_a_file_of_something_else_is_refused(trained, tmp_path):
    (tmp_path / "text").write_text("no lessons" * 1000)
    with pytest.raises(ValueError, match="text: expected a file of lessons"):
        Lessons(tmp_path / "text")
    with pytest.raises(OSError, match="nowhere"):
        Lessons(tmp_path / "nowhere" / "lessons")
    with contextlib.closing(sqlite3.connect(tmp_path / "changed")) as database, database:
        database.execute("CREATE TABLE lessons (id INTEGER PRIMARY KEY, drawing TEXT, label TEXT, time TEXT)")
        database.execute("INSERT INTO lessons VALUES (1, '', '7', '')")
    for drawing in ("[[1]]", "[" * 100_000, None):
        with contextlib.closing(sqlite3.connect(tmp_path / "changed")) as database, database:
            database.execute("UPDATE lessons SET drawing = ?", (drawing,))
        with pytest.raises(ValueError, match="changed: expected a file of lessons"):
            Pupil(trained, tmp_path / "changed")
    load_backend("numpy").GLN([2], 784, 784, num_classes=10).save(tmp_path / "bare.gln")
    with pytest.raises(ValueError, match=r"bare.gln: expected a network of 784 pixels"):
        Pupil(tmp_path / "bare.gln", tmp_path / "lessons")


def test_a_name_is_text_that_can_be_shown():
    for label in ("7", "Stern", " ★ ", "👨\u200d👩\u200d👧", "क\u094d\u200dष"):
        assert checked_label(label) == label.strip()
    for bad in (None, 7, "", "  ", "\u200d", "\u202eabc", "a\nb", "\ud800", "x" * 21, "👨" + 20 * "\u200d"):
        with pytest.raises(ValueError, match=r"^label: expected 1 to 20 printable characters, got "):
            checked_label(bad)


def test_no_two_names_differ_only_in_what_does_not_show():
    for label, name in (("e\u0301", "é"), ("7\u3164", "7"), ("\u200d7 \u200c\u3000", "7"), ("❤\ufe0f", "❤")):
        assert checked_label(label) == checked_label(name) == name
    for bad in ("\u3164", "\u115f\u1160", "\uffa0 ", "\u2800", "\ufe0f", "\u034f\u200d", "\U000e0100", "\ufb2c" * 20):
        with pytest.raises(ValueError, match=r"^label: expected 1 to 20 printable characters, got "):
            checked_label(bad)
    rng, odd = (
        np.random.default_rng(0),
        [*"ae7 \u0301\u0327\u200c\u200d\u3000\u3164\ufe0f\u212b\u1100\u1161\u09c7\u09be\u0344❤"],
    )
    for name in map("".join, rng.choice(odd, (2000, 5))):  # a stored name is checked again when it is read
        with contextlib.suppress(ValueError):
            assert checked_label(checked_label(name)) == checked_label(name)


# ---- HTTP


@pytest.fixture
def client(pupil: Pupil) -> Any:
    needs("starlette", "httpx")
    from starlette.testclient import TestClient

    from gln.page.server import application

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
        ("/predictions", b"\xff\xfe{", 400, "body: expected JSON"),
        ("/predictions", b"[]", 400, "body: expected a JSON object, got list"),
        ("/predictions", b"{}", 400, "drawing: expected a list of strokes"),
        ("/predictions", b'{"drawing": [[[1e999, 2]]]}', 400, "drawing: expected points"),
        ("/predictions", b" " * 70000, 413, "body: expected at most 65536 bytes"),
        ("/lessons", b'{"drawing": [[[1, 2]]]}', 400, "label: expected 1 to 20 printable"),
        ("/lessons", b'{"drawing": [[[1, 2]]], "label": "  "}', 400, "label: expected 1 to 20 printable"),
        ("/lessons", b'{"drawing": [[[1, 2]]], "label": "\\ud800"}', 400, "label: expected 1 to 20 printable"),
        ("/lessons", b'{"drawing": [[[1, 2]]], "label": 7}', 400, "label: expected 1 to 20 printable"),
        ("/lessons", b'{"drawing": [[[1, 2]]], "label": "aaaaaaaaaaaaaaaaaaaaa"}', 400, "label: expected 1 to 20"),
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


def test_other_origins_and_hosts_are_refused(client):
    asked = {"drawing": plain(SEVEN), "label": "1"}
    for origin in ("http://example.org", "null", "http://127.0.0.1:8001", "https://127.0.0.1:8000"):
        assert client.post("/lessons", json=asked, headers={"Origin": origin}).status_code == 403
    hosts = ["127.0.0.1:8000@example.org", "127.0.0.1:8000:80", "localhost:8000.example.org"]
    for host in ("example.org", "192.168.1.5:8000", "127.0.0.1.example.org", "", *hosts):
        assert client.get("/state", headers={"Host": host}).status_code == 400
    assert (
        client.get("/state", headers={"Host": "localhost:8000", "Origin": "http://localhost:8000"}).status_code == 200
    )
    assert client.get("/state").json()["lessons"] == []


@pytest.fixture
def visitor(pupil: Pupil) -> Any:
    """A client of a page with a password, at an address in a network."""
    needs("starlette", "httpx")
    from starlette.testclient import TestClient

    from gln.page.server import application

    return TestClient(application(pupil, "open sesame"), base_url="http://192.168.1.5:8000", follow_redirects=False)


def test_a_password_opens_the_page(visitor):
    assert visitor.get("/").status_code == 401
    assert 'type="password"' in visitor.get("/").text
    for cookie in ({}, {"Cookie": "gln-draw="}, {"Cookie": "gln-draw=x"}, {"Cookie": "gln-draw=ä".encode()}):
        for path in ("/state", "/accuracy", "/lessons", "/nowhere"):
            assert visitor.get(path, headers=cookie).status_code == 401
        for path in ("/predictions", "/lessons", "/undo", "/forget"):
            assert visitor.post(path, json={"drawing": plain(SEVEN), "label": "7"}, headers=cookie).status_code == 401
    assert visitor.post("/login", content=b"password=" + b"x" * 70000).status_code == 413
    answer = visitor.post("/login", data={"password": "open sesame"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert {"HttpOnly", "SameSite=strict"} <= set(answer.headers["set-cookie"].split("; "))
    assert "<canvas" in visitor.get("/").text
    assert visitor.get("/state").json()["lessons"] == []
    asked = {"drawing": plain(SEVEN), "label": "1"}
    assert visitor.post("/lessons", json=asked, headers={"Origin": "http://example.org"}).status_code == 403
    for host in ("example.org", "localhost:8000", "192.168.1.6:8000"):
        assert visitor.get("/state", headers={"Host": host}).status_code == 400


def test_passwords_cannot_be_tried_for_long(visitor, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("gln.page.door.time.monotonic", lambda: now)
    for given in ("", "open", "open sesame ", "\x00", "ö"):
        assert visitor.post("/login", data={"password": given}).status_code == 401
    assert visitor.post("/login", data={"password": "open sesame"}).status_code == 429
    now += 59
    assert visitor.post("/login", data={"password": "open sesame"}).status_code == 429
    other = type(visitor)(
        visitor.app, base_url=str(visitor.base_url), follow_redirects=False, client=("192.168.1.7", 50000)
    )
    assert other.post("/login", data={"password": "open sesame"}).status_code == 303
    assert visitor.post("/login", data={"password": "open sesame"}).status_code == 429
    now += 2
    assert visitor.post("/login", data={"password": "wrong"}).status_code == 401
    assert visitor.post("/login", data={"password": "open sesame"}).status_code == 303


def test_every_language_has_the_same_words():
    needs("starlette")
    pages = "".join((ROOT / "gln" / "page" / page).read_text(encoding="utf-8") for page in ("page.html", "login.html"))
    assert languages() == ["en", "de"]
    for language in languages():
        assert list(words(language)) == list(words("en"))
        assert all(word.strip() for word in words(language).values())
        for name, word in words(language).items():
            assert set(re.findall(r"{\w+}", word)) == set(re.findall(r"{\w+}", words("en")[name])), name
    assert [name for name in words("en") if not re.search(rf'{{{{{name}}}}}|"{name}"', pages)] == LOGIN_SAYS
    assert not re.search(r">\s*[A-Za-z]{2}[^<{]*<", re.sub(r"(?s)<(style|script)>.*?</\1>", "", pages))


def test_the_page_speaks_the_language_that_is_asked_for(client):
    for asked, language in (("de-AT,de;q=0.9,en;q=0.8", "de"), ("fr, de;q=0.5", "de"), ("fr", "en"), ("", "en")):
        page = client.get("/", headers={"Accept-Language": asked}).text
        assert f'<html lang="{language}">' in page
        assert f"<h1>{words(language)['title']}</h1>" in page
        assert "{{" not in page


def test_too_many_classes_raise_an_error(client, pupil, monkeypatch):
    monkeypatch.setattr("gln.page.pupil.MOST_CLASSES", 10)
    answer = client.post("/lessons", json={"drawing": plain(STAR), "label": "star"})
    assert answer.status_code == 507
    assert answer.json()["error"] == "label: expected a known class, because 10 is the maximum, got 'star'"
    assert pupil.state().lessons == []


def test_a_full_disk_is_reported_and_nothing_is_learned(client, pupil, monkeypatch):
    def full(*_):
        raise OSError("lessons: database or disk is full")

    before = said(pupil)
    monkeypatch.setattr(pupil._lessons, "add", full)
    answer = client.post("/lessons", json={"drawing": plain(SEVEN), "label": "1"})
    assert (answer.status_code, answer.json()["error"]) == (503, "lessons: database or disk is full")
    np.testing.assert_array_equal(said(pupil), before)


@pytest.mark.parametrize(("path", "password"), [("/lessons", None), ("/login", "open sesame")])
def test_a_browser_that_disconnects_leaves_no_traceback(pupil, path, password):
    needs("starlette")
    from gln.page.server import application

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def answered(message: Any) -> None:
        answers.append(message)

    answers: list[Any] = []
    headers = [(b"host", b"127.0.0.1:8000")]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
    asyncio.run(application(pupil, password)({**scope, "server": ("127.0.0.1", 8000)}, gone, answered))
    assert answers[0]["status"] == 413
    assert pupil.state().lessons == []


def test_an_internal_error_shows_no_traceback(client, pupil, monkeypatch):
    monkeypatch.setattr(pupil, "state", lambda: 1 / 0)
    answer = client.get("/state")
    assert answer.status_code == 500
    assert "terminal where gln-draw runs" in answer.json()["error"]


def random_request(rng: np.random.Generator) -> tuple[str, str, bytes]:
    """A random method, path and body, sometimes a valid one, but never a lesson."""
    numbers: list[Any] = [0, -1, 1e4, 10001, None, True, "7", float("nan"), [], 3.5]
    some: Any = [[[numbers[i] for i in rng.integers(len(numbers), size=2)] for _ in range(rng.integers(4))]]
    values = [some, SEVEN, "star", "\x00", "", "x" * 30, {}, [], None, 1, *[3, 4] * 3, -1, [[[1, 2]]] * 3]
    body = {
        key: values[rng.integers(len(values))] for key in ("drawing", "last", "lesson", "label") if rng.random() < 0.7
    }
    path = ["/", "/state", "/predictions", "/undo", "/forget", "/accuracy", "/lessons", "/%00", "/../x", "/lessons/1"]
    path_of_it = str(rng.choice(path))
    if path_of_it == "/lessons":
        body["label"] = ["", "x" * 30, 7, None, "\n"][rng.integers(5)]
    text = json.dumps(body).encode()
    if rng.random() < 0.3:
        text = bytes(rng.integers(256, size=rng.integers(200), dtype=np.uint8)) if rng.random() < 0.5 else text[:-2]
    return str(rng.choice(["GET", "POST", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"])), path_of_it, text


@pytest.mark.slow
def test_random_requests_change_nothing_and_show_no_traceback(client, pupil):
    for label in ("1", "star"):
        pupil.teach(checked(plain(SEVEN)), label)
    before, state, rng = said(pupil), pupil.state(), np.random.default_rng(0)
    seen = set()
    for _ in range(REQUESTS):
        method, path, body = random_request(rng)
        if path == "/undo" and b'"lesson": 1' in body:
            continue
        answer = client.request(method, path, content=body)
        assert answer.status_code < 500, (method, path, body)
        assert "Traceback" not in answer.text
        seen.add(answer.status_code)
    assert {200, 400, 404, 405, 409} <= seen
    assert pupil.state() == state
    np.testing.assert_array_equal(said(pupil), before)


# ---- The command


def test_lessons_are_kept_with_data(trained, tmp_path, monkeypatch):
    needs("platformdirs")
    monkeypatch.setattr("platformdirs.user_data_dir", lambda *_, **__: str(tmp_path))
    monkeypatch.setattr(command, "_trained", lambda: trained)
    Lessons(tmp_path / f"{trained.name}.lessons").add(checked(plain(SEVEN)), "3")
    assert command._pupil(command._parser().parse_args([])).state().lessons == [1]


@contextlib.contextmanager
def served(model: Path, *options: str, stderr: Any = None) -> Iterator[tuple[str, subprocess.Popen]]:
    """Run the command with a model: the address that it prints, and its process."""
    needs("starlette", "uvicorn", "platformdirs")
    asked = [sys.executable, "-c", COMMAND, "--port", "0", "--model", str(model), *options]
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
def test_killed_in_the_middle_of_lessons(trained, tmp_path):
    model, rng = Path(shutil.copy(trained, tmp_path)), np.random.default_rng(0)
    confirmed: list[tuple[int, str]] = []
    for _ in range(KILLS):
        with served(model) as (url, process):
            assert len(asked(f"{url}/state")["lessons"]) >= len(confirmed)
            killer = threading.Timer(rng.uniform(0, 2), process.kill)
            with contextlib.suppress(OSError, ValueError):  # from the connection, or because half an answer arrived
                while True:
                    label = str(rng.choice(["1", "star", "moon"]))
                    answer = asked(f"{url}/lessons", {"drawing": plain(SEVEN), "label": label})
                    confirmed.append((answer["lessons"][-1], label))
                    if not killer.ident:  # the first lesson waits until the network is loaded
                        killer.start()
            killer.join()
    kept = {lesson.number: lesson.label for lesson in Lessons(tmp_path / "digits.gln.lessons").after(0)}
    assert len(confirmed) > 2 * KILLS
    assert confirmed == [(number, kept[number]) for number, _ in confirmed]
    assert len(kept) - len(confirmed) <= KILLS  # at most one for each kill, stored but not yet confirmed
    assert sorted(file.name for file in tmp_path.iterdir()) == ["digits.gln", "digits.gln.lessons"]


@pytest.mark.slow
def test_the_command_ends_and_exports(trained, tmp_path, capsys):
    model = Path(shutil.copy(trained, tmp_path))
    with served(model) as (url, process):
        asked(f"{url}/lessons", {"drawing": plain(STAR), "label": "star"})
        taken = url.rpartition(":")[2]
        assert command.main(["--port", taken, "--model", str(model)]) == 2
        assert f"gln-draw: --host 127.0.0.1 --port {taken}: Address already in use" in capsys.readouterr().err
        process.send_signal(signal.SIGINT)
        process.wait(timeout=10)
    assert command.main(["--model", str(model), "--export", str(tmp_path / "taught.gln")]) == 0
    assert "gln-draw: learning the lessons again: 1" in capsys.readouterr().err
    assert load_backend("numba").GLN.load(tmp_path / "taught.gln").num_classes == 11
    for arguments, error in (
        (["--export", str(tmp_path / "none" / "x")], "--export: expected a file in a folder that exists"),
        (["--port", "70000"], "--port: expected an integer from 0 to 65535, got 70000"),
        (["--port", "0", "--model", str(tmp_path / "none")], "none"),
        (["--port", "0", "--password", "short"], "--password: expected at least 8 characters, got 5"),
        (["--port", "0", "--password", "12345678\udcff"], "--password: expected printable characters, got others"),
        (["--port", "0", "--language", "xx"], "--language: expected one of en, de, got 'xx'"),
        (["--port", "0", "--host", "203.0.113.1"], "--host 203.0.113.1 --port 0: "),
    ):
        assert command.main(arguments) == 2
        assert error in capsys.readouterr().err


def test_the_time_of_forgetting():
    parse = command._parser().parse_args
    assert [parse(given).fair for given in ([], ["--fair"])] == [None, clock_time(4)]
    for given, moment in (("04:30", clock_time(4, 30)), ("4:30", clock_time(4, 30)), ("0:00", clock_time(0))):
        assert parse(["--fair", given]).fair == moment
    for bad in ("24:00", "4", "04:00+02:00", "noon"):  # no time zone: it is the clock on the wall
        with pytest.raises(SystemExit):
            parse(["--fair", bad])


@pytest.mark.slow
def test_others_need_the_password_that_the_command_prints(trained, tmp_path):
    model = Path(shutil.copy(trained, tmp_path))
    with served(model, "--host", "0.0.0.0", "--fair", "--language", "de") as (url, process):
        assert process.stdout is not None
        password = process.stdout.readline().split()[-1]
        port = url.rpartition(":")[2]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            asked(f"http://127.0.0.1:{port}/state")
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        page = (
            opener.open(f"http://127.0.0.1:{port}/login", f"password={password}".encode(), timeout=30).read().decode()
        )
        assert '<html lang="de">' in page
        assert "FAIR = true" in page
        assert json.load(opener.open(f"http://127.0.0.1:{port}/state", timeout=30))["lessons"] == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["digits.gln", "digits.gln.fair"]


# ---- Connections

HALVES = [b"GET / HTTP/1.1\r\nHost: 127", b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\npass"]


@contextlib.contextmanager
def half_requests(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Connections that send half of a request and then wait."""
    with contextlib.ExitStack() as opened:
        halves = []
        for i in range(count):
            halves.append(opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20)))
            with contextlib.suppress(ConnectionError):
                halves[i].sendall(HALVES[i % 2])
        yield halves


def is_closed(half: socket.socket) -> bool:
    """Whether the server closes a connection before its time-out."""
    try:
        return half.recv(1) == b""  # and sends nothing before
    except ConnectionError:
        return True
    except TimeoutError:
        return False


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server with few and short connections, which answers after reading a request, at /slow late."""
    needs("uvicorn")
    import uvicorn

    from gln.page.connection import LIMITS, Connection

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await asyncio.sleep(0.8 if scope["path"] == "/slow" else 0)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    monkeypatch.setattr("gln.page.connection.SECONDS", 0.3)
    monkeypatch.setattr("gln.page.connection.MOST_CONNECTIONS", 5)
    server = uvicorn.Server(uvicorn.Config(app, http=Connection, ws="none", lifespan="off", **LIMITS))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


def test_half_a_request_is_not_waited_for(port):
    with (
        half_requests(port, 2) as halves,
        contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, 5)) as whole,
    ):
        for path in ("/", "/slow", "/"):  # on one connection, of which the server is at work for longer
            whole.request("GET", path)
            assert whole.getresponse().read() == b"ok"
        assert all(map(is_closed, halves))


def test_the_oldest_connections_end_for_new_ones(port, monkeypatch):
    monkeypatch.setattr("gln.page.connection.SECONDS", 30)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, 5)) as slow:
        slow.request("GET", "/slow")
        time.sleep(0.1)  # until the server is at work
        with half_requests(port, 20) as halves:
            assert urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read() == b"ok"
            assert all(map(is_closed, halves[:15]))
            halves[-1].settimeout(0.1)
            assert not is_closed(halves[-1])
            assert slow.getresponse().read() == b"ok"


@pytest.mark.slow
def test_half_requests_block_nobody_and_fill_no_log(trained, tmp_path):
    resource = pytest.importorskip("resource")
    model = Path(shutil.copy(trained, tmp_path))
    with (
        (tmp_path / "stderr").open("wb") as log,
        served(model, "--password", "open sesame", stderr=log) as (url, process),
    ):
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (256, 256))
        with half_requests(int(url.rpartition(":")[2]), 300) as halves:
            begun = time.monotonic()
            for _ in range(10):
                with pytest.raises(urllib.error.HTTPError, match="401"):
                    asked(f"{url}/state")
            assert time.monotonic() < begun + 5
            assert all(map(is_closed, halves))
        assert (tmp_path / "stderr").stat().st_size < 1000


# ---- In a browser


@pytest.fixture(scope="module")
def site(default: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(Path(shutil.copy(default, tmp_path_factory.mktemp("site")))) as (url, _):
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


def bar(driver: Any, label: str) -> str:
    (row,) = [row for row in driver.find_elements("css selector", "#bars tr") if row.text.split()[0] == label]
    return row.find_element("class name", "bar").get_attribute("style")


def violations(driver: Any) -> list:
    """The accessibility violations that axe-core finds on the page."""
    driver.execute_script(AXE.read_text(encoding="utf-8"))
    found = driver.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    assert len(found["passes"]) > 10
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]]


def answer_dialog(driver: Any, answer: str) -> None:
    driver.find_element("css selector", f"dialog[open] button[value={answer}]").click()


@pytest.mark.slow
def test_a_drawn_seven_becomes_a_seven_and_is_taught(page):
    invitation = page.find_element("id", "invitation")
    assert invitation.is_displayed()
    draw(page, SEVEN)
    assert not invitation.is_displayed()
    eventually(lambda: text(page, "said") == "Prediction: 7")
    before, was = bar(page, "1"), percent(page, "1")
    press(page, "1")
    eventually(lambda: text(page, "lessons") == "One lesson" and "→" in text(page, "told"))
    assert text(page, "told") == f"1: {was} → {percent(page, '1')}"
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
    eventually(lambda: text(page, "said") == "Prediction: 7" and bar(page, "1") == before)
    press(page, "1")
    eventually(lambda: text(page, "lessons") == "One lesson")
    page.find_element("id", "forget").click()
    answer_dialog(page, "yes")
    eventually(lambda: text(page, "lessons") == "No lessons yet" and bar(page, "1") == before)


@pytest.mark.slow
def test_at_a_fair_a_lesson_clears_the_drawing(chromium, trained, tmp_path):
    with served(Path(shutil.copy(trained, tmp_path)), "--fair", "--password", "open sesame") as (url, _):
        chromium.get(url)
        if AXE.exists():
            assert violations(chromium) == []
        chromium.find_element("id", "password").send_keys("open sesame\n")
        eventually(lambda: chromium.find_elements("css selector", "#bars tr"))
        draw(chromium, SEVEN)
        press(chromium, "1")
        eventually(lambda: "→" in text(chromium, "told"))
        assert text(chromium, "said") == "Nothing drawn yet."
        assert chromium.find_element("id", "invitation").is_displayed()
        eventually(lambda: len(strip(chromium)) == 1)
        chromium.get("about:blank")  # so that no dialog stays open
    chromium.get_log("browser")  # drop the log of the first answer, 401


@pytest.mark.slow
def test_what_cannot_be_done_is_told_in_the_pages_language(chromium, trained, tmp_path):
    with served(Path(shutil.copy(trained, tmp_path)), "--language", "de") as (url, _):
        chromium.get(url)
        eventually(lambda: text(chromium, "before") != "…")
        assert text(chromium, "winner") == "die erkannte Klasse"
        draw(chromium, SEVEN)
        for bad in ("  ", "\u202e"):
            chromium.find_element("id", "name").send_keys(f"{bad}\n")
            eventually(lambda: text(chromium, "wrong") == words("de")["bad_name"])
            chromium.execute_script("document.getElementById('own').reset(); complain('')")
        for status, name in ((500, "mistake"), (503, "not_kept"), (507, "too_many_classes")):
            answer = f"async () => new Response(JSON.stringify({{error: 'disk'}}), {{status: {status}}})"
            chromium.execute_script(f"window.fetch = {answer}; teach('7')")
            eventually(lambda name=name: text(chromium, "wrong") == words("de")[name].format(error="disk"))
        chromium.execute_script("window.fetch = async () => new Response('half an')")
        chromium.execute_script("teach('7')")
        eventually(lambda: text(chromium, "wrong") == words("de")["no_answer"])
    chromium.get_log("browser")  # which has the answer to the bad name, 400


@pytest.mark.slow
def test_a_long_name_fits_a_phone(page):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        draw(page, STAR)
        page.find_element("id", "name").send_keys("W" * 20 + "\n")
        eventually(lambda: "→" in text(page, "told") and text(page, "said").endswith("WW"))
        press(page, "7")  # asks, for it is the same drawing
        assert page.execute_script("return document.documentElement.scrollWidth") == 390
        assert page.find_element("id", "sure").rect["x"] >= 0
        answer_dialog(page, "no")
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.slow
def test_a_full_drawing_says_so(page):
    page.execute_script("for (let i = 0; i < MOST_POINTS; i++) begin([i % SIZE, 7 * i % SIZE]); changed()")
    eventually(lambda: text(page, "said").startswith("Prediction: "))
    draw(page, SEVEN)
    time.sleep(0.5)
    assert text(page, "wrong") == words("en")["full"]


@pytest.mark.slow
def test_a_drawing_cleared_while_it_is_looked_at_is_not_sent(page):
    page.execute_script("begin([10, 20]); changed(); changed(); clear()")
    eventually(lambda: not page.execute_script("return looking"))
    assert text(page, "wrong") == ""


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
    page.execute_script("during('taken', 'busy', () => new Promise(done => setTimeout(() => done('end'), 500)))")
    press(page, "7")
    assert text(page, "wrong") == "One moment: it is still learning."
    eventually(lambda: text(page, "taken") == "end")
    eventually(lambda: text(page, "wrong") == "")
    assert text(page, "lessons") == "One lesson"
    page.execute_script("takeBack('/undo', {lesson: 99})")
    eventually(lambda: text(page, "wrong") == words("en")["conflict"])
    page.execute_script("refresh().then(count)")
    time.sleep(1)  # answers that nobody asked for leave it
    assert text(page, "wrong") == words("en")["conflict"]
    page.get_log("browser")  # which has the answer 409


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
    for opened in (False, True):
        if opened:
            page.find_element("id", "forget").click()
        assert violations(page) == []
