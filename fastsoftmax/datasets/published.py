"""The four files of a dataset as they were published: found, checked, downloaded, decoded.

Design
------
Each file is taken from the first place that has it: ``$FASTSOFTMAX_DATA_DIR``, the cache, a
mirror. In the first two it may be decompressed, without ``.gz`` in its name. A wrong MD5 in the
data folder is an error, as somebody put that file there on purpose; in the cache such a file
counts as missing.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from . import cache
from .dataset import DatasetUnavailableError
from .idx import read_images, read_labels, read_pair
from .specification import Parts, Specification


def read(spec: Specification, cache_folder: Path | None) -> Parts:
    """The content of the files; what is missing is downloaded into the cache if it can be."""
    found = _find(spec, cache_folder)
    missing = [name for name in spec.md5 if name not in found]
    if not missing:
        return _decode(spec, found)
    if cache_folder is not None:
        try:
            cache_folder.mkdir(parents=True, exist_ok=True)
            return _decode(spec, found | _download(spec, missing, cache_folder))
        except DatasetUnavailableError:
            raise
        except OSError:  # the cache cannot be written, or is full
            pass
    import tempfile

    try:
        with tempfile.TemporaryDirectory(prefix="fastsoftmax-") as folder:
            return _decode(spec, found | _download(spec, missing, Path(folder)))
    except DatasetUnavailableError:
        raise
    except OSError as error:
        explanation = _explain(spec, [("a temporary folder", error)])
        raise DatasetUnavailableError(explanation) from error


def _decode(spec: Specification, paths: dict[str, Path]) -> Parts:
    train_images, train_labels, test_images, test_labels = (paths[name] for name in spec.md5)
    n_classes = len(spec.class_names)
    x_train, y_train = read_pair(train_images, train_labels, n_classes)
    x_test, y_test = read_pair(test_images, test_labels, n_classes)
    return Parts(x_train, x_test, y_train, y_test)


# ---- on this machine ----


def _data_folder(spec: Specification) -> Path | None:
    given = os.environ.get("FASTSOFTMAX_DATA_DIR")
    return Path(os.path.expanduser(given)) / spec.name if given else None


def _find(spec: Specification, cache_folder: Path | None) -> dict[str, Path]:
    """The path of each file that is here, by its name."""
    found = {}
    data_folder = _data_folder(spec)
    for name, md5 in spec.md5.items():
        plain = name.removesuffix(".gz")
        spellings = {name: md5, plain: spec.md5_decompressed[plain]}
        path = data_folder and _given(spec, data_folder, spellings)
        if not path and cache_folder:
            path = _cached(cache_folder, spellings)
        if path:
            found[name] = path
    return found


def _given(spec: Specification, folder: Path, spellings: dict[str, str]) -> Path | None:
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
                f"{path}: the MD5 is {got}, expected {expected}: {_what_is_wrong(spec, path)}; "
                "download the file again, or take it away"
            )
        return path
    return None


def _cached(folder: Path, spellings: dict[str, str]) -> Path | None:
    """The file of the cache that has one of these names and its MD5."""
    for name, expected in spellings.items():
        with suppress(OSError):
            if _md5(folder / name) == expected:
                return folder / name
    return None


def _what_is_wrong(spec: Specification, path: Path) -> str:
    read = read_images if "images" in path.name else read_labels
    try:
        read(path)
    except ValueError as error:
        return str(error).removeprefix(f"{path}: ")
    return (
        f"it is an IDX file, but not that of {spec.title} ({spec.namesakes} have the same names)"
    )


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


# ---- from a mirror ----


def _download(spec: Specification, names: list[str], folder: Path) -> dict[str, Path]:
    """Puts these files into the folder, from the first mirror that has all of them."""
    import logging

    import pooch  # type: ignore[import-untyped]
    import requests

    def is_serious(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING

    logger = pooch.get_logger()
    logger.info("Downloading %s (%s) to %s", spec.title, spec.download_size, folder)
    # pooch says a line for each file and mirror: too many. A filter holds them back. The level
    # of its logger does not: the logger stands outside of logging's hierarchy, and remembers its
    # first answer to "is INFO enabled?".
    logger.addFilter(is_serious)
    try:
        downloader = pooch.HTTPDownloader(timeout=spec.timeout)
        failures: list[tuple[str, Exception]] = []
        # Mirrors outside, files inside: one that hangs costs its timeout once, not four times.
        # pooch does not fetch again what the mirror before has delivered.
        for mirror in spec.mirrors:
            paths = {}
            try:
                for name in names:
                    url, md5 = mirror + name, f"md5:{spec.md5[name]}"
                    path = pooch.retrieve(url, md5, name, folder, downloader=downloader)
                    paths[name] = Path(path)
                return paths
            except (requests.RequestException, ValueError) as error:
                failures.append((url, error))  # an OSError of the folder is raised
        raise DatasetUnavailableError(_explain(spec, failures))
    finally:
        logger.removeFilter(is_serious)


def _explain(spec: Specification, failures: list[tuple[str, Exception]]) -> str:
    kinds = ", ".join(dict.fromkeys(type(error).__name__ for _, error in failures))
    not_set = f"$FASTSOFTMAX_DATA_DIR/{spec.name} (the variable is not set)"
    no_cache = "a cache: there is no home folder, and no $FASTSOFTMAX_CACHE_DIR"
    lines = [
        f"{spec.title} is not on this machine and could not be downloaded ({kinds}).",
        "Looked in:",
        f"  {_data_folder(spec) or not_set}",
        f"  {cache.folder(spec.name) or no_cache}",
        "Tried to download:",
        *(f"  {url}\n    {type(error).__name__}: {error}" for url, error in failures),
        "To do it by hand, put these files, decompressed or not, into one of the two folders:",
        *(f"  {name}" for name in spec.md5),
    ]
    return "\n".join(lines)
