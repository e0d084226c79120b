"""Fashion-MNIST: where its four files are, how they get there, and a cache of the pictures.

Design
------
a) The decoded pictures and labels are kept as one flat ``.npy`` file, opened as a memory map
   and sliced. The file name carries a digest of the four MD5s, so the cache of other data is never
   mistaken for this.
b) That file is believed if its size and header are exactly right and the CRC-32 at its end is that
   of its content: 20 ms of a second run, which reads the pages in their order and so loads them
   for the training. It is replaced atomically and synced before, so half a file has the wrong size
   or no name.
c) The cache is a convenience. Where there is no folder for it, or it cannot be read or written,
   the pictures stay in memory.
d) Four files, each taken from the first place that has it: ``$FASTSOFTMAX_DATA_DIR``, the cache, a
   mirror. In the first two it may be decompressed, without ``.gz`` in its name. A wrong MD5 in the
   data folder is an error, as somebody put that file there on purpose; in the cache it counts as
   missing.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..files import TEMPORARY, atomic_write, remove_remains
from .dataset import CLASS_NAMES, Dataset
from .idx import read_images, read_labels, read_pair

__all__ = ["CLASS_NAMES", "DatasetUnavailableError", "cache_folder", "load"]

NAME = "fashion-mnist"
N_TRAIN, N_TEST = 60_000, 10_000
MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
MD5_DECOMPRESSED = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
# To connect, and between two bytes. The first is short: without a network somebody waits for it.
TIMEOUT = (4.0, 20.0)

_CRC = 4  # bytes at the end of the decoded file
# Ours and, by tempfile, those of pooch
_REMAINS = rf"{TEMPORARY}|tmp[a-z0-9_]{{8}}"

_Parts = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]


class DatasetUnavailableError(OSError):
    """The files of a dataset are neither here nor to be had from the network.

    The first line of the message is the short of it; the others say where was looked, what
    failed, and how to put the files in place by hand.
    """


def load() -> Dataset:
    """Load Fashion-MNIST from the cache, from its files, or from the network.

    Environment variables: ``FASTSOFTMAX_DATA_DIR`` is a folder that may hold the four files in
    ``fashion-mnist/``; ``FASTSOFTMAX_CACHE_DIR`` takes the place of the platform's cache folder.

    Returns
    -------
    Dataset
        60,000 + 10,000 pictures; the pictures are a read-only memory map where the cache can
        be written.

    Raises
    ------
    DatasetUnavailableError
        If a file is missing and no mirror has it.
    ValueError
        If a file in ``FASTSOFTMAX_DATA_DIR`` has the wrong MD5.
    """
    cache = cache_folder()
    parts = _read_files(None) if cache is None else _by_cache(cache)
    train_images, test_images, train_labels, test_labels = parts
    return Dataset(
        train_images,
        train_labels.astype(np.int32),
        test_images,
        test_labels.astype(np.int32),
        CLASS_NAMES,
        NAME,
    )


def _by_cache(cache: Path) -> _Parts:
    remove_remains(cache, _REMAINS)
    digest = hashlib.sha256("".join(MD5.values()).encode()).hexdigest()[:16]
    decoded = cache / f"decoded-{digest}.npy"
    parts = _open_decoded(decoded)
    if parts is None:
        parts = _read_files(cache)
        with suppress(OSError):
            _write_decoded(decoded, parts)
            # Trade the arrays for the memory map: their memory is free again, and a first run
            # trains on the same kind of pages as a second.
            parts = _open_decoded(decoded) or parts
    return parts


def cache_folder() -> Path | None:
    """Return the folder of the cache; it need not exist.

    Returns
    -------
    Path or None
        Below ``$FASTSOFTMAX_CACHE_DIR``, or else where the platform keeps caches. None where that
        is in a home folder, and there is none.
    """
    override = os.environ.get("FASTSOFTMAX_CACHE_DIR")
    if override:
        folder = os.path.expanduser(override)
        if override.startswith("~") and not os.path.isabs(folder):
            return None
        return Path(folder) / NAME
    # The folder pooch.os_cache names, without the tenth of a second that importing pooch takes.
    import platformdirs

    try:
        folder = platformdirs.user_cache_dir("fastsoftmax")
    except (KeyError, RuntimeError):  # some versions; others leave "~"
        return None
    return Path(folder) / NAME if os.path.isabs(folder) else None


def _data_folder() -> Path | None:
    given = os.environ.get("FASTSOFTMAX_DATA_DIR")
    return Path(os.path.expanduser(given)) / NAME if given else None


def _shapes() -> tuple[tuple[int, ...], ...]:
    """Return the shapes in the order of the decoded file."""
    return (N_TRAIN, 28, 28), (N_TEST, 28, 28), (N_TRAIN,), (N_TEST,)


def _decoded_header() -> bytes:
    size = sum(map(math.prod, _shapes())) + _CRC
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (size,)}
    )
    return header.getvalue()


def _open_decoded(path: Path) -> _Parts | None:
    sizes, header = [math.prod(shape) for shape in _shapes()], _decoded_header()
    n = sum(sizes)
    try:
        # What np.load(path, mmap_mode="r") does, but for the header: comparing it with the one
        # that belongs there is stricter than parsing it.
        with open(path, "rb") as file:
            n_bytes = os.fstat(file.fileno()).st_size
            if file.read(len(header)) != header or n_bytes != len(header) + n + _CRC:
                return None
            flat = np.memmap(file, np.uint8, "r", offset=len(header), shape=(n + _CRC,))
    except (OSError, ValueError):  # the latter if it was cut meanwhile
        return None
    if zlib.crc32(flat[:n].data).to_bytes(_CRC, "big") != flat[n:].tobytes():
        return None
    # Plain arrays on top of the map: every slice of a memmap pays for its Python subclass.
    pieces = np.split(np.asarray(flat)[:n], np.cumsum(sizes)[:-1])
    a, b, c, d = (piece.reshape(shape) for piece, shape in zip(pieces, _shapes(), strict=True))
    return a, b, c, d


def _write_decoded(path: Path, parts: _Parts) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    crc = 0
    with atomic_write(path) as file:
        file.write(_decoded_header())
        for part in parts:
            file.write(part.data)
            crc = zlib.crc32(part.data, crc)
        file.write(crc.to_bytes(_CRC, "big"))


def _read_files(cache: Path | None) -> _Parts:
    found = _find_files(cache)
    missing = [name for name in MD5 if name not in found]
    if not missing:
        return _decode(found)
    if cache is not None:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            return _decode(found | _download(missing, cache))
        except DatasetUnavailableError:
            raise
        except OSError:  # it cannot be written, or is full
            pass
    import tempfile  # here, as a run from the cache has no use for it

    try:
        with tempfile.TemporaryDirectory(prefix="fastsoftmax-") as folder:
            return _decode(found | _download(missing, Path(folder)))
    except DatasetUnavailableError:
        raise
    except OSError as error:
        raise DatasetUnavailableError(_explain([("a temporary folder", error)])) from error


def _find_files(cache: Path | None) -> dict[str, Path]:
    found = {}
    data_folder = _data_folder()
    for name, md5 in MD5.items():
        plain = name.removesuffix(".gz")
        spellings = {name: md5, plain: MD5_DECOMPRESSED[plain]}
        path = data_folder and _given(data_folder, spellings)
        if not path and cache:
            path = _cached(cache, spellings)
        if path:
            found[name] = path
    return found


def _given(folder: Path, spellings: dict[str, str]) -> Path | None:
    """The file of the data folder that has one of these names, and must have its MD5."""
    for name, expected in spellings.items():
        path = folder / name
        try:
            got = _md5(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except IsADirectoryError:
            raise ValueError(f"{path}: it is a folder, and should be a file") from None
        if got != expected:
            raise ValueError(
                f"{path}: the MD5 is {got}, expected {expected}: {_what_is_wrong(path)}; download "
                "the file again, or take it away"
            )
        return path
    return None


def _cached(folder: Path, spellings: dict[str, str]) -> Path | None:
    for name, expected in spellings.items():
        with suppress(OSError):
            if _md5(folder / name) == expected:
                return folder / name
    return None


def _what_is_wrong(path: Path) -> str:
    read = read_images if "images" in path.name else read_labels
    try:
        read(path)
    except ValueError as error:
        return str(error).removeprefix(f"{path}: ")
    return "it is an IDX file, but not that of Fashion-MNIST (those of MNIST have the same names)"


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _decode(paths: dict[str, Path]) -> _Parts:
    train_images, train_labels, test_images, test_labels = (paths[name] for name in MD5)
    a, c = read_pair(train_images, train_labels, len(CLASS_NAMES))
    b, d = read_pair(test_images, test_labels, len(CLASS_NAMES))
    return a, b, c, d


def _download(names: list[str], folder: Path) -> dict[str, Path]:
    import logging

    import pooch  # type: ignore[import-untyped]
    import requests

    def is_serious(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING

    logger = pooch.get_logger()
    logger.info("Downloading Fashion-MNIST (30 MB) to %s", folder)
    # pooch's own lines, one per file and mirror, are too many. A filter, as its logger stands
    # outside the logging hierarchy and remembers the first answer to "is INFO enabled?".
    logger.addFilter(is_serious)
    try:
        downloader = pooch.HTTPDownloader(timeout=TIMEOUT)
        failures: list[tuple[str, Exception]] = []
        # Mirrors outside, files inside: one that hangs costs its timeout once, not four times.
        # pooch does not fetch again what the mirror before has delivered.
        for mirror in MIRRORS:
            paths = {}
            try:
                for name in names:
                    url, md5 = mirror + name, f"md5:{MD5[name]}"
                    path = pooch.retrieve(url, md5, name, folder, downloader=downloader)
                    paths[name] = Path(path)
                return paths
            except (requests.RequestException, ValueError) as error:  # not those of the folder
                failures.append((url, error))
        raise DatasetUnavailableError(_explain(failures))
    finally:
        logger.removeFilter(is_serious)


def _explain(failures: list[tuple[str, Exception]]) -> str:
    kinds = ", ".join(dict.fromkeys(type(error).__name__ for _, error in failures))
    data_folder = _data_folder() or "$FASTSOFTMAX_DATA_DIR/fashion-mnist (the variable is not set)"
    cache = cache_folder() or "a cache: there is no home folder, and no $FASTSOFTMAX_CACHE_DIR"
    lines = [
        f"Fashion-MNIST is not on this machine and could not be downloaded ({kinds}).",
        "Looked in:",
        f"  {data_folder}",
        f"  {cache}",
        "Tried to download:",
        *(f"  {url}\n    {type(error).__name__}: {error}" for url, error in failures),
        "To do it by hand, put these files, decompressed or not, into one of the two folders:",
        *(f"  {name}" for name in MD5),
    ]
    return "\n".join(lines)
