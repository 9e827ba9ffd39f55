"""Export networks and fitted estimators to ONNX files, which predict without Python. Needs the extra `onnx`.

Importing this module also registers the estimators of `gln.sklearn` with skl2onnx, so that
`skl2onnx.to_onnx(pipeline, X)` converts pipelines that end in one.

Letters in the shapes: B samples, F features, D columns made from the features, K inputs of a network, C heads or
classes, T targets, Q quantiles, M networks; n neurons in a layer, k halfspaces and d inputs per neuron. Within a graph
samples are rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

try:
    from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
    from skl2onnx import update_registered_converter
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
except ImportError as error:
    raise ImportError("gln.onnx needs ONNX and skl2onnx: pip install onnx skl2onnx") from error

from gln.engine.base_models.bin_means import NONE, BinMeans
from gln.engine.base_models.fading_bin_means import DEPTHS, PAIR_DEPTH, STEEP, predict_bin_means
from gln.engine.base_models.hashed_linear import BIAS, HashedLinear, pair_key
from gln.engine.base_models.online import OnlineBaseModels
from gln.engine.ensemble.ensemble import Ensemble
from gln.engine.jit import compiled
from gln.engine.model.targets import LEAST_STD
from gln.engine.networks.protocol import is_network
from gln.engine.preprocessing.basis_expansion import DISTANCE, Pieces
from gln.engine.preprocessing.category_codes import Levels
from gln.engine.preprocessing.scaling import FAR, SparseScaler, Standardizer
from gln.engine.preprocessing.target_encoding import TargetEncoding
from gln.engine.saving import bad, replacing
from gln.engine.streaming.featurizer import StreamFeaturizer
from gln.engine.streaming.model import StreamModel
from gln.engine.tabular.inputs import PlainFeaturizer
from gln.engine.tabular.model import TableModel
from gln.engine.types import Fitted, Label, MatrixLike, Network, State
from gln.sklearn import GLNClassifier, GLNRegressor

__all__ = ["export"]

# Supported by ONNX Runtime since 1.14 (2023). Operators for machine learning have a domain of their own.
OPSET = 18
IR_VERSION = 8
FOR_ML = "ai.onnx.ml"
OPSET_FOR_ML = 2
FINE = 1000  # a standard deviation is at least this many times the distance of float32 numbers near the mean
LAST = np.iinfo(np.int64).max  # the end of a slice that takes all that follows
BINS, WIDE_BINS = 1 << DEPTHS[-1], 1 << PAIR_DEPTH  # of a column of a stream: alone, and in a pair
MOST_BYTES = 2**31 - 2**24  # of constants: protobuf is limited to 2 GiB, part of which the nodes need
# Types of inputs: their names, and that of their keys in a table.
KINDS: dict[int, tuple[str, str]] = {
    TensorProto.STRING: ("text", "keys_strings"),
    TensorProto.INT64: ("int64", "keys_int64s"),
    TensorProto.FLOAT: ("float32", "keys_floats"),
}
INVERSE_LINKS = {"logit": "Sigmoid", "log": "Exp", "itself": "Identity"}


def export(model: Fitted, path: str | os.PathLike[str]) -> None:
    """Export a model to an ONNX file, with the same predictions in ONNX Runtime or any other reader of opset 18.

    The file takes any number of samples at once and cannot learn; to continue learning, also `save` the model.

    - **A network** has the inputs `inputs` (input_size, B) and `context_inputs` (context_size, B), and the output
      `predictions`, (B,) or (C, B), in the layout of its `predict`.
    - **An estimator** has the input `X` (B, F). If a category has levels that float32 cannot hold, such as text, it has
      an input (B, 1) for each feature instead, named as in `feature_names_in_`, or x0, x1 and so on: text for a
      category with text among its levels, int64 for one of integers, and float32 for all others. A number among levels
      of text is given as `categories_` shows it: a level 1.0 as "1.0".
    - **A classifier** has the outputs `label` (B,) and `probabilities` (B, C). For several labels they are (B, L), of
      0 and 1 and the probabilities of 1.
    - **A regressor** has the output `variable`, the means (B,) or (B, T). With `quantiles` it also has the output
      `quantiles`, (B, Q) or (B, T, Q) in ascending order, and with `density` the output `std`, the standard deviations,
      with the shape of the means.

    All other inputs and outputs are float32, except labels, which are text, int64 or another type of the classes. NaN
    is a missing value, and so is "" as text where that is not a level; int64 has none. Unlike `predict`, the file does
    not check its inputs.

    Args:
        model: a `GLN` of any backend without a `base_predictor`, or a fitted `GLNClassifier` or `GLNRegressor` of
            `gln.sklearn`. For a pipeline that ends in one there is `skl2onnx.to_onnx`.
        path: the file; an existing one is replaced only by a complete one.

    Raises:
        OSError: the file cannot be written; an existing file at `path` is kept.
        ValueError: the model is of another kind, is not fitted, learned a stream by `partial_fit` alone, has a
            `base_predictor`, has dates, texts or ids among its columns, has levels or classes that
            the file's types cannot hold or tell apart, such as 1 and "1", has numbers that float32 rounds by more than
            a thousandth of their standard deviation, has a feature whose name an input cannot have, or is larger than
            the 2 GiB that an ONNX file can hold.
    """
    graph = Graph()
    if isinstance(model, (GLNClassifier, GLNRegressor)):
        check_is_fitted(model)
        _check_columns(model)
        for name, value, sizes, kind in _outputs(graph, model, _inputs(graph, model)):
            graph.output(name, value, "B", *sizes, kind=kind)
        _check_rounding(model)
    elif is_network(model):
        _export_network(graph, model)
    else:
        expected = "a GLN, or a GLNClassifier or GLNRegressor of gln.sklearn (skl2onnx.to_onnx exports pipelines)"
        raise bad("model", expected, type(model))
    with replacing(path) as unfinished:
        unfinished.write_bytes(graph.serialized())


class Graph:
    """A graph under construction. Values are referred to by name; an array given to a node becomes a constant."""

    def __init__(self, prefix: str = "gln/") -> None:
        self.prefix = prefix  # of names within the graph, which no feature has
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.inputs: list[ValueInfoProto] = []
        self.outputs: list[ValueInfoProto] = []

    def __call__(self, kind: str, *inputs: MatrixLike, outputs: Sequence[str] = (), **attributes: Any) -> str:
        """Append a node; returns the name of its first output."""
        outputs = outputs or [f"{self.prefix}{kind}_{len(self.nodes)}"]
        names = [value if isinstance(value, str) else self._constant(np.asarray(value)) for value in inputs]
        self.nodes.append(helper.make_node(kind, names, outputs, **attributes))
        return outputs[0]

    def _constant(self, array: np.ndarray) -> str:
        name = f"{self.prefix}constant_{len(self.constants)}"
        self.constants[name] = array.astype(np.int64) if array.dtype.kind in "iu" else array
        return name

    def input(self, name: str, *shape: int | str, kind: int = TensorProto.FLOAT) -> str:
        if name == "" or name.startswith(self.prefix) or any(known.name == name for known in self.inputs):
            expected = f"names of features that are all different, not empty, and do not begin with {self.prefix!r}"
            raise bad("model", expected, repr(name))
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, value: str, *shape: int | str, kind: int = TensorProto.FLOAT) -> None:
        if any(known.name == name for known in self.inputs):
            raise bad("model", f"no feature named {name!r}, which is an output of the file", "one")
        self("Cast", value, outputs=[name], to=kind)
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def serialized(self) -> bytes:
        size = sum(array.nbytes for array in self.constants.values())
        if size > MOST_BYTES:
            raise bad("model", f"at most {MOST_BYTES} bytes, because an ONNX file is limited to 2 GiB", f"{size} bytes")
        constants = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        graph = helper.make_graph(self.nodes, "gln", self.inputs, self.outputs, constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(FOR_ML, OPSET_FOR_ML)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION).SerializeToString()


# ---- Networks --------------------------------------------------------------------------------------------------------


def _export_network(g: Graph, network: Network) -> None:
    config = network.config
    if network.base_predictor is not None:
        expected = "None, because a file cannot hold a callable; export a network whose inputs are its predictions"
        raise bad("base_predictor", expected, repr(network.base_predictor))
    given = g.input("inputs", config.input_size, "B"), g.input("context_inputs", config.context_size, "B")
    s = _mixed(g, network, *(g("Transpose", samples, perm=[1, 0]) for samples in given))
    p = g(INVERSE_LINKS[config.record.link], s)
    heads = [config.num_heads] if config.num_heads > 1 else []
    g.output("predictions", g("Squeeze", p, [2] if heads else [0, 2]), *heads, "B")


def _mixed(g: Graph, network: Network, z: str, context: str) -> str:  # (B, K), (B, D) -> (C, B, 1)
    """The output of a network before the inverse link: the mean of its last layer."""
    config = network.config
    state = network.get_state(copy=False)
    bound = np.float32(config.bound)
    z = g("Unsqueeze", g("Clip", z, -bound, bound), [0])  # all heads of the first layer mix the same z
    for layer in range(1, 1 + len(config.layer_sizes)):
        planes = state[f"hyperplanes.{layer}"], state[f"hyperplane_bias.{layer}"]
        z = g("Pad", z, [0, 0, 0, 0, 0, 1], np.float32(1)) if config.bias else z
        z = g("Clip", _products(g, *planes, state[f"weights.{layer}"], z, context), -bound, bound)
    return g("ReduceMean", z, [2])


def _products(g: Graph, planes: np.ndarray, plane_bias: np.ndarray, weights: np.ndarray, z: str, context: str) -> str:
    """Products of the inputs of neurons and the weight rows that samples pick.

    Shapes: (n, k, D), (n, k), (n, 2^k, C, d), (1 or C, B, d), (B, D) -> (C, B, n).
    """
    neurons, k, size = planes.shape
    if k == 0:
        return g("MatMul", z, weights[:, 0].transpose(1, 2, 0))
    head_weights = weights.transpose(2, 0, 1, 3).reshape(weights.shape[2], neurons << k, -1)  # (C, n 2^k, d)
    sides = g("Greater", g("MatMul", context, planes.reshape(neurons * k, size).T), plane_bias.ravel())
    bits = g("Reshape", g("Cast", sides, to=TensorProto.DOUBLE), [-1, k])
    rows = g("Reshape", g("MatMul", bits, 2.0 ** np.arange(k)[:, None]), [-1, neurons])
    rows = g("Cast", rows, to=TensorProto.INT64)  # (B, n)
    picked = g("Gather", head_weights, g("Add", rows, np.arange(neurons) << k), axis=1)  # (C, B, n, d)
    return g("Squeeze", g("MatMul", picked, g("Unsqueeze", z, [3])), [3])


# ---- Estimators ------------------------------------------------------------------------------------------------------


class ModelInput(NamedTuple):
    """Some features of samples, one after another."""

    name: str  # of a value (B, width)
    kind: int  # STRING, INT64, or another type of numbers
    width: int


def _inputs(g: Graph, estimator: Fitted) -> list[ModelInput]:
    """The inputs of an estimator: `X`, or one for each feature, as described in `export`."""
    features = estimator.n_features_in_
    levels = estimator.categories_
    if all(_kind(known) == TensorProto.FLOAT for known in levels.values()):
        return [ModelInput(g.input("X", "B", features), TensorProto.FLOAT, features)]
    names = getattr(estimator, "feature_names_in_", [f"x{i}" for i in range(features)])
    kinds = [_kind(levels.get(i, {})) for i in range(features)]
    return [ModelInput(g.input(name, "B", 1, kind=kind), kind, 1) for name, kind in zip(names, kinds, strict=True)]


def _check_columns(estimator: Fitted) -> None:
    """Raise ValueError, naming the column, for dates, texts and ids, which a file cannot read."""
    kinds = estimator.columns_["treated as"]
    for name, kind in kinds[~kinds.isin(["number", "category"])].items():
        expected = "numbers and categories; drop the column, or convert it to numbers before fitting"
        raise bad("model", expected, f"column {name!r}, which is treated as {kind}")


def _check_rounding(estimator: Fitted) -> None:
    """Raise ValueError, naming the column, where float32 would round numbers by a large part of what they vary."""
    featurizer = estimator.learner_.featurizer
    names = _names(estimator)
    if isinstance(featurizer.standardizer, SparseScaler):
        return
    mean = featurizer.standardizer.mean
    scale = featurizer.standardizer.scale
    for feature, column in enumerate(featurizer.numbers):
        least = FINE * np.spacing(np.float32(abs(mean[column])))
        if column >= 0 and 0 < scale[column] < least:
            expected = f"numbers that vary by {least:.3g} in column {names[feature]!r}, because float32 rounds them"
            raise bad("model", f"{expected}; subtract their mean before fitting", f"{scale[column]:.3g}")


def _names(estimator: Fitted) -> Sequence[Label]:
    """The features in error messages."""
    return getattr(estimator, "feature_names_in_", range(estimator.n_features_in_))


def _kind(levels: Levels) -> int:
    """The type of an input for a category with these levels."""
    if any(isinstance(level, str) for level in levels):
        return TensorProto.STRING
    if all(_held(level, TensorProto.FLOAT) == level for level in levels):
        return TensorProto.FLOAT
    return TensorProto.INT64 if all(isinstance(level, int) for level in levels) else TensorProto.FLOAT


def _held(level: Any, kind: int) -> Label:
    """What an input of this type holds for a level, or None if it cannot hold it."""
    if isinstance(level, str) and kind != TensorProto.STRING:
        return None
    try:
        if kind == TensorProto.STRING:
            return str(level).encode().decode()  # raises an error for half of a surrogate pair
        if kind == TensorProto.INT64:
            return int(np.int64(int(level))) if int(level) == level else None
        with np.errstate(over="ignore"):
            return float(np.float32(level))
    except (OverflowError, ValueError):
        return None


def _keys(levels: Levels, kind: int, feature: object) -> list[Label]:
    """What an input of this type holds for each level of a feature."""
    level_of: dict[Label, Label] = {}
    expected = f"levels of column {feature!r} that"
    name, _ = KINDS[kind]
    for level in levels:
        key = _held(level, kind)
        if key is None:
            raise bad("model", f"{expected} {name} can hold", repr(level))
        if key in level_of:
            raise bad("model", f"{expected} differ as {name}", f"{level_of[key]!r} and {level!r}")
        level_of[key] = level
    return list(level_of)


class ModelOutput(NamedTuple):
    """A value for each sample."""

    name: str
    value: str  # (B, *sizes)
    sizes: tuple[int, ...] = ()
    kind: int = TensorProto.FLOAT


def _outputs(g: Graph, estimator: Fitted, inputs: list[ModelInput]) -> Iterator[ModelOutput]:
    """The outputs of an estimator, as described in `export`; each adds its nodes only when it is asked for."""
    outputs = _classifier_outputs if isinstance(estimator, GLNClassifier) else _regressor_outputs
    return outputs(g, estimator, inputs)


def _classifier_outputs(g: Graph, classifier: GLNClassifier, inputs: list[ModelInput]) -> Iterator[ModelOutput]:
    p = _means(g, classifier.learner_, *_samples(g, classifier, inputs))
    classes = classifier.classes_
    labels = classifier.n_outputs_
    if labels > 1:
        p = g("Transpose", p, perm=[1, 0])
        yield ModelOutput("label", g("Greater", p, 0.5), (labels,), TensorProto.INT64)
        yield ModelOutput("probabilities", p, (labels,))
        return
    if len(classes) > 2 and "_heads" in vars(classifier):
        p = g("Gather", p, classifier._heads, axis=0)
    p = g("Concat", g("Sub", 1.0, p), p, axis=0) if len(classes) == 2 else g("Div", p, g("ReduceSum", p, [0]))
    if classes.dtype.kind not in "biufUO" or (classes.dtype.kind == "u" and classes.max() > LAST):
        raise bad("model", "classes that are text, bools, or numbers within int64", f"{classes.dtype} {classes[-1]}")
    classes = classes.astype({"i": np.int64, "u": np.int64, "U": object}.get(classes.dtype.kind, classes.dtype))
    label = g("Gather", classes, g("ArgMax", p, axis=0, keepdims=0))
    yield ModelOutput("label", label, kind=helper.np_dtype_to_tensor_dtype(classes.dtype))
    yield ModelOutput("probabilities", g("Transpose", p, perm=[1, 0]), (len(classes),))


def _regressor_outputs(g: Graph, regressor: GLNRegressor, inputs: list[ModelInput]) -> Iterator[ModelOutput]:
    learner = regressor.learner_
    samples = _samples(g, regressor, inputs)
    shape = regressor.targets_shape_
    mean = regressor.target_standardizer_.mean  # (T,)
    scale = regressor.target_standardizer_.scale  # (T,)
    limits = [limit[:, 0] for limit in learner.targets.units.limits]

    def limited(predicted: str, *axes: int) -> str:  # (B, T, ...) -> (B, T, ...)
        least, most = (np.expand_dims(limit, axes) for limit in limits)
        return g("Min", g("Max", predicted, least), most)

    def rows(predicted: str) -> str:  # (T, B) -> (B, T)
        return g("Transpose", predicted, perm=[1, 0])

    def like_targets(value: str) -> str:  # (B, T, ...) -> (B, ...)
        return value if shape else g("Squeeze", value, [1])

    means = limited(g("Add", g("Mul", rows(_means(g, learner, *samples)), scale), mean))
    yield ModelOutput("variable", like_targets(means), shape)
    if learner.variances is not None:
        stds = g("Max", g("Mul", g("Sqrt", rows(_predicted(g, learner.variances, *samples))), scale), LEAST_STD)
        if regressor.quantiles is not None:
            quantiles = learner.shape.quantiles(np.sort(regressor.quantiles))  # (T, Q)
            predicted = g("Add", g("Unsqueeze", means, [2]), g("Mul", g("Unsqueeze", stds, [2]), quantiles))
            yield ModelOutput("quantiles", like_targets(limited(predicted, 1)), (*shape, quantiles.shape[1]))
        if regressor.density:
            yield ModelOutput("std", like_targets(stds), shape)


# ---- Pipelines, by skl2onnx ------------------------------------------------------------------------------------------


def _check_outputs(operator: Any) -> None:
    """Tell skl2onnx the types and shapes of an estimator's outputs."""
    model = operator.raw_operator
    first, *others = operator.outputs
    if not others:
        first.type = FloatTensorType([None, len(model.learner_.targets.standardizer.mean)])
        return
    if model.n_outputs_ > 1:
        raise bad("model", "a classifier of one label in a pipeline", f"one of {model.n_outputs_} labels")
    first.type = StringTensorType([None]) if model.classes_.dtype.kind in "OU" else Int64TensorType([None])
    others[0].type = FloatTensorType([None, len(model.classes_)])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Add an estimator to the graph that skl2onnx makes of a pipeline."""
    g = Graph(scope.get_unique_variable_name("gln") + "_")
    model = operator.raw_operator
    _check_columns(model)
    inputs = []
    kinds = {StringTensorType: TensorProto.STRING, Int64TensorType: TensorProto.INT64}
    for given in operator.inputs:
        width = given.type.shape[1] if len(operator.inputs) > 1 else model.n_features_in_
        inputs.append(ModelInput(given.onnx_name, kinds.get(type(given.type), TensorProto.FLOAT), width))
    for wanted, output in zip(operator.outputs, _outputs(g, model, inputs), strict=False):
        value = g("Reshape", output.value, [-1, *wanted.type.shape[1:]])
        g("Cast", value, outputs=[wanted.onnx_name], to=kinds.get(type(wanted.type), TensorProto.FLOAT))
    for name, array in g.constants.items():
        container.initializers.append(numpy_helper.from_array(array, name))
    container.nodes.extend(g.nodes)
    container.node_domain_version_pair_sets |= {("", OPSET), (FOR_ML, OPSET_FOR_ML)}


OF_CLASSIFIERS = {"zipmap": [True, False, "columns"], "nocl": [True, False]}  # skl2onnx's options for these
update_registered_converter(GLNClassifier, "GLNClassifier", _check_outputs, _convert, options=OF_CLASSIFIERS)
update_registered_converter(GLNRegressor, "GLNRegressor", _check_outputs, _convert)


# ---- Parts of estimators ---------------------------------------------------------------------------------------------


def _single(g: Graph, value: str) -> str:
    return g("Cast", value, to=TensorProto.FLOAT)


def _means(g: Graph, model: TableModel, inputs: str, context: str) -> str:  # (B, K), (B, D) -> (C, B) float64
    """Probabilities of each head, or standardised values."""
    others = [] if model.stream is None else [_stream_sum(g, model.stream, context)]
    return _predicted(g, model.means, inputs, context, *others)


def _predicted(g: Graph, ensemble: Ensemble, inputs: str, context: str, *others: str) -> str:  # -> (C, B) float64
    """The prediction of an ensemble; arguments as for `_summed`."""
    return g(INVERSE_LINKS[ensemble.link], _summed(g, ensemble, inputs, context, *others))


def _summed(g: Graph, ensemble: Ensemble, inputs: str, context: str, *others: str) -> str:  # -> (C, B) float64
    """The weighted sum of an ensemble, before the inverse link, with what other models predict before it.

    Shapes: (B, K), (B, D), (C, B).
    """
    stacking = ensemble.weighted_sum()
    outputs = []
    for network in ensemble.networks:
        read = g("Slice", inputs, [-network.config.input_size], [LAST], [1])
        mixed = _mixed(g, network, read, context)
        outputs.append(g("Slice", mixed, [0], [ensemble.heads], [0]) if ensemble.free else mixed)
    outputs += [_single(g, g("Unsqueeze", other, [2])) for other in others]
    models = g("Cast", g("Concat", *outputs, axis=2), to=TensorProto.DOUBLE)  # (C, B, M)
    sums = g("ReduceSum", g("Mul", models, stacking.weights.T[:, None]), [2], keepdims=0)
    return g("Add", sums, stacking.offsets[:, None])


def _stream_sum(g: Graph, stream: StreamModel, columns: str) -> str:  # (B, D) -> (C, B) float64
    """The weighted sum of the stream that learns beside a table."""
    base_models = stream.featurizer.base_models
    size = stream.featurizer.size
    z = _standardised(g, g("Cast", columns, to=TensorProto.DOUBLE), stream.featurizer.standardizer)
    linear = _linear(g, z, base_models.linear, size)
    bin_means = [_fading_bin_means(g, z, base_models)] if len(base_models.bin_means.grids) else []
    inputs = g("Concat", _single(g, linear), *bin_means, _with_distances(g, z, size), axis=1)
    return _summed(g, stream.means, inputs, z, g("Transpose", linear, perm=[1, 0]))


def _linear(g: Graph, z: str, linear: HashedLinear, size: int) -> str:  # (B, D) -> (B, C) float64
    """The linear model of a stream of numbers."""
    (bias, *weights), (_, *scales) = linear.weights_of(np.array([BIAS, *(pair_key(f, 0) for f in range(size))]))
    divisors = np.where(np.array(scales) > 0, scales, 1)  # a value beyond the largest one seen counts as that
    scaled = g("Clip", g("Div", g("Cast", z, to=TensorProto.DOUBLE), divisors), np.float64(-1), np.float64(1))
    sums = g("Add", g("MatMul", scaled, np.array(weights)[:, 0]), bias[0])
    return g("Clip", sums, np.float64(-linear.limit), np.float64(linear.limit))


def _fading_bin_means(g: Graph, z: str, base_models: OnlineBaseModels) -> str:  # (B, D) -> (B, E)
    """The values of each sample's cells in a stream. A pair of columns has wider bins than a single one."""
    grids = base_models.bin_means.grids
    heads = base_models.bin_means.heads
    values = [_values_of_cells(base_models, grid) for grid in range(len(grids))]
    first_cells = np.cumsum([0, *map(len, values)])[:-1]
    size = 1 + grids.max()
    columns = g("Cast", g("Slice", z, [0], [size], [1]), to=TensorProto.DOUBLE)
    bins = g("Floor", g("Mul", g("Sigmoid", g("Mul", columns, STEEP)), float(BINS)))
    wide_bins = g("Floor", g("Mul", bins, WIDE_BINS / BINS))
    indices = g("Cast", g("Pad", g("Concat", bins, wide_bins, axis=1), [0, 0, 0, 1]), to=TensorProto.INT64)
    is_single = grids[:, 1] == NONE
    first = np.where(is_single, grids[:, 0], size + grids[:, 0])
    second = np.where(is_single, 2 * size, size + grids[:, 1])  # the last index is always 0
    first_bins = g("Mul", g("Gather", indices, first, axis=1), np.where(is_single, 1, WIDE_BINS))
    cells = g("Add", g("Add", first_bins, g("Gather", indices, second, axis=1)), first_cells)
    return g("Reshape", g("Gather", np.concatenate(values), cells), [0, len(grids) * heads])


