"""Files that zstd compressed."""

from __future__ import annotations

import io
import sys
from typing import Any

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    try:
        from backports import zstd
    except ImportError as error:
        raise ImportError(".zst files need backports.zstd: pip install backports.zstd") from error


class ZstdFile(zstd.ZstdFile):
    """A file that raises OSError where it is damaged, as `gzip.GzipFile` does, after what stands before."""

    def read1(self, size: int | None = -1) -> Any:
        try:
            return super().read1(io.DEFAULT_BUFFER_SIZE)  # more would be lost where it fails
        except zstd.ZstdError as error:
            raise OSError(str(error)) from None
