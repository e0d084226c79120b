"""Downloads: each mirror is tried, what is broken leaves nothing behind."""

from __future__ import annotations

import shutil
import time

import pytest

from fastsoftmax.datasets import (
    DatasetUnavailableError,
    fashion_mnist,
    load_dataset,
)
from helpers.data import NAMES, assert_is, decoded_file, files_below, use_folder


def test_download(monkeypatch, small, serve, pooch_lines):
    address, asked = serve(small["folder"].parent)
    monkeypatch.setattr(fashion_mnist, "MIRRORS", (f"{address}/fashion-mnist/",))
    assert_is(load_dataset("fashion-mnist"), small)
    assert asked == [f"/fashion-mnist/{name}" for name in NAMES]
    assert files_below(fashion_mnist.cache_folder()) == sorted([decoded_file().name, *NAMES])
    (line,) = pooch_lines
    assert line.startswith("Downloading Fashion-MNIST")

    # What was downloaded is used again.
    decoded_file().unlink()
    assert_is(load_dataset("fashion-mnist"), small)
    assert len(asked) == len(NAMES)


def test_pooch_is_as_talkative_afterwards_as_before(small, pooch_lines):
    import pooch

    with pytest.raises(DatasetUnavailableError):
        load_dataset("fashion-mnist")
    pooch.get_logger().info("still here")
    assert pooch_lines[1:] == ["still here"]


def test_the_next_mirror_is_tried(monkeypatch, small, serve):
    address, asked = serve(small["folder"].parent)
    mirrors = (*fashion_mnist.MIRRORS, f"{address}/absent/", f"{address}/fashion-mnist/")
    monkeypatch.setattr(fashion_mnist, "MIRRORS", mirrors)
    assert_is(load_dataset("fashion-mnist"), small)
    # A mirror that failed is not asked again for the other files.
    good = [f"/fashion-mnist/{name}" for name in NAMES]
    assert asked == [f"/absent/{NAMES[0]}", *good]


def test_a_mirror_that_breaks_off_is_followed_up_by_the_next(monkeypatch, small, serve, tmp_path):
    half = tmp_path / "half"
    half.mkdir()
    shutil.copy(small["folder"] / NAMES[0], half)
    first, asked_first = serve(half)
    second, asked_second = serve(small["folder"])
    monkeypatch.setattr(fashion_mnist, "MIRRORS", (f"{first}/", f"{second}/"))
    assert_is(load_dataset("fashion-mnist"), small)
    assert asked_first == [f"/{name}" for name in NAMES[:2]]
    assert asked_second == [f"/{name}" for name in NAMES[1:]]


def test_only_what_is_missing_is_downloaded(monkeypatch, small, serve, tmp_path):
    address, asked = serve(small["folder"].parent)
    monkeypatch.setattr(fashion_mnist, "MIRRORS", (f"{address}/fashion-mnist/",))
    data_folder = tmp_path / "data" / "fashion-mnist"
    data_folder.mkdir(parents=True)
    shutil.copy(small["folder"] / NAMES[0], data_folder)
    use_folder(monkeypatch, data_folder)
    # A wrong file in the cache is not the user's: it is replaced.
    fashion_mnist.cache_folder().mkdir(parents=True)
    (fashion_mnist.cache_folder() / NAMES[1]).write_bytes(b"half a file")
    shutil.copy(small["folder"] / NAMES[2], fashion_mnist.cache_folder())
    assert_is(load_dataset("fashion-mnist"), small)
    assert asked == [f"/fashion-mnist/{name}" for name in (NAMES[1], NAMES[3])]


@pytest.mark.parametrize("damage", ["changed", "cut"])
def test_a_broken_download_leaves_nothing_behind(monkeypatch, small, serve, damage, tmp_path):
    name = NAMES[0]
    content = (small["folder"] / name).read_bytes()
    broken = content[:-1] + b"x" if damage == "changed" else content[: len(content) // 2]
    (small["folder"] / name).write_bytes(broken)
    address, _ = serve(small["folder"].parent)
    monkeypatch.setattr(fashion_mnist, "MIRRORS", (f"{address}/fashion-mnist/",))
    with pytest.raises(DatasetUnavailableError, match=r"(?s)\(ValueError\).*MD5"):
        load_dataset("fashion-mnist")
    assert files_below(tmp_path / "cache") == []


def test_a_download_without_a_writable_cache(monkeypatch, small, serve, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("FASTSOFTMAX_CACHE_DIR", str(tmp_path / "file"))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    address, _ = serve(small["folder"].parent)
    monkeypatch.setattr(fashion_mnist, "MIRRORS", (f"{address}/fashion-mnist/",))
    assert_is(load_dataset("fashion-mnist"), small)
    assert list(scratch.iterdir()) == []


def test_a_mirror_that_hangs_is_given_up(monkeypatch, small, serve):
    address, asked = serve(small["folder"].parent, delay=1.0)
    monkeypatch.setattr(fashion_mnist, "MIRRORS", (f"{address}/fashion-mnist/",))
    monkeypatch.setattr(fashion_mnist, "TIMEOUT", (0.2, 0.2))
    began = time.perf_counter()
    with pytest.raises(DatasetUnavailableError, match="Timeout"):
        load_dataset("fashion-mnist")
    assert time.perf_counter() - began < 0.9
    assert len(asked) == 1


def test_unavailable_says_where_what_and_how(monkeypatch, small, tmp_path):
    with pytest.raises(DatasetUnavailableError) as caught:
        load_dataset("fashion-mnist")
    message = str(caught.value)
    assert isinstance(caught.value, OSError)
    assert "FASTSOFTMAX_DATA_DIR" in message
    assert str(tmp_path / "cache" / "fashion-mnist") in message
    assert fashion_mnist.MIRRORS[0] in message and "ConnectionError" in message
    assert "by hand" in message and all(name in message for name in NAMES)

    monkeypatch.setenv("FASTSOFTMAX_DATA_DIR", str(tmp_path / "given"))
    with pytest.raises(DatasetUnavailableError) as caught:
        load_dataset("fashion-mnist")
    assert str(tmp_path / "given" / "fashion-mnist") in str(caught.value)
