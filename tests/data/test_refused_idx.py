"""IDX files that are broken: named, with the reason."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastsoftmax.datasets.idx import read_images, read_labels, write_idx
from helpers.data import IMAGES, idx_header


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "empty: there is nothing in it"),
        (b"\0\0\x08", "truncated: 3 bytes"),
        (idx_header(2, 3, 4)[:10], "truncated: 10 bytes"),
        (idx_header(2, 3, 4) + bytes(23), r"truncated: .*\(2, 3, 4\), that is 24 bytes, but 23"),
        (idx_header(2, 3, 4) + bytes(25), r"overlong: .*24 bytes, but 25"),
        (idx_header(2, 3, 4, magic=0x0D00) + bytes(96), "wrong magic 00000d03.* but of float32"),
        (idx_header(2, 3, 4, magic=0x0900) + bytes(24), "wrong magic 00000903.* but of int8"),
        (
            idx_header(2, 3, 4, magic=0x0A00) + bytes(24),
            "wrong magic 00000a03: not an IDX file of",
        ),
        (b" \r\n<html>", "not an IDX file, but HTML"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>", "not an IDX file, but HTML or XML"),
        (b'{"message": "Not Found"}', "not an IDX file, but JSON"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not an IDX file, but a pointer"),
        (b"PK\3\4" + bytes(40), "not an IDX file, but a zip archive"),
        (b"\x93NUMPY\1\0", "not an IDX file, but a file of NumPy"),
        (idx_header(2, 3, 4, magic=0x01000800) + bytes(24), "wrong magic 01000803"),
        (idx_header(24) + bytes(24), "1 dimensions where 3 are expected"),
        (idx_header(2, 3, 2, 2) + bytes(24), "4 dimensions where 3 are expected"),
        (idx_header(0, 28, 28), "empty"),
        (idx_header(0, 2**32 - 1, 2**32 - 1), "empty"),
        (idx_header(2**32 - 1, 0, 28), "empty"),
        # The first product is 0 modulo 2**64, the second 24.
        (idx_header(2**31, 2**31, 4), "truncated"),
        (idx_header(2**31, 2**30, 8) + bytes(24), "truncated"),
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
    path.write_bytes(idx_header(2, 3, 4) + bytes(24))
    with pytest.raises(ValueError, match="some-labels: 3 dimensions where 1 are expected"):
        read_labels(path)
    path.write_bytes(idx_header(5) + bytes(4))
    with pytest.raises(ValueError, match="some-labels: truncated"):
        read_labels(path)


@given(st.data())
def test_damaged_gzip_is_a_value_error_or_harmless(data):
    content = gzip.compress(idx_header(2, 3, 4) + IMAGES.tobytes(), mtime=0)
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
    path.write_bytes(gzip.compress(pack(idx_header(2, 3, 4) + IMAGES.tobytes())))
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
    path.write_bytes(damage(gzip.compress(idx_header(2, 3, 4) + IMAGES.tobytes(), mtime=0)))
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
