"""Fashion-MNIST: where its four files are, how they get there, and a cache of the pictures.

Design
------
a) The decoded pictures and labels are kept as one flat ``.npy`` file, opened as a memory map
   and sliced: a second run starts at once and reads only the pages it uses. The file name
   carries a digest of the four MD5s, so the cache of other data is never mistaken for this.
b) That file is believed if its size and header are exactly right. It is replaced atomically
   and synced before, so half a file has the wrong size or no name.
c) The cache is a convenience. If it cannot be written, the pictures stay in memory.
d) Four files, each taken from the first place that has it: ``$FASTSOFTMAX_DATA_DIR``, the cache, a
   mirror. A wrong MD5 in the data folder is an error, as somebody put that file there on
   purpose; in the cache it counts as missing.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..files import atomic_write
from .dataset import CLASS_NAMES, Dataset
from .idx import read_pair

__all__ = ["CLASS_NAMES", "DatasetUnavailableError", "cache_folder", "load"]

NAME = "fashion-mnist"
N_TRAIN, N_TEST = 60_000, 10_000
MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
# To connect, and between two bytes. The first is short: without a network somebody waits for it.
TIMEOUT = (4.0, 20.0)

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
    train_images, test_images, train_labels, test_labels = parts
    return Dataset(
        train_images,
        train_labels.astype(np.int32),
        test_images,
        test_labels.astype(np.int32),
        CLASS_NAMES,
        NAME,
    )


def cache_folder() -> Path:
    """Return the folder of the cache; it need not exist.

    Returns
    -------
    Path
        Below ``$FASTSOFTMAX_CACHE_DIR``, or else where the platform keeps caches.
    """
    override = os.environ.get("FASTSOFTMAX_CACHE_DIR")
    if override:
        return Path(override).expanduser() / NAME
    # The folder pooch.os_cache names, without the tenth of a second that importing pooch takes.
    import platformdirs

    return Path(platformdirs.user_cache_dir("fastsoftmax")) / NAME


def _data_folder() -> Path | None:
    given = os.environ.get("FASTSOFTMAX_DATA_DIR")
    return Path(given).expanduser() / NAME if given else None


def _shapes() -> tuple[tuple[int, ...], ...]:
    """Return the shapes in the order of the decoded file."""
    return (N_TRAIN, 28, 28), (N_TEST, 28, 28), (N_TRAIN,), (N_TEST,)


def _decoded_header() -> bytes:
    size = sum(map(math.prod, _shapes()))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (size,)}
    )
    return header.getvalue()


def _open_decoded(path: Path) -> _Parts | None:
    sizes, header = [math.prod(shape) for shape in _shapes()], _decoded_header()
    try:
        # What np.load(path, mmap_mode="r") does, but for the header: comparing it with the one
        # that belongs there is stricter than parsing it.
        with open(path, "rb") as file:
            n_bytes = os.fstat(file.fileno()).st_size
            if file.read(len(header)) != header or n_bytes != len(header) + sum(sizes):
                return None
            flat = np.memmap(file, np.uint8, "r", offset=len(header), shape=(sum(sizes),))
    except OSError:
        return None
    # Plain arrays on top of the map: every slice of a memmap pays for its Python subclass.
    pieces = np.split(np.asarray(flat), np.cumsum(sizes)[:-1])
    a, b, c, d = (piece.reshape(shape) for piece, shape in zip(pieces, _shapes(), strict=True))
    return a, b, c, d


def _write_decoded(path: Path, parts: _Parts) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(_decoded_header())
        for part in parts:
            file.write(part.data)


def _read_files(cache: Path) -> _Parts:
    found = _find_files(cache)
    missing = [name for name in MD5 if name not in found]
    if not missing:
        return _decode(found)
    with _download_folder(cache) as folder:
        return _decode(found | _download(missing, folder))


def _find_files(cache: Path) -> dict[str, Path]:
    found = {}
    data_folder = _data_folder()
    for name, expected in MD5.items():
        if data_folder is not None and (path := data_folder / name).is_file():
            if (got := _md5(path)) != expected:
                raise ValueError(f"{path}: the MD5 is {got}, expected {expected}")
            found[name] = path
            continue
        with suppress(OSError):
            if _md5(path := cache / name) == expected:
                found[name] = path
    return found


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _decode(paths: dict[str, Path]) -> _Parts:
    train_images, train_labels, test_images, test_labels = (paths[name] for name in MD5)
    a, c = read_pair(train_images, train_labels, len(CLASS_NAMES))
    b, d = read_pair(test_images, test_labels, len(CLASS_NAMES))
    return a, b, c, d


@contextmanager
def _download_folder(cache: Path) -> Iterator[Path]:
    """Yield the cache, or a folder for the moment if the cache cannot be written."""
    import tempfile  # here, as a run from the cache has no use for it

    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            writable = True
    except OSError:
        writable = False
    if writable:
        yield cache
    else:
        with tempfile.TemporaryDirectory(prefix="fastsoftmax-") as folder:
            yield Path(folder)


def _download(names: list[str], folder: Path) -> dict[str, Path]:
    import logging

    import pooch  # type: ignore[import-untyped]

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
            except (OSError, ValueError) as error:  # requests' errors are OSErrors
                failures.append((url, error))
        raise DatasetUnavailableError(_explain(failures))
    finally:
        logger.removeFilter(is_serious)


def _explain(failures: list[tuple[str, Exception]]) -> str:
    kinds = ", ".join(dict.fromkeys(type(error).__name__ for _, error in failures))
    data_folder = _data_folder()
    lines = [
        f"Fashion-MNIST is not on this machine and could not be downloaded ({kinds}).",
        "Looked in:",
        f"  {data_folder or '$FASTSOFTMAX_DATA_DIR/fashion-mnist (the variable is not set)'}",
        f"  {cache_folder()}",
        "Tried to download:",
        *(f"  {url}\n    {type(error).__name__}: {error}" for url, error in failures),
        "To do it by hand, put these files into one of the two folders:",
        *(f"  {name}" for name in MD5),
    ]
    return "\n".join(lines)
