"""Fashion-MNIST: its names, digests and mirrors. `loader` does the rest."""

from __future__ import annotations

from pathlib import Path

from . import cache, loader
from .dataset import CLASS_NAMES, Dataset, DatasetUnavailableError
from .specification import Specification

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
# Seconds, to connect and between two bytes. The first is short: without a network somebody waits.
TIMEOUT = (4.0, 20.0)


def specification() -> Specification:
    """What `loader` must know of Fashion-MNIST."""
    return Specification(
        name=NAME,
        title="Fashion-MNIST",
        namesakes="those of MNIST",
        download_size="30 MB",
        md5=MD5,
        md5_decompressed=MD5_DECOMPRESSED,
        mirrors=MIRRORS,
        timeout=TIMEOUT,
        n_train=N_TRAIN,
        n_test=N_TEST,
        image_shape=(28, 28),
        class_names=CLASS_NAMES,
    )


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
    return loader.load(specification())


def cache_folder() -> Path | None:
    """Return the folder of the cache; it need not exist.

    Returns
    -------
    Path or None
        Below ``$FASTSOFTMAX_CACHE_DIR``, or else where the platform keeps caches. None where that
        is in a home folder, and there is none.
    """
    return cache.folder(NAME)
