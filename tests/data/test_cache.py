"""The cache of decoded data: read, rebuilt if it is broken, left out if it cannot be written."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from fastsoftmax.datasets import (
    fashion_mnist,
    load_dataset,
)
from fastsoftmax.datasets.idx import write_idx
from helpers.data import NAMES, assert_is, decoded_file, files_below, use_folder


def test_without_an_override_the_cache_is_where_pooch_would_put_it(monkeypatch):
    import pooch

    usual = Path(pooch.os_cache("fastsoftmax")) / "fashion-mnist"
    monkeypatch.delenv("FASTSOFTMAX_CACHE_DIR")
    assert fashion_mnist.cache_folder() == usual
    monkeypatch.setenv("FASTSOFTMAX_CACHE_DIR", "")
    assert fashion_mnist.cache_folder() == usual


def test_the_second_load_reads_only_the_decoded_cache(monkeypatch, small):
    use_folder(monkeypatch, small["folder"])
    load_dataset("fashion-mnist")
    assert files_below(fashion_mnist.cache_folder()) == [decoded_file().name]

    def touched(*args):
        raise AssertionError("the packed files were looked at")

    monkeypatch.setattr("fastsoftmax.datasets.published.read", touched)
    assert_is(load_dataset("fashion-mnist"), small)
    monkeypatch.delenv("FASTSOFTMAX_DATA_DIR")
    shutil.rmtree(small["folder"])
    assert_is(load_dataset("fashion-mnist"), small)


def test_the_pictures_are_a_read_only_memory_map(monkeypatch, small):
    use_folder(monkeypatch, small["folder"])
    for _ in range(2):
        images = load_dataset("fashion-mnist").test_images
        assert not images.flags.writeable
        bases = []
        while isinstance(images, np.ndarray):
            bases.append(type(images))
            images = images.base
        assert np.memmap in bases
    flat = np.load(decoded_file(), mmap_mode="r")
    np.testing.assert_array_equal(flat[: 30 * 784], small["train_images"].ravel())
    assert flat.offset % 64 == 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[:100],
        lambda content: b"",
        lambda content: content + b"\0",
        lambda content: b"PK\3\4" + content[4:],
        lambda content: content.replace(b"'|u1'", b"'|i1'"),
        lambda content: content.replace(b"{'descr'", b"}'descr'"),
        lambda content: bytes(len(content)),
        lambda content: content[:-54] + bytes(50) + content[-4:],
        lambda content: content[:-5] + b"\xc8" + content[-4:],
        lambda content: content[:500] + bytes([content[500] ^ 1]) + content[501:],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    ],
    ids=[
        *("short", "header only", "empty", "long", "magic", "dtype", "header", "zeros"),
        *("labels of 0", "a label of 200", "a pixel", "checksum"),
    ],
)
def test_a_broken_cache_is_rebuilt(monkeypatch, small, damage):
    use_folder(monkeypatch, small["folder"])
    load_dataset("fashion-mnist")
    good = decoded_file().read_bytes()
    assert damage(good) != good
    decoded_file().write_bytes(damage(good))
    assert_is(load_dataset("fashion-mnist"), small)
    assert decoded_file().read_bytes() == good


def test_the_cache_of_other_data_is_not_mistaken_for_this(monkeypatch, small):
    use_folder(monkeypatch, small["folder"])
    load_dataset("fashion-mnist")
    changed = 255 - small["train_images"]
    write_idx(small["folder"] / NAMES[0], changed)
    md5 = hashlib.md5((small["folder"] / NAMES[0]).read_bytes()).hexdigest()
    monkeypatch.setitem(fashion_mnist.MD5, NAMES[0], md5)
    assert_is(load_dataset("fashion-mnist"), {**small, "train_images": changed})


@pytest.mark.parametrize("damage", [b"", b"\0" * 10])
def test_a_decoded_file_is_never_more_than_it_was(damage, monkeypatch, small):
    """A file that is cut while it is read counts as missing, as any broken one does."""
    use_folder(monkeypatch, small["folder"])
    load_dataset("fashion-mnist")
    memmap = np.memmap

    def cut_before(*args, **kwargs):
        decoded_file().write_bytes(damage)
        monkeypatch.setattr(np, "memmap", memmap)
        return memmap(*args, **kwargs)

    monkeypatch.setattr(np, "memmap", cut_before)
    assert_is(load_dataset("fashion-mnist"), small)


@pytest.mark.parametrize("reason", ["folder below a file", "name taken by a folder"])
def test_a_cache_that_cannot_be_written_is_done_without(monkeypatch, small, tmp_path, reason):
    use_folder(monkeypatch, small["folder"])
    if reason == "folder below a file":
        (tmp_path / "file").write_bytes(b"")
        monkeypatch.setenv("FASTSOFTMAX_CACHE_DIR", str(tmp_path / "file" / "cache"))
    else:
        load_dataset("fashion-mnist")
        path = decoded_file()
        path.unlink()
        path.mkdir()
    for _ in range(2):
        dataset = load_dataset("fashion-mnist")
        assert_is(dataset, small)
        assert not dataset.train_images.flags.writeable
    assert files_below(tmp_path / "cache") == []


FULL = """
import resource, warnings
warnings.simplefilter("error")
from fastsoftmax.datasets import fashion_mnist
fashion_mnist.MD5, fashion_mnist.N_TRAIN, fashion_mnist.N_TEST = {md5!r}, 30, 20
fashion_mnist.MIRRORS = ({mirror!r},)
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, resource.RLIM_INFINITY))
data = fashion_mnist.load()
print(int(data.train_images.sum()), data.train_labels.tolist())
"""


@pytest.mark.skipif(os.name != "posix", reason="needs a limit of file sizes")
def test_a_full_disk_is_done_without(monkeypatch, small, run_python, tmp_path):
    code = FULL.format(md5=fashion_mnist.MD5, mirror="http://127.0.0.1:1/", size=20_000)
    result = run_python(code, FASTSOFTMAX_DATA_DIR=str(small["folder"].parent))
    assert result.stderr == ""
    labels = small["train_labels"].tolist()
    assert result.stdout == f"{int(small['train_images'].sum(dtype=int))} {labels}\n"
    assert files_below(tmp_path / "cache") == []


def test_a_download_to_a_full_cache(monkeypatch, small, serve, tmp_path):
    """A temporary folder is used, which may be on another disk."""
    import pooch.downloaders

    address, _ = serve(small["folder"].parent)
    monkeypatch.setattr(fashion_mnist, "MIRRORS", (f"{address}/fashion-mnist/",))
    download = pooch.downloaders.HTTPDownloader.__call__

    def full(self, url, output_file, *args, **kwargs):
        if str(tmp_path / "cache") in str(output_file):
            raise OSError(errno.ENOSPC, "No space left on device")
        return download(self, url, output_file, *args, **kwargs)

    monkeypatch.setattr(pooch.downloaders.HTTPDownloader, "__call__", full)
    assert_is(load_dataset("fashion-mnist"), small)
    assert files_below(tmp_path / "cache") == [decoded_file().name]


def test_many_first_loads_at_once(monkeypatch, small):
    use_folder(monkeypatch, small["folder"])
    start, results = threading.Barrier(8), []

    def run():
        start.wait()
        results.append(load_dataset("fashion-mnist"))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    for dataset in results:
        assert_is(dataset, small)
    assert files_below(fashion_mnist.cache_folder()) == [decoded_file().name]
