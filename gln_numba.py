"""Gated Linear Networks in Numba: `gln_numpy` with its inner loops compiled, for streams on a CPU.

Letters in the shapes: B samples, C heads, L layers, n neurons of a layer, N neurons of all layers, k halfspaces a
neuron, d inputs of a neuron (bias included), D values of side information, K base logits.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

try:
    import numba
except ImportError as error:
    raise ImportError("gln_numba needs Numba: pip install numba") from error

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


# ---- Numba -----------------------------------------------------------------------------------------------------------

# predict_online computes the gates of about this many samples at once.
GATED_SAMPLES = 2048
# Rows are filled up with zeros to whole lines of the cache, of so many float32: the compiled loops work on many values
# at once, and on what is left one by one.
LINE = 16
# From this many products in a call, or for a batch in a layer, it is worth waking the other threads.
CALL_PRODUCTS, LAYER_PRODUCTS = 1 << 20, 1 << 20
# Sums may be taken in any order, which is what lets the compiler vectorise them; NaN and infinity stay what they are.
compiled: Any = functools.partial(numba.njit, cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})


@compiled
def padded(d):
    """Room for a row of d values. A row shorter than a line stays as it is, for it would only cost more memory."""
    return d if d < LINE else -(-d // LINE) * LINE


@compiled
def sigmoid(s):
    return np.float32(1) / (np.float32(1) + np.exp(-s))


@compiled
def transpose(array, bound, into):  # (n, B), (), (B, n or more)
    """Write the columns of `array`, clipped, to the rows of `into`: square by square, as the cache holds them."""
    n, count = array.shape
    for first in range(0, n, 16):
        for start in range(0, count, 16):
            for i in range(first, min(first + 16, n)):
                for b in range(start, min(start + 16, count)):
                    into[b, i] = min(max(array[i, b], -bound), bound)


@compiled
def gate_room(hyperplanes, context):  # (N, k, D), (D, B) -> (B, D), (B, N) of zeros, with B filled up to fours
    count = -(-context.shape[1] // 4) * 4
    samples = np.zeros((count, context.shape[0]), np.float32)
    transpose(context, np.float32(np.inf), samples)
    return samples, np.zeros((count, hyperplanes.shape[0]), np.int64)


@compiled
def gate_samples(hyperplanes, hyperplane_bias, samples, contexts, first, last):
    """Fill in the contexts of samples first ... last - 1, four side by side, so that a halfspace is read once for all.

    Shapes: (N, k, D), (N, k), (B, D), then contexts (B, N) of zeros; first and last are multiples of four.
    """
    neurons, k, size = hyperplanes.shape
    for b in range(first, last, 4):
        x0, x1, x2, x3 = samples[b], samples[b + 1], samples[b + 2], samples[b + 3]
        for j in range(neurons):
            for i in range(k):
                h, bias = hyperplanes[j, i], hyperplane_bias[j, i]
                s0 = s1 = s2 = s3 = np.float32(0)
                for a in range(size):
                    s0 += h[a] * x0[a]
                    s1 += h[a] * x1[a]
                    s2 += h[a] * x2[a]
                    s3 += h[a] * x3[a]
                contexts[b, j] |= (s0 > bias) << i
                contexts[b + 1, j] |= (s1 > bias) << i
                contexts[b + 2, j] |= (s2 > bias) << i
                contexts[b + 3, j] |= (s3 > bias) << i


@compiled
def gate(hyperplanes, hyperplane_bias, context):  # (N, k, D), (N, k), (D, B) -> (B, N) of integers in [0, 2^k)
    """Context of each neuron: bit i tells on which side of its halfspace i the side information lies.

    In loops, for a product of matrices would wake the threads of the BLAS, which on a busy machine can take a thousand
    times longer than to gate a sample.
    """
    samples, contexts = gate_room(hyperplanes, context)
    gate_samples(hyperplanes, hyperplane_bias, samples, contexts, 0, len(samples))
    return contexts[: context.shape[1]]


@compiled(parallel=True)
def gate_in_parallel(hyperplanes, hyperplane_bias, context, parts):
    """`gate` by so many threads."""
    samples, contexts = gate_room(hyperplanes, context)
    fours = len(samples) // 4
    for part in numba.prange(parts):
        first, last = 4 * (part * fours // parts), 4 * ((part + 1) * fours // parts)
        gate_samples(hyperplanes, hyperplane_bias, samples, contexts, first, last)
    return contexts[: context.shape[1]]


@compiled
def mix(w, z, logit_bound):  # (d,), (d,) -> ()
    """Geometric mixing of the predictions below, as a logit: s = clip(w . z, -logit_bound, logit_bound)."""
    s = np.float32(0)
    for i in range(len(z)):
        s += w[i] * z[i]
    return min(max(s, -logit_bound), logit_bound)


@compiled
def update(w, z, step, weight_clipping):  # (d,), (d,) -> None
    """One step of online gradient descent on the log-loss, in place: w <- clip(w - step z, -weight_clipping,
    weight_clipping), where step = rate (sigmoid(s) - y)."""
    for i in range(len(z)):
        w[i] = min(max(w[i] - step * z[i], -weight_clipping), weight_clipping)


@compiled
def scaled(z, rates, normalize):  # (C or 1, B, d), (B,) -> (C or 1, B)
    """Each sample's rate, divided by 1 + |z|^2 where steps are normalised."""
    scales = np.empty(z.shape[:2], np.float32)
    for c in range(len(z)):
        for b in range(len(rates)):
            divisor = np.float32(1)
            if normalize:
                for i in range(z.shape[2]):
                    divisor += z[c, b, i] * z[c, b, i]
            scales[c, b] = rates[b] / divisor
    return scales


