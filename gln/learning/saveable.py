"""`save` and `load` of estimators, once for scikit-learn's, River's and bandits."""

from __future__ import annotations

import inspect
import os
from collections.abc import Collection
from typing import Any

from gln.learning.learner import Learner
from gln.saving import load_estimator, save_estimator

__all__ = ["Saveable"]


class Saveable:
    """`save` and `load` for an estimator that keeps what it learned in a `Learner`, and perhaps other attributes."""

    learning_rate: Any
    changeable: Collection[str] = ("backend", "learning_rate")  # parameters that `load` may replace

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save parameters and everything that was learned, without pickle, in a file that any backend can load.

        Parameters
        ----------
        path : str or path-like
            The file, replaced if it exists. Callables and random states are not saved, see
            `gln.saving.save_estimator`.
        """
        parameters = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        save_estimator(path, _kind(type(self)), parameters, self._learned())

    @classmethod
    def load(cls, path: str | os.PathLike[str], **parameters: Any) -> Any:
        """Load an estimator from a file that `save` wrote, to continue where it stopped. Nothing is unpickled.

        Parameters
        ----------
        path : str or path-like
            The file. A damaged one raises an error, see `gln.saving.load_estimator`.
        **parameters
            Replace saved ones, for example `backend`. Those that determine the networks raise an error.

        Returns
        -------
        estimator : of this class
        """
        parameters, learned = load_estimator(path, _kind(cls), parameters, cls.changeable)
        estimator = cls(**parameters)
        for name, value in learned.items():
            if name.strip("_") == "learner" and value is not None:
                value = Learner(**value)
                value.set_learning_rate(estimator.learning_rate)
            setattr(estimator, name, value)
        return estimator

    def _learned(self) -> dict[str, Any]:
        """The attributes that `save` keeps besides the parameters."""
        raise NotImplementedError


def _kind(estimator: type) -> str:
    return f"{estimator.__module__}.{estimator.__name__}"
