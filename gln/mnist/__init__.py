"""The MNIST digits, features and halfspaces for images, and the command `gln-mnist`.

Importing this package imports nothing else, so that the command can be interrupted from its first moment on.
"""

__all__ = ["PIXELS", "SIDE", "Digits", "deskew", "fit_windows", "load_mnist", "orientation_features"]

TYPE_CHECKING = False  # type checkers take it to be true, and nothing is imported for it
if TYPE_CHECKING:
    from gln.mnist.digits import PIXELS, SIDE, Digits, deskew, load_mnist
    from gln.mnist.orientations import orientation_features
    from gln.mnist.windows import fit_windows
else:

    def __getattr__(name):
        """Import a name when it is first used."""
        from importlib import import_module

        homes = {"fit_windows": "windows", "orientation_features": "orientations"}
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"gln.mnist.{homes.get(name, 'digits')}"), name)
