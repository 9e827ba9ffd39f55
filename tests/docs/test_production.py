"""examples/production does what docs/production.md says, also where labels come late."""

from __future__ import annotations

import json
import os
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
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT, assert_same_file

pytest.importorskip("river")

from river import stream

from gln import sklearn
from gln.monitoring import Monitor
from gln.river import GLNClassifier

PROGRAMS = ROOT / "examples" / "production"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")


def code_of(program: str) -> str:
    return (PROGRAMS / program).read_text(encoding="utf-8")


def names_of(program: str, old: str = "", new: str = "") -> SimpleNamespace:
    """What a program defines, perhaps with a text in place of another one."""
    names = SimpleNamespace(__name__="program")
    exec(compile(code_of(program).replace(old, new), program, "exec"), vars(names))
    return names


def events(count: int) -> list[dict[str, Any]]:
    """Items are sold or not, by name and price."""
    rng = np.random.default_rng(0)
    items, prices = rng.choice(["tea", "coffee", "cocoa"], count), rng.normal(size=count)
    sold = (items == "tea") ^ (prices > 0)
    samples = [{"item": item, "price": price} for item, price in zip(items.tolist(), prices.tolist(), strict=True)]
    return [{"x": x, "y": "sold" if y else "kept"} for x, y in zip(samples, sold, strict=True)]


def learned_at_once(shown: list[dict[str, Any]]) -> GLNClassifier:
    """A model that predicted each event and then learned it."""
    model = GLNClassifier(seed=0, waiting=1)
    for event in shown:
        model.predict_proba_one(event["x"])
        model.learn_one(event["x"], event["y"])
    return model


def assert_served_are_scored(monitor: Monitor, served: list[tuple[dict[str, float], str]]) -> None:
    """Assert that the figures are those of the probabilities that were answered, with the labels that came later."""
    losses = [-np.log(max(p.get(y, 0.0), 1e-15)) for p, y in served]
    hits = [max(p, key=p.__getitem__, default=None) == y for p, y in served]
    figures = monitor.figures()
    assert figures["learned_total"] == len(served)
    assert figures["log_loss"] == pytest.approx(np.mean(losses), abs=1e-9)
    assert figures["accuracy"] == pytest.approx(np.mean(hits), abs=1e-9)


# ---- The service -----------------------------------------------------------------------------------------------------


