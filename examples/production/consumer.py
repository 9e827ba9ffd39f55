"""Predict and learn the events of a queue; offsets are saved with the model."""

import json
import sys
from pathlib import Path

from gln.monitoring import Monitor
from gln.river import GLNClassifier

FILE, EVERY = Path("model.gln"), 1000


def lines(path):
    """A file of JSON lines, as a queue of one partition."""

    def events(offsets):
        with open(path, "rb") as file:
            file.seek(offsets.get(0, 0))
            # a last line without its newline is still being written
            while (line := file.readline()).endswith(b"\n"):
                yield 0, file.tell(), line

    return events


def consume(queue):
    model = GLNClassifier(seed=0, waiting=10_000)
    if FILE.exists():
        model = GLNClassifier.load(FILE)
    monitor = Monitor(model)
    offsets = dict(model.extra.get("offsets", {}))

    def save():
        monitor.save(FILE, {"offsets": offsets})
        print(json.dumps(monitor.figures()), file=sys.stderr)

    for count, (partition, offset, text) in enumerate(queue(offsets), 1):
        try:
            event = json.loads(text)
            if "y" in event:
                monitor.learn_one(event["x"], event["y"])
            else:
                p = monitor.predict_proba_one(event["x"])
                print(json.dumps({str(label): p[label] for label in p}))
        except (KeyError, RecursionError, TypeError, ValueError) as error:
            print(f"{partition}, {offset}: {error}", file=sys.stderr)
        offsets[partition] = offset  # of the next event
        if count % EVERY == 0:
            save()
    save()


if __name__ == "__main__":
    consume(lines(sys.argv[1]))