@compiled
def learn_neurons(weights, first_head, rows, z, y, rates, learns, normalize, bounds, above, first, last):
    """Neurons first ... last - 1 of a layer predict a batch, into `above`, and learn it: one row after another in the
    order in which they lie in memory. A neuron predicts all samples before its first update.

    Shapes: (n 2^k, heads, d), (B, n), (C or 1, B, d), (C, B), (B,), then above (C, B, n or n + 1).
    """
    count, scales = len(rows), scaled(z, rates, normalize)
    for j in range(first, last):
        for c in range(len(y)):
            below = c if len(z) > 1 else 0  # all heads of the first layer mix the same z
            for b in range(count):
                above[c, b, j] = mix(weights[rows[b, j], first_head + c], z[below, b], bounds[0])
            if learns:
                for b in range(count):
                    # Samples may share a row, which is clipped when all of them have changed it.
                    bound = bounds[1] if b == count - 1 else np.float32(np.inf)
                    step = scales[below, b] * (sigmoid(above[c, b, j]) - y[c, b])
                    update(weights[rows[b, j], first_head + c], z[below, b], step, bound)
                for b in range(count - 1):
                    update(weights[rows[b, j], first_head + c], z[below, b], np.float32(0), bounds[1])


@compiled(parallel=True)
def share_neurons(weights, first_head, rows, z, y, rates, learns, normalize, bounds, above, parts):
    """`learn_neurons` of a whole layer, where each thread takes some of them: they know nothing of one another."""
    n = rows.shape[1]
    for part in numba.prange(parts):
        first, last = part * n // parts, (part + 1) * n // parts
        learn_neurons(weights, first_head, rows, z, y, rates, learns, normalize, bounds, above, first, last)


@compiled
def learn_stream(weights, first_head, network, z, rows, y, rates, batch_size, learns, output, parts):
    """Heads first_head, first_head + 1, ... predict and learn a stream, batch after batch, layer after layer.

    Shapes: (S,) all weights, (B, d), (B, N), (C, B) of these heads, (B,), then output (C, B). The neurons of a layer
    are worked on in so many `parts`, each by a thread.
    """
    sizes, heads, k, bias, normalize, bounds = network
    n_last = sizes[-1]
    buffers = np.empty((2, len(y) * batch_size * padded(sizes.max() + 1)), np.float32)
    for start in range(0, len(z), batch_size):
        end = min(start + batch_size, len(z))
        below, first_weight, first_neuron = z[start:end].reshape(1, end - start, z.shape[1]), 0, 0
        for layer in range(len(sizes)):
            n, d = sizes[layer], below.shape[2]
            rows_of = weights[first_weight : first_weight + (n << k) * heads * d].reshape(n << k, heads, d)
            picked = rows[start:end, first_neuron : first_neuron + n]
            # Contiguous, whatever n is, or the compiler could not vectorise the loops over it.
            width = padded(n + bias)
            above = buffers[layer % 2][: len(y) * (end - start) * width].reshape(len(y), end - start, width)
            above[:, :, n : n + bias] = 1
            above[:, :, n + bias :] = 0
            goals, steps = y[:, start:end], rates[start:end]
            if parts > 1:
                share_neurons(rows_of, first_head, picked, below, goals, steps, learns, normalize, bounds, above, parts)
            else:
                learn_neurons(rows_of, first_head, picked, below, goals, steps, learns, normalize, bounds, above, 0, n)
            below, first_weight, first_neuron = above, first_weight + rows_of.size, first_neuron + n
        for c in range(len(y)):
            for b in range(end - start):
                output[c, start + b] = sigmoid(below[c, b, :n_last].sum() / np.float32(n_last))


@compiled(parallel=True)
def share_heads(weights, network, z, rows, y, rates, batch_size, learns, output, parts):
    """`learn_stream`, where each thread takes some of the heads through it all: they know nothing of one another."""
    for part in numba.prange(parts):
        first, last = part * len(y) // parts, (part + 1) * len(y) // parts
        goals, into = y[first:last], output[first:last]
        learn_stream(weights, first, network, z, rows, goals, rates, batch_size, learns, into, 1)


