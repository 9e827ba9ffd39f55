"""Small files that would take much memory or time if sizes, numbers or names in them were believed.

As a script, `python bombs.py FOLDER` writes and loads each, and prints its name, the seconds that it took, by how many
megabytes the process grew since the first, and what was raised.
"""

from __future__ import annotations

import copy
import itertools
import json
import resource
import struct
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from gln import river, sklearn
from gln.bandits import GLNBandit
from gln.engine.saving import FORMAT, checksum, read
from gln.novelty import GLNNovelty
from gln_numpy import GLN

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 2))
SMALL: dict[str, Any] = {"layer_sizes": (3, 2), "context_map_size": 2, "backend": "numpy"}
PRIME = (1 << 61) - 1  # integers are hashed by the remainder
MANY = 20_000


def stream(model: Any, learn: Callable[[Any, dict[str, Any]], Any]) -> Any:
    for a, b in X.tolist():
        learn(model, {"a": a, "b": b, "kind": "xyz"[int(10 * abs(a)) % 3], f"word {int(10 * abs(b))}": 1.0})
    return model


def learn_kind(model: Any, x: dict[str, Any]) -> None:
    model.learn_one(x, x["kind"])


def learned_bandit() -> GLNBandit:
    return stream(GLNBandit(["p", "q"], seed=0, **SMALL), lambda bandit, x: bandit.learn(x, "p", x["a"]))


def learned_table() -> Any:
    levels = np.array([*"xyz"], object)[RNG.integers(0, 3, 40)]
    table = np.column_stack([X.astype(object), levels])
    settings: dict[str, Any] = {"n_networks": 2, "n_epochs": 1, "random_state": 0, "categorical_features": [2]}
    return sklearn.GLNClassifier(**settings, **SMALL).fit(table, X[:, 0] > 0)


def base_of(inputs: np.ndarray) -> np.ndarray:
    return np.full((1, inputs.shape[1]), 0.5)


MAKE: dict[str, Callable[[], Any]] = {
    "network": lambda: GLN([3, 2], 5, 4, context_map_size=2, seed=0),
    "fresh": lambda: river.GLNClassifier(seed=0, **SMALL),
    "stream": lambda: stream(river.GLNClassifier(seed=0, **SMALL), learn_kind),
    "novelty": lambda: GLNNovelty(random_state=0).fit(X),
    "bandit": learned_bandit,
    "table": learned_table,
}
Change = Callable[[Any, dict[str, Any]], Any]  # of a configuration and arrays; what it returns replaces the JSON


def put(value: Any, *path: Any) -> Change:
    def change(config: Any, arrays: Any) -> None:
        for key in path[:-1]:
            config = config[key]
        config[path[-1]] = value

    return change


def network(**arguments: Any) -> Change:
    return lambda config, arrays: config.update(arguments)


def parameter(**values: Any) -> Change:
    return lambda config, arrays: config["parameters"].update(values)


def extra(value: Any, **more: np.ndarray) -> Change:
    """A changed `extra`, which may hold anything."""

    def change(config: Any, arrays: Any) -> None:
        arrays |= more
        config["learned"]["extra"] = {"pairs": [["extra", value]]}

    return change


def text(value: str) -> Change:
    """JSON in place of the `extra`, as it is."""

    def change(config: Any, arrays: Any) -> str:
        config["learned"]["extra"] = "here"
        return json.dumps(config).replace('"here"', value)

    return change


def array(shape: Any, dtype: str = "<f8", content: Any = ()) -> dict[str, Any]:
    return {"array": [*content], "dtype": dtype, "shape": shape}


def compressed(place: str, numbers: int) -> dict[str, Any]:
    return {"compressed": place, "dtype": "<f8", "shape": [numbers]}


def colliding() -> list[tuple[int, int]]:
    """Pairs of integers of one hash, by the hash of tuples of CPython (xxHash)."""
    p1, p2, p5, whole = 11400714785074694791, 14029467366897019727, 2870177450012600261, (1 << 64) - 1

    def step(acc: int, lane: int) -> int:
        acc = (acc + lane * p2) & whole
        return (((acc << 31) | (acc >> 33)) & whole) * p1 & whole

    found, wanted = [], step(step(p5, 1), 1) * pow(p1, -1, 1 << 64) & whole
    rotated = ((wanted >> 31) | (wanted << 33)) & whole
    for first in itertools.count(1):
        lane = (rotated - step(p5, first)) * pow(p2, -1, 1 << 64) & whole
        if lane < PRIME:
            found.append((first, lane))
        if len(found) == 5000:
            return found
    raise AssertionError


