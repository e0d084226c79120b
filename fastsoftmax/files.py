"""Writing a file so that a reader sees the old one, or the new one, or none, never half."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of `path` when the block ends without an error.

    Parameters
    ----------
    path : Path
        Its folder must exist.

    Yields
    ------
    BinaryIO
        A new file in the same folder; removed if the block raises.
    """
    # Not tempfile: its files are readable by their owner only, and so would the result be.
    # The random part keeps processes apart that write the same file at the same time.
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            # Without this a power cut can leave the new name with the right size and no content.
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