def _values_of_cells(base_models: OnlineBaseModels, grid: int) -> np.ndarray:  # -> (cells, C)
    """What the cells of a grid predict: the answers for a sample in the middle of each."""
    means = base_models.bin_means
    first, second = means.grids[grid]
    bins = BINS if second == NONE else WIDE_BINS
    within = (np.arange(bins) + 0.5) / bins
    centres = (np.log(within / (1 - within)) / STEEP).astype(np.float32)
    z = np.zeros((1 + means.grids.max(), bins if second == NONE else bins**2), np.float32)
    if second == NONE:
        z[first] = centres
    else:
        z[first] = centres.repeat(bins)
        z[second] = np.tile(centres, bins)
    count = z.shape[1]
    unknown = np.full((base_models.linear.heads, count), np.nan)
    predicted = np.empty((len(means.grids) * means.heads, count), np.float32)
    compiled(predict_bin_means)(z, means, base_models.linear.are_classes, unknown, np.ones(count), predicted)
    return predicted[grid * means.heads : (grid + 1) * means.heads].T


def _with_distances(g: Graph, z: str, size: int) -> str:  # (B, D) -> (B, 2 D)
    distances = g("Where", g("Equal", z, np.float32(0)), z, g("Sub", g("Abs", z), DISTANCE))
    in_turn = np.arange(2 * size).reshape(2, size).T.ravel()
    return g("Gather", g("Concat", z, distances, axis=1), in_turn, axis=1)