def plain(array: np.ndarray) -> np.ndarray:
    """Contiguous and writeable: for slices, and for arrays that may only be read, all would be compiled again."""
    return array if array.flags.carray else array.copy()


def aligned_zeros(*shape: int) -> np.ndarray:
    """Zeros from a boundary of the cache's lines on, for vectors that lie across two of them cost twice as much."""
    size = math.prod(shape)
    memory = np.zeros(size + LINE - 1, np.float32)
    first = -memory.ctypes.data // memory.itemsize % LINE
    return memory[first : first + size].reshape(shape)


class GLN(GLNBase):
    """A Gated Linear Network in compiled loops: the one to take for a stream on a CPU."""

    def _load_hyperplanes(self, hyperplanes, hyperplane_bias) -> None:
        self._hyperplanes, self._hyperplane_bias = (np.array(a, order="C") for a in (hyperplanes, hyperplane_bias))
        self._sizes = np.array(self.layer_sizes)
        self._first_rows = np.concatenate([np.arange(n) << self.context_map_size for n in self.layer_sizes])

    def _load_weights(self, weights, step) -> None:
        # One array holds all layers, and so does for networks of any depth what was compiled. In a layer row j 2^k + c
        # is neuron j's in context c: the weights of all heads, side by side in memory.
        self._weights = aligned_zeros(sum(map(math.prod, self._rooms())))
        for into, array in zip(self._of_layers(), weights, strict=True):
            into[:] = array
        self.step = step

    def _rooms(self) -> list[tuple[int, ...]]:  # (n, 2^k, C, padded d)
        return [(*shape[:-1], padded.py_func(shape[-1])) for shape in super()._rooms()]

    def _of_layers(self) -> list[np.ndarray]:
        """Views of each layer's weights, (n, 2^k, C, d)."""
        shapes, rooms = super()._rooms(), self._rooms()
        parts = np.split(self._weights, np.cumsum([math.prod(room) for room in rooms])[:-1])
        return [part.reshape(room)[..., :d] for part, room, (*_, d) in zip(parts, rooms, shapes, strict=True)]

    def _dump(self) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], int]:
        return self._hyperplanes, self._hyperplane_bias, self._of_layers(), self.step

    def _tensor(self, array: np.ndarray) -> np.ndarray:
        return array

    def _contexts(self, context) -> np.ndarray:
        return gate(self._hyperplanes, self._hyperplane_bias, plain(context))

    def _predict(self, base, context, targets, rates) -> np.ndarray:
        return self._run(base, context, targets, rates, base.shape[1])

    def _predict_online(self, base, context, targets, rates, batch_size) -> np.ndarray:
        block = batch_size * max(1, GATED_SAMPLES // batch_size)
        blocks = [slice(start, start + block) for start in range(0, len(rates), block)]
        outputs = [self._run(base[:, b], context[:, b], targets[:, b], rates[b], batch_size) for b in blocks]
        return np.concatenate(outputs, axis=1)

    def _run(self, base, context, targets, rates, batch_size) -> np.ndarray:
        count, learns = base.shape[1], targets is not None
        base, context = plain(base), plain(context)
        z = aligned_zeros(count, padded(self.base_size + self.bias))
        z[:, self.base_size : self.base_size + self.bias] = 1
        transpose(base, np.float32(self.logit_bound), z)
        output = np.empty((self.num_heads, count), np.float32)
        y = plain(targets) if learns else output
        rates = rates if learns else np.zeros(count, np.float32)
        bounds = np.array([self.logit_bound, self.weight_clipping], np.float32)
        network = self._sizes, self.num_heads, self.context_map_size, int(self.bias), self.normalize, bounds
        planes, (of_heads, of_neurons) = (self._hyperplanes, self._hyperplane_bias), self._parts(count, batch_size)
        if of_heads > 1:
            rows = gate_in_parallel(*planes, context, of_heads) + self._first_rows
            share_heads(self._weights, network, z, rows, y, rates, batch_size, learns, output, of_heads)
        else:
            rows = gate(*planes, context) + self._first_rows
            learn_stream(self._weights, 0, network, z, rows, y, rates, batch_size, learns, output, of_neurons)
        self.step += count if learns else 0
        return output

    def _parts(self, count: int, batch_size: int) -> tuple[int, int]:
        """In how many parts threads share the heads, or else the neurons of a layer, to work on `count` samples."""
        threads = numba.get_num_threads()
        sample = self._weights.size >> self.context_map_size  # products for one sample
        if self.num_heads > 1 and count * sample > CALL_PRODUCTS:
            return min(threads, self.num_heads), 1
        wide = min(count, batch_size) * sample // len(self.layer_sizes) > LAYER_PRODUCTS
        return 1, threads if wide else 1
