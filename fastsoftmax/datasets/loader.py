"""Loads any dataset that has a `Specification`: from the cache, else from its four files."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np

from . import cache
from .dataset import Dataset
from .specification import Parts, Specification


def load(spec: Specification) -> Dataset:
    """The dataset; its pictures are a memory map where the cache can be written.

    Raises
    ------
    DatasetUnavailableError
        A file is missing and no mirror has it.
    ValueError
        A file in ``FASTSOFTMAX_DATA_DIR`` has the wrong MD5.
    """
    parts = _parts(spec)
    return Dataset(
        parts.train_images,
        parts.train_labels.astype(np.int32),
        parts.test_images,
        parts.test_labels.astype(np.int32),
        spec.class_names,
        spec.name,
    )


def _parts(spec: Specification) -> Parts:
    """From the decoded file; where there is none, it is made."""
    folder = cache.folder(spec.name)
    if folder is None:
        return _read(spec, None)
    cache.clean(folder)
    path = cache.decoded_path(folder, spec)
    parts = cache.open_decoded(path, spec)
    if parts is None:
        parts = _read(spec, folder)
        with suppress(OSError):
            cache.write_decoded(path, spec, parts)
            # The memory map takes the place of the arrays: their memory is free again, and a
            # first run trains on the same kind of pages as a second.
            parts = cache.open_decoded(path, spec) or parts
    return parts


def _read(spec: Specification, cache_folder: Path | None) -> Parts:
    from . import published  # here, as a run from the cache has no use for it

    return published.read(spec, cache_folder)
