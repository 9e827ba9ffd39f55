"""Copy the region that all backends share, from its mark to the end, from gln_numpy.py into the other four files.

Exits with 1 if a file changed, so that pre-commit stops and CI fails.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

REGION = re.compile(r"^# ---- The same in every backend.*\Z", re.DOTALL | re.MULTILINE)


def copy_shared(folder: Path) -> list[str]:
    """Write the files of a folder that differ, and return their names."""
    [shared] = REGION.findall((folder / "gln_numpy.py").read_text(encoding="utf-8"))
    changed = []
    for path in sorted(folder.glob("gln_*.py")):
        text = path.read_text(encoding="utf-8")
        if [shared] != REGION.findall(text):
            path.write_text(REGION.sub(lambda _: shared, text), encoding="utf-8")
            changed.append(path.name)
    return changed


if __name__ == "__main__":
    changed = copy_shared(Path(__file__).parents[1])
    sys.exit(f"wrote the shared region of {', '.join(changed)}" if changed else 0)