def _encoded(g: Graph, z: str, pieces: Pieces) -> str:  # (B, D) -> (B, E)
    above = g("Sub", g("Gather", z, pieces.features, axis=1), pieces.low)
    passed = g("Sub", g("Mul", above, 2 / (pieces.high - pieces.low)), np.float32(1))
    return g("Clip", passed, np.float32(-1), np.float32(1))


def _samples(g: Graph, estimator: Fitted, given: list[ModelInput]) -> tuple[str, str]:  # -> (B, K), (B, D)
    """The inputs of networks, of which some read only the last ones, and side information."""
    featurizer = estimator.learner_.featurizer
    if isinstance(featurizer, StreamFeaturizer):
        came = "one that learned by `partial_fit` alone; fit it on a table, or predict in Python"
        raise bad("model", "an estimator that learned by `fit`", came)
    x = _coded(g, estimator, given)
    if isinstance(featurizer, PlainFeaturizer):
        factors = featurizer.standardizer.transform(np.ones((featurizer.size, 1))).toarray()[:, 0].astype(np.float64)
        z = g("Mul", g("Where", g("IsNaN", x), 0.0, x), factors)
        return _single(g, z), _single(g, z)
    levels = {f: len(codes) for f, codes in estimator.categories_.items()}
    columns = x
    inputs = []
    if featurizer.encoding is not None:
        columns = _columns(g, x, featurizer.encoding, levels)
    z = _standardised(g, columns, featurizer.standardizer)
    if len(featurizer.pieces.features):
        inputs = [_encoded(g, z, featurizer.pieces)]
    if featurizer.bin_means.columns:
        inputs.append(_bin_means(g, x, featurizer.bin_means))
    return g("Concat", *inputs, _with_distances(g, z, featurizer.size), axis=1), z


