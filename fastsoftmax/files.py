"""Writing a file so that a reader sees the old one, or the new one, or none, never half."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

TEMPORARY = r"\..+\.[0-9a-f]{16}\.tmp"  # the name of a file that is being written
_OLD = 3600.0  # seconds after which nobody is writing it any more


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


def remove_remains(folder: Path, pattern: str = TEMPORARY) -> None:
    """Removes temporary files that killed processes left, as far as this process may.

    Parameters
    ----------
    folder : Path
    pattern : str
        A regular expression for the whole name. What it matches, and is an hour old, is removed.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if re.fullmatch(pattern, entry.name) is None:
                continue
            with suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(found.st_mode) and found.st_mtime < time.time() - _OLD:
                    os.unlink(entry.path)
