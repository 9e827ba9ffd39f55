"""libsvm's text: `label index:value index:value ... # comment`."""
# ruff: noqa: N806 - X is scikit-learn's name

from __future__ import annotations

import dataclasses
import io
import itertools
from collections.abc import Sequence

import numpy as np

from gln.engine.streaming.named_rows import always, named_rows
from gln.engine.streaming.values import MOST
from gln.stream.formats.chunks import Chunk, Wanted
from gln.stream.formats.column_types import label_of, shown
from gln.stream.formats.lines import BadLine, Lines, Record, parsed
from gln.stream.formats.namespaces import Namespaces, Sample

__all__ = ["LibsvmParser"]


class LibsvmParser:
    """Lines that scikit-learn reads. Indices are names of features; `qid` and comments are left out."""

    def __init__(self, lines: Lines, wanted: Wanted) -> None:
        self._lines, self._ignore, self._namespaces = lines, wanted.ignore, Namespaces(wanted, "^")

    def records(self, most: int) -> list[Record | BadLine]:
        found: list[Record | BadLine] = []
        while not found and (records := self._lines.take(most)):
            found = [each for each in records if isinstance(each, BadLine) or not each[1].lstrip().startswith("#")]
        return found

    def chunk(self, records: Sequence[Record]) -> tuple[Chunk, list[BadLine]]:
        bad: list[BadLine] = []
        try:
            samples = _samples([line for _, line in records])
        except ValueError:
            good, bad = parsed(records, lambda line: _samples([line])[0])
            records, samples = good, [sample for _, sample in good]
        features = [{n: v for n, v in x.items() if n not in self._ignore} for _, x in samples]
        lines = [number for number, _ in records]
        found, _, notes = self._namespaces.features(list(zip(lines, [Sample(x, {}, x) for x in features], strict=True)))
        rows = dataclasses.replace(named_rows([x for _, x in found]), is_zero=always)
        return Chunk(rows, [label for label, _ in samples], None, None, lines, notes=notes), bad


def _samples(lines: Sequence[str]) -> list[tuple[float, dict[str, float]]]:
    """The label and the features of each line."""
    from sklearn.datasets import load_svmlight_file  # which takes half a second

    text = "\n".join(line.partition("#")[0] for line in lines)
    try:
        X, y, _ = load_svmlight_file(io.BytesIO(text.encode()), dtype=np.float64, zero_based=True, query_id=True)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"expected a label and index:value, got {shown(text)}: {error}") from None
    if len(y) != len(lines) or "_" in text or not (np.abs(np.append(y, X.data)) <= MOST).all():
        raise ValueError(f"expected a label and finite numbers, got {shown(text)}")
    names, values = [str(index) for index in X.indices.tolist()], X.data.tolist()
    pairs = list(zip(names, values, strict=True))
    rows = [dict(pairs[start:end]) for start, end in itertools.pairwise(X.indptr.tolist())]
    return list(zip(map(label_of, y.tolist()), rows, strict=True))
