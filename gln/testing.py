"""Whether a backend outside of this repository computes what `gln_numpy` does, for whoever changes a copy of a file.

The tests of this repository check more, and more cases: this is what a backend can be held to in a minute.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import gln_numpy
from gln.engine.types import Network, State

__all__ = ["assert_same"]

KINDS: dict[str, State] = {
    "two classes": {},
    "three classes": {"num_classes": 3, "context_bias": 0.5},
    "three classes without a bias": {"num_classes": 3, "bias": False},
    "plain steps": {"normalize": False, "learning_rate": 0.1},
    "clipped weights": {"weight_clipping": 0.3, "learning_rate": 3.0},
    "two labels": {"num_outputs": 2},
    "squared error": {"loss": "squared_error"},
    "squared error of two outputs": {"loss": "squared_error", "num_outputs": 2, "value_clipping": 2.0},
    "quantiles": {"loss": "quantile", "quantiles": (0.1, 0.5, 0.9)},
    "variance": {"loss": "variance"},
    "sparse halfspaces": {"context_features": 2},
    "no halfspaces": {"context_map_size": 0},
}
BAD_ARGUMENTS = {"layer_sizes": [], "input_size": 0, "pred_clipping": 0.5, "seed": -1, "loss": "mse", "num_outputs": 0}
PREDICTIONS = 1e-5  # tolerances
STATES = 1e-4


def assert_same(
    backend: Any, reference: Any = gln_numpy, losses: Mapping[str, Callable[[Any, float], Any]] | None = None
) -> None:
    """Check that two backends start from the same networks, predict and learn the same, and refuse the same input.

    Args:
        backend: a module with a class `GLN`, or such a class: a changed copy of a file, or a subclass.
        reference: what it is compared with, also a module or a class. If both have another gate or loss than this
            package, they are compared with each other.
        losses: functions of losses, also of new ones, such as `{"poisson": lambda s, y: np.exp(s) - y * s}`: `residual`
            is compared with their differences. That of a new loss without a function only has to grow with s.

    Raises AssertionError, which says for which network what differs and by how much.
    """
    network, expected = (getattr(module, "GLN", module) for module in (backend, reference))
    name = network.__module__
    _check_contexts(name, _small(network))
    for kind, arguments in KINDS.items():
        _check_values(f"{name}, {kind}", _small(network, **arguments), _small(expected, **arguments))
    _check_halfspaces(name, _small(network), _small(expected))
    _check_continuing(name, network, expected)
    _check_bad_input(name, network)
    _check_losses(name, network, losses or {})


def _small(network: Network, **arguments: Any) -> Any:
    return network([3, 2], 5, 4, seed=1, **arguments)


def _stream(model: Network, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs (5, count), side information (4, count) and targets that suit the loss."""
    rng = np.random.default_rng(5)
    inputs = rng.normal(size=(5, count))
    context = rng.normal(size=(4, count))
    noise = rng.normal(size=(2, count))
    if model.config.record.heads == "num_classes":
        return inputs, context, rng.integers(0, model.config.num_classes, count)
    values = (inputs[:2] + noise)[: model.config.num_heads].squeeze() if model.config.num_heads < 3 else noise[0]
    return inputs, context, values > 0 if model.config.logits else values


def _check_contexts(name: str, model: Network) -> None:
    contexts = np.asarray(model.contexts(_stream(model, 7)[1].astype(np.float32)))
    if contexts.shape != (7, 5) or contexts.dtype.kind not in "iu" or not np.isin(contexts, range(16)).all():
        expected = "expected integers from 0 to 15 of shape (7, 5)"
        came = f"{contexts.dtype} of shape {contexts.shape}:\n{contexts}"
        raise AssertionError(f"{name}: contexts: {expected}, got {came}")


def _check_losses(name: str, network: Network, losses: Mapping[str, Callable[[Any, float], Any]]) -> None:
    """Residuals of given losses, and of those that `gln_numpy` does not have."""
    records = sys.modules[type(_small(network).config).__module__].LOSSES
    s = np.linspace(-1.9, 1.9, 12)
    for loss in dict.fromkeys([*losses, *(records.keys() - gln_numpy.LOSSES.keys())]):
        low, high = records[loss].targets
        for y in np.linspace(max(low, -2.0), min(high, 2.0), 5):
            slopes = np.array([_slope(network, loss, output, y) for output in s])
            what = f"{name}, {loss}: residual for a target of {y:g}"
            if not (np.diff(slopes) > -1e-4).all():
                raise AssertionError(f"{what}: expected one that grows with s, as of a convex loss, got {slopes}")
            if loss in losses:
                differences = losses[loss](s + 1e-4, y) - losses[loss](s - 1e-4, y)
                _compare(f"{what}, and the slope of the loss", slopes, differences / 2e-4, 1e-3)


def _slope(network: Network, loss: str, s: float, y: float) -> float:
    """The residual, from a step of a neuron whose only weight is 1."""
    options: State = {"quantiles": (0.3,)} if loss == "quantile" else {}
    options |= {"bias": False, "normalize": False, "learning_rate": 1.0, "context_map_size": 0}
    model = network([1], 1, 1, loss=loss, **options)
    model.predict([s], [0.0], y)
    return (1 - model.get_state()["weights.1"].item()) / s


