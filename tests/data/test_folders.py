"""Fashion-MNIST from a folder, packed or not; a file that is another is named."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest

from fastsoftmax.datasets import (
    DatasetUnavailableError,
    fashion_mnist,
    load_dataset,
)
from helpers.data import NAMES, REAL_DATA_DIR, assert_is, decoded_file, files_below, use_folder


def test_from_the_data_folder(monkeypatch, small):
    use_folder(monkeypatch, small["folder"])
    assert_is(load_dataset("fashion-mnist"), small)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_is(load_dataset(), small)


def test_from_packed_files_put_into_the_cache_by_hand(small):
    shutil.copytree(small["folder"], fashion_mnist.cache_folder())
    assert_is(load_dataset("fashion-mnist"), small)


def test_files_may_come_from_both_folders(monkeypatch, small, tmp_path):
    use_folder(monkeypatch, small["folder"])
    fashion_mnist.cache_folder().mkdir(parents=True)
    (small["folder"] / NAMES[2]).rename(fashion_mnist.cache_folder() / NAMES[2])
    assert_is(load_dataset("fashion-mnist"), small)


def decompress(folder, name, keep=False):
    plain = folder / name.removesuffix(".gz")
    plain.write_bytes(gzip.decompress((folder / name).read_bytes()))
    if not keep:
        (folder / name).unlink()
    return plain


@pytest.mark.parametrize("where", ["data", "cache"])
@pytest.mark.parametrize("names", [NAMES, NAMES[1:2]], ids=["all", "one"])
def test_files_that_were_decompressed_by_hand(monkeypatch, small, names, where):
    for name in names:
        plain = decompress(small["folder"], name)
        md5 = hashlib.md5(plain.read_bytes()).hexdigest()
        monkeypatch.setitem(fashion_mnist.MD5_DECOMPRESSED, plain.name, md5)
    if where == "data":
        use_folder(monkeypatch, small["folder"])
    else:
        shutil.copytree(small["folder"], fashion_mnist.cache_folder())
    assert_is(load_dataset("fashion-mnist"), small)


def test_where_both_are_the_compressed_file_is_read(monkeypatch, small):
    decompress(small["folder"], NAMES[0], keep=True).write_bytes(b"something else")
    use_folder(monkeypatch, small["folder"])
    assert_is(load_dataset("fashion-mnist"), small)


IDX = struct.pack(">I3I", 0x0803, 30, 28, 28) + bytes(30 * 784)
WRONG_FILES = {
    "another set": (IDX, "not that of Fashion-MNIST"),
    "a page": (b"\n<!DOCTYPE html><html>", "HTML"),
    "a page in gzip": (gzip.compress(b"<html>"), "HTML"),
    "twice": (gzip.compress(gzip.compress(IDX)), "gzip within gzip"),
    "another type": (struct.pack(">I3I", 0x0D03, 1, 1, 1) + bytes(4), "but of float32"),
    "cut": (gzip.compress(IDX)[:-20], "truncated"),
    "cut and decompressed": (IDX[:-20], "truncated"),
    "nothing": (b"", "empty"),
    "nothing in gzip": (gzip.compress(b""), "empty"),
    "a folder": (None, "it is a folder"),
}


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("case", WRONG_FILES)
def test_what_is_wrong_with_a_file_is_named(monkeypatch, small, case, suffix):
    content, reason = WRONG_FILES[case]
    path = small["folder"] / NAMES[0].removesuffix(".gz")
    (small["folder"] / NAMES[0]).unlink()
    path = path.with_name(path.name + suffix)
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    use_folder(monkeypatch, small["folder"])
    with pytest.raises(ValueError, match=reason) as caught:
        load_dataset("auto")
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    # In the cache it counts as missing
    shutil.copytree(small["folder"], fashion_mnist.cache_folder())
    monkeypatch.delenv("FASTSOFTMAX_DATA_DIR")
    with pytest.raises(DatasetUnavailableError):
        load_dataset("fashion-mnist")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dataset", ["fashion-mnist", "auto"])
def test_a_wrong_file_in_the_data_folder_is_named(monkeypatch, small, name, dataset):
    use_folder(monkeypatch, small["folder"])
    expected = fashion_mnist.MD5[name]
    (small["folder"] / name).write_bytes(b"something else")
    got = hashlib.md5(b"something else").hexdigest()
    with pytest.raises(ValueError, match=f"{name}: the MD5 is {got}, expected {expected}"):
        load_dataset(dataset)
    assert files_below(fashion_mnist.cache_folder()) == []


def test_a_tilde_is_the_home_folder(monkeypatch, small, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("FASTSOFTMAX_DATA_DIR", os.path.join("~", "source"))
    monkeypatch.setenv("FASTSOFTMAX_CACHE_DIR", os.path.join("~", "elsewhere"))
    assert_is(load_dataset("fashion-mnist"), small)
    assert fashion_mnist.cache_folder() == tmp_path / "elsewhere" / "fashion-mnist"
    assert decoded_file().is_file()


# ---- the real data ----


def test_real_data_decompressed_by_hand(monkeypatch, tmp_path):
    if REAL_DATA_DIR is None:
        pytest.skip("FASTSOFTMAX_DATA_DIR is not set")
    folder = tmp_path / "by-hand" / "fashion-mnist"
    folder.mkdir(parents=True)
    for name in NAMES:
        content = Path(REAL_DATA_DIR, "fashion-mnist", name).read_bytes()
        (folder / name.removesuffix(".gz")).write_bytes(gzip.decompress(content))
    use_folder(monkeypatch, folder)
    assert np.bincount(load_dataset("fashion-mnist").train_labels).tolist() == [6000] * 10


def test_real_data(monkeypatch):
    if REAL_DATA_DIR is None:
        pytest.skip("FASTSOFTMAX_DATA_DIR is not set")
    monkeypatch.setenv("FASTSOFTMAX_DATA_DIR", REAL_DATA_DIR)
    for _ in range(2):  # from the packed files, then from the cache
        dataset = load_dataset("fashion-mnist")
        assert dataset.train_images.shape == (60_000, 28, 28)
        assert dataset.test_images.shape == (10_000, 28, 28)
        assert dataset.train_labels[:5].tolist() == [9, 0, 0, 3, 0]
        assert np.bincount(dataset.train_labels).tolist() == [6000] * 10
        assert np.bincount(dataset.test_labels).tolist() == [1000] * 10
        assert dataset.train_images.sum(dtype=np.int64) == 3_431_114_169
        assert dataset.test_images.sum(dtype=np.int64) == 573_469_082
    assert decoded_file().stat().st_size == 128 + 70_000 * (784 + 1) + 4
