"""Gated Linear Networks in NumPy: the reference that the other backends are held against.

A GLN learns online and without backpropagation. Every neuron predicts the target itself: halfspaces of the side
information pick one of its weight rows, the row mixes the predictions of the layer below, and the neuron's own error
corrects that row at once. Source: Veness et al., "Gated Linear Networks", AAAI 2021, https://arxiv.org/abs/1910.01526.

Letters in the shapes: B samples, C heads, L layers, n neurons of a layer, N neurons of all layers, k halfspaces a
neuron, d inputs of a neuron (bias included), D values of side information, K base logits.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

__all__ = ["GLN", "decaying_rate", "gate", "mix", "paper_rate", "update"]

# ---- Shared by all backends: the same text in each file, and a test holds the copies equal ---------------------------

Rate = float | Callable[[int], float]

FORMAT = "1"  # of saved models, and the arguments that they keep
ARGUMENTS = [
    *("layer_sizes", "input_size", "context_size", "num_classes", "context_map_size", "base_predictor", "bias"),
    *("context_bias", "learning_rate", "normalize", "pred_clipping", "weight_clipping", "seed"),
]
MAX_HALFSPACES = 30  # 2^30 rows a neuron: beyond any memory, and a context still fits an int32
MAX_REAL = 1e30  # of rates, weights and offsets: products with logits, and their sums, stay finite in float32


def decaying_rate(t: int, start: float = 10.0) -> float:
    """Learning rate with `normalize=True` where none is given: start / sqrt(1 + t / 3000) after t training samples."""
    return start / math.sqrt(1.0 + t / 3000.0)


def paper_rate(t: int) -> float:
    """Learning rate with `normalize=False` where none is given: min(100 / (t + 1), 0.01), the paper's for MNIST."""
    return min(100.0 / (t + 1.0), 0.01)


def _bad(name: str, expected: str, came: object) -> ValueError:
    return ValueError(f"{name}: expected {expected}, got {came}")


def _integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    expected = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"
    try:
        number = operator.index(value)
    except TypeError:
        raise _bad(name, expected, repr(value)) from None
    if isinstance(value, (bool, np.bool_)) or number < low or (high is not None and number > high):
        raise _bad(name, expected, repr(value))
    return number


def _sizes(name: str, value: Any) -> tuple[int, ...]:
    try:
        sizes = tuple(value)
    except TypeError:
        sizes = ()
    if not sizes:
        raise _bad(name, "a sequence of one or more integers", repr(value))
    return tuple(_integer(f"{name}[{i}]", size, 1) for i, size in enumerate(sizes))


def _real(name: str, value: Any, expected: str, accept: Callable[[float], bool]) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise _bad(name, expected, repr(value)) from None
    if isinstance(value, (bool, np.bool_, str, bytes)) or not accept(number):
        raise _bad(name, expected, repr(value))
    return number


def _rate(value: Any) -> float:
    expected = "a number from 0 to 1e30, or a callable that gives such numbers"
    return _real("learning_rate", value, expected, lambda v: 0 <= v <= MAX_REAL)


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise _bad(name, "True or False", repr(value))
    return bool(value)


def _floats(name: str, array: np.ndarray) -> np.ndarray:
    """`array` as finite float32 of the same shape; raises ValueError on anything else."""
    if array.dtype.kind not in "biuf":
        raise _bad(name, "an array of real numbers", f"dtype {array.dtype}")
    with np.errstate(over="ignore"):  # what overflows float32 becomes infinity, and is refused as such
        array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        raise _bad(name, "finite float32 numbers", "NaN or infinity")
    return array


