"""A service that predicts at /predict, and learns labels that come at /learn.

A journal of the events since the model was saved survives `kill -9`.
"""

import contextlib
import json
import os
from collections import OrderedDict
from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from gln.monitoring import Monitor
from gln.river import GLNClassifier

LABELS = "sold", "kept"  # others are refused: each makes the model larger
FILE, EVERY, MOST = Path("model.gln"), 10_000, 50_000_000
# `waiting`, so that late labels are learned from what was predicted
model = GLNClassifier(seed=0, waiting=10_000)
if FILE.exists():
    model = GLNClassifier.load(FILE)
monitor = Monitor(model)
learned, saves, waited = (
    model.extra.get(name, 0) for name in ("learned", "saves", "waiting")
)
events = 0  # since the model was saved
# samples without a label, as lines by key, and their bytes, at most MOST
waiting, size = OrderedDict(), 0


def take(line, is_new=True):
    """Predict a sample, or learn its label."""
    global learned, size
    event = json.loads(line)
    key = event["key"]
    if "x" in event:
        answer = monitor.predict_proba_one(event["x"]) if is_new else None
        size += len(line) - len(waiting.pop(key, b""))
        waiting[key] = line
        while size > MOST:
            size -= len(waiting.popitem(last=False)[1])  # the oldest
        return answer
    if key not in waiting:
        raise ValueError(
            f"key: expected one that waits for its label, got {key!r}"
        )
    x = json.loads(waiting[key])["x"]
    monitor.learn_one(x, event["y"])  # if this fails, nothing has changed
    size -= len(waiting.pop(key))
    learned += 1


def journal(number):
    """What waited at this save, and each event since."""
    return Path(f"journal{number}.jsonl")


def accept(line):
    """Note and take an event; if either fails, neither has happened."""
    global events
    if events >= EVERY:
        save()
    path = journal(saves)
    length = path.stat().st_size
    try:
        with path.open("ab") as file:
            file.write(line)
        answer = take(line)
    except Exception:
        os.truncate(path, length)  # a full disk may leave half a line
        raise
    events += 1
    return answer


def save():
    """Save the model, and begin its next journal."""
    global events, saves
    journal(saves + 1).write_bytes(b"".join(waiting.values()))
    kept = {"learned": learned, "saves": saves + 1, "waiting": len(waiting)}
    monitor.save(FILE, kept)
    events, saves = 0, saves + 1
    journal(saves - 1).unlink(missing_ok=True)


if journal(saves).exists():
    *lines, _ = journal(saves).read_bytes().split(b"\n")  # the last is cut off
    for number, line in enumerate(lines):
        with contextlib.suppress(ValueError):  # of a line that was refused
            take(line + b"\n", is_new=number >= waited)
save()


async def line_of(request, name):
    """What an event says under this name, and its line in the journal."""
    event = json.loads(await request.body())
    if not isinstance(event, dict) or not event.keys() >= {"key", name}:
        raise ValueError(f"expected an object with key and {name}")
    if not isinstance(event["key"], str):
        raise ValueError(f"key: expected text, got {event['key']!r}")
    kept = {"key": event["key"], name: event[name]}
    # encoding refuses halves of characters, which no answer could hold
    return kept[name], json.dumps(kept, ensure_ascii=False).encode() + b"\n"


async def predict(request):
    _, line = await line_of(request, "x")
    return JSONResponse({str(label): p for label, p in accept(line).items()})


async def learn(request):
    y, line = await line_of(request, "y")
    if y not in LABELS:
        raise ValueError(f"y: expected one of {LABELS}, got {y!r}")
    accept(line)
    return JSONResponse({"learned": learned})


async def metrics(request):
    return PlainTextResponse(monitor.prometheus())


async def health(request):
    return JSONResponse({"learned": learned, "waiting": len(waiting)})


async def refuse(request, error):
    status = 503 if isinstance(error, OSError) else 400
    return JSONResponse({"error": str(error)}, status)


@contextlib.asynccontextmanager
async def lifespan(app):
    # compiles now, instead of during a request
    scratch = GLNClassifier(seed=0, waiting=10_000)
    for label in ("a", "b", "c"):
        scratch.learn_one({"text": label, "number": 1.0}, label)
        scratch.predict_proba_one({"text": label, "number": 1.0})
    yield
    save()


app = Starlette(
    routes=[
        Route("/predict", predict, methods=["POST"]),
        Route("/learn", learn, methods=["POST"]),
        Route("/metrics", metrics),
        Route("/health", health),
    ],
    exception_handlers={
        error: refuse for error in (OSError, RecursionError, ValueError)
    },
    lifespan=lifespan,
)
