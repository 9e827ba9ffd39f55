"""The command `gln-mnist`: `test_mnist.main`, which may be interrupted while it is still being imported."""

from __future__ import annotations

import sys


def main() -> int:
    """The command line; returns the exit status."""
    try:
        import test_mnist

        return test_mnist.main()
    except KeyboardInterrupt:
        print("gln-mnist: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
