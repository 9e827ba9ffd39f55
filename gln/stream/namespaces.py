"""Namespaces of Vowpal Wabbit's text, and lists of names in JSON: categories, or words."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from gln.stream.chunks import Wanted
from gln.stream.lines import BadLine, Record

__all__ = ["Namespaces", "Sample"]


class Sample(NamedTuple):
    """What stands in a line, apart from its target."""

    values: dict[str, Any]  # by the names of features
    names: dict[str, list[str]]  # by namespace, or by the key of a list


class Namespaces:
    """A namespace that holds at most one name in each sample is a category; of others, the names are words.

    The first chunk with a namespace decides, unless an option or the loaded model does. If a category has several names
    in a later sample, those after the first one are words, or an error if an option asked for a category.
    """

    def __init__(self, wanted: Wanted, separator: str) -> None:
        """The name of a word is that of its namespace, the separator, and its own."""
        self._separator, self._asked = separator, wanted.strings
        names = [name for name, is_text in wanted.known.items() if separator in name and not is_text]
        of_words = {name.rpartition(separator)[0] for name in names}
        self._are_categories = dict.fromkeys(of_words, False) | dict(wanted.known)
        self._are_categories |= dict.fromkeys(wanted.words, False) | dict.fromkeys(wanted.strings, True)

    def features(self, records: Sequence[Record]) -> tuple[list[Record], list[BadLine], tuple[str, ...]]:
        """The features of `Sample`s, those that are refused, and what to tell the user."""
        notes = self._decide([sample for _, sample in records])
        good: list[Record] = []
        bad: list[BadLine] = []
        for number, sample in records:
            try:
                good.append((number, self._features(sample)))
            except ValueError as error:
                bad.append(BadLine(number, str(error)))
        return good, bad, notes

    def is_word(self, name: str) -> bool:
        """Whether a feature of this name is a word."""
        return self._are_categories.get(name.rpartition(self._separator)[0]) is False

    def _decide(self, samples: Sequence[Sample]) -> tuple[str, ...]:
        most: dict[str, int] = {}
        for sample in samples:
            for namespace, names in sample.names.items():
                if namespace not in self._are_categories:
                    most[namespace] = max(most.get(namespace, 0), len(names))
        found = {namespace: bool(namespace) and count <= 1 for namespace, count in most.items()}
        self._are_categories |= found
        for namespace in found:  # of which it has just been said that they hold names, even if these read as numbers
            warnings.filterwarnings("ignore", re.escape(f"x[{namespace!r}] is text"))
        kinds = {"categories": True, "words": False}
        texts = [f"{kind}: {listed}" for kind, is_category in kinds.items() if (listed := _listed(found, is_category))]
        return ("; ".join(texts) + "\n    (--words and --strings name others)",) if texts else ()

    def _features(self, sample: Sample) -> dict[str, Any]:
        features = sample.values
        for namespace, names in sample.names.items():
            if names and self._are_categories[namespace]:
                if len(names) > 1 and namespace in self._asked:
                    raise ValueError(f"{namespace}: expected one name, got {names[0]!r} and {names[1]!r}")
                features[namespace] = names[0]
                names = names[1:]
            if names:
                prefix = f"{namespace}{self._separator}" if namespace else ""
                for name, count in Counter(names).items():
                    features[prefix + name] = features.get(prefix + name, 0.0) + count
        return features


def _listed(found: dict[str, bool], is_category: bool) -> str:
    names = [name or "those without a namespace" for name, kind in found.items() if kind == is_category]
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