def _coded(g: Graph, estimator: Fitted, given: list[ModelInput]) -> str:  # -> (B, F) float64
    """Samples with the codes of categories, the next one for unknown levels, and NaN for missing values."""
    categories = estimator.categories_
    names = _names(estimator)
    columns = []
    first = 0
    for name, kind, width in given:
        levels = {f - first: categories[f] for f in range(first, first + width) if f in categories}
        if kind == TensorProto.STRING and len(levels) < width:
            raise bad("model", f"no text in {name!r}, which is not a category", "text")
        if not levels:
            columns.append(g("Cast", name, to=TensorProto.DOUBLE))
        for i in range(width if levels else 0):
            value = g("Gather", name, [i], axis=1)
            value = _codes(g, value, kind, levels[i], names[first + i]) if i in levels else value
            columns.append(g("Cast", value, to=TensorProto.DOUBLE))
        first += width
    return g("Concat", *columns, axis=1)


def _codes(g: Graph, value: str, kind: int, levels: Levels, feature: object) -> str:  # (B, 1) -> (B, 1) float32
    """The codes of a feature's values, which are of this type."""
    if kind == TensorProto.FLOAT:
        value = _single(g, value)
    unknown = float(len(levels))
    keys = _keys(levels, kind, feature) or [_held(0, kind)]  # a table must not be empty
    codes = list(map(float, levels.values())) or [unknown]
    if kind == TensorProto.STRING and "" not in keys:
        keys.append("")
        codes.append(np.nan)
    options: State = {"default_float": unknown, "values_floats": codes, KINDS[kind][1]: keys}
    encoded = g("LabelEncoder", value, domain=FOR_ML, **options)
    return g("Where", g("IsNaN", value), value, encoded) if kind == TensorProto.FLOAT else encoded