def post(port: int, route: str, event: Any) -> tuple[int, Any]:
    """Status and body of the answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{route}", json.dumps(event).encode())
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@contextmanager
def service(folder: Path, stop: signal.Signals) -> Iterator[int]:
    """The port of a service that saves when it is stopped at the end."""
    (folder / "service.py").write_text(code_of("service.py"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "service:app", "--port", str(port)]
    with subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stderr=subprocess.DEVNULL) as process:
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


def service_here(old: str = "", new: str = "") -> SimpleNamespace:
    """The service in this process, which goes on from the files of the folder."""
    pytest.importorskip("starlette")
    pytest.importorskip("httpx")
    return names_of("service.py", old, new)


def answered(page: SimpleNamespace, route: str, event: Any) -> tuple[int, Any]:
    """Status and body of the answer of a service in this process; text that is no JSON may be sent, too."""
    from starlette.testclient import TestClient

    answer = TestClient(page.app).post(route, content=event if isinstance(event, bytes) else json.dumps(event))
    return answer.status_code, answer.json()


BAD: list[tuple[str, Any]] = [
    ("expected an object with key and x", [1]),
    ("expected an object with key and x", {"key": "a"}),
    ("key: expected text, got 1", {"key": 1, "x": {}}),
    ("x: expected a dictionary of features, got [1]", {"key": "a", "x": [1]}),
    (
        "x['price']: expected a finite number or a bool, like its first value, got '3'",
        {"key": "a", "x": {"price": "3"}},
    ),
]


@pytest.mark.slow
@posix
def test_the_service_learns_while_it_serves(tmp_path):
    shown = events(60)
    with service(tmp_path, signal.SIGTERM) as port:
        for key, event in enumerate(shown):
            assert post(port, "predict", {"key": str(key), "x": event["x"]})[0] == 200
        for key, event in enumerate(shown[:50]):  # labels come late
            assert post(port, "learn", {"key": str(key), "y": event["y"]}) == (200, {"learned": key + 1})
        for message, bad in BAD:
            assert post(port, "predict", bad) == (400, {"error": message})
        unknown = 400, {"error": "key: expected one that waits for its label, got '0'"}
        assert post(port, "learn", {"key": "0", "y": "sold"}) == unknown
        assert post(port, "learn", {"key": "59", "y": None})[0] == 400  # which still waits
        answers = [post(port, "predict", {"key": str(100 + i), "x": shown[i]["x"]}) for i in range(3)]
    model, expected = GLNClassifier.load(tmp_path / "model.gln"), GLNClassifier(seed=0, waiting=60)
    for event in shown:
        expected.predict_proba_one(event["x"])
    for event in shown[:50]:
        expected.learn_one(event["x"], event["y"])
    for event, answer in zip(shown, answers, strict=False):
        assert answer == (200, pytest.approx(expected.predict_proba_one(event["x"]), abs=1e-6))
        assert model.predict_proba_one(event["x"]) == pytest.approx(answer[1], abs=1e-6)
    for stop, count in [(signal.SIGKILL, 51), (signal.SIGINT, 52)]:  # it continues
        with service(tmp_path, stop) as port:
            key = 110 - count
            assert post(port, "learn", {"key": str(key), "y": shown[key]["y"]}) == (200, {"learned": count})


@pytest.mark.parametrize("cut_off", [b'{"key": "0", "y": "so', b'{"key": "new", "x": {"price": 1.0}}'])
def test_a_service_that_was_killed_goes_on_from_its_journal(tmp_path, monkeypatch, cut_off):
    monkeypatch.chdir(tmp_path)
    shown, served = events(40), []
    for key, event in enumerate(shown):
        if key % 20 == 0:  # it is killed between two saves
            page = service_here("10_000, 50", "25, 50")
        status, p = answered(page, "predict", {"key": str(key), "x": event["x"]})
        assert status == 200
        served.append((p, event["y"]))
        if key % 2 and key > 8:  # labels are late
            learn = {"key": str(key - 8), "y": shown[key - 8]["y"]}
            assert answered(page, "learn", learn)[1] == {"learned": (key - 7) // 2}
    page.model.save = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):  # it is killed while it saves
        page.save()
    with page.journal(page.saves).open("ab") as file:
        file.write(cut_off)
    page, expected = service_here(), GLNClassifier(seed=0, waiting=40)
    for key, event in enumerate(shown):
        expected.predict_proba_one(event["x"])
        if key % 2 and key > 8:
            expected.learn_one(shown[key - 8]["x"], shown[key - 8]["y"])
    assert page.model.predict_proba_one(shown[0]["x"]) == expected.predict_proba_one(shown[0]["x"])
    assert answered(page, "learn", {"key": "0", "y": shown[0]["y"]}) == (200, {"learned": 17})
    assert_served_are_scored(page.monitor, [*served[1:32:2], served[0]])
    assert [*page.waiting] == [*map(str, (*range(2, 32, 2), *range(32, 40)))]
    assert page.monitor.figures()["waiting"] == len(page.waiting)
    assert page.size == sum(map(len, page.waiting.values()))


@contextmanager
def full_disk(bytes_more: int) -> Iterator[None]:
    """The journal of this folder may grow by so many bytes; a longer line is written in part, and fails."""
    resource = pytest.importorskip("resource")
    [path] = Path.cwd().glob("journal*")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + bytes_more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_request_that_finds_the_disk_full_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page, shown = service_here(), events(30)
    rng, refused = np.random.default_rng(0), 0
    for key, event in enumerate(shown):
        for route, name in (("predict", "x"), ("learn", "y")):
            request = {"key": str(key), name: event[name]}
            before = page.journal(page.saves).read_bytes(), dict(page.waiting), page.size, page.learned
            if key >= 10:  # what must be compiled has been
                with full_disk(int(rng.integers(10, 60))):
                    status, answer = answered(page, route, request)
                if status == 200:
                    continue
                assert (status, "File too large" in answer["error"]) == (503, True)
                assert (page.journal(page.saves).read_bytes(), page.waiting, page.size, page.learned) == before
                refused += 1
            assert answered(page, route, request)[0] == 200
    assert 20 < refused < 40
    page, expected = service_here(), learned_at_once(shown)
    assert (page.learned, page.size, [*page.waiting]) == (30, 0, [])
    assert page.model.predict_proba_one(shown[0]["x"]) == expected.predict_proba_one(shown[0]["x"])


def test_a_service_that_cannot_save_refuses_requests_until_it_can(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page, shown = service_here("10_000, 50", "4, 50"), events(5)
    for key, event in enumerate(shown[:2]):
        answered(page, "predict", {"key": str(key), "x": event["x"]})
        answered(page, "learn", {"key": str(key), "y": event["y"]})
    with full_disk(0):
        assert answered(page, "predict", {"key": "2", "x": shown[2]["x"]})[0] == 503
    assert [*page.waiting] == []
    for key, event in enumerate(shown[2:], 2):
        assert answered(page, "predict", {"key": str(key), "x": event["x"]})[0] == 200
        assert answered(page, "learn", {"key": str(key), "y": event["y"]})[1] == {"learned": key + 1}
    assert service_here().learned == 5


def test_a_label_that_is_not_in_the_list_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page, shown = service_here(), events(20)
    for key, event in enumerate(shown):
        answered(page, "predict", {"key": str(key), "x": event["x"]})
        status, answer = answered(page, "learn", {"key": str(key), "y": f"id {key}"})
        assert (status, answer["error"]) == (400, f"y: expected one of ('sold', 'kept'), got 'id {key}'")
        assert answered(page, "learn", {"key": str(key), "y": event["y"]})[0] == 200
    assert page.model.predict_proba_one(shown[0]["x"]).keys() == {"sold", "kept"}


def test_samples_that_wait_are_bounded_and_do_not_keep_the_model_from_being_saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = service_here("50_000_000", "5_000_000")
    for key in range(12):
        assert answered(page, "predict", {"key": str(key), "x": {"text": str(key) + 1_000_000 * "x"}})[0] == 200
    page.save()
    assert [*page.waiting] == ["8", "9", "10", "11"]
    assert [path.stat().st_size < 5_000_000 for path in sorted(tmp_path.iterdir())] == [True, True]
    assert GLNClassifier.load("model.gln").extra.items() >= {"learned": 0, "saves": 2}.items()


def test_the_service_may_begin_with_a_fitted_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = events(120)
    history = pd.DataFrame([event["x"] for event in shown[:100]])
    fitted = sklearn.GLNClassifier((4,), n_networks=2, random_state=0).fit(history, [e["y"] for e in shown[:100]])
    fitted.save("model.gln")
    page = service_here()
    for key, event in enumerate(shown[100:]):
        status, p = answered(page, "predict", {"key": str(key), "x": event["x"]})
        assert status == 200
        found = fitted.predict_proba(pd.DataFrame([event["x"]]))[0]
        np.testing.assert_allclose([p[label] for label in fitted.classes_], found, atol=1e-9)
        assert answered(page, "learn", {"key": str(key), "y": event["y"]})[0] == 200
        fitted.partial_fit(pd.DataFrame([event["x"]]), [event["y"]])
    page.save()
    again = service_here()
    assert again.learned == 20
    assert again.model.predict_proba_one(shown[0]["x"]) == page.model.predict_proba_one(shown[0]["x"])


def test_what_no_answer_could_hold_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page, shown = service_here(), events(3)
    for key, event in enumerate(shown):
        answered(page, "predict", {"key": str(key), "x": event["x"]})
    assert answered(page, "learn", {"key": "0", "y": "sold"})[0] == 200
    wrong: list[Any] = ["\ud800", [1], {}, None]
    for label in wrong:
        assert answered(page, "learn", {"key": "1", "y": label})[0] == 400
    for body in (100_000 * b"[", b'{"key": "1", "x": ' + 100_000 * b"[", b"\xff"):
        assert answered(page, "predict", body)[0] == 400
    assert answered(page, "learn", {"key": "1", "y": "kept"})[0] == 200
    status, found = answered(page, "predict", {"key": "3", "x": shown[2]["x"]})
    assert (status, [*found]) == (200, ["sold", "kept"])
    from starlette.testclient import TestClient

    with TestClient(page.app) as client:  # which saves at the end
        assert client.get("/health").json() == {"learned": 2, "waiting": 2}
        assert "gln_learned_total 2\n" in client.get("/metrics").text
    assert service_here().monitor.figures()["learned_total"] == 2


def test_a_reader_follows_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reader, model = names_of("reader.py"), GLNClassifier(layer_sizes=(4,), seed=0)
    for count in (1, 2):
        for event in events(3):
            model.learn_one(event["x"], event["y"])
        model.save("model.gln", {"count": count})
        assert reader.latest().extra["count"] == count
        assert reader.latest() is reader.latest()


# ---- The consumer ----------------------------------------------------------------------------------------------------


def as_lines(path: Path, count: int) -> None:
    path.write_text("".join(f"{json.dumps(event)}\n" for event in events(count)))


@pytest.mark.slow
@posix
def test_a_consumer_that_is_killed_anywhere_learns_each_event_once(tmp_path):
    as_lines(tmp_path / "events.jsonl", 1000)
    code = code_of("consumer.py").replace("1000", "50")
    rng, kills = np.random.default_rng(0), 0
    for folder in ("whole", "killed"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "consumer.py").write_text(code)
    command = [sys.executable, "consumer.py", "../events.jsonl"]
    subprocess.run(command, cwd=tmp_path / "whole", env=ENVIRONMENT, check=True)
    file = tmp_path / "killed" / "model.gln"
    while (
        not file.exists() or GLNClassifier.load(file).extra["offsets"][0] < (tmp_path / "events.jsonl").stat().st_size
    ):
        with subprocess.Popen(command, cwd=file.parent, env=ENVIRONMENT) as process:
            before = file.stat().st_mtime_ns if file.exists() else 0
            while process.poll() is None and (not file.exists() or file.stat().st_mtime_ns == before):
                time.sleep(0.01)
            time.sleep(rng.random() / 5)  # within one of the next saves, or between two
            kills += process.poll() is None
            process.kill()
    assert kills > 2
    assert_same_file(file, tmp_path / "whole" / "model.gln")


def test_events_that_are_wrong_are_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    as_lines(tmp_path / "events.jsonl", 30)
    wrong = ["{", "[]", '{"y": "sold"}', '{"x": {"price": "dear"}, "y": "sold"}', 100_000 * "["]
    with open("events.jsonl", "a") as file:
        file.writelines(f"{line}\n" for line in wrong)
    consumer = names_of("consumer.py")
    consumer.consume(consumer.lines("events.jsonl"))
    *errors, figures = capsys.readouterr().err.splitlines()
    assert len(errors) == len(wrong)
    assert json.loads(figures)["learned_total"] == 30
    model, expected = GLNClassifier.load("model.gln"), learned_at_once(events(30))
    assert model.predict_proba_one({"item": "tea"}) == pytest.approx(expected.predict_proba_one({"item": "tea"}))
    assert model.extra["offsets"] == {0: Path("events.jsonl").stat().st_size}


def test_a_consumer_scores_what_it_said_before_the_labels_came(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    consumer, shown = names_of("consumer.py"), [(event["x"], event["y"]) for event in events(60)]
    lines = [{"x": x} if y is None else {"x": x, "y": y} for _, x, y in stream.simulate_qa(shown, None, 10)]
    for stop in (30, 76, len(lines)):
        Path("events.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines[:stop]))
        consumer.consume(consumer.lines("events.jsonl"))
    output = capsys.readouterr()
    said = [json.loads(line) for line in output.out.splitlines()]
    assert_served_are_scored(
        Monitor(GLNClassifier.load("model.gln")), [(p, y) for p, (_, y) in zip(said, shown, strict=True)]
    )
    assert [json.loads(line)["waiting"] for line in output.err.splitlines()] == [10, 10, 0]


def test_a_line_that_is_still_being_written_is_not_lost(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    as_lines(tmp_path / "events.jsonl", 3)
    whole, consumer = Path("events.jsonl").read_bytes(), names_of("consumer.py")
    for length in (len(whole) - 40, len(whole) - 1, len(whole)):
        Path("events.jsonl").write_bytes(whole[:length])
        consumer.consume(consumer.lines("events.jsonl"))
        learned = GLNClassifier.load("model.gln")
        assert learned.known_names == {"item": True, "price": False}
    expected = learned_at_once(events(3))
    assert learned.predict_proba_one({"item": "tea"}) == expected.predict_proba_one({"item": "tea"})


def test_a_topic_goes_on_after_the_saved_offsets():
    kafka = pytest.importorskip("confluent_kafka")
    producer = kafka.Producer({"bootstrap.servers": "ignored", "test.mock.num.brokers": 1, "log_level": 0})
    [broker] = producer.list_topics(timeout=30).brokers.values()  # within this process
    for i in range(6):
        producer.produce("events", value=str(i).encode(), partition=i % 2)
    assert producer.flush(30) == 0
    topic = names_of("kafka_topic.py").topic("events", f"{broker.host}:{broker.port}")
    queue, found, offsets = topic({}), {}, {}
    for _ in range(3):
        partition, offset, text = next(queue)
        offsets[partition], found[text] = offset, partition
    queue.close()
    queue = topic(offsets)
    for _ in range(3):
        partition, _, text = next(queue)
        assert text not in found
        found[text] = partition
    assert found == {str(i).encode(): i % 2 for i in range(6)}


# ---- Comparing -------------------------------------------------------------------------------------------------------


def test_a_model_that_knows_more_is_better_than_one_that_does_not():
    compare = names_of("compare.py").compare
    samples = [(event["x"], event["y"]) for event in events(600)]
    asked = [*stream.simulate_qa(samples[:-201:-1], None, 20)]
    models = [GLNClassifier(layer_sizes=layers, seed=0) for layers in ((8,), (8,))]
    for x, y in samples:
        models[1].learn_one(x, y)
    gain, error = compare(asked, models)
    assert gain > 4 * error > 0
    same, error = compare(asked[:60], [GLNClassifier(layer_sizes=(8,), seed=0) for _ in range(2)])
    assert (same, error) == (0, 0)


def test_models_are_compared_by_what_they_said_before_the_labels_came():
    def model(after: float) -> SimpleNamespace:
        p = {"sold": 0.5}
        return SimpleNamespace(predict_proba_one=lambda x: dict(p), learn_one=lambda x, y: p.update(sold=after))

    asked = stream.simulate_qa([({}, "sold")] * 60, None, 20)
    gain, _ = names_of("compare.py").compare(asked, [model(0.5), model(0.9)])
    assert gain == pytest.approx(40 / 60 * np.log(0.9 / 0.5))