ZEROS = np.frombuffer(zlib.compress(bytes(1 << 23), 9), np.uint8)  # 8 KB
ALIKE = [{"tuple": pair} for pair in colliding()]
PARTS = [f"part {i}" for i in range(60)]
STREAM, ARMS = ("learned", "_stream", "fields"), ("learned", "_model", "fields")
SCHEMA = (*STREAM, "schema", "fields")
NOVELTY = ("learned", "_detector", "fields", "histograms", "fields")
TABLE = ("learned", "learner_", "fields", "featurizer", "fields")
WIDE = {"weights.1": np.zeros((1, 6 * MANY), "f4"), "weights.1.rows": np.zeros((MANY, 1, 1), "i4")}
WIDE |= {"hyperplanes.1": np.zeros((MANY, 0, 1), "f4"), "hyperplane_bias.1": np.zeros((MANY, 0), "f4")}


def shared(config: Any, arrays: dict[str, np.ndarray]) -> None:
    """Counts in one byte each, once for many networks, whose counts take four."""
    arrays["rows"] = np.zeros((5, 4, MANY), np.int8)
    of_counts = (*ARMS, "_stream", "fields", "learner", "fields", "counts", "fields", "rows")
    put([{"tensor": "rows"}] * 500, *of_counts)(config, arrays)


def empty(config: Any, arrays: dict[str, np.ndarray]) -> None:
    arrays["squares"] = np.zeros((10**9, 0))
    put({"tensor": "squares"}, *TABLE, "standardizer", "fields", "squares")(config, arrays)


def equal_rows(config: Any, arrays: dict[str, np.ndarray]) -> None:
    config |= {"layer_sizes": [MANY], "context_map_size": 0, "context_size": 1, "input_size": 6 * MANY - 1}
    arrays |= WIDE


def repeated(config: Any, arrays: dict[str, np.ndarray]) -> None:
    """Networks that share their arrays."""
    config["learned"]["_stream"]["fields"]["learner"]["fields"]["means"]["fields"]["members"] *= 1000


BOMBS: dict[str, tuple[str, Change]] = {
    # JSON
    "depth": ("fresh", text("[" * 100_000)),
    "depth of tuples": ("fresh", text('{"tuple": ' * 5000 + "[]" + "}" * 5000)),
    "digits of an integer": ("fresh", text("9" * 4299)),
    "digits of many integers": ("fresh", text(f"[{','.join(['9' * 4299] * 200)}]")),
    "digits of a float": ("fresh", text("9" * 1_000_000 + ".5")),
    "integers of one hash": ("fresh", extra({"pairs": [[i * PRIME, 0] for i in range(MANY)]})),
    "tuples of one hash": ("fresh", extra({"pairs": [[pair, 0] for pair in ALIKE]})),
    "columns of one hash": ("table", put(ALIKE, *TABLE, "encoding", "fields", "columns")),
    "integers of one hash as arms": ("bandit", parameter(arms=[i * PRIME for i in range(MANY)])),
    "long names": ("fresh", text(f'{{"object": "Column", "fields": {{"{"x" * 10_000}": ' * 150 + "1" + "}}" * 150)),
    # Arrays in JSON
    "wide texts": ("fresh", extra([array([1], f"<U{1 << 22}", ["a"])] * 300)),
    "one long text": ("fresh", extra(array([MANY], "U", ["x" * MANY, *[""] * (MANY - 1)]))),
    "many long texts": ("fresh", extra([array([200], "U", ["x" * 4000, *[""] * 199])] * 100)),
    "a wide dtype": ("fresh", extra(array([1], "(9000,9000)f8", [0]))),
    "fields in a dtype": ("fresh", extra(array([1], ",".join(["f8"] * MANY), [0]))),
    "an absurd shape": ("fresh", extra(array([10**15], content=[0.0]))),
    "a shape without numbers": ("fresh", extra(array([0, 10**12]))),
    "many sizes": ("fresh", extra(array([10**30] * MANY))),
    # Tensors
    "much from few bytes": ("fresh", extra(compressed("z", 10**9), z=ZEROS)),
    "one tensor for many": ("fresh", extra([compressed("z", 1 << 17)] * 300, z=ZEROS)),
    "much in all": ("fresh", extra([compressed(part, 1 << 20) for part in PARTS], **dict.fromkeys(PARTS, ZEROS))),
    "a tensor that is converted": ("bandit", shared),
    "a tensor without numbers": ("table", empty),
    # Objects
    "features of an encoding": ("table", put(10**10, *TABLE, "encoding", "fields", "size")),
    "bins": ("table", put(array([3], "<i8", [2**31 - 1] * 3), *TABLE, "bin_means", "fields", "sizes")),
    "words": ("stream", put(10**12, *SCHEMA, "word_count")),
    "a word": ("stream", put(10**12, *SCHEMA, "words", "pairs", 0, 1)),
    "a level": ("stream", put(10**12, *SCHEMA, "levels", "pairs", 0, 1, "pairs", 0, 1)),
    "a class": ("stream", put(10**12, *SCHEMA, "classes", "pairs", 0, 1)),
    "a partner": ("novelty", put(array([1, 1], "<i8", [10**12]), *NOVELTY, "partners")),
    "heads of arms": ("bandit", put(10**12, *ARMS, "arms", "pairs", 0, 1)),
    "categories": ("table", put({"pairs": [[10**12, {"pairs": [["x", 0]]}]]}, "learned", "categories_")),
    "features": ("table", put(10**12, "learned", "n_features_in_")),
    # Networks
    "neurons": ("network", network(layer_sizes=[10**9])),
    "layers of many neurons": ("network", network(layer_sizes=[10**5, 10**5])),
    "halfspaces": ("network", network(context_map_size=30)),
    "classes": ("network", network(num_classes=10**9)),
    "quantiles": ("network", network(loss="quantile", quantiles=[0.5] * MANY, layer_sizes=[MANY])),
    "inputs": ("network", network(input_size=10**9)),
    "inputs of a base predictor": ("network", network(input_size=10**9, base_predictor="callable")),
    "side information": ("network", network(context_size=10**9)),
    "many equal rows": ("network", equal_rows),
    "networks of the same arrays": ("stream", repeated),
    # Parameters
    "layer_sizes": ("fresh", parameter(layer_sizes=[10**7])),
    "layer_sizes of two": ("fresh", parameter(layer_sizes=[20_000, 20_000], context_map_size=0)),
    "context_map_size": ("fresh", parameter(context_map_size=30)),
    "window_size": ("novelty", parameter(window_size=10**10)),
    "n_networks": ("table", parameter(n_networks=10**9)),
    "layer_sizes of a bandit": ("bandit", parameter(layer_sizes=[10**9])),
}


