"""What the page asks: a network that was trained on MNIST, and what it has been taught since."""

from __future__ import annotations

import copy
import functools
import json
import threading
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import gen_batches

from gln.backends import load_backend
from gln.features import Standardizer
from gln.learner import Learner
from gln.mnist import PIXELS, deskew, load_mnist
from gln.page.lessons import Lesson, Lessons
from gln.page.strokes import Drawing, image, variants

__all__ = ["Answer", "Pupil", "State"]

DIGITS = [str(digit) for digit in range(10)]
LESSON_RATE = 2.0  # of each of the five columns of a lesson
KNOWN = 0.9  # a lesson ends when its head says at least this of all five, and every other head at most the rest of 1,
MOST_STEPS = 10  # or after so many steps
OTHERS = 1000  # of MNIST's training digits, of which a new class learns that it is none of them
REHEARSED = 20  # training digits that are learned again after each step
AMONG = 2000  # training digits, from which these are chosen
REHEARSAL = 0.5  # the part of a lesson's rate at which they are learned
MOST_CLASSES = 40  # of 13 MB and a tenth of a millisecond each
CHUNK = 250  # held-out digits at a time: some 10 ms, in which no other question is answered


class State(NamedTuple):
    """What a pupil has been taught."""

    classes: list[str]  # in the order of the heads
    lessons: list[int]  # their numbers, in the order in which they were given


class Answer(NamedTuple):
    """What a pupil says of a drawing."""

    probabilities: np.ndarray  # (C,), of each class by itself
    image: np.ndarray  # (784,) in [0, 1], deskewed
    contributions: np.ndarray  # (784,), of each pixel to the logit of the likeliest class


class Digits(NamedTuple):
    """MNIST's first training digits, some of which are learned again beside a lesson."""

    z: np.ndarray  # (784, AMONG), standardised
    labels: np.ndarray  # (AMONG,)
    contexts: np.ndarray  # (AMONG, N), the row of weights that each of them picks in each of N neurons

    def like(self, contexts: np.ndarray) -> np.ndarray:  # (1, N) -> (REHEARSED,)
        """The numbers of those that share most rows with a drawing, for these are the ones that a lesson can cost."""
        return np.argsort(-(self.contexts == contexts).sum(axis=1), kind="stable")[:REHEARSED]


