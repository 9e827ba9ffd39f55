"""Means of networks, weight by weight."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from backends import FRAMEWORKS, load_backend
from helpers import assert_same_state

import gln_numpy
from gln.averaging import RunningAverage, average

X = np.random.default_rng(0).normal(size=(5, 80)).astype(np.float32)
Y = X[0] * X[1] > 0


def network(module: Any = gln_numpy, **changes: Any) -> Any:
    return module.GLN([4, 2], 5, 5, **{"context_map_size": 2, "seed": 0, **changes})


def learn(model: Any, rows: slice) -> None:
    """In parts of 20 samples, so that JAX compiles once."""
    for part in range(rows.start or 0, rows.stop, 20):
        some = slice(part, min(part + 20, rows.stop))
        model.predict_online(X[:, some], X[:, some], Y[some])


def learned(module: Any = gln_numpy, rows: slice = slice(20), **changes: Any) -> Any:
    model = network(module, **changes)
    learn(model, rows)
    return model


def mean_of(states: list[Any], counts: Any = None) -> dict[str, np.ndarray]:
    return {name: np.average([state[name] for state in states], axis=0, weights=counts) for name in states[0]}


def assert_mean(model: Any, states: list[Any], step: int, counts: Any = None) -> None:
    expected = {**mean_of(states, counts), "step": np.array(step)}
    assert_same_state(model, expected, atol=1e-6)


def test_weights_are_the_mean(backend):
    """Each network counts as many samples as it has learned, unless told otherwise."""
    models = [learned(backend, rows) for rows in (slice(20), slice(20, 60))]
    states = [model.get_state() for model in models]
    assert np.abs(states[0]["weights.2"] - states[1]["weights.2"]).max() > 1e-3
    mean = average(models)
    assert type(mean) is backend.GLN
    assert_mean(mean, states, 40, [1, 2])
    assert_mean(average(models, [3, 1]), states, 40, [3, 1])
    assert_mean(average(models, [0, 1e308]), states[1:], 40)
    for model, state in zip(models, states, strict=True):  # neither changed nor shared
        assert_same_state(model, state)
    learn(mean, slice(20))
    assert mean.get_state()["step"] == 60
    assert_same_state(models[0], states[0])


def test_of_different_backends():
    models = [learned(load_backend(name), slice(place, 60)) for place, name in enumerate(FRAMEWORKS)]
    states = [model.get_state() for model in models]
    for model in models:
        mean = average([model, *models])
        assert type(mean) is type(model)
        assert_mean(mean, [model.get_state(), *states], 60, [int(each.step) for each in (model, *models)])


def test_of_one_and_of_untrained_networks():
    assert_same_state(average([network(), network()]), network())
    model = learned()
    assert_same_state(average(iter([model])), model)
    assert_same_state(average([network(), model]), model)  # an untrained network counts nothing


def test_the_copy_has_the_rate_and_extras_of_the_first():
    model, other = learned(learning_rate=0.5), learned(rows=slice(40))
    model.extra = {"mean": np.ones(3)}
    mean = average([model, other])
    assert (mean.learning_rate, [*mean.extra]) == (0.5, ["mean"])
    assert average([other, model]).has_default_rate


def test_weights_at_the_bound_stay_within_it():
    models = [learned(rows=slice(60), weight_clipping=0.3, learning_rate=5.0) for _ in range(3)]
    assert np.abs(models[0].get_state()["weights.1"]).max() == np.float32(0.3)
    assert_same_state(average(models, [0.1, 0.7, 0.3]), models[0], atol=1e-7)


UNLIKE = {
    "layer_sizes": lambda: gln_numpy.GLN([4], 5, 5, context_map_size=2, seed=0),
    "context_map_size": lambda: network(context_map_size=3),
    "num_classes": lambda: network(num_classes=3),
    "loss": lambda: network(loss="squared_error"),
    "normalize": lambda: network(normalize=False),
    "base_size": lambda: network(base_predictor=lambda inputs: 0.5 + 0 * inputs[:2]),
    "hyperplanes.1": lambda: network(seed=1),
    "hyperplane_bias.1": lambda: network(context_bias=1.0),
    "hyperplanes.2": lambda: network(context_features=2),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_unlike_networks(name):
    if name == "hyperplanes.2":
        other = network()
        state = other.get_state()
        state[name][1, 0, 3] += 1e-3
        other.set_state(state)
    else:
        other = UNLIKE[name]()
    models = [learned(), learned(), other]
    states = [model.get_state() for model in models]
    with pytest.raises(ValueError, match=rf"^networks\[2\]: expected {name} as of networks\[0\], .+, got .+"):
        average(models)
    for model, state in zip(models, states, strict=True):
        assert_same_state(model, state)


@pytest.mark.parametrize(
    "weights", [[1.0], [1, 2, 3], 1.0, [], [1, -1], [1, np.nan], [1, np.inf], [0, 0], "ab", [[1, 1]], [1, None]]
)
def test_bad_weights(weights):
    with pytest.raises(ValueError, match=r"^weights: expected 2 finite numbers of at least 0, not all 0, got "):
        average([learned(), learned()], weights)


@pytest.mark.parametrize("networks", [[], 3, None, [3], [learned(), None], learned()], ids=str)
def test_bad_networks(networks):
    with pytest.raises(ValueError, match=r"^networks: expected one or more GLNs, got "):
        average(networks)


def test_the_running_average_is_the_mean_of_snapshots(backend):
    model = learned(backend)
    running, start, states = RunningAverage(model), model.get_state(), []
    assert_same_state(running.network, start)
    for rows in (slice(20, 40), slice(40, 60), slice(60, 80)):
        learn(model, rows)
        states.append(model.get_state())
        running.update()
        assert running.n_averaged == len(states)
        assert_mean(running.network, states, rows.stop)
    assert_same_state(model, states[-1])
    assert copy.deepcopy(running).n_averaged == 3


def test_a_running_average_refuses_other_halfspaces():
    model = network()
    running = RunningAverage(model)
    before = running.network.get_state()
    model.fit_hyperplanes(X)
    with pytest.raises(ValueError, match=r"^networks\[1\]: expected hyperplanes.1 as of networks\[0\], equal, got"):
        running.update()
    assert running.n_averaged == 0
    assert_same_state(running.network, before)
    with pytest.raises(ValueError, match=r"^networks: expected one or more GLNs, got \[3\]"):
        RunningAverage(3)  # type: ignore[type-var]


def test_workers_learn_more_than_each_alone():
    """Four copies learn a quarter of a noisy stream each; log-losses are of other samples."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(10, 6000)).astype(np.float32)
    y = x[0] * x[1] + x[2] + rng.normal(size=6000) > 0
    start = gln_numpy.GLN([8, 1], 10, 10, seed=0)
    workers = [copy.deepcopy(start) for _ in range(4)]
    for place, worker in enumerate(workers):
        rows = slice(place, 4000, 4)
        worker.predict_online(x[:, rows], x[:, rows], y[rows])

    def loss(model: Any) -> float:
        p = model.predict(x[:, 4000:], x[:, 4000:])
        return -np.log(np.where(y[4000:], p, 1 - p)).mean()

    assert loss(average(workers)) < min(map(loss, workers)) - 0.03
