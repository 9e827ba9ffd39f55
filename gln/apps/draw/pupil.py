"""The network behind the page: trained on MNIST, and taught by lessons since."""

from __future__ import annotations

import copy
import functools
import json
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.utils import gen_batches

from gln.apps.draw.lessons import Lesson, Lessons
from gln.apps.draw.strokes import Drawing, image, variants
from gln.backends import load_backend
from gln.engine.networks.surgery import add_class, copied
from gln.engine.types import Network
from gln.features import Standardizer
from gln.mnist import PIXELS, deskew, load_mnist

LESSON_RATE = 2.0  # learning rate of each of a lesson's five columns
KNOWN = 0.9  # a lesson ends when its head predicts at least this for all five, and the others at most 1 minus this,
MOST_STEPS = 10  # or after this many steps
OTHERS = 1000  # of MNIST's training digits, which a new class learns as negative examples
REHEARSED = 20  # training digits that are learned again in each step
AMONG = 2000  # training digits that these are chosen from
REHEARSAL = 0.5  # their learning rate, as a fraction of a lesson's
MOST_CLASSES = 40  # each takes 13 MB, and a tenth of a millisecond per prediction
BLOCK = 5  # new classes of a network: when one is full, another follows, so that none is copied to add a class
CHUNK = 250  # held-out digits at a time: about 10 ms, during which other requests wait


class FullError(Exception):
    """A lesson for a new class when there are already `MOST_CLASSES`."""


class PupilState(NamedTuple):
    """What the network has been taught."""

    classes: list[str]  # in the order of the heads
    lessons: list[int]  # their numbers, oldest first


class Answer(NamedTuple):
    """The prediction for a drawing."""

    probabilities: np.ndarray  # (C,), of each class against the rest
    image: np.ndarray  # (784,) in [0, 1], deskewed
    contributions: np.ndarray  # (784,), of each pixel to the logit of the most probable class