def _bin_means(g: Graph, x: str, bin_means: BinMeans) -> str:  # (B, F) -> (B, E)
    """The values of each sample's cells: the bin of a feature is the number of ends that its value is above."""
    bins = []
    ends_of = np.split(bin_means.ends, np.cumsum(bin_means.sizes - 1)[:-1])
    size = len(bin_means.sizes)
    for feature, (ends, first) in enumerate(zip(ends_of, bin_means.first_bins, strict=True)):
        value = g("Gather", x, [feature], axis=1)
        above = g("ReduceSum", g("Cast", g("Greater", value, ends), to=TensorProto.INT64), [1])
        bins.append(g("Add", g("Where", g("IsNaN", value), len(ends), above), first))
    feature_bins = g("Concat", *bins, axis=1)  # (B, F)
    # The cell of each feature's bin in grids of one feature and of two, and 0 for no feature.
    kind_cells = [g("Pad", g("Gather", cells, feature_bins), [0, 0, 0, 1], 0) for cells in bin_means.cells]
    bin_cells = g("Concat", *kind_cells, axis=1)  # (B, 2 (F + 1))
    indices = np.where(bin_means.grids == NONE, size, bin_means.grids) + bin_means.kinds[:, None] * (1 + size)
    first, second = (g("Gather", bin_cells, features, axis=1) for features in indices.T)
    cell = g("Add", g("Add", g("Mul", first, bin_means.widths), second), bin_means.starts)  # (B, G)
    return g("Reshape", g("Gather", bin_means.values, cell), [0, bin_means.columns])


