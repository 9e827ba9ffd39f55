"""Network surgery: add classes, outputs and inputs without forgetting what was learned.

Shapes: C heads, D values of side information, K inputs, k halfspaces per neuron, n neurons in a layer, N samples.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from gln.engine.networks.protocol import Network, Tensor, arguments
from gln.rates import linear_rate

N = TypeVar("N", bound=Network)
REPLACED = 4  # one neuron in this many gets halfspaces that see new side information


def untrained(network: N, **changes: Any) -> N:
    """A new network with the same arguments, but for `changes`."""
    return type(network)(**arguments(network) | changes)


def copied(network: N, state: Mapping[str, np.ndarray], **changes: Any) -> N:
    """A network with the same arguments, but for `changes`, and with this state; what is missing in it is initial."""
    copy = untrained(network, **changes)
    copy.set_state(copy.get_state(copy=False) | dict(state))
    return copy


def add_class(network: N, inputs: Tensor = None, context_inputs: Tensor = None, count: int = 1) -> N:
    """The network with a head for one more class, the last one. The others predict what they predicted before.

    A network of two classes has one head. When a third is added, each of the two gets its own head. The new head learns
    that the samples `inputs` (K, N) and `context_inputs` (D, N) are not of its class, with a learning rate that falls
    from 10 to 0.1. Without samples, if there is a bias, it starts with the probability of a class never seen so far.
    There may be more new heads, `count`, all alike.

    Raises ValueError for a network with another loss than the log-loss, or samples of the wrong shape.
    """
    if network.config.record.heads != "num_classes":
        raise ValueError(f"network: expected one with the log-loss, got {network!r}")
    head = copied(network, _arrays(network, "hyperplane"), num_classes=2)
    if inputs is not None:
        samples = np.shape(inputs)[-1]
        head.learning_rate = functools.partial(linear_rate, samples=max(1, samples))
        head.predict_online(inputs, context_inputs, np.zeros(samples))
    elif network.config.bias:
        set_initial_logits(head, np.array([-math.log(int(network.step) + 1)]))
    known = [network] if network.config.num_heads > 1 else [_mirrored(network), network]
    weights = [_arrays_of_heads(model) for model in (*known, *[head] * count)]
    joined = {name: np.concatenate([arrays[name] for arrays in weights], axis=2) for name in weights[0]}
    return copied(network, network.get_state(copy=False) | joined, num_classes=count + max(2, network.config.num_heads))


def set_initial_logits(network: N, logits: np.ndarray) -> None:  # (C,)
    """Make the heads of an untrained network with a bias predict these logits for any input."""
    state = network.get_state()
    for name in _arrays(network, "weights"):
        below = state[name].shape[-1] - 1
        state[name][..., :-1] = 0 if name == "weights.1" else 1 / below
        state[name][..., -1] = logits if name == "weights.1" else 0
    network.set_state(state)


def with_inputs(network: N, indices: Sequence[int], context_size: int, keeps_halfspaces: bool = False) -> N:
    """The network with other inputs, and perhaps more side information, of which existing values come first.

    `indices` are those that the new network's inputs have in this one, -1 for new inputs. Their weights are zero,
    so predictions stay the same until the network learns about them. Halfspaces get additional coefficients, drawn from
    its seed; with `context_features`, some are replaced by ones that see the new side information instead, which
    changes predictions a little. With `keeps_halfspaces` none sees it, and predictions stay the same.
    """
    grown = untrained(network, input_size=len(indices), context_size=context_size)
    drawn = grown.get_state(copy=False)
    state = {}
    taken = np.array(indices)
    is_replaced = _replaced_halfspaces(drawn, network) if network.config.context_features is not None else {}
    if keeps_halfspaces:
        is_replaced = {name: np.zeros(old.shape[:2], bool) for name, old in _arrays(network, "hyperplane").items()}
    first_layer = [name for name in _arrays_of_heads(network) if name.endswith(".1")]
    for name, old in network.get_state(copy=False).items():
        if name in first_layer:
            kept = old.take(taken, axis=-1)  # a quarter of the time of indexing
            kept[..., taken < 0] = 0
            state[name] = np.concatenate([kept, old[..., network.config.input_size :]], axis=-1)  # the bias
        elif name in is_replaced:
            kept = np.pad(old, [(0, 0), (0, 0), (0, context_size - network.config.context_size)][: old.ndim])
            state[name] = np.where(np.expand_dims(is_replaced[name], (*range(2, old.ndim),)), drawn[name], kept)
        else:
            state[name] = np.array(drawn[name])
            state[name][tuple(map(slice, old.shape))] = old
    grown.set_state(state)
    return grown


def with_outputs(network: N, kept: Sequence[int], new: int) -> N:
    """The network with the outputs `kept`, in this order, which predict what they did, and `new` untrained ones."""
    changed = untrained(network, num_outputs=len(kept) + new)
    state = {**network.get_state(copy=False)}
    for name, drawn in _arrays_of_heads(changed).items():
        state[name] = np.concatenate([state[name][:, :, list(kept)], drawn[:, :, len(kept) :]], axis=2)
    changed.set_state(state)
    return changed


def _replaced_halfspaces(drawn: Mapping[str, np.ndarray], network: N) -> dict[str, np.ndarray]:
    """Which halfspaces of a network are replaced by those `drawn` for more side information: by name, (n, k).

    They are those that would see a new value, in every REPLACED-th neuron, different neurons each time. Replacing them
    in all neurons learns new features no faster, and uninformative ones cost .8 to 2 points of accuracy on streams, not
    .1.
    """
    is_replaced: dict[str, np.ndarray] = {}
    for layer, n in enumerate(network.config.layer_sizes, start=1):
        planes = drawn[f"hyperplanes.{layer}"]
        is_chosen = np.arange(n) % REPLACED == planes.shape[2] % REPLACED
        sees_new = (planes[..., network.config.context_size :] != 0).any(axis=2) & is_chosen[:, None]
        is_replaced |= {f"hyperplanes.{layer}": sees_new, f"hyperplane_bias.{layer}": sees_new}
    return is_replaced


def _arrays(network: N, kind: str) -> dict[str, np.ndarray]:
    """The state's "weights" or "hyperplane" arrays."""
    return {name: array for name, array in network.get_state(copy=False).items() if name.startswith(kind)}


def _arrays_of_heads(network: N) -> dict[str, np.ndarray]:
    """The state's weights, and what a changed copy keeps for each of them: of layer l (n_l, 2^k, C, d)."""
    state = network.get_state(copy=False)
    return {name: array for name, array in state.items() if name != "step" and not name.startswith("hyperplane")}


def _mirrored(network: N) -> N:
    """A network of one head that predicts the other class. Above the first layer, the inputs are already mirrored."""
    state = network.get_state()
    for name in _arrays(network, "weights"):
        if name == "weights.1":
            state[name] = -state[name]
        elif network.config.bias:
            state[name][..., -1] *= -1
    return copied(network, state)