def _memory() -> int:
    """Bytes of physical memory, or no limit where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1 << 62


def _checksum(config: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(config.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Configuration and arrays of a saved model; raises ValueError where the file is not as it was written."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, AttributeError, TypeError, ValueError) as error:
        raise _bad(str(path), "a saved GLN", f"a file that cannot be read: {error}") from error
    if "checksum" not in metadata or metadata.get("format") != FORMAT:
        raise _bad(str(path), f"a GLN saved in format {FORMAT}", f"format {metadata.get('format')}")
    text = metadata.get("config", "")
    if _checksum(text, arrays) != metadata["checksum"]:
        raise _bad(str(path), "a GLN as it was saved", "a file that was changed since, for its checksum differs")
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise _bad(str(path), "a saved GLN", f"a configuration that cannot be read: {error}") from error
    if not isinstance(config, dict) or set(config) != set(ARGUMENTS):
        raise _bad(str(path), f"a configuration of {ARGUMENTS}", config)
    return config, arrays


class Explanation(NamedTuple):
    """What `explain` gives: output logit = sum of weights * base logits, plus constant.

    The shapes are those of one head; with more heads all begin with C, and for one sample none has B.
    """

    weights: np.ndarray  # (K, B), of the base logits, which without `base_predictor` are the inputs
    constant: np.ndarray  # (B,)
    clipped: np.ndarray  # (B,) of bools: an input or a neuron's logit was clipped


class GLNBase:
    """What is the same in every backend: arguments, the initial draw, the learning rate, the state's names and shapes.

    A backend adds `_load_hyperplanes`, `_load_weights` and `_dump` (arrays in and out), `_tensor` (a NumPy array as the
    framework's own tensor), `_contexts`, `_predict` and `_predict_online` (the work), and holds the count of training
    samples as `step`.
    """

    step: Any
    extra: Mapping[str, np.ndarray] = MappingProxyType({})  # what `save` was given with a model that was loaded

    def __init__(
        self,
        layer_sizes: Sequence[int],
        input_size: int,
        context_size: int,
        *,
        num_classes: int = 2,
        context_map_size: int = 4,
        base_predictor: Callable[[Any], Any] | None = None,
        bias: bool = True,
        context_bias: float = 0.0,
        learning_rate: Rate | None = None,
        normalize: bool = True,
        pred_clipping: float = 1e-3,
        weight_clipping: float = 200.0,
        seed: int | None = None,
    ) -> None:
        """Build the network and draw its halfspaces; every weight starts at 1 / d.

        Args:
            layer_sizes: neurons of each layer, from first to last, each at least 1.
            input_size: values of one sample, at least 1.
            context_size: values of side information of one sample, at least 1.
            num_classes: 2 for one head that gives the probability of class 1; more for one head a class, one-vs-rest.
            context_map_size: halfspaces of a neuron, 0 to 30; a neuron has 2^context_map_size weight rows a head.
            base_predictor: callable (input_size, B) -> (K, B) of probabilities, which take the place of the inputs;
                it is called once here, with zeros, to learn K. Without it the inputs are logits.
            bias: whether a constant logit 1 is appended to the input of every layer.
            context_bias: standard deviation of the halfspaces' offsets from the origin, 0 to 1e30.
            learning_rate: a number, or a callable from the count of training samples seen so far to one; 0 to 1e30.
                None takes `decaying_rate` from min(10, sqrt(d)) on, d the first layer's inputs, for few inputs
                overshoot at a rate that many need; without `normalize` it takes `paper_rate`.
            normalize: whether a step is divided by 1 + |z|^2, z a neuron's input; without, the paper's plain step.
            pred_clipping: probabilities are kept in [pred_clipping, 1 - pred_clipping]; between 0 and 0.5.
            weight_clipping: weights are kept in [-weight_clipping, weight_clipping]; above 0, at most 1e30.
            seed: integer of at least 0, or None for fresh halfspaces each time. The same seed gives the same network
                in every backend.

        Raises:
            ValueError: an argument outside these ranges, or a network larger than the machine's memory.
        """
        super().__init__()
        self.layer_sizes = _sizes("layer_sizes", layer_sizes)
        self.input_size = _integer("input_size", input_size, 1)
        self.context_size = _integer("context_size", context_size, 1)
        self.num_classes = _integer("num_classes", num_classes, 2)
        self.num_heads = 1 if self.num_classes == 2 else self.num_classes
        self.context_map_size = _integer("context_map_size", context_map_size, 0, MAX_HALFSPACES)
        if base_predictor is not None and not callable(base_predictor):
            raise _bad("base_predictor", "a callable or None", repr(base_predictor))
        self.base_predictor = base_predictor
        self.bias = _switch("bias", bias)
        self.context_bias = _real("context_bias", context_bias, "a number from 0 to 1e30", lambda v: 0 <= v <= MAX_REAL)
        self.normalize = _switch("normalize", normalize)
        self.pred_clipping = _real("pred_clipping", pred_clipping, "a number in (0, 0.5)", lambda v: 0 < v < 0.5)
        self.logit_bound = math.log1p(-self.pred_clipping) - math.log(self.pred_clipping)
        expected = "a number above 0, at most 1e30"
        self.weight_clipping = _real("weight_clipping", weight_clipping, expected, lambda v: 0 < v <= MAX_REAL)
        self.seed = None if seed is None else _integer("seed", seed, 0)
        self.base_size = self.input_size
        if base_predictor is not None:
            self.base_size = len(self._base_logits(base_predictor, np.zeros((self.input_size, 1), np.float32)))
        planes = sum(self.layer_sizes) * self.context_map_size * (self.context_size + 1)
        needed, memory = 4 * (planes + sum(map(math.prod, self._rooms()))), _memory()
        if needed > memory:
            raise _bad(
                "layer_sizes, input_size, context_size, num_classes, context_map_size",
                f"a network within the {memory / 2**30:.1f} GiB of memory",
                f"one of {-(-needed >> 30)} GiB",
            )
        self.set_learning_rate(learning_rate)
        self._load(self._initial_state(), 0)

    # What a backend adds.

    def _load_hyperplanes(self, hyperplanes: np.ndarray, hyperplane_bias: np.ndarray) -> None:
        """Copy in the halfspaces of all layers, (N, k, D) and (N, k)."""
        raise NotImplementedError

    def _load_weights(self, weights: list[np.ndarray], step: int) -> None:
        """Copy in the weights of each layer, (n, 2^k, C, d), and the count of training samples."""
        raise NotImplementedError

    def _dump(self) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], int]:
        """What was loaded, as NumPy arrays that the caller only reads; the weights may have another shape."""
        raise NotImplementedError

    def _tensor(self, array: np.ndarray) -> Any:
        raise NotImplementedError

    def _contexts(self, context) -> np.ndarray:  # (D, B) -> (B, N), what the gates say
        raise NotImplementedError

    def _predict(self, base, context, targets, rates) -> Any:  # (K, B), (D, B), (C, B) or None, (B,) or None -> (C, B)
        raise NotImplementedError

    def _predict_online(self, base, context, targets, rates, batch_size) -> Any:  # as _predict, all with targets
        raise NotImplementedError

    # What a backend replaces where its tensors differ from NumPy's arrays.

    @staticmethod
    def _numpy(value: Any) -> np.ndarray:
        array = np.asarray(value)
        return array.astype(np.float32) if array.dtype.kind == "V" else array  # bfloat16, which NumPy does not know

    @staticmethod
    def _reshape(output: Any, shape: tuple[int, ...]) -> Any:
        return output.reshape(shape)

    def _rooms(self) -> list[tuple[int, ...]]:
        """Shapes of the layers' weights as they lie in memory."""
        return [shape for name, shape in self._shapes().items() if name.startswith("weights")]

    # What users call.

    def __repr__(self) -> str:
        names = ("input_size", "context_size", "num_classes", "context_map_size")
        sizes = ", ".join(f"{name}={getattr(self, name)}" for name in names)
        return f"GLN({list(self.layer_sizes)}, {sizes}, step={int(self.step)})"

    def predict(self, inputs: Any, context_inputs: Any, targets: Any = None) -> Any:
        """Predict a batch and, given targets, learn from it.

        All samples are predicted with the weights as they were; then the updates of all samples are added up. What
        is returned are those predictions, the same with and without targets. A batch of one is exact online learning
        (Algorithm 1 of the paper).

        Args:
            inputs: (input_size, B) logits, or whatever `base_predictor` takes; (input_size,) is one sample.
            context_inputs: (context_size, B) side information, often the same array; (context_size,) is one sample.
            targets: (B,) of bools or probabilities in [0, 1]; with more than two classes, of integers below
                num_classes. None only predicts.

        Returns:
            Probabilities, (B,) with one head and (C, B) with more; for one sample a scalar or (C,).

        Raises:
            ValueError: wrong shape, NaN, infinity or a target outside its range; the model is then unchanged.
        """
        return self._answer(self._predict, inputs, context_inputs, targets)

    def predict_online(self, inputs: Any, context_inputs: Any, targets: Any, batch_size: int = 1) -> Any:
        """`predict` with targets on one batch of `batch_size` samples after another, in one fast call.

        Arguments, result and errors are those of `predict`; the last batch may be smaller.
        """
        if targets is None:
            raise _bad("targets", "one target a sample", None)
        batch_size = _integer("batch_size", batch_size, 1)

        def online(base, context, targets, rates):  # a batch is no larger than the stream
            return self._predict_online(base, context, targets, rates, min(batch_size, len(rates)))

        return self._answer(online, inputs, context_inputs, targets)

    def fit_hyperplanes(self, context_inputs: Any) -> None:
        """Redraw every halfspace as the perpendicular bisector of two of the samples, drawn by `seed`.

        Args:
            context_inputs: (context_size, B) side information of two samples or more.

        Raises:
            ValueError: wrong shape, NaN or infinity.
            RuntimeError: the model has already learned; moving its gates would scramble what it knows.
        """
        if int(self.step) > 0:
            raise RuntimeError(f"fit_hyperplanes: expected a model before its first update, got step {int(self.step)}")
        context, one = self._samples("context_inputs", context_inputs, self.context_size)
        if one or context.shape[1] < 2:
            raise _bad("context_inputs", f"({self.context_size}, B) with B at least 2", f"shape {context.shape}")
        samples, rng = context.T, np.random.default_rng(self.seed)
        old = self._dump()[0]
        hyperplanes, hyperplane_bias = np.empty_like(old), np.empty(old.shape[:2], np.float32)
        for neurons in self._layers():
            shape = old[neurons].shape[:2]  # (n, k)
            first = rng.integers(0, len(samples), shape)
            second = (first + 1 + rng.integers(0, len(samples) - 1, shape)) % len(samples)
            x, y = samples[first].astype(np.float64), samples[second].astype(np.float64)  # (n, k, D)
            length = np.linalg.norm(x - y, axis=-1, keepdims=True)
            # Two equal samples have no bisector: the direction stays, and moves to go through that sample.
            planes = np.where(length > 0, (x - y) / np.where(length > 0, length, 1), old[neurons])
            hyperplanes[neurons], hyperplane_bias[neurons] = planes, (planes * (x + y)).sum(axis=-1) / 2
        self._load_hyperplanes(hyperplanes, _floats("context_inputs' midpoints", hyperplane_bias))

    def get_state(self) -> dict[str, np.ndarray]:
        """All arrays of the model, copied, by the names that every backend shares.

        For each layer l = 1 ... L `hyperplanes.{l}` (n, k, D), `hyperplane_bias.{l}` (n, k), `weights.{l}`
        (n, 2^k, C, d), and `step` (), the count of training samples.
        """
        hyperplanes, hyperplane_bias, weights, step = self._dump()
        arrays: dict[str, Any] = {}
        for layer, neurons in enumerate(self._layers(), start=1):
            arrays[f"hyperplanes.{layer}"] = hyperplanes[neurons]
            arrays[f"hyperplane_bias.{layer}"] = hyperplane_bias[neurons]
            arrays[f"weights.{layer}"] = weights[layer - 1]
        arrays["step"] = np.int64(step)
        shapes = self._shapes().items()
        return {name: np.array(arrays[name], order="C").reshape(shape) for name, shape in shapes}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over the state of a model of the same shape, from whichever backend.

        Raises:
            ValueError: a missing or unknown name, a wrong shape, NaN or infinity; the model is then unchanged.
        """
        shapes = self._shapes()
        if not isinstance(state, Mapping) or set(state) != set(shapes):
            came = sorted(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
            raise _bad("state", f"a mapping of the names {sorted(shapes)}", came)
        arrays = {name: self._array(f"state[{name!r}]", state[name]) for name in shapes}
        for name, shape in shapes.items():
            if arrays[name].shape != shape:
                raise _bad(f"state[{name!r}]", f"shape {shape}", f"shape {arrays[name].shape}")
        step = _integer("state['step']", arrays["step"].item(), 0, 2**63 - 1)
        self._load({name: _floats(f"state[{name!r}]", array) for name, array in arrays.items()}, step)

    def explain(self, inputs: Any, context_inputs: Any) -> Explanation:
        """Why a prediction is what it is: until a gate turns, the network is a linear function of its base logits.

        Its weights are the product of the rows that the gates picked, as in the paper. A neuron whose logit was clipped
        counts with its row made smaller to fit, so that the sum holds there too; but there the weights are shares, and
        no slopes any more, and `clipped` tells so. The result is NumPy arrays.

        Arguments and errors are those of `predict`.
        """
        base, context, _, one = self._check(inputs, context_inputs, None)
        (size, count), heads = base.shape, self.num_heads
        layers, contexts = self._dump()[2], self._contexts(context) if count > 0 else ()
        weights, constant = np.empty((heads, size, count), np.float32), np.empty((heads, count), np.float32)
        clipped = np.empty((heads, count), bool)
        for b, picked in enumerate(contexts):
            weights[:, :, b], constant[:, b], clipped[:, b] = self._explain_one(layers, base[:, b], picked)
        c, samples = () if heads == 1 else (heads,), () if one else (count,)
        return Explanation(
            weights.reshape(*c, size, *samples), constant.reshape(c + samples), clipped.reshape(c + samples)
        )

    def _explain_one(self, layers, base, contexts) -> tuple[np.ndarray, ...]:
        # weights of each layer, (K,), (N,) -> (C, K), (C,), (C,)
        z = np.tile(base.clip(-self.logit_bound, self.logit_bound), (self.num_heads, 1))  # (C, K)
        clipped, picked = (z != base).any(axis=1), []
        for weights, neurons in zip(layers, self._layers(), strict=True):
            n, d = neurons.stop - neurons.start, z.shape[1] + self.bias
            rows = weights.reshape(-1, self.num_heads, d)[(np.arange(n) << self.context_map_size) + contexts[neurons]]
            rows = rows.astype(np.float64)  # (n, C, d)
            s = np.einsum("ncd,cd->cn", rows, np.pad(z, ((0, 0), (0, int(self.bias))), constant_values=1))
            excess = np.maximum(np.abs(s) / self.logit_bound, 1)
            clipped |= (excess > 1).any(axis=1)
            picked.append(rows / excess.T[:, :, None])
            z = s / excess
        explained, constant = np.full(z.shape, 1 / n), np.zeros(self.num_heads)
        for rows in reversed(picked):
            explained = np.einsum("cn,ncd->cd", explained, rows)
            if self.bias:
                explained, constant = explained[:, :-1], constant + explained[:, -1]
        return explained, constant, clipped

    def save(self, path: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write the model to a file from which every backend can go on: safetensors, with a checksum.

        It is written under another name in the same folder and then moved, so that `path` is never half a model.

        Args:
            path: the file, replaced if it exists.
            extra: arrays to keep with the model, by their names, such as the state of what prepares its inputs.

        Raises:
            ImportError: the package `safetensors` is missing.
            OSError: the file cannot be written; what was at `path` is still there.
            ValueError: what is in `extra` is no array of numbers, or one of more than 8 bytes each.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        arrays = self.get_state()
        for name, value in (extra or {}).items():
            array = self._array(f"extra[{name!r}]", value)
            if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
                raise _bad(f"extra[{name!r}]", "an array of numbers of at most 8 bytes", f"dtype {array.dtype}")
            # In the byte order that it will be read in, for the checksum's sake.
            arrays[f"extra.{name}"] = array.astype(array.dtype.newbyteorder("="), order="C")
        config = json.dumps(self._config())
        metadata = {"format": FORMAT, "config": config, "checksum": _checksum(config, arrays)}
        path = Path(os.path.realpath(path))  # a link stays, and what it leads to is replaced
        unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
        try:
            unfinished.touch()
            mode = unfinished.stat().st_mode & 0o777  # what the umask gives; safetensors puts a private file there
            save_file(arrays, unfinished, metadata)
            unfinished.chmod(mode)
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())
            unfinished.replace(path)
        except SafetensorError as error:
            raise OSError(f"{path}: {error}") from error
        finally:
            unfinished.unlink(missing_ok=True)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        learning_rate: Rate | None = None,
        base_predictor: Callable[[Any], Any] | None = None,
    ) -> Any:
        """The model that a backend's `save` wrote to a file. Nothing in it is run, and what was changed is refused.

        Args:
            path: the file.
            learning_rate: takes the place of the saved one; needed if that was a callable, which no file can hold.
            base_predictor: needed if the model had one, and refused if it had none.

        Raises:
            ImportError: the package `safetensors` is missing.
            OSError: there is no such file, or it may not be read.
            ValueError: it is no saved model, or not as it was saved, or a callable is needed, or one too many.
        """
        config, arrays = _read(Path(path))
        if base_predictor is not None and config["base_predictor"] is None:
            raise _bad("base_predictor", "None, for the saved model had none", repr(base_predictor))
        for name, given in (("learning_rate", learning_rate), ("base_predictor", base_predictor)):
            if config[name] == "callable" and given is None:
                raise _bad(name, "the callable that the saved model had", None)
            config[name] = config[name] if given is None else given
        model = cls(**config)
        model.extra = {name[6:]: arrays.pop(name) for name in list(arrays) if name.startswith("extra.")}
        model.set_state(arrays)
        return model

    def _config(self) -> dict[str, Any]:
        """The arguments of `__init__`, as far as JSON can hold them."""
        values = {name: getattr(self, name) for name in ARGUMENTS}
        values["learning_rate"] = None if self._default_rate else self.learning_rate
        return {name: "callable" if callable(value) else value for name, value in values.items()}

    @property
    def learning_rate(self) -> Rate:
        """A number, or a callable from the count of training samples so far to one."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: Rate | None) -> None:
        self.set_learning_rate(rate)

    def set_learning_rate(self, rate: Rate | None) -> None:
        """Set `learning_rate`: a number from 0 to 1e30, a callable t -> number, or None for the default."""
        default = rate is None
        if rate is None:
            start = min(10.0, math.sqrt(self.base_size + self.bias))
            rate = functools.partial(decaying_rate, start=start) if self.normalize else paper_rate
        self._learning_rate, self._default_rate = rate if callable(rate) else _rate(rate), default

    # How arguments are checked, and predictions given their shape.

    def _answer(self, work: Callable[..., Any], inputs: Any, context_inputs: Any, targets: Any) -> Any:
        """What `work` makes of checked arguments, in the shape that users get: nothing has changed if a check fails."""
        base, context, labels, one = self._check(inputs, context_inputs, targets)
        count = base.shape[1]
        rates = None if labels is None else self._rates(count)
        empty = np.empty((self.num_heads, 0), np.float32)
        output = work(base, context, labels, rates) if count > 0 else self._tensor(empty)  # (C, B)
        heads, samples = () if self.num_heads == 1 else (self.num_heads,), () if one else (count,)
        return self._reshape(output, heads + samples)

    def _check(self, inputs, context_inputs, targets) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, bool]:
        """Base logits (K, B), side information (D, B), targets of the heads (C, B) or None, whether one vector came."""
        base, one = self._samples("inputs", inputs, self.input_size)
        if context_inputs is inputs and self.context_size == self.input_size:
            context = base
        else:
            context, context_one = self._samples("context_inputs", context_inputs, self.context_size)
            if context_one != one or context.shape[1] != base.shape[1]:
                expected = (
                    f"({self.context_size},)" if one else f"({self.context_size}, {base.shape[1]}) as inputs have"
                )
                raise _bad("context_inputs", expected, f"shape {context.shape[: 1 if context_one else 2]}")
        labels = None if targets is None else self._labels(targets, base.shape[1], one)
        if self.base_predictor is not None:
            base = self._base_logits(self.base_predictor, base, self.base_size)
        return base, context, labels, one

    def _samples(self, name: str, value: Any, size: int) -> tuple[np.ndarray, bool]:
        """`value` as (size, B) float32, and whether it came as one vector."""
        array = self._array(name, value)
        if array.ndim not in (1, 2) or array.shape[0] != size:
            raise _bad(name, f"shape ({size}, B) or ({size},)", f"shape {array.shape}")
        array = _floats(name, array)
        return (array[:, None], True) if array.ndim == 1 else (array, False)

    def _array(self, name: str, value: Any) -> np.ndarray:
        try:
            return self._numpy(value)
        except (TypeError, ValueError) as error:
            raise _bad(name, "an array of real numbers", f"{type(value).__name__} ({error})") from None

    def _labels(self, targets: Any, count: int, one: bool) -> np.ndarray:
        """What each head is to predict, (C, B) in [0, 1]."""
        array = self._array("targets", targets)
        if array.shape != (count,) and not (one and array.shape == ()):
            raise _bad("targets", f"shape ({count},), one target a sample", f"shape {array.shape}")
        array = _floats("targets", array.reshape(1, count))
        if self.num_heads == 1:
            wrong, expected = (array < 0) | (array > 1), "0, 1, or probabilities between"
        else:
            classes = np.arange(self.num_heads, dtype=np.float32)[:, None]  # (C, 1)
            wrong = (array < 0) | (array >= self.num_heads) | (array % 1 != 0)
            expected = f"integers from 0 to {self.num_heads - 1}"
        if wrong.any():
            raise _bad("targets", expected, array[wrong][0])
        return array if self.num_heads == 1 else (array == classes).astype(np.float32)

    def _base_logits(self, predictor, inputs, size=None) -> np.ndarray:  # (input_size, B) -> (K, B)
        name, count = "base_predictor's output", inputs.shape[1]
        if count == 0:
            return np.empty((size or 0, 0), np.float32)  # few predictors take an empty batch
        p = self._array(name, predictor(self._tensor(inputs.copy())))  # its to change
        if p.ndim != 2 or p.shape[1] != count or len(p) != (size or max(len(p), 1)):
            raise _bad(name, f"shape ({size or 'K'}, {count})", f"shape {p.shape}")
        p = _floats(name, p).astype(np.float64)
        if ((p < 0) | (p > 1)).any():
            raise _bad(name, "probabilities in [0, 1]", f"values from {p.min()} to {p.max()}")
        p = np.clip(p, self.pred_clipping, 1 - self.pred_clipping)
        return (np.log(p) - np.log1p(-p)).astype(np.float32)

    def _rates(self, count: int) -> np.ndarray:
        """Learning rates of the next `count` samples, (count,), each from the count of samples before it."""
        rate, step = self.learning_rate, int(self.step)
        if not callable(rate):
            return np.full(count, rate, np.float32)
        values = [rate(t) for t in range(step, step + count)]
        try:
            rates = np.array(values)
        except (TypeError, ValueError):
            rates = np.empty(0)
        usual = rates.dtype.kind in "iuf" and rates.shape == (count,)
        if not (usual and ((rates >= 0) & (rates <= MAX_REAL)).all()):
            rates = np.array([_rate(value) for value in values])  # slow, but it says what is wrong
        return rates.astype(np.float32)

    # The state's shapes and first values.

    def _layers(self) -> list[slice]:
        """Of each layer, where its neurons are among those of all layers."""
        ends = np.cumsum(self.layer_sizes).tolist()
        return [slice(end - n, end) for n, end in zip(self.layer_sizes, ends, strict=True)]

    def _load(self, state: dict[str, np.ndarray], step: int) -> None:
        def of_layers(kind: str) -> list[np.ndarray]:
            return [state[f"{kind}.{layer}"] for layer in range(1, len(self.layer_sizes) + 1)]

        # The halfspaces of all layers lie in one array, so that the gates of a batch are one matrix product.
        self._load_hyperplanes(np.concatenate(of_layers("hyperplanes")), np.concatenate(of_layers("hyperplane_bias")))
        self._load_weights(of_layers("weights"), step)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        below = self.base_size
        for layer, n in enumerate(self.layer_sizes, start=1):
            shapes[f"hyperplanes.{layer}"] = (n, self.context_map_size, self.context_size)
            shapes[f"hyperplane_bias.{layer}"] = (n, self.context_map_size)
            shapes[f"weights.{layer}"] = (n, 2**self.context_map_size, self.num_heads, below + self.bias)
            below = n
        return {**shapes, "step": ()}

    def _initial_state(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(self.seed)
        state = {}
        for name, shape in self._shapes().items():
            if name.startswith("hyperplanes"):
                planes = rng.standard_normal(shape)
                planes /= np.linalg.norm(planes, axis=-1, keepdims=True)
                state[name] = planes.astype(np.float32)
            elif name.startswith("hyperplane_bias"):
                state[name] = (self.context_bias * rng.standard_normal(shape)).astype(np.float32)
            elif name.startswith("weights"):
                state[name] = np.broadcast_to(np.float32(1 / shape[-1]), shape)  # which takes no memory
        return state


# ---- NumPy -----------------------------------------------------------------------------------------------------------

# A layer copies the rows it works on; it takes as many neurons at a time as keep the copies within this many bytes.
ROWS_BYTES = 1 << 24
# predict_online computes the gates of about this many samples with one product.
GATED_SAMPLES = 512


def sigmoid(s: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-s))