def header_of(tensors: dict[str, Any], data: bytes = b"", metadata: str = "0") -> bytes:
    header = json.dumps({"__metadata__": {FORMAT: metadata}, **tensors}).encode()
    return struct.pack("<Q", len(header)) + header + data


def tensor(shape: list[int], end: int, dtype: str = "U8") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}


HEADERS = {
    "length of the header": struct.pack("<Q", 1 << 62) + b"{}",
    "depth of the header": struct.pack("<Q", MANY) + b"[" * MANY,
    "size of a tensor": header_of({"a": tensor([10**12], 10**12)}),
    "sizes of a tensor": header_of({"a": tensor([2**62, 2**62], 0)}),
    "digits of a size": header_of({"a": tensor([10**4000], 0)}),
    "bytes of many names": header_of({f"{i}": tensor([1 << 16], 1 << 16) for i in range(1000)}, bytes(1 << 16)),
    "many empty tensors": header_of({f"{i}": tensor([0], 0) for i in range(MANY)}),
    "metadata": header_of({}, metadata="9" * 10**6),
}


def main(folder: str) -> None:
    file = Path(folder, "bomb")
    models = {name: make() for name, make in MAKE.items()}
    contents = {}
    for name, model in models.items():
        model.save(file)
        contents[name] = read(file)
        type(model).load(file)
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))  # not to take the whole machine
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in (*HEADERS, *BOMBS):
        kind = "network"
        if name in HEADERS:
            file.write_bytes(HEADERS[name])
        else:
            kind, change = BOMBS[name]
            config, arrays = copy.deepcopy(contents[kind][0]), dict(contents[kind][1])
            written = change(config, arrays)
            arrays["config"] = np.frombuffer((written or json.dumps(config)).encode(), np.uint8)
            file.write_bytes(save(arrays, {FORMAT: checksum(arrays)}))
        start = time.perf_counter()
        try:
            type(models[kind]).load(file, **({"base_predictor": base_of} if "base" in name else {}))
            raised = "NOTHING"
        except ValueError as error:
            raised = str(error)
        seconds = time.perf_counter() - start
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before >> 10
        print(f"{name}\t{seconds:.2f}\t{grown}\t{raised}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
