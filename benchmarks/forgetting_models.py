"""The models that `benchmarks.forgetting` compares: GLNs, and their rivals in PyTorch, scikit-learn and NumPy.

Shapes: B digits, C classes, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import SGDClassifier
from torch import nn

from gln.backends import load_backend
from gln.mnist import PIXELS
from gln.sklearn import GLNDensityClassifier

BATCH = 32  # digits in a step of the perceptron, and in a step of replay


class Model:
    """A model that learns a stream of digits, in one pass."""

    def learn(self, images: np.ndarray, labels: np.ndarray) -> None:  # (B, 784), (B,)
        """Learn a part of the stream."""
        raise NotImplementedError

    def end_task(self, images: np.ndarray) -> None:  # (B, 784)
        """Called after each task, with its digits. Only EWC uses this; the others are not told where a task ends."""

    def classify(self, images: np.ndarray) -> np.ndarray:  # (B, 784) -> (B,)
        """The predicted classes."""
        raise NotImplementedError

    def nbytes(self) -> int:
        """Memory of what is kept from one digit to the next: weights, halfspaces, digits, sums."""
        raise NotImplementedError


def scaled(images: np.ndarray) -> np.ndarray:  # (B, 784) -> (B, 784)
    """Pixels scaled by the mean and standard deviation of all of MNIST, which permutations do not change."""
    return (images - np.float32(0.1307)) / np.float32(0.3081)


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:  # (B,) -> (C, B)
    return (labels == np.arange(classes)[:, None]).astype(np.float32)


class OnlineGLN(Model):
    """A GLN that learns one digit at a time. With `own`, a head learns only from the digits of its own class."""

    def __init__(self, layer_sizes: list[int], seed: int, classes: int, own: bool = False, **settings: Any) -> None:
        self.classes, self.own = classes, own
        heads = max(classes, 3) if own else classes  # a network of two classes has a single head
        self.model = load_backend("auto").GLN(layer_sizes, PIXELS, PIXELS, num_classes=heads, seed=seed, **settings)

    def learn(self, images: np.ndarray, labels: np.ndarray) -> None:  # (B, 784), (B,)
        targets = labels
        if self.own:
            targets = one_hot(labels, self.model.config.num_heads)
            targets[targets == 0] = np.nan  # unknown, so that this head does not learn
        self.model.predict_online(images.T, images.T, targets)

    def classify(self, images: np.ndarray) -> np.ndarray:  # (B, 784) -> (B,)
        p = np.asarray(self.model.predict(images.T, images.T))
        return (p > 0.5).astype(int) if p.ndim == 1 else p[: self.classes].argmax(axis=0)

    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.model.get_state(copy=False).values())


class Classifier(Model):
    """`GLNDensityClassifier()`: a class is its mean, its covariance and a network."""

    def __init__(self, seed: int, classes: int) -> None:
        self.model, self.classes = GLNDensityClassifier(random_state=seed), range(classes)

    def learn(self, images: np.ndarray, labels: np.ndarray) -> None:  # (B, 784), (B,)
        self.model.partial_fit(images, labels, classes=self.classes)

    def classify(self, images: np.ndarray) -> np.ndarray:  # (B, 784) -> (B,)
        return self.model.predict(images)

    def nbytes(self) -> int:
        networks = sum(array.nbytes for each in self.model.glns_ for array in each.get_state(copy=False).values())
        return networks + 2 * 8 * len(self.classes) * PIXELS**2  # covariances and their factors


class Perceptron(Model):
    """1,000 hidden neurons, trained by SGD on softmax and cross-entropy, with scaled pixels.

    `strength` above 0 makes it online EWC: Kirkpatrick et al., Overcoming catastrophic forgetting in neural networks,
    2017, equation 3, with a single penalty for all earlier tasks as in Schwarz et al., Progress & Compress, 2018. A
    penalty of strength / 2 * F (w - anchor)^2 holds each weight near its value when the last task ended. F is the
    diagonal of the Fisher information, added up over tasks. The penalty's step is implicit, so that it never diverges.
    """

    HIDDEN, RATE = 1000, 0.02

    def __init__(self, seed: int, classes: int, strength: float = 0.0) -> None:
        torch.manual_seed(seed)
        torch.set_num_threads(1)  # several would spend most of a short step waiting for each other
        torch.set_flush_denormal(True)  # tiny gradients, of classes that are not in this task, take ten times as long
        self.net = nn.Sequential(nn.Linear(PIXELS, self.HIDDEN), nn.ReLU(), nn.Linear(self.HIDDEN, classes))
        self.weights, self.strength = list(self.net.parameters()), strength
        self.optimizer = torch.optim.SGD(self.weights, self.RATE)
        self.fisher: list[torch.Tensor] = []
        self.anchor: list[torch.Tensor] = []

    def learn(self, images: np.ndarray, labels: np.ndarray) -> None:  # (B, 784), (B,)
        x, y = torch.from_numpy(scaled(images)), torch.from_numpy(labels)
        for some, own in zip(x.split(BATCH), y.split(BATCH), strict=True):
            self.optimizer.zero_grad()
            nn.functional.cross_entropy(self.net(some), own).backward()
            self.optimizer.step()
            self.pull_back()

    @torch.no_grad()
    def pull_back(self) -> None:
        for w, fisher, anchor in zip(self.weights, self.fisher, self.anchor, strict=False):  # none in the first task
            pull = self.RATE * self.strength * fisher
            w.lerp_(anchor, pull / (1 + pull))

    @torch.no_grad()
    def end_task(self, images: np.ndarray) -> None:  # (B, 784)
        if self.strength > 0:
            fisher = self.fisher_of(torch.from_numpy(scaled(images)))
            self.fisher = [a + b for a, b in zip(self.fisher, fisher, strict=True)] if self.fisher else fisher
            self.anchor = [w.clone() for w in self.weights]

    def fisher_of(self, x: torch.Tensor) -> list[torch.Tensor]:  # (B, 784) -> the shapes of the weights
        """Mean squared gradients of the log-likelihood, for labels drawn from the network's own predictions."""
        hidden = self.net[:2](x)
        p = self.net[2](hidden).softmax(dim=1)
        drawn = nn.functional.one_hot(p.multinomial(1)[:, 0], p.shape[1])
        above = p - drawn  # the gradient of each digit with respect to the outputs, then to the hidden neurons
        below = above @ self.net[2].weight * (hidden > 0)
        layers = [(below**2, x**2), (above**2, hidden**2)]
        return [mean for out, into in layers for mean in (out.T @ into / len(x), out.mean(dim=0))]

    def classify(self, images: np.ndarray) -> np.ndarray:  # (B, 784) -> (B,)
        with torch.no_grad():
            return self.net(torch.from_numpy(scaled(images))).argmax(dim=1).numpy()

    def nbytes(self) -> int:
        return sum(array.nbytes for array in [*self.weights, *self.fisher, *self.anchor])


