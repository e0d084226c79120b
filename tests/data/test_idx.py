"""The IDX format: what goes in comes out."""

from __future__ import annotations

import gzip
import os
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastsoftmax.datasets.idx import read_images, read_labels, read_pair, write_idx
from helpers.data import IMAGES, idx_header

LABELS = np.array([3, 9], np.uint8)


@given(
    images=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=9)),
    suffix=st.sampled_from(["", ".gz"]),
)
def test_images_round_trip(images, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "images" + suffix)
        write_idx(path, images)
        got = read_images(path)
        assert path.read_bytes().startswith(b"\x1f\x8b") == bool(suffix)
    assert got.dtype == np.uint8 and got.shape == images.shape
    np.testing.assert_array_equal(got, images)


@given(
    labels=hnp.arrays(np.uint8, st.integers(1, 50), elements=st.integers(0, 9)),
    suffix=st.sampled_from(["", ".gz"]),
)
def test_labels_round_trip(labels, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "labels" + suffix)  # a str does as well
        write_idx(path, labels)
        got = read_labels(path)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, labels)


def test_the_bytes_are_those_of_the_format(tmp_path):
    write_idx(tmp_path / "labels", LABELS)
    assert (tmp_path / "labels").read_bytes() == bytes([0, 0, 8, 1, 0, 0, 0, 2, 3, 9])
    write_idx(tmp_path / "images", IMAGES)
    start = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4])
    assert (tmp_path / "images").read_bytes() == start + bytes(range(24))


@pytest.mark.parametrize("images", [IMAGES[:, ::-1], IMAGES.T, IMAGES[..., ::2]])
def test_any_memory_order_is_written_in_c_order(tmp_path, images):
    assert not images.flags.c_contiguous
    write_idx(tmp_path / "images", images)
    np.testing.assert_array_equal(read_images(tmp_path / "images"), images)


def test_gzip_is_told_by_content_not_by_name(tmp_path):
    plain, packed = tmp_path / "plain", tmp_path / "packed.gz"
    write_idx(plain, IMAGES)
    write_idx(packed, IMAGES)
    np.testing.assert_array_equal(read_images(plain.rename(tmp_path / "images.gz")), IMAGES)
    np.testing.assert_array_equal(read_images(packed.rename(tmp_path / "images")), IMAGES)


def test_gzip_holds_neither_time_nor_name(tmp_path, monkeypatch):
    write_idx(tmp_path / "a.gz", IMAGES)
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_idx(tmp_path / "b.gz", IMAGES)
    written = (tmp_path / "a.gz").read_bytes()
    assert written == (tmp_path / "b.gz").read_bytes()
    assert written[3] == 0 and written[4:8] == bytes(4)  # no flags, no time


def test_the_header_alone_allocates_nothing(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(idx_header(60_000, 28, 28))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="truncated"):
            read_images(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_labels_out_of_range(tmp_path):
    path = tmp_path / "labels"
    write_idx(path, np.array([1, 9, 10, 200], np.uint8))
    with pytest.raises(ValueError, match="labels: label 10 at index 2, but there are 10 classes"):
        read_labels(path)
    with pytest.raises(ValueError, match="label 9 at index 1, but there are 9 classes"):
        read_labels(path, n_classes=9)
    assert read_labels(path, n_classes=201).max() == 200


def test_pairs(tmp_path):
    images, labels, short = tmp_path / "images", tmp_path / "labels", tmp_path / "short"
    write_idx(images, IMAGES)
    write_idx(labels, LABELS)
    write_idx(short, LABELS[:1])
    got = read_pair(images, labels)
    np.testing.assert_array_equal(got[0], IMAGES)
    np.testing.assert_array_equal(got[1], LABELS)
    with pytest.raises(ValueError, match=r"images holds 2 pictures, but .*short holds 1 labels"):
        read_pair(images, short)
    with pytest.raises(ValueError, match="labels: label 9 at index 1"):
        read_pair(images, labels, n_classes=9)


def test_an_idx_file_is_written_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "images.gz"
    write_idx(path, IMAGES)

    def full(*args):
        raise OSError("no space left")

    monkeypatch.setattr(gzip.GzipFile, "write", full)
    with pytest.raises(OSError, match="no space left"):
        write_idx(path, 255 - IMAGES)
    monkeypatch.undo()
    np.testing.assert_array_equal(read_images(path), IMAGES)
    assert [p.name for p in tmp_path.iterdir()] == ["images.gz"]


@pytest.mark.skipif(os.name != "posix", reason="file modes are those of POSIX")
def test_others_may_read_what_the_umask_allows(tmp_path):
    old = os.umask(0o022)
    try:
        write_idx(tmp_path / "labels", LABELS)
    finally:
        os.umask(old)
    assert (tmp_path / "labels").stat().st_mode & 0o777 == 0o644