def _standardised(g: Graph, x: str, standardizer: Standardizer) -> str:  # (B, D) float64 -> (B, D) float32
    divisor = np.where(standardizer.scale > 0, standardizer.scale, np.inf)
    far = FAR * standardizer.limit if standardizer.far_is_missing else np.inf
    z = g("Div", g("Sub", x, standardizer.mean), divisor)
    known = g("Where", g("Less", g("Abs", z), far), z, 0.0)  # NaN is never less
    return _single(g, g("Clip", known, -standardizer.limit, standardizer.limit))


def _columns(g: Graph, x: str, categories: TargetEncoding, levels: Mapping[int, int]) -> str:  # (B, F) -> (B, D)
    """Columns of samples with coded categories: numbers are kept, the columns of each code come from a table."""
    numbers = np.flatnonzero(~np.isin(categories.features, list(levels)))
    indices = [numbers]
    columns = [g("Gather", x, categories.features[numbers], axis=1)]
    for feature, count in levels.items():
        indices.append(np.flatnonzero(categories.features == feature))
        samples = np.zeros((categories.size, count + 2))
        samples[feature] = [*range(count + 1), np.nan]
        table = categories.transform(samples)[indices[-1]].T  # (L + 2, columns), the last rows for unknown and missing
        code = g("Gather", x, feature, axis=1)
        code = g("Cast", g("Where", g("IsNaN", code), float(count + 1), code), to=TensorProto.INT64)
        columns.append(g("Gather", table, code))
    return g("Gather", g("Concat", *columns, axis=1), np.argsort(np.concatenate(indices)), axis=1)
