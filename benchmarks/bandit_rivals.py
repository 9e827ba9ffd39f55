"""The policies that `benchmarks.bandits` compares with. All get features standardised online, and most also get
standardised rewards.

Vowpal Wabbit is included if it is installed: pip install vowpalwabbit.

Shapes: F features, D inputs of a linear model, K arms, N neurons.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from sklearn.neural_network import MLPRegressor

import gln_numba
from gln.engine.preprocessing.scaling import OF_FEATURES, OF_TARGETS
from gln.features import Standardizer, with_distances

HAS_VW = importlib.util.find_spec("vowpalwabbit") is not None
VW_OPTIONS = {
    "regcbopt": "--regcbopt",
    "squarecb": "--squarecb",
    "epsilon": "--epsilon 0.05",
    "cover": "--cover 5",
    "rnd": "--rnd 3 --epsilon 0.02",
}
CLIP = 10.0  # of standardised rewards, as in a GLN


class Task(NamedTuple):
    """The properties of an environment that policies may use."""

    features: int
    arms: int
    low: float  # the range of rewards, which some rivals need
    high: float
    seed: int


class Policy(Protocol):
    def choose(self, x: np.ndarray) -> int:  # (F,)
        """The arm to pull."""
        ...

    def learn(self, x: np.ndarray, arm: int, reward: float) -> None:  # (F,)
        """Learn the reward of the arm that `choose` returned for x, before its next call."""
        ...


class Standardised:
    """A policy with standardised features and rewards, or with rewards scaled to [0, 1] if it is told their range."""

    def __init__(self, policy: Policy, task: Task, in_range: bool = False) -> None:
        self.policy, self.features = policy, Standardizer(task.features, **OF_FEATURES)
        self.rewards = None if in_range else Standardizer(1, **OF_TARGETS)
        self.low, self.high = task.low, task.high
        self.z = np.zeros(task.features)

    def choose(self, x: np.ndarray) -> int:  # (F,)
        self.z = self.features.learn(x[:, None])[:, 0].astype(np.float64)
        return self.policy.choose(self.z)

    def learn(self, x: np.ndarray, arm: int, reward: float) -> None:  # (F,)
        if self.rewards is None:
            reward = (reward - self.low) / (self.high - self.low)
        else:
            reward = float(self.rewards.learn([[reward]])[0, 0].clip(-CLIP, CLIP))
        self.policy.learn(self.z, arm, reward)


def with_one(x: np.ndarray) -> np.ndarray:  # (F,) -> (F + 1,)
    return np.append(x, 1.0)


def and_distances(x: np.ndarray) -> np.ndarray:  # (F,) -> (2 F + 1,)
    return with_one(with_distances(x[:, None])[:, 0])


class Linear:
    """Ridge regression of each arm's reward, with its uncertainty."""

    def __init__(self, inputs: int, arms: int) -> None:
        self.inverse = np.tile(np.eye(inputs), (arms, 1, 1))  # (K, D, D), of the sum of x x' plus the identity
        self.sums, self.weights = np.zeros((2, arms, inputs))  # (K, D) each

    def add(self, x: np.ndarray, arm: int, reward: float) -> None:  # (D,)
        column = self.inverse[arm] @ x
        self.inverse[arm] -= np.outer(column, column) / (1 + x @ column)  # Sherman-Morrison formula
        self.sums[arm] += reward * x
        self.weights[arm] = self.inverse[arm] @ self.sums[arm]

    def variances(self, x: np.ndarray) -> np.ndarray:  # (D,) -> (K,)
        return np.maximum((self.inverse @ x) @ x, 0)


class LinUCB:
    """L. Li et al., A Contextual-Bandit Approach to Personalized News Article Recommendation, 2010, algorithm 1."""

    ALPHA = 0.3

    def __init__(self, task: Task, inputs: Callable[[np.ndarray], np.ndarray]) -> None:
        self.inputs = inputs
        self.linear = Linear(len(inputs(np.zeros(task.features))), task.arms)

    def choose(self, x: np.ndarray) -> int:  # (F,)
        x = self.inputs(x)
        return int(np.argmax(self.linear.weights @ x + self.ALPHA * np.sqrt(self.linear.variances(x))))

    def learn(self, x: np.ndarray, arm: int, reward: float) -> None:  # (F,)
        self.linear.add(self.inputs(x), arm, reward)


class LinTS:
    """S. Agrawal and N. Goyal, Thompson Sampling for Contextual Bandits with Linear Payoffs, 2013.

    The method samples weights for each arm. Their prediction for one x is normally distributed, so it is sampled
    instead.
    """

    ALPHA = 1.0

    def __init__(self, task: Task) -> None:
        self.linear, self.rng = Linear(task.features + 1, task.arms), np.random.default_rng(task.seed)

    def choose(self, x: np.ndarray) -> int:  # (F,)
        x = with_one(x)
        spread = self.ALPHA * np.sqrt(self.linear.variances(x))
        return int(np.argmax(self.rng.normal(self.linear.weights @ x, spread)))

    def learn(self, x: np.ndarray, arm: int, reward: float) -> None:  # (F,)
        self.linear.add(with_one(x), arm, reward)