class Linear(Model):
    """scikit-learn's SGDClassifier, with scaled pixels.

    Its rate is constant, because at its default rate, which assumes samples in random order, it forgets far more.
    """

    def __init__(self, seed: int, classes: int) -> None:
        self.classes = range(classes)
        self.model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.0003, random_state=seed)

    def learn(self, images: np.ndarray, labels: np.ndarray) -> None:  # (B, 784), (B,)
        self.model.partial_fit(scaled(images), labels, classes=self.classes)

    def classify(self, images: np.ndarray) -> np.ndarray:  # (B, 784) -> (B,)
        return self.model.predict(scaled(images))

    def nbytes(self) -> int:
        return self.model.coef_.nbytes + self.model.intercept_.nbytes


class Replay(Model):
    """A model that learns, along with each new digit, one of those that it has kept.

    The kept digits are a uniform sample of all digits so far: Vitter, Random sampling with a reservoir, 1985,
    algorithm R.
    """

    def __init__(self, make: Callable[[int, int], Model], kept: int, seed: int, classes: int) -> None:
        self.model, self.rng, self.seen = make(seed, classes), np.random.default_rng(seed), 0
        self.images, self.labels = np.zeros((kept, PIXELS), np.float32), np.zeros(kept, np.int64)

    def learn(self, images: np.ndarray, labels: np.ndarray) -> None:  # (B, 784), (B,)
        for start in range(0, len(labels), BATCH):
            new = images[start : start + BATCH], labels[start : start + BATCH]
            again = self.rng.integers(min(self.seen, len(self.labels)) or 1, size=min(self.seen, len(new[1])))
            both = np.concatenate([new[0], self.images[again]]), np.concatenate([new[1], self.labels[again]])
            order = self.rng.permutation(len(both[1]))
            self.model.learn(both[0][order], both[1][order])
            self.keep(*new)

    def keep(self, images: np.ndarray, labels: np.ndarray) -> None:  # (B, 784), (B,)
        for image, label in zip(images, labels, strict=True):
            place = self.seen if self.seen < len(self.labels) else self.rng.integers(self.seen + 1)
            if place < len(self.labels):
                self.images[place], self.labels[place] = image, label
            self.seen += 1

    def classify(self, images: np.ndarray) -> np.ndarray:  # (B, 784) -> (B,)
        return self.model.classify(images)

    def nbytes(self) -> int:
        return self.model.nbytes() + self.images.nbytes + self.labels.nbytes