class Pupil:
    """A network and its lessons. Threads may ask it and teach it at once, and so may other processes.

    The lessons are what counts. The network is what comes of learning them, in their order, from the model as it was
    trained: before each answer it catches up with them, and where some of them are gone it starts anew.
    """

    def __init__(self, model: Path, lessons: Path, night: time | None = None) -> None:
        """
        Args:
            model: a file that `gln-mnist --all-classes --save` or `export` wrote.
            lessons: a file of lessons, made where there is none.
            night: the local time of day at which all lessons are forgotten; None keeps them.

        Raises:
            OSError: a file cannot be read, or made.
            ValueError: it is not what it should be.
        """
        self._start, self._standardizer, self._names = _loaded(model)
        self._lessons, self._lock = Lessons(lessons), threading.RLock()
        self._night = night
        self._slept: datetime | None = None  # the night after which it forgot
        # The lessons after which held-out digits were last counted, and the share right.
        self._counted: tuple[list[int] | None, float] = None, 0.0
        self._begin()
        self._catch_up()

    def _begin(self) -> None:
        self._learner = Learner([[copy.deepcopy(self._start)]], None, distances=False, learning_rate=LESSON_RATE)
        self._classes = list(self._names)
        self._learned: list[int] = []  # the numbers of its lessons

    def _catch_up(self) -> None:
        self._sleep()
        numbers = self._lessons.numbers()
        if numbers[: len(self._learned)] != self._learned:
            self._begin()
        if numbers != self._learned:
            for lesson in self._lessons.after(self._last):
                self._learn(lesson)

    def _sleep(self) -> None:
        """Forget what was taught before the last night, once."""
        if self._night is not None and (night := _last_at(self._night)) != self._slept:
            self._lessons.forget_before(night)
            self._slept = night

    @property
    def _last(self) -> int:
        return self._learned[-1] if self._learned else 0

    def _learn(self, lesson: Lesson) -> None:
        if lesson.label not in self._classes:
            self._learner.add_class(self._digits.z[:, :OTHERS])
            self._classes.append(lesson.label)
        z = self._seen(np.stack([image(drawing) for drawing in variants(lesson.drawing)]))
        number, again = self._classes.index(lesson.label), self._digits.like(self._start.contexts(z[:, :1]))
        targets = np.append(np.full(z.shape[1], number), self._digits.labels[again])
        shares = np.repeat([1, REHEARSAL], [z.shape[1], REHEARSED])
        samples = np.hstack([z, self._digits.z[:, again]])
        for _ in range(MOST_STEPS):
            if _is_known(self._learner.predict(z), number):
                break
            self._learner.learn(samples, targets, shares, batch_size=z.shape[1])
        self._learned.append(lesson.number)

    def _seen(self, images: np.ndarray) -> np.ndarray:  # (N, 784) -> (784, N)
        return self._standardizer.transform(deskew(images).T)

    @functools.cached_property
    def _mnist(self) -> tuple[np.ndarray, ...]:
        """The first training digits and all test digits, each (N, 784) and (N,)."""
        images, labels, test_images, test_labels = load_mnist(deskew=False)
        return images[:AMONG].copy(), labels[:AMONG], test_images, test_labels

    @functools.cached_property
    def _digits(self) -> Digits:
        images, labels, _, _ = self._mnist
        z = self._seen(images)
        return Digits(z, labels, self._start.contexts(z))

    @functools.cached_property
    def _held_out(self) -> tuple[np.ndarray, np.ndarray]:  # (784, 10000), (10000,)
        _, _, images, labels = self._mnist
        return self._seen(images), labels

    @property
    def clipping(self) -> float:
        """The least probability that a head gives, and 1 less the most."""
        return self._start.config.pred_clipping

    def state(self) -> State:
        with self._lock:
            self._catch_up()
            return State(list(self._classes), list(self._learned))

    def look(self, drawing: Drawing) -> tuple[State, Answer]:
        """What it takes a drawing for, and why."""
        upright = deskew(image(drawing)[None])[0]
        z = self._standardizer.transform(upright[:, None])
        with self._lock:
            state = self.state()
            p = self._learner.predict(z)[:, 0]
            contributions = self._learner.explain(z)[0][p.argmax(), 0]
        return state, Answer(p, upright, contributions)

    def teach(self, drawing: Drawing, label: str) -> float:
        """Keep a lesson, then learn it. A label that is no class yet becomes one.

        Returns:
            The probability of the label before the lesson, 0 of a new class.

        Raises:
            ValueError: it would be one class too many.
        """
        with self._lock:
            state, answer = self.look(drawing)
            if label not in state.classes and len(state.classes) >= MOST_CLASSES:
                raise ValueError(f"label: expected a known class, for {MOST_CLASSES} are the most, got {label!r}")
            self._lessons.add(drawing, label)
            self._catch_up()
        return float(dict(zip(state.classes, answer.probabilities, strict=True)).get(label, 0))

    def lessons(self, after: int = 0) -> list[Lesson]:
        """The lessons given after the one of this number."""
        self.state()  # which forgets what it should
        return self._lessons.after(after)

    def undo(self, number: int) -> None:
        """Take back a lesson, by its number. Raises `ConflictError` where there is none."""
        self._lessons.take_back(number)

    def forget(self, last: int) -> None:
        """Take back all lessons, by the number of the last. Raises `ConflictError` where that is not the last one's."""
        self._lessons.forget(last)

    def accuracy(self) -> tuple[float, float]:
        """Accuracy on MNIST's 10,000 test digits: now, and before any lesson.

        It takes half a second, in which other questions are answered; if a lesson is given meanwhile it counts again.
        """
        while (taught := self.state().lessons) != self._counted[0]:
            share = self._share_right(taught) if taught else self._at_the_start
            if share is not None:
                self._counted = taught, share
        return self._counted[1], self._at_the_start

    @functools.cached_property
    def _at_the_start(self) -> float:
        z, labels = self._held_out
        return float((self._start.predict_arrays(z, z).argmax(axis=0) == labels).mean())

    def _share_right(self, taught: list[int]) -> float | None:
        """Of the network after these lessons; None where it is that no more."""
        (z, labels), right = self._held_out, 0
        for part in gen_batches(len(labels), CHUNK):
            with self._lock:
                if self._learned != taught:
                    return None
                right += int((self._learner.predict(z[:, part]).argmax(axis=0) == labels[part]).sum())
        return right / len(labels)

    def export(self, file: Path) -> None:
        """Write the network with all that it was taught, by its own `save`.

        Raises:
            OSError: the file cannot be written.
        """
        names = np.frombuffer(json.dumps(self._classes).encode(), np.uint8)
        self._learner.networks[0].save(file, {**self._standardizer.get_state(), "classes": names})


def _is_known(p: np.ndarray, number: int) -> bool:  # (C, B)
    right = np.arange(len(p)) == number
    return bool((p[right] >= KNOWN).all() and (p[~right] <= 1 - KNOWN).all())


def _last_at(moment: time) -> datetime:
    """When it was last this local time of day."""
    now = datetime.now().astimezone()
    today = now.replace(hour=moment.hour, minute=moment.minute, second=0, microsecond=0)
    return today if today <= now else today - timedelta(days=1)


def _loaded(file: Path) -> tuple[Any, Standardizer, list[str]]:
    """A saved network, what prepares its inputs, and its classes: as `export` wrote them beside it, or the digits."""
    network, standardizer = load_backend("auto").GLN.load(file, learning_rate=LESSON_RATE), Standardizer(PIXELS)
    extra = dict(network.extra)
    kind = network.config.record.heads, network.input_size, network.context_size, network.num_heads
    try:
        names = json.loads(extra.pop("classes").tobytes()) if "classes" in extra else list(DIGITS)
        if kind != ("num_classes", PIXELS, PIXELS, len(names)):
            raise ValueError(repr(network))
        standardizer.set_state(extra)
    except ValueError as error:
        expected = f"a network of {PIXELS} pixels and one head per class, as gln-mnist --all-classes --save writes it"
        raise ValueError(f"{file}: expected {expected}, got {error}") from error
    return network, standardizer, names
