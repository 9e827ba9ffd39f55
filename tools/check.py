"""Lint, format, types, architecture, and tests that are not slow up to the first failure: `python -m tools.check`."""

from __future__ import annotations

import subprocess
import sys

CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("tools.architecture", "--check"),
    ("pytest", "-q", "-n", "2"),
)


def main() -> int:
    for check in CHECKS:
        print("$ python -m", *check, flush=True)
        code = subprocess.run([sys.executable, "-m", *check], check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