class Sums(Model):
    """A model that is solved in closed form, from sums over all digits: their order makes no difference."""

    def __init__(self, features: int, classes: int) -> None:
        self.products = np.zeros((features, features))
        self.sums, self.counts = np.zeros((classes, features)), np.zeros(classes)
        self.coefficients: tuple[np.ndarray, np.ndarray] | None = None  # (C, F), (C,), until more is learned

    def features(self, images: np.ndarray) -> np.ndarray:  # (B, 784) -> (B, F)
        return images.astype(np.float64)

    def learn(self, images: np.ndarray, labels: np.ndarray) -> None:  # (B, 784), (B,)
        x, classes = self.features(images), one_hot(labels, len(self.counts))
        self.products += x.T @ x
        self.sums += classes @ x
        self.counts += classes.sum(axis=1)
        self.coefficients = None

    def solve(self) -> tuple[np.ndarray, np.ndarray]:  # (C, F), (C,)
        raise NotImplementedError

    def classify(self, images: np.ndarray) -> np.ndarray:  # (B, 784) -> (B,)
        self.coefficients = self.coefficients or self.solve()
        slopes, offsets = self.coefficients
        return (self.features(images) @ slopes.T + offsets).argmax(axis=1)

    def nbytes(self) -> int:
        return self.products.nbytes + self.sums.nbytes + self.counts.nbytes


class StreamingLDA(Sums):
    """Hayes and Kanan, Lifelong machine learning with deep streaming linear discriminant analysis, 2020, on pixels.

    The paper updates the shared covariance with each sample; here it is computed from sums, which is exact.
    """

    SHRINKAGE = 1e-4

    def __init__(self, seed: int, classes: int) -> None:
        super().__init__(PIXELS, classes)

    def solve(self) -> tuple[np.ndarray, np.ndarray]:  # (C, F), (C,)
        seen = self.counts > 0
        means = self.sums / np.maximum(self.counts, 1)[:, None]
        covariance = (self.products - means.T @ self.sums) / self.counts.sum()
        shrunk = (1 - self.SHRINKAGE) * covariance + self.SHRINKAGE * np.eye(len(covariance))
        slopes = np.linalg.solve(shrunk, means.T).T
        return slopes, np.where(seen, -(slopes * means).sum(axis=1) / 2, -np.inf)


class Ridge(Sums):
    """Ridge regression of each class's indicator on random features max(0, a . pixels + b)."""

    PENALTY = 1.0

    def __init__(self, features: int, seed: int, classes: int) -> None:
        super().__init__(features, classes)
        rng = np.random.default_rng(seed)
        self.directions = rng.standard_normal((PIXELS, features), np.float32) / np.float32(np.sqrt(PIXELS))
        self.offsets = rng.standard_normal(features, np.float32)

    def features(self, images: np.ndarray) -> np.ndarray:  # (B, 784) -> (B, F)
        return np.maximum(scaled(images) @ self.directions + self.offsets, 0).astype(np.float64)

    def solve(self) -> tuple[np.ndarray, np.ndarray]:  # (C, F), (C,)
        penalised = self.products + self.PENALTY * np.eye(len(self.products))
        return np.linalg.solve(penalised, self.sums.T).T, np.zeros(len(self.counts))

    def nbytes(self) -> int:
        return super().nbytes() + self.directions.nbytes + self.offsets.nbytes
