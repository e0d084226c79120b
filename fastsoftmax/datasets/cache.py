"""The cache: a folder for each dataset, with its pictures decoded in one file.

Design
------
a) The decoded pictures and labels are one flat ``.npy`` file, opened as a memory map and sliced.
   Its name has a digest of the MD5s of the published files: other data have another name.
b) The file is believed if its size and header are exactly right, and the CRC-32 at its end is
   that of its content. Computing the CRC reads the pages in their order, and so loads them for
   the training. The file is written beside its place, synced and then renamed: half a file has
   the wrong size or no name.
c) The cache is a convenience. Where there is no folder for it, or it cannot be read or written,
   the pictures stay in memory.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import zlib
from pathlib import Path

import numpy as np

from ..files import TEMPORARY, atomic_write, remove_remains
from .specification import Parts, Specification

_CRC = 4  # bytes at the end of the decoded file
# Temporary files of ours and, by tempfile, of pooch
_REMAINS = rf"{TEMPORARY}|tmp[a-z0-9_]{{8}}"


def folder(name: str) -> Path | None:
    """The folder of a dataset's cache, which need not exist.

    It is below ``$FASTSOFTMAX_CACHE_DIR``, or else where the platform keeps caches. None where
    that is in a home folder, and there is none.
    """
    override = os.environ.get("FASTSOFTMAX_CACHE_DIR")
    if override:
        above = os.path.expanduser(override)
        if override.startswith("~") and not os.path.isabs(above):
            return None
        return Path(above) / name
    # The folder that pooch.os_cache names. To import pooch for it takes much longer.
    import platformdirs

    try:
        above = platformdirs.user_cache_dir("fastsoftmax")
    except (KeyError, RuntimeError):  # of some versions; others leave "~"
        return None
    return Path(above) / name if os.path.isabs(above) else None


def decoded_path(folder: Path, spec: Specification) -> Path:
    """Where the decoded file lies, or will."""
    digest = hashlib.sha256("".join(spec.md5.values()).encode()).hexdigest()[:16]
    return folder / f"decoded-{digest}.npy"


def open_decoded(path: Path, spec: Specification) -> Parts | None:
    """The parts as a read-only memory map, or None where there is no file to be believed."""
    shapes, header = _shapes(spec), _header(spec)
    sizes = [math.prod(shape) for shape in shapes]
    n = sum(sizes)
    try:
        # What np.load(path, mmap_mode="r") does, but for the header: comparing it with the one
        # that belongs there is stricter than parsing it.
        with open(path, "rb") as file:
            n_bytes = os.fstat(file.fileno()).st_size
            if file.read(len(header)) != header or n_bytes != len(header) + n + _CRC:
                return None
            flat = np.memmap(file, np.uint8, "r", offset=len(header), shape=(n + _CRC,))
    except (OSError, ValueError):  # ValueError if the file was cut meanwhile
        return None
    if zlib.crc32(flat[:n].data).to_bytes(_CRC, "big") != flat[n:].tobytes():
        return None
    # A plain array of the map: every slice of a memmap would pay for its Python subclass.
    pieces = np.split(np.asarray(flat)[:n], np.cumsum(sizes)[:-1])
    return Parts(*(piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)))


def write_decoded(path: Path, spec: Specification, parts: Parts) -> None:
    """Writes the decoded file, and its folder; an OSError says why it cannot be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    crc = 0
    with atomic_write(path) as file:
        file.write(_header(spec))
        for part in parts:
            file.write(part.data)
            crc = zlib.crc32(part.data, crc)
        file.write(crc.to_bytes(_CRC, "big"))


def clean(folder: Path) -> None:
    """Removes what killed runs left in the folder."""
    remove_remains(folder, _REMAINS)


def _shapes(spec: Specification) -> tuple[tuple[int, ...], ...]:
    """The shapes of the `Parts`."""
    images = [(n, *spec.image_shape) for n in (spec.n_train, spec.n_test)]
    return *images, (spec.n_train,), (spec.n_test,)


def _header(spec: Specification) -> bytes:
    size = sum(map(math.prod, _shapes(spec))) + _CRC
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (size,)}
    )
    return header.getvalue()
