"""The command `gln-mnist`: `test_mnist.main`, with Ctrl-C also handled while it is imported."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line; returns the exit status."""
    try:
        import test_mnist

        return test_mnist.main()
    except KeyboardInterrupt:
        print("gln-mnist: interrupted", file=sys.stderr)
        return 130
