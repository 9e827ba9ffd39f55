"""`benchmarks.forgetting`: its rivals compute what their papers describe, and the order of classes makes no difference
to heads that learn from their own class only."""

from __future__ import annotations

import os

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge as RidgeOfScikitLearn

if not os.environ.get("GLN_REQUIRE_BACKENDS"):
    for package in ("torch", "numba"):
        pytest.importorskip(package)

import torch

from benchmarks.forgetting import QUICK, learn, permuted, split
from benchmarks.forgetting_models import Model, OnlineGLN, Perceptron, Replay, Ridge, StreamingLDA, one_hot, scaled
from gln.mnist import load_mnist

pytestmark = pytest.mark.slow
DIGITS = 600


@pytest.fixture(scope="module")
def digits():
    images, labels, test_images, test_labels = load_mnist(deskew=False)
    return images[:DIGITS], labels[:DIGITS], test_images[:DIGITS], test_labels[:DIGITS]


@pytest.fixture
def _few_neurons(monkeypatch):
    monkeypatch.setattr(Perceptron, "HIDDEN", 30)


class Told(Model):
    """Remembers what it was told."""

    def __init__(self, *_: int) -> None:
        self.labels: list[int] = []
        self.tasks: list[tuple[int, int]] = []  # digits of each, and all so far

    def learn(self, images, labels):
        self.labels += labels.tolist()

    def end_task(self, images):
        self.tasks.append((len(images), len(self.labels)))

    def classify(self, images):
        return np.zeros(len(images), int)

    def nbytes(self):
        return 10**6


def test_streams(digits):
    size, told = QUICK._replace(split=DIGITS), []

    def make(*settings):
        told.append(Told(*settings))
        return told[-1]

    run = split(make, digits, size, 0, pairs=(3, 0, 1, 2, 4))
    assert run.end == pytest.approx(100 * np.mean(digits[3] == 0))
    assert run.megabytes == 1
    pairs = np.array(told[0].labels) // 2
    assert pairs[np.sort(np.unique(pairs, return_index=True)[1])].tolist() == [3, 0, 1, 2, 4]
    assert (np.diff(pairs) != 0).sum() == 4
    assert sorted(told[0].labels) == sorted(digits[1])
    assert [end for _, end in told[0].tasks] == np.cumsum([count for count, _ in told[0].tasks]).tolist()
    run = split(make, digits, size, 0, domain=True)
    assert run.end == pytest.approx(100 * np.mean(digits[3] % 2 == 0))
    assert set(told[1].labels) == {0, 1}
    permuted(make, digits, size, 0)
    assert told[2].tasks == [(size.train, size.train * task) for task in (1, 2)]


def test_own_class_heads_ignore_the_order_of_classes(digits):
    states = []
    for pairs in (range(5), (4, 2, 0, 1, 3), None):
        made: list[OnlineGLN] = []

        def make(seed, classes, made=made):
            made.append(OnlineGLN([8, 4], seed, classes, own=True, learning_rate=1.0))
            return made[-1]

        split(make, digits, QUICK._replace(split=DIGITS), 0, pairs=pairs)
        states.append(made[0].model.get_state())
    assert not (states[0]["weights.1"] == 1 / 785).all()
    for state in states[1:]:
        for name, array in state.items():
            np.testing.assert_allclose(array, states[0][name], rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.usefixtures("_few_neurons")
def test_fisher_information(digits):
    """Squared gradients by autograd, digit by digit, for the same drawn labels."""
    model = Perceptron(0, 10)
    x = torch.from_numpy(scaled(digits[0][:20]))
    torch.manual_seed(1)
    with torch.no_grad():
        found = model.fisher_of(x)
    torch.manual_seed(1)
    drawn = model.net(x).softmax(dim=1).multinomial(1)[:, 0]
    expected = [torch.zeros_like(w) for w in model.weights]
    for image, label in zip(x, drawn, strict=True):
        loss = torch.nn.functional.cross_entropy(model.net(image), label)
        for total, gradient in zip(expected, torch.autograd.grad(loss, model.weights), strict=True):
            total += gradient**2 / len(x)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-9)


