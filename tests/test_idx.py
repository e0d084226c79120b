"""The IDX format: what goes in comes out, and what is broken is named."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import struct
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastsoftmax.datasets.idx import read_images, read_labels, read_pair, write_idx

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
LABELS = np.array([3, 9], np.uint8)


def header(*shape, magic=0x0800):
    return struct.pack(f">I{len(shape)}I", magic | len(shape), *shape)


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


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "empty: there is nothing in it"),
        (b"\0\0\x08", "truncated: 3 bytes"),
        (header(2, 3, 4)[:10], "truncated: 10 bytes"),
        (header(2, 3, 4) + bytes(23), r"truncated: .*\(2, 3, 4\), that is 24 bytes, but 23"),
        (header(2, 3, 4) + bytes(25), r"overlong: .*24 bytes, but 25"),
        (header(2, 3, 4, magic=0x0D00) + bytes(96), "wrong magic 00000d03.* but of float32"),
        (header(2, 3, 4, magic=0x0900) + bytes(24), "wrong magic 00000903.* but of int8"),
        (header(2, 3, 4, magic=0x0A00) + bytes(24), "wrong magic 00000a03: not an IDX file of"),
        (b" \r\n<html>", "not an IDX file, but HTML"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>", "not an IDX file, but HTML or XML"),
        (b'{"message": "Not Found"}', "not an IDX file, but JSON"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not an IDX file, but a pointer"),
        (b"PK\3\4" + bytes(40), "not an IDX file, but a zip archive"),
        (b"\x93NUMPY\1\0", "not an IDX file, but a file of NumPy"),
        (header(2, 3, 4, magic=0x01000800) + bytes(24), "wrong magic 01000803"),
        (header(24) + bytes(24), "1 dimensions where 3 are expected"),
        (header(2, 3, 2, 2) + bytes(24), "4 dimensions where 3 are expected"),
        (header(0, 28, 28), "empty"),
        (header(0, 2**32 - 1, 2**32 - 1), "empty"),
        (header(2**32 - 1, 0, 28), "empty"),
        # The first product is 0 modulo 2**64, the second 24.
        (header(2**31, 2**31, 4), "truncated"),
        (header(2**31, 2**30, 8) + bytes(24), "truncated"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_broken_files_are_named_with_the_reason(tmp_path, content, reason, packed):
    path = tmp_path / "some-images"
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(ValueError, match=f"some-images: {reason}") as caught:
        read_images(path)
    assert str(path) in str(caught.value)


def test_labels_are_checked_like_images(tmp_path):
    path = tmp_path / "some-labels"
    path.write_bytes(header(2, 3, 4) + bytes(24))
    with pytest.raises(ValueError, match="some-labels: 3 dimensions where 1 are expected"):
        read_labels(path)
    path.write_bytes(header(5) + bytes(4))
    with pytest.raises(ValueError, match="some-labels: truncated"):
        read_labels(path)


def test_the_header_alone_allocates_nothing(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(header(60_000, 28, 28))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="truncated"):
            read_images(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@given(st.data())
def test_damaged_gzip_is_a_value_error_or_harmless(data):
    content = gzip.compress(header(2, 3, 4) + IMAGES.tobytes(), mtime=0)
    where = data.draw(st.integers(0, len(content) - 1))
    how = data.draw(st.sampled_from(["cut", "change", "append"]))
    if how == "cut":
        broken = content[:where]
    elif how == "change":
        broken = bytearray(content)
        broken[where] ^= data.draw(st.integers(1, 255))
    else:
        broken = content + data.draw(st.binary(min_size=1, max_size=20))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "images.gz")
        path.write_bytes(broken)
        try:
            got = read_images(path)
        except ValueError as error:
            assert str(error).startswith(str(path))
        else:  # a time or an operating system in the header, or padding of zeros
            assert how != "cut"
            np.testing.assert_array_equal(got, IMAGES)


@pytest.mark.parametrize(
    "pack, reason",
    [(gzip.compress, "gzip within gzip"), (bz2.compress, "bzip2"), (lzma.compress, "xz")],
)
def test_packed_twice(tmp_path, pack, reason):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(pack(header(2, 3, 4) + IMAGES.tobytes())))
    with pytest.raises(ValueError, match=rf"images\.gz: not an IDX file, but .*{reason}"):
        read_images(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-9],  # EOFError
        lambda content: content[:20] + b"\xff" * 9 + content[29:],  # zlib.error
        lambda content: content[:-8] + bytes(4) + content[-4:],  # BadGzipFile, the checksum
    ],
)
def test_corrupt_gzip_is_named(tmp_path, damage):
    path = tmp_path / "images.gz"
    path.write_bytes(damage(gzip.compress(header(2, 3, 4) + IMAGES.tobytes(), mtime=0)))
    with pytest.raises(ValueError, match=r"images\.gz: broken gzip: "):
        read_images(path)


@given(st.binary(max_size=40))
@example(b"\x1f\x8b")
def test_noise_is_a_value_error(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "noise")
        path.write_bytes(content)
        for read in (read_images, read_labels):
            try:
                read(path)
            except ValueError as error:
                assert str(error).startswith(str(path))


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


def test_a_missing_file_stays_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        read_images(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="absent"):
        read_labels(tmp_path / "absent.gz")


@pytest.mark.parametrize(
    "array, error, reason",
    [
        (np.zeros((2, 2), np.int16), TypeError, "must be of uint8, not int16"),
        (np.zeros((0, 28, 28), np.uint8), ValueError, "nothing to write"),
        (np.array(7, np.uint8), ValueError, "nothing to write"),
    ],
)
def test_what_cannot_be_written(tmp_path, array, error, reason):
    with pytest.raises(error, match=f"images: .*{reason}"):
        write_idx(tmp_path / "images", array)
    assert not list(tmp_path.iterdir())


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