class Pupil:
    """A network and its lessons. Several threads and processes may query and teach it at the same time.

    The file of lessons determines the state: the network is the trained model after learning them in order. Before each
    answer it learns any new lessons; if some were deleted, it starts again from the trained model. To take one back is
    to delete it in `lessons`, the file.
    """

    def __init__(self, model: Path, lessons: Path) -> None:
        """`model` is a file that `gln-mnist --save` or `export` wrote; that of `lessons` is created if there is none.

        Raises OSError if a file cannot be read or created, and ValueError if it has other contents.
        """
        self._start, self._standardizer, self._names = _loaded(model)
        self.lessons = Lessons(lessons)
        self._lock = threading.RLock()
        # The lessons after which accuracy on the held-out digits was last computed, and this accuracy.
        self._counted: tuple[list[int] | None, float] = None, 0.0
        # The trained network, then those of `BLOCK` new classes. Some of the last one's heads may not be in use yet.
        self._networks = [copy.deepcopy(self._start)]
        self._begin()
        self._catch_up()

    def _begin(self) -> None:
        self._networks = self._networks[:1]
        self._networks[0].set_state(self._start.get_state(copy=False))
        self._classes = list(self._names)
        self._learned: list[int] = []  # numbers of the lessons it has learned

    def _catch_up(self) -> None:
        numbers = self.lessons.numbers()
        if numbers[: len(self._learned)] != self._learned:
            self._begin()
        if numbers != self._learned:
            for lesson in self.lessons.after(max(self._learned, default=0)):
                self._learn(lesson)

    def _learn(self, lesson: Lesson) -> None:
        if lesson.label not in self._classes:
            if (len(self._classes) - len(self._names)) % BLOCK == 0:
                self._networks.append(copy.deepcopy(self._new_classes))
            self._classes.append(lesson.label)
        z = self._seen(np.stack([image(drawing) for drawing in variants(lesson.drawing)]))
        number = self._classes.index(lesson.label)
        digits, labels, contexts = self._digits
        # The digits that share most rows of weights with a drawing: the ones that a lesson might make it forget.
        shared = (contexts == self._start.contexts(z[:, :1])).sum(axis=1)
        again = np.argsort(-shared, kind="stable")[:REHEARSED]
        samples = np.hstack([z, digits[:, again]])
        rates = np.repeat(np.array([1, REHEARSAL], np.float32) * LESSON_RATE, [z.shape[1], REHEARSED])
        targets = self._targets(np.append(np.full(z.shape[1], number), labels[again]))
        for _ in range(MOST_STEPS):
            if _is_known(self._predict(z), number):
                break
            for network, own in zip(self._networks, targets, strict=True):
                network.predict_arrays(samples, samples, own, rates)
        self._learned.append(lesson.number)

    def _targets(self, numbers: np.ndarray) -> list[np.ndarray]:  # (B,) -> (heads, B) for each network
        """Whether samples are of each head's class; infinity for heads that have none yet."""
        heads = np.arange(sum(network.config.num_heads for network in self._networks))
        are = np.where(heads[:, None] < len(self._classes), numbers == heads[:, None], np.inf).astype(np.float32)
        return np.split(are, heads[len(self._names) :: BLOCK])

    @functools.cached_property
    def _new_classes(self) -> Network:
        """A network of `BLOCK` heads, each of which has learned that digits are of other classes."""
        z = self._digits[0][:, :OTHERS]
        state = add_class(self._start, z, z).get_state(copy=False)
        weights = {name: array[:, :, -1:] for name, array in state.items() if name.startswith("weights")}
        heads = {name: np.repeat(array, BLOCK, axis=2) for name, array in weights.items()}
        return copied(self._start, state | heads, num_classes=BLOCK)

    def _predict(self, z: np.ndarray) -> np.ndarray:  # (784, B) -> (C, B)
        return np.concatenate([network.predict_arrays(z, z) for network in self._networks])[: len(self._classes)]

    def _seen(self, images: np.ndarray) -> np.ndarray:  # (N, 784) -> (784, N)
        return self._standardizer.transform(deskew(images).T)

    @functools.cached_property
    def _mnist(self) -> tuple[np.ndarray, ...]:
        """The first training digits and all test digits, each (N, 784) and (N,)."""
        images, labels, test_images, test_labels = load_mnist(deskew=False)
        return images[:AMONG].copy(), labels[:AMONG], test_images, test_labels

    @functools.cached_property
    def _digits(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # (784, AMONG), (AMONG,), (AMONG, N)
        """MNIST's first training digits, their labels, and the weight row that each picks in each of N neurons."""
        images, labels, _, _ = self._mnist
        z = self._seen(images)
        return z, labels, self._start.contexts(z)

    @functools.cached_property
    def _held_out(self) -> tuple[np.ndarray, np.ndarray]:  # (784, 10000), (10000,)
        _, _, images, labels = self._mnist
        return self._seen(images), labels

    def state(self) -> PupilState:
        with self._lock:
            self._catch_up()
            return PupilState(list(self._classes), list(self._learned))

    def look(self, drawing: Drawing) -> tuple[PupilState, Answer]:
        """The prediction for a drawing, and its explanation."""
        upright = deskew(image(drawing)[None])[0]
        z = self._standardizer.transform(upright[:, None])
        with self._lock:
            state = self.state()
            p = self._predict(z)[:, 0]
            slopes = np.concatenate([network.explain(z, z).weights for network in self._networks])[p.argmax(), :, 0]
        return state, Answer(p, upright, slopes * z[:, 0].clip(-self._start.config.bound, self._start.config.bound))

    def teach(self, drawing: Drawing, label: str) -> float:
        """Store a lesson, then learn it. An unknown label becomes a new class, or raises `FullError` if there would be
        too many. Returns the probability of the label before the lesson, 0 for a new class."""
        with self._lock:
            state, answer = self.look(drawing)
            if label not in state.classes and len(state.classes) >= MOST_CLASSES:
                raise FullError(f"label: expected a known class, because {MOST_CLASSES} is the maximum, got {label!r}")
            self.lessons.add(drawing, label)
            self._catch_up()
        return float(dict(zip(state.classes, answer.probabilities, strict=True)).get(label, 0))

    def accuracy(self) -> tuple[float, float]:
        """Accuracy on MNIST's 10,000 test digits: now, and before any lesson.

        It takes half a second, during which other requests are answered. If a lesson is given meanwhile, it starts
        again.
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
        """Accuracy of the network after these lessons; None if its lessons have changed meanwhile."""
        z, labels = self._held_out
        right = 0
        for part in gen_batches(len(labels), CHUNK):
            with self._lock:
                if self._learned != taught:
                    return None
                right += int((self._predict(z[:, part]).argmax(axis=0) == labels[part]).sum())
        return right / len(labels)

    def export(self, file: Path) -> None:
        """Save the network with everything it was taught. Raises `OSError` if the file cannot be written."""
        names = np.frombuffer(json.dumps(self._classes).encode(), np.uint8)
        states = [network.get_state(copy=False) for network in self._networks]
        joined = {
            name: np.concatenate([state[name] for state in states], axis=2)[:, :, : len(self._classes)]
            for name in states[0]
            if name.startswith("weights")
        }
        network = copied(self._start, states[0] | joined, num_classes=len(self._classes))
        network.save(file, {**self._standardizer.get_state(), "classes": names})


def _is_known(p: np.ndarray, number: int) -> bool:  # (C, B)
    right = np.arange(len(p)) == number
    return bool((p[right] >= KNOWN).all() and (p[~right] <= 1 - KNOWN).all())


def _loaded(file: Path) -> tuple[Network, Standardizer, list[str]]:
    """A saved network, the standardizer of its inputs, and its classes: those that `export` saved, or the digits."""
    network = load_backend("auto").GLN.load(file, learning_rate=LESSON_RATE)
    standardizer = Standardizer(PIXELS)
    extra = dict(network.extra)
    kind = network.config.record.heads, network.config.input_size, network.config.context_size, network.config.num_heads
    try:
        names = json.loads(extra.pop("classes").tobytes()) if "classes" in extra else list("0123456789")
        if kind != ("num_classes", PIXELS, PIXELS, len(names)):
            raise ValueError(repr(network))
        standardizer.set_state(extra)
    except (ValueError, TypeError, RecursionError) as error:
        expected = f"a network of {PIXELS} pixels and one head per class, as gln-mnist --save writes it"
        raise ValueError(f"{file}: expected {expected}, got {error}") from error
    return network, standardizer, names