@pytest.mark.usefixtures("_few_neurons")
def test_ewc_pulls_back(digits):
    """The further from the anchor without a penalty, the more it holds; at infinite strength nothing moves."""
    images, labels = digits[:2]
    zeros, others = labels < 2, labels > 7
    moved = {}
    for strength in (0.0, 1e3, 1e9):
        model = Perceptron(0, 10, strength)
        learn(model, images[zeros], labels[zeros])
        before = [w.detach().clone() for w in model.weights]
        with torch.no_grad():
            fisher = model.fisher or model.fisher_of(torch.from_numpy(scaled(images[zeros])))
        learn(model, images[others], labels[others])
        with torch.no_grad():
            pairs = zip(fisher, model.weights, before, strict=True)
            moved[strength] = sum(float((f * (w - b) ** 2).sum()) for f, w, b in pairs)
    assert 0 <= moved[1e9] < 0.01 * moved[1e3] < 0.1 * moved[0.0]


@pytest.mark.usefixtures("_few_neurons")
def test_an_ewc_step_is_that_of_the_penalty():
    """The implicit step minimises |w - moved|^2 / 2 + rate * strength / 2 * F (w - anchor)^2."""
    model = Perceptron(0, 10, strength=7.0)
    model.end_task(np.random.default_rng(0).random((30, 784), np.float32))
    moved = [w.detach() + 0.1 for w in model.weights]
    model.weights = [torch.nn.Parameter(w.clone()) for w in moved]
    model.pull_back()
    for w, start, anchor, fisher in zip(model.weights, moved, model.anchor, model.fisher, strict=True):
        torch.testing.assert_close(w - start, -model.RATE * 7.0 * fisher * (w - anchor), rtol=1e-3, atol=1e-6)


def test_reservoir_is_uniform(digits):
    """Each of 100 digits is kept with the same chance, and about half of what is learned was kept."""
    images, counts = digits[0][:100], np.zeros(100)
    for seed in range(400):
        model = Replay(Told, 10, seed, 10)
        model.learn(images, np.arange(100))
        counts[model.labels] += 1
        assert len(set(model.labels)) == 10
        assert (model.images == images[model.labels]).all()
    learned = model.model
    assert isinstance(learned, Told)
    assert len(learned.labels) == 100 + 68  # the first 32 have none before them
    np.testing.assert_allclose(counts.reshape(10, 10).sum(axis=1), 400, atol=80)  # four standard deviations


def test_streaming_lda_is_that_of_scikit_learn(digits):
    images, labels, _, _ = digits
    model = StreamingLDA(0, 10)
    for pair in range(5):  # one after another
        learn(model, images[labels // 2 == pair], labels[labels // 2 == pair])
    # scikit-learn shrinks towards the mean variance, and scales by 1 minus its shrinkage.
    variance = np.concatenate([images[labels == c] - images[labels == c].mean(axis=0) for c in range(10)]).var(axis=0)
    ratio = model.SHRINKAGE / (1 - model.SHRINKAGE) / variance.mean()
    theirs = LinearDiscriminantAnalysis("lsqr", shrinkage=ratio / (1 + ratio))
    theirs.fit(images.astype(np.float64), labels)
    slopes, offsets = model.solve()
    scale = (1 - model.SHRINKAGE) * (1 + ratio)
    np.testing.assert_allclose(slopes * scale, theirs.coef_, rtol=1e-3, atol=1e-4 * abs(slopes).max())
    np.testing.assert_allclose(offsets * scale, theirs.intercept_ - np.log(theirs.priors_), rtol=1e-3)


def test_a_class_never_seen_is_not_predicted(digits):
    model = StreamingLDA(0, 10)
    learn(model, digits[0][digits[1] < 4], digits[1][digits[1] < 4])
    assert set(model.classify(digits[2])) == {0, 1, 2, 3}


def test_ridge_is_that_of_scikit_learn(digits):
    images, labels, test_images, _ = digits
    model = Ridge(50, 0, 10)
    for pair in range(5):
        learn(model, images[labels // 2 == pair], labels[labels // 2 == pair])
    theirs = RidgeOfScikitLearn(model.PENALTY, fit_intercept=False)
    theirs.fit(model.features(images), one_hot(labels, 10).T)
    slopes, _ = model.solve()
    np.testing.assert_allclose(slopes, theirs.coef_, rtol=1e-4, atol=1e-7)
    assert (model.classify(test_images) == theirs.predict(model.features(test_images)).argmax(axis=1)).all()
