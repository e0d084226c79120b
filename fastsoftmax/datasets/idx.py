"""The IDX format of MNIST and its successors.

A file has two zero bytes, a byte for the type (8: unsigned byte), a byte for the number of
dimensions, the sizes as big-endian 32-bit integers, and the content in C order. Often all of it is
within gzip. The sizes of a header are believed only if the length of the content confirms them.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..files import atomic_write

_UNSIGNED_BYTE = 8
_OTHER_TYPES = {9: "int8", 11: "int16", 12: "int32", 13: "float32", 14: "float64"}
_GZIP_MAGIC = b"\x1f\x8b"
_BLANK = b"\xef\xbb\xbf \t\r\n"  # may precede a web page; the first three mark UTF-8
# Other content that is found under the name of an IDX file, by its first bytes
_FOREIGN = {
    b"<": "HTML or XML, perhaps a web page that was saved in place of the file",
    b"{": "JSON",
    b"version https://git-lfs": "a pointer of Git LFS, which `git lfs pull` replaces by the file",
    _GZIP_MAGIC: "gzip within gzip: decompress it once",
    b"PK": "a zip archive: unpack it",
    b"BZh": "compressed by bzip2: decompress it",
    b"\xfd7zXZ": "compressed by xz: decompress it",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: decompress it",
    b"\x93NUMPY": "a file of NumPy: read it by np.load",
}


def read_images(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read a file of pictures.

    Parameters
    ----------
    path : str or PathLike
        An IDX file with three dimensions, within gzip or not (told by its content).

    Returns
    -------
    ndarray of uint8, shape (N, H, W)
        Read-only.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not what it should be; the message names the file and the reason.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "two-pictures-idx3-ubyte.gz")
    ...     write_idx(path, np.zeros((2, 28, 28), np.uint8))
    ...     read_images(path).shape
    (2, 28, 28)
    """
    return _read(path, 3)


def read_labels(path: str | os.PathLike[str], n_classes: int = 10) -> NDArray[np.uint8]:
    """Read a file of labels.

    Parameters
    ----------
    path : str or PathLike
        An IDX file with one dimension, within gzip or not (told by its content).
    n_classes : int, default 10
        Labels must be below.

    Returns
    -------
    ndarray of uint8, shape (N,)
        Read-only.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not what it should be; the message names the file and the reason.
    """
    labels = _read(path, 1)
    wrong = np.flatnonzero(labels >= n_classes)
    if wrong.size:
        first = int(wrong[0])
        raise ValueError(
            f"{os.fspath(path)}: label {labels[first]} at index {first}, "
            f"but there are {n_classes} classes"
        )
    return labels


def read_pair(
    images_path: str | os.PathLike[str],
    labels_path: str | os.PathLike[str],
    n_classes: int = 10,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read pictures and the labels that belong to them.

    Parameters
    ----------
    images_path, labels_path : str or PathLike
        See `read_images` and `read_labels`.
    n_classes : int, default 10
        Labels must be below.

    Returns
    -------
    images : ndarray of uint8, shape (N, H, W)
    labels : ndarray of uint8, shape (N,)

    Raises
    ------
    FileNotFoundError
        If one of the files does not exist.
    ValueError
        If one is not what it should be, or if their counts differ.
    """
    images = read_images(images_path)
    labels = read_labels(labels_path, n_classes)
    if len(images) != len(labels):
        raise ValueError(
            f"{os.fspath(images_path)} holds {len(images)} pictures, "
            f"but {os.fspath(labels_path)} holds {len(labels)} labels"
        )
    return images, labels


def write_idx(path: str | os.PathLike[str], array: NDArray[np.uint8]) -> None:
    """Write an array as an IDX file, atomically.

    The same array always gives the same bytes: the gzip header has no time.

    Parameters
    ----------
    path : str or PathLike
        Compressed if it ends in ``.gz``.
    array : ndarray of uint8
        With at least one dimension and at least one element.

    Raises
    ------
    TypeError
        If `array` is not of uint8.
    ValueError
        If `array` has no dimensions or no elements.
    """
    name = os.fsdecode(path)
    if array.dtype != np.uint8:
        raise TypeError(f"{name}: the array must be of uint8, not {array.dtype}")
    if array.size == 0 or array.ndim == 0:
        raise ValueError(f"{name}: nothing to write in an array of shape {array.shape}")
    header = struct.pack(f">HBB{array.ndim}I", 0, _UNSIGNED_BYTE, array.ndim, *array.shape)
    content = np.ascontiguousarray(array).data
    with atomic_write(path) as file:
        if name.endswith(".gz"):
            # filename="" keeps the name of the temporary file out of the header
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as compressed:
                compressed.write(header)
                compressed.write(content)
        else:
            file.write(header)
            file.write(content)


def _read(path: str | os.PathLike[str], n_dims: int) -> NDArray[np.uint8]:
    name = os.fspath(path)
    content = Path(path).read_bytes()
    if content.startswith(_GZIP_MAGIC):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(
                f"{name}: broken gzip: {error}: truncated or damaged, perhaps by its download"
            ) from error

    if not content:
        raise ValueError(f"{name}: empty: there is nothing in it")
    for start, what in _FOREIGN.items():
        if content[:100].lstrip(_BLANK).startswith(start):
            raise ValueError(f"{name}: not an IDX file, but {what}")
    if len(content) < 4:
        raise ValueError(f"{name}: truncated: {len(content)} bytes are too few for a header")
    zero, kind, found_dims = struct.unpack_from(">HBB", content)
    if zero != 0 or kind != _UNSIGNED_BYTE:
        reason = f"wrong magic {content[:4].hex()}: not an IDX file of unsigned bytes"
        if zero == 0 and kind in _OTHER_TYPES:
            reason += f", but of {_OTHER_TYPES[kind]}"
        raise ValueError(f"{name}: {reason}")
    if found_dims != n_dims:
        raise ValueError(f"{name}: {found_dims} dimensions where {n_dims} are expected")
    n_header = 4 + 4 * n_dims
    if len(content) < n_header:
        raise ValueError(f"{name}: truncated: {len(content)} bytes are too few for a header")
    shape = struct.unpack_from(f">{n_dims}I", content, 4)
    # With a size of zero, the product would not confirm the other sizes
    if 0 in shape:
        raise ValueError(f"{name}: empty: the header says {shape}")
    expected, found = math.prod(shape), len(content) - n_header
    if found != expected:
        reason = "truncated" if found < expected else "overlong"
        raise ValueError(
            f"{name}: {reason}: the header says {shape}, that is {expected} bytes, "
            f"but {found} follow"
        )
    return np.frombuffer(content, np.uint8, offset=n_header).reshape(shape)