class NeuralLinear:
    """Thompson sampling from linear models on a network's last layer; C. Riquelme et al., as for wheels.

    The network is retrained at intervals. For arms that were not pulled, the targets are its own predictions.
    """

    ALPHA = 0.3
    EVERY, PASSES, MOST = 100, 10, 2000  # steps between trainings, passes in each, and most recent steps used

    def __init__(self, task: Task) -> None:
        self.net = MLPRegressor(
            hidden_layer_sizes=(50,), learning_rate_init=0.01, batch_size=64, random_state=task.seed
        )
        self.net.partial_fit(np.zeros((64, task.features)), np.zeros((64, task.arms)))  # creates the weights
        self.arms, self.rng = task.arms, np.random.default_rng(task.seed)
        self.seen: list[tuple[np.ndarray, int, float]] = []
        self.linear = Linear(51, task.arms)

    def hidden(self, x: np.ndarray) -> np.ndarray:  # (F,) or (n, F) -> (51,) or (n, 51)
        above = np.maximum(x @ self.net.coefs_[0] + self.net.intercepts_[0], 0)
        return np.concatenate([above, np.ones((*above.shape[:-1], 1))], axis=-1)

    def choose(self, x: np.ndarray) -> int:  # (F,)
        x = self.hidden(x)
        spread = self.ALPHA * np.sqrt(self.linear.variances(x))
        return int(np.argmax(self.rng.normal(self.linear.weights @ x, spread)))

    def learn(self, x: np.ndarray, arm: int, reward: float) -> None:  # (F,)
        self.seen.append((x, arm, reward))
        if len(self.seen) % self.EVERY:
            self.linear.add(self.hidden(x), arm, reward)
        else:
            self.retrain()

    def retrain(self) -> None:
        contexts, arms, rewards = map(np.array, zip(*self.seen, strict=True))
        last = slice(-self.MOST, None)
        for _ in range(self.PASSES):
            targets = self.net.predict(contexts[last]).reshape(-1, self.arms)
            targets[np.arange(len(targets)), arms[last]] = rewards[last]
            self.net.partial_fit(contexts[last], targets)
        hidden = self.hidden(contexts)
        for arm in range(self.arms):
            own, known = hidden[arms == arm], rewards[arms == arm]
            self.linear.inverse[arm] = np.linalg.inv(np.eye(hidden.shape[1]) + own.T @ own)
            self.linear.sums[arm] = own.T @ known
            self.linear.weights[arm] = self.linear.inverse[arm] @ self.linear.sums[arm]


class GLCB:
    """E. Sezener et al., Online Learning in Contextual Bandits using Gated Linear Networks, 2020, with the paper's
    sizes.

    Rewards in [0, 1] are learned as probabilities, where the paper has a tree of networks for real ones.
    """

    SIZES, CONTEXT_MAP_SIZE, RATE, C = (100, 10, 1), 4, 0.01, 0.1

    def __init__(self, task: Task) -> None:
        self.networks = [
            gln_numba.GLN(
                *(self.SIZES, task.features, task.features),
                context_map_size=self.CONTEXT_MAP_SIZE,
                context_bias=1.0,
                normalize=False,
                learning_rate=self.RATE,
                seed=task.seed,
            )
            for _ in range(task.arms)
        ]
        self.neurons = np.arange(sum(self.SIZES))
        self.counts = np.zeros((task.arms, len(self.neurons), 2**self.CONTEXT_MAP_SIZE))
        self.steps = 0

    def visits(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # (F,) -> (N,), (K, N)
        """The rows that x picks, and how often each was learned for each arm."""
        [rows] = self.networks[0].contexts(x.astype(np.float32)[:, None])  # the same for all, since all have one seed
        return rows, self.counts[:, self.neurons, rows]

    def choose(self, x: np.ndarray) -> int:  # (F,)
        self.steps += 1
        _, visits = self.visits(x)
        weights = np.exp(visits - visits.max(axis=1, keepdims=True))
        counts = (weights * visits).sum(axis=1) / weights.sum(axis=1)  # a soft maximum
        column = x.astype(np.float32)[:, None]
        means = np.array([network.predict_arrays(column, column)[0, 0] for network in self.networks])
        return int(np.argmax(means + self.C * np.sqrt(math.log(self.steps) / np.maximum(counts, 1e-9))))

    def learn(self, x: np.ndarray, arm: int, reward: float) -> None:  # (F,)
        rows, _ = self.visits(x)
        self.counts[arm, self.neurons, rows] += 1
        column, target = x.astype(np.float32)[:, None], np.full((1, 1), reward, np.float32)
        self.networks[arm].predict_arrays(column, column, target)


class VowpalWabbit:
    """Contextual bandits with costs in [0, 1] and features of arms, here only their names."""

    def __init__(self, task: Task, explore: str, inputs: Callable[[np.ndarray], np.ndarray]) -> None:
        self.inputs = inputs
        workspace: Any = importlib.import_module("vowpalwabbit").Workspace  # only this rival needs it
        self.workspace = workspace(f"--cb_explore_adf {explore} -q sa --quiet --random_seed {task.seed + 1}")
        self.rng, self.arms = np.random.default_rng(task.seed), task.arms
        self.chosen = 1.0  # the probability of the arm chosen

    def example(self, x: np.ndarray, arm: int | None = None, reward: float = 0.0) -> list[str]:  # (F,)
        labels = ["" if a != arm else f"0:{1 - reward}:{self.chosen} " for a in range(self.arms)]
        features = " ".join(f"{i}:{value:.5g}" for i, value in enumerate(self.inputs(x).tolist()))
        return [f"shared |s {features}", *(f"{label}|a {a}" for a, label in enumerate(labels))]

    def choose(self, x: np.ndarray) -> int:  # (F,)
        p = np.array(self.workspace.predict(self.example(x)))
        arm = int(self.rng.choice(self.arms, p=p / p.sum()))
        self.chosen = p[arm]
        return arm

    def learn(self, x: np.ndarray, arm: int, reward: float) -> None:  # (F,)
        self.workspace.learn(self.example(x, arm, reward))