def gate(hyperplanes: np.ndarray, hyperplane_bias: np.ndarray, context: np.ndarray) -> np.ndarray:
    """Context of each neuron: bit i tells on which side of its halfspace i the side information lies.

    Shapes: (N, k, D), (N, k), (D, B) -> (B, N) of integers in [0, 2^k).
    """
    neurons, k, size = hyperplanes.shape
    products = (hyperplanes.reshape(neurons * k, size) @ context).reshape(neurons, k, context.shape[1])
    bits = products > hyperplane_bias[:, :, None]
    return (bits << np.arange(k)[:, None]).sum(axis=1).T


def mix(rows: np.ndarray, z: np.ndarray, logit_bound: float) -> np.ndarray:
    """Geometric mixing of the predictions below, as logits: s = clip(w . z, -logit_bound, logit_bound).

    Shapes: (n, C, d), (C or 1, d) -> (C, n). All heads of the first layer mix the same z.
    """
    s = np.matmul(rows.transpose(1, 0, 2), z[:, :, None])[:, :, 0]
    return s.clip(-logit_bound, logit_bound)


def update(rows: np.ndarray, z: np.ndarray, s: np.ndarray, y: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """One step of online gradient descent on the log-loss, in place: w <- w - rate (sigmoid(s) - y) z.

    Shapes: (n, C, d), (C or 1, d), (C, n), (C, 1), (C or 1, 1) -> (n, C, d).
    """
    steps = rate * (sigmoid(s) - y)  # (C, n)
    rows -= np.einsum("cn,cd->ncd", steps, z)  # faster than a broadcast product, whose inner loop is short
    return rows


class GLN(GLNBase):
    """A Gated Linear Network whose state is NumPy arrays: for reading, for teaching, for small streams."""

    def _load_hyperplanes(self, hyperplanes, hyperplane_bias) -> None:
        self._hyperplanes, self._hyperplane_bias = np.array(hyperplanes), np.array(hyperplane_bias)
        self._first_rows = np.concatenate([np.arange(n) << self.context_map_size for n in self.layer_sizes])

    def _load_weights(self, weights, step) -> None:
        # Row j 2^k + c of a layer is neuron j's in context c: the weights of all heads, side by side in memory.
        self._weights = [np.array(array, order="C").reshape(-1, *array.shape[2:]) for array in weights]
        self.step = step

    def _dump(self) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], int]:
        return self._hyperplanes, self._hyperplane_bias, self._weights, self.step

    def _tensor(self, array: np.ndarray) -> np.ndarray:
        return array

    def _contexts(self, context) -> np.ndarray:
        return gate(self._hyperplanes, self._hyperplane_bias, context)

    def _predict(self, base, context, targets, rates) -> np.ndarray:
        return self._stream(base, context, targets, rates, base.shape[1])

    def _predict_online(self, base, context, targets, rates, batch_size) -> np.ndarray:
        return self._stream(base, context, targets, rates, batch_size)

    @np.errstate(over="ignore")  # where pred_clipping is tiny exp(-s) may be infinite, and 1 / inf is right
    def _stream(self, base, context, targets, rates, batch_size) -> np.ndarray:
        """One batch after another. What does not depend on the weights is computed for many batches at once."""
        logits = np.empty((base.shape[1], self.num_heads), np.float32)
        plan = self._plan(batch_size)
        gated = batch_size * max(1, GATED_SAMPLES // batch_size)
        for start in range(0, len(logits), gated):
            many = slice(start, start + gated)
            z, rows = self._gated(base[:, many], context[:, many])
            parts = [logits[many], z, rows]
            if targets is not None:
                y, rate = targets.T[many, :, None], rates[many, None, None]
                parts += [y, rate, self._scaled(rate, z)]
            for first in range(0, len(z), batch_size):
                self._batch(plan, *[part[first : first + batch_size] for part in parts])
        return sigmoid(logits / self.layer_sizes[-1]).T

    def _plan(self, batch_size: int) -> list[tuple[np.ndarray, np.ndarray, list[tuple[slice, np.ndarray]]]]:
        """Of each layer its weights, room for the input of the layer above, (batch_size, C, d), and its neurons in
        blocks: where they are among all, and the part of that room which their logits go to."""
        layers = []
        for weights, neurons in zip(self._weights, self._layers(), strict=True):
            n = neurons.stop - neurons.start
            above = np.ones((batch_size, self.num_heads, n + self.bias), np.float32)
            copied = min(batch_size, 2**self.context_map_size) * weights[0].nbytes  # bytes a neuron
            ends = [*range(0, n, max(1, ROWS_BYTES // copied)), n]
            parts = [
                (slice(neurons.start + a, neurons.start + b), above[:, :, a:b]) for a, b in itertools.pairwise(ends)
            ]
            layers.append((weights, above, parts))
        return layers

    def _gated(self, base, context) -> tuple[np.ndarray, np.ndarray]:  # (K, B), (D, B) -> (B, 1, d), (B, N)
        """What does not depend on the weights: the first layer's input and the row that each neuron picks."""
        z = np.ones((base.shape[1], 1, self.base_size + self.bias), np.float32)
        base.T.clip(-self.logit_bound, self.logit_bound, out=z[:, 0, : self.base_size])
        return z, gate(self._hyperplanes, self._hyperplane_bias, context) + self._first_rows

    def _scaled(self, rates, z) -> np.ndarray:  # (B, 1, 1), (B, C or 1, d) -> (B, C or 1, 1)
        return rates / (1 + np.einsum("bcd,bcd->bc", z, z)[:, :, None]) if self.normalize else rates

    def _batch(self, plan, logits, z, rows, targets=None, rates=None, scaled=None) -> None:
        """Predict a batch, into `logits`, and given targets learn it, one layer after another: a layer reads the
        predictions of the one below, which were made before that one learned.

        Shapes: (B, C), (B, 1, d), (B, N), (B, C, 1), (B, 1, 1), (B, 1, 1).
        """
        count = len(z)
        for weights, above, neurons in plan:
            if scaled is None and targets is not None:
                scaled = self._scaled(rates, z)
            for among_all, s in neurons:
                self._layer(weights, rows[:, among_all], z, s, targets, scaled)
            z, scaled = above[:count], None
        z[:, :, : self.layer_sizes[-1]].sum(axis=2, out=logits)
        if targets is not None:
            self.step += count

    def _layer(self, weights, rows, z, s, targets, scaled) -> None:
        # rows (B, n), z (B, C or 1, d), s (B or more, C, n)
        """Predict a batch with some neurons of a layer, into s, and given targets let them learn."""
        touched, picks = rows[0], [slice(None)]
        if len(rows) > 1:
            # Samples of one context share a row, which is copied once, so that their updates add up in it.
            touched, inverse = np.unique(rows, return_inverse=True)
            picks = list(inverse.reshape(rows.shape))
        copies = weights.take(touched, axis=0)
        for b, pick in enumerate(picks):
            s[b] = mix(copies[pick], z[b], self.logit_bound)
        if targets is None:
            return
        for b, pick in enumerate(picks):
            copies[pick] = update(copies[pick], z[b], s[b], targets[b], scaled[b])
        weights[touched] = copies.clip(-self.weight_clipping, self.weight_clipping, out=copies)
