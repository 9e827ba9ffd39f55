"""What people import around a network, for any backend: estimators, layers, saving, explaining, features, pictures.

`from gln import GLNClassifier, GLNRegressor` gives estimators for tables, those of `gln.sklearn`. Importing this
package imports nothing else; each module imports what it needs. The engine behind them is `engine`.
"""

__all__ = ["GLNClassifier", "GLNDensityClassifier", "GLNRegressor"]
__version__ = "2.0.0.dev0"

TYPE_CHECKING = False  # type checkers take it to be true, and nothing is imported for it
if TYPE_CHECKING:
    from gln.sklearn import GLNClassifier, GLNDensityClassifier, GLNRegressor
else:

    def __getattr__(name):
        """Import an estimator when it is first used."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import gln.sklearn

        return getattr(gln.sklearn, name)

    def __dir__():
        return sorted({*globals(), *__all__})
