"""The four files of Fashion-MNIST, and what is loaded from them."""

from __future__ import annotations

import os
import struct

import numpy as np

from fastsoftmax.datasets import fashion_mnist

REAL_DATA_DIR = os.environ.get("FASTSOFTMAX_DATA_DIR")  # before a fixture hides it
NAMES = tuple(fashion_mnist.MD5)


def use_folder(monkeypatch, folder):
    monkeypatch.setenv("FASTSOFTMAX_DATA_DIR", str(folder.parent))


def decoded_file():
    (path,) = fashion_mnist.cache_folder().glob("decoded-*.npy")
    return path


def files_below(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def assert_is(dataset, true):
    assert dataset.name == "fashion-mnist"
    assert dataset.class_names == fashion_mnist.CLASS_NAMES
    for part in ("train", "test"):
        images, labels = getattr(dataset, f"{part}_images"), getattr(dataset, f"{part}_labels")
        assert type(images) is np.ndarray
        assert images.dtype == np.uint8 and images.flags.c_contiguous
        assert labels.dtype == np.int32 and labels.flags.c_contiguous
        np.testing.assert_array_equal(images, true[f"{part}_images"])
        np.testing.assert_array_equal(labels, true[f"{part}_labels"])


IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def idx_header(*shape, magic=0x0800):
    """The header of an IDX file, by default of unsigned bytes."""
    return struct.pack(f">I{len(shape)}I", magic | len(shape), *shape)