def _check_values(name: str, model: Network, expected: Network) -> None:
    """Batches of several samples and of one, streams, single samples, and unknown targets."""
    _compare_states(f"{name}: initial state", model, expected, 0)
    inputs, context, targets = _stream(expected, 40)
    calls: dict[str, Callable[[Any], Any]] = {
        "a batch": lambda gln: gln.predict(inputs[:, :7], context[:, :7], targets[..., :7]),
        "a stream": lambda gln: gln.predict_online(inputs[:, 7:29], context[:, 7:29], targets[..., 7:29]),
        "a stream in batches of 4": lambda gln: gln.predict_online(
            inputs[:, 29:38], context[:, 29:38], targets[..., 29:38], batch_size=4
        ),
        "one sample": lambda gln: gln.predict(inputs[:, 38], context[:, 38], targets[..., 38]),
        "predictions only": lambda gln: gln.predict(inputs, context),
        "an empty batch": lambda gln: gln.predict(inputs[:, :0], context[:, :0], targets[..., :0]),
    }
    if expected.config.num_heads > 1 and expected.config.record.heads != "quantiles":
        unknown = np.full((expected.config.num_heads, 8), 0.5)
        unknown[0, ::2] = unknown[1, 4:] = np.nan
        calls["unknown targets"] = lambda gln: gln.predict_online(inputs[:, :8], context[:, :8], unknown)
    for call, learn in calls.items():
        before = np.asarray(model.predict(inputs[:, :7], context[:, :7])).copy()
        actual = np.asarray(learn(model))
        wanted = np.asarray(learn(expected))
        _compare(f"{name}: {call}", actual, wanted, PREDICTIONS)
        if call == "a batch":
            _compare(f"{name}: a batch without and with targets", before, actual, PREDICTIONS)
    _compare_states(f"{name}: state after learning", model, expected, STATES)


def _check_halfspaces(name: str, model: Network, expected: Network) -> None:
    inputs, context, targets = _stream(expected, 20)
    for gln in (model, expected):
        gln.fit_hyperplanes(context)
    _compare_states(f"{name}: fit_hyperplanes", model, expected, 1e-6)
    side = context.astype(np.float32)
    _compare(f"{name}: contexts", np.asarray(model.contexts(side)), np.asarray(expected.contexts(side)), 0)
    model.predict(inputs, context, targets)
    _refuses(f"{name}: fit_hyperplanes after an update", RuntimeError, "", lambda: model.fit_hyperplanes(context))


def _check_continuing(name: str, network: Network, expected: Network) -> None:
    """A state carried from one to the other in mid-stream."""
    first = _small(expected, num_classes=3)
    second = _small(network, num_classes=3)
    inputs, context, targets = _stream(first, 24)
    first.predict_online(inputs, context, targets)
    second.set_state(first.get_state())
    actual, wanted = (np.asarray(gln.predict_online(inputs, context, targets)) for gln in (second, first))
    _compare(f"{name}: a stream continued from another backend's state", actual, wanted, PREDICTIONS)


def _check_bad_input(name: str, network: Network) -> None:
    """A ValueError that begins with the argument's name, and nothing changed."""
    for argument, value in BAD_ARGUMENTS.items():
        arguments: State = {"layer_sizes": [3, 2], "input_size": 5, "context_size": 4, argument: value}
        _refuses(f"{name}: {argument}={value!r}", ValueError, argument, functools.partial(network, **arguments))
    model = _small(network, num_classes=3)
    inputs, context, targets = _stream(model, 6)
    state = model.get_state()
    nan = np.where(np.arange(6) == 3, np.nan, inputs)
    calls = [
        ("inputs", (inputs[:4], context, targets)),
        ("inputs", (nan, context, targets)),
        ("context_inputs", (inputs, context[:, :5], targets)),
        ("targets", (inputs, context, targets[:5])),
        ("targets", (inputs, context, targets + 1)),
    ]
    for argument, batch in calls:
        for method in (model.predict, model.predict_online):
            _refuses(f"{name}: bad {argument}", ValueError, argument, functools.partial(method, *batch))
    _refuses(f"{name}: a state without step", ValueError, "state", functools.partial(model.set_state, {"step": 0}))
    _compare_states(f"{name}: state after bad input", model, state, 0)


def _refuses(what: str, error: type[Exception], argument: str, call: Callable[[], Any]) -> None:
    try:
        call()
    except error as raised:
        if not str(raised).startswith(argument):
            raise AssertionError(f"{what}: expected an error that begins with {argument!r}, got {raised}") from raised
    else:
        raise AssertionError(f"{what}: expected a {error.__name__}, got none")


def _compare(what: str, actual: np.ndarray, wanted: np.ndarray, tolerance: float) -> None:
    bound = tolerance * (1 + np.abs(wanted).max(initial=0))
    expected = f"{what}: expected the same to {tolerance:g}"
    np.testing.assert_allclose(actual, wanted, 0, bound, equal_nan=False, err_msg=expected)


def _compare_states(what: str, model: Network, expected: Network, tolerance: float) -> None:
    actual = model.get_state()
    wanted = expected if isinstance(expected, dict) else expected.get_state()
    if actual.keys() != wanted.keys():
        raise AssertionError(f"{what}: expected the arrays {list(wanted)}, got {list(actual)}")
    for key, array in actual.items():
        _compare(f"{what}, {key}", array, wanted[key], tolerance)
