"""Formats in which an absent feature is 0: Vowpal Wabbit's text and libsvm's."""

from __future__ import annotations

from collections.abc import Collection

from gln.learning.names import AT_ONCE, ENOUGH

__all__ = ["Zeros"]


class Zeros:
    """Writes zeros for features that are absent.

    To `gln.river`, an absent feature is missing, and only an absent word is 0. So the keys that it turns into features
    are written out, by its own rule: those of the first sample that is learned, if they are few, and later those that
    most samples have. `features` are those of a model that was loaded, None if it is new.
    """

    def __init__(self, features: Collection[str] | None) -> None:
        self._zeros = dict.fromkeys(features or (), 0.0)
        self._is_new = features is None
        self._counts: dict[str, tuple[int, int]] = {}  # of words: samples before the first one, samples that had it
        self._count = 0  # of samples that were learned

    def written(self, x: dict[str, float], is_learned: bool) -> dict[str, float]:
        """A sample with zeros for the features known so far."""
        filled = self._zeros | x
        if is_learned:
            self._meet(x)
        return filled

    def _meet(self, x: dict[str, float]) -> None:
        if self._is_new and len(x) <= AT_ONCE:
            self._zeros = dict.fromkeys(x, 0.0)
        if self._is_new and not x:
            return
        self._is_new = False
        for name in x.keys() - self._zeros.keys():
            before, had = self._counts.get(name, (self._count, 0))
            self._counts[name] = before, had + 1
            if had + 1 >= ENOUGH and 2 * (had + 1) >= self._count + 1 - before:
                self._zeros[name] = 0.0
                del self._counts[name]
        self._count += 1
