"""Fashion-MNIST from folder, cache and network; the stand-in; and the choice between them."""

from __future__ import annotations

import dataclasses
import errno
import functools
import gzip
import hashlib
import http.server
import logging
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from fastsoftmax.datasets import (
    Dataset,
    DatasetUnavailableError,
    fashion_mnist,
    load_dataset,
    synthetic,
)
from fastsoftmax.datasets.idx import write_idx
from fastsoftmax.files import atomic_write, remove_remains

REAL_DATA_DIR = os.environ.get("FASTSOFTMAX_DATA_DIR")


@pytest.fixture(autouse=True)
def nothing_real(monkeypatch, tmp_path):
    """Keep every test away from the user's folders and from the network."""
    monkeypatch.setenv("FASTSOFTMAX_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("FASTSOFTMAX_DATA_DIR", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as bound:  # bound, but nobody listens: connections are refused at once
        bound.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{bound.getsockname()[1]}/"
        monkeypatch.setattr(fashion_mnist, "MIRRORS", (nobody,))
        yield


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Make four small files pass for Fashion-MNIST; return their folder and the true arrays."""
    folder = tmp_path / "source" / "fashion-mnist"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    true = {"folder": folder}
    for part, prefix, n in (("train", "train", 30), ("test", "t10k", 20)):
        true[f"{part}_images"] = rng.integers(0, 256, (n, 28, 28), np.uint8)
        true[f"{part}_labels"] = rng.integers(0, 10, n, np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", true[f"{part}_images"])
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", true[f"{part}_labels"])
    md5 = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in NAMES}
    monkeypatch.setattr(fashion_mnist, "MD5", md5)
    monkeypatch.setattr(fashion_mnist, "N_TRAIN", 30)
    monkeypatch.setattr(fashion_mnist, "N_TEST", 20)
    return true


NAMES = tuple(fashion_mnist.MD5)


@pytest.fixture
def serve(tmp_path):
    """Serve a folder on 127.0.0.1; return its address and the paths that were asked for."""
    servers = []

    def start(folder, delay=0.0):
        asked = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                time.sleep(delay)
                super().do_GET()

            def log_message(self, *args):
                pass

        handler = functools.partial(Handler, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def pooch_lines():
    """Collect what pooch's logger lets through; it stands apart from those caplog sees."""
    import pooch

    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    pooch.get_logger().addHandler(handler)
    yield lines
    pooch.get_logger().removeHandler(handler)


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


# Fashion-MNIST from a folder


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


# The cache


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

    monkeypatch.setattr(fashion_mnist, "_read_files", touched)
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
    """Cut while it is looked at, it counts as missing, as any other that is broken."""
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


NO_CACHE = {
    "unknown user": {},
    "a home that is no place": {"HOME": "relative"},
    "of nobody": {"FASTSOFTMAX_CACHE_DIR": "~nobody-of-this-name/cache"},
    "of a home that is no place": {"HOME": "relative", "FASTSOFTMAX_CACHE_DIR": "~/cache"},
    "of no home": {"FASTSOFTMAX_CACHE_DIR": "~/cache"},
}


@pytest.fixture
def no_home(monkeypatch, tmp_path):
    """As of a user who is in no list, in a container: nothing may be written in this folder."""

    def unknown(*args):
        raise KeyError("getpwuid(): uid not found: 12345")

    for name in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "FASTSOFTMAX_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    pwd = pytest.importorskip("pwd")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    yield
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("case", NO_CACHE)
def test_no_home_no_cache(case, monkeypatch, small, no_home):
    use_folder(monkeypatch, small["folder"])
    for name, value in NO_CACHE[case].items():
        monkeypatch.setenv(name, value)
    assert fashion_mnist.cache_folder() is None
    for _ in range(2):
        assert_is(load_dataset("fashion-mnist"), small)


@pytest.mark.parametrize("error", [KeyError, RuntimeError, "~/.cache/fastsoftmax"])
def test_no_home_by_every_platformdirs(error, monkeypatch, small, no_home):
    import platformdirs

    def user_cache_dir(name):
        if isinstance(error, str):
            return error
        raise error("no home")

    monkeypatch.setattr(platformdirs, "user_cache_dir", user_cache_dir)
    use_folder(monkeypatch, small["folder"])
    assert fashion_mnist.cache_folder() is None
    assert_is(load_dataset("fashion-mnist"), small)


def test_no_home_and_no_data_either(monkeypatch, small, no_home):
    monkeypatch.setenv("FASTSOFTMAX_DATA_DIR", "~nobody-of-this-name/data")
    with pytest.raises(DatasetUnavailableError, match="no home folder") as caught:
        load_dataset("fashion-mnist")
    assert "  ~nobody-of-this-name/data/fashion-mnist\n" in str(caught.value)
    with pytest.warns(UserWarning, match="could not be downloaded"):
        assert load_dataset("auto").name == "synthetic"


def test_a_download_without_a_home(monkeypatch, small, serve, no_home):
    address, _ = serve(small["folder"].parent)
    monkeypatch.setattr(fashion_mnist, "MIRRORS", (f"{address}/fashion-mnist/",))
    assert_is(load_dataset("fashion-mnist"), small)


def test_no_folder_for_what_is_downloaded(monkeypatch, small, serve, no_home):
    """Neither a cache nor a temporary folder."""
    address, asked = serve(small["folder"].parent)
    monkeypatch.setattr(fashion_mnist, "MIRRORS", (f"{address}/fashion-mnist/",))

    def nowhere(*args, **kwargs):
        raise FileNotFoundError("No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.TemporaryDirectory", nowhere)
    with pytest.raises(DatasetUnavailableError, match="No usable temporary directory"):
        load_dataset("fashion-mnist")
    assert asked == []
    with pytest.warns(UserWarning, match="FileNotFoundError"):
        assert load_dataset().name == "synthetic"


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


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_a_user_who_is_in_no_list(run_python):
    """In truth, not by what stands for it."""
    code = (
        "import os, platformdirs\n"
        "from fastsoftmax.datasets import fashion_mnist\n"
        "fashion_mnist.cache_folder()\n"  # all imports, which the other user may not do
        "for name in ('HOME', 'XDG_CACHE_HOME', 'FASTSOFTMAX_CACHE_DIR'):\n"
        "    os.environ.pop(name, None)\n"
        "os.setuid(54321)\n"
        "print(fashion_mnist.cache_folder())"
    )
    result = run_python(code)
    assert (result.stdout, result.stderr) == ("None\n", "")


# Remains


def make_old(path, content=b"x", hours=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    then = time.time() - 3600 * hours
    os.utime(path, (then, then))


def test_remains_of_killed_runs_are_removed(monkeypatch, small, tmp_path):
    use_folder(monkeypatch, small["folder"])
    cache = fashion_mnist.cache_folder()
    load_dataset("fashion-mnist")
    name = decoded_file().name
    ours = f".{name}.0123456789abcdef.tmp"
    pooch_s = "tmpab12_xyz"
    others = [
        f".{name}.0123456789ABCDEF.tmp",
        f"{name}.0123456789abcdef.tmp",
        f".{name}.0123456789abcdef.tmp2",
        "tmpab12_xy",
        "tmpab12-xyz",
        "notes.txt",
    ]
    for other in (ours, pooch_s, *others):
        make_old(cache / other)
    make_old(cache / ".new.0123456789abcdef.tmp", hours=0.9)  # it may be written just now
    (cache / ".folder.0123456789abcdef.tmp").mkdir()
    decoded_file().unlink()
    assert_is(load_dataset("fashion-mnist"), small)
    assert files_below(cache) == sorted([name, *others, ".new.0123456789abcdef.tmp"])
    assert (cache / ".folder.0123456789abcdef.tmp").is_dir()


def test_remains_that_are_links_are_left_with_what_they_name(monkeypatch, small, tmp_path):
    use_folder(monkeypatch, small["folder"])
    make_old(tmp_path / "precious")
    cache = fashion_mnist.cache_folder()
    cache.mkdir(parents=True)
    (cache / ".link.0123456789abcdef.tmp").symlink_to(tmp_path / "precious")
    load_dataset("fashion-mnist")
    assert (tmp_path / "precious").read_bytes() == b"x"


def test_remains_that_cannot_be_removed_are_no_trouble(monkeypatch, small):
    use_folder(monkeypatch, small["folder"])
    make_old(fashion_mnist.cache_folder() / ".x.0123456789abcdef.tmp")

    def forbidden(*args, **kwargs):
        raise PermissionError("not yours")

    monkeypatch.setattr(os, "unlink", forbidden)
    assert_is(load_dataset("fashion-mnist"), small)


def test_the_name_of_what_is_being_written_is_that_of_remains(tmp_path):
    with atomic_write(tmp_path / "file") as file:
        file.write(b"x")
        file.flush()
        (path,) = tmp_path.iterdir()
        then = time.time() - 7200
        os.utime(path, (then, then))
        remove_remains(tmp_path)
        assert list(tmp_path.iterdir()) == []
        path.write_bytes(b"x")


def test_the_name_of_what_pooch_downloads_is_that_of_remains(tmp_path):
    from pooch.utils import temporary_file

    with temporary_file(path=tmp_path) as name:
        then = time.time() - 7200
        os.utime(name, (then, then))
        remove_remains(tmp_path, fashion_mnist._REMAINS)
        assert list(tmp_path.iterdir()) == []


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


# The network


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


# The choice


def test_auto_falls_back_and_says_so(small):
    with pytest.warns(UserWarning, match=r"Fashion-MNIST .* \(ConnectionError\)") as caught:
        dataset = load_dataset()
    assert dataset.name == "synthetic"
    (warning,) = caught
    assert "synthetic" in str(warning.message) and "\n" not in str(warning.message)
    assert warning.filename == __file__


def test_the_warning_points_outside_the_package(small):
    # As fastsoftmax.train() would: a caller within the package, called from here.
    inside = {"__name__": "fastsoftmax.training.train", "load_dataset": load_dataset}
    exec(compile("def train():\n    return load_dataset('auto')", "trainer.py", "exec"), inside)
    with pytest.warns(UserWarning) as caught:
        inside["train"]()
    assert caught[0].filename == __file__


def test_unknown_names():
    with pytest.raises(ValueError, match=r"'mnist'.*auto, fashion-mnist or synthetic"):
        load_dataset("mnist")
    for name in (None, 3, b"auto"):
        with pytest.raises(TypeError, match=f"must be a str or a path, not {type(name).__name__}"):
            load_dataset(name)


def test_importing_is_light(tmp_path):
    code = "import sys, fastsoftmax.datasets as d; print(d.load_dataset and sorted(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,  # not the source folder
    )
    for heavy in ("pooch", "requests", "platformdirs", "matplotlib"):
        assert f"'{heavy}'" not in run.stdout


# The record


def test_dataset():
    images, labels = np.zeros((4, 28, 28), np.uint8), np.zeros(4, np.int32)
    dataset = Dataset(images, labels, images[:2], labels[:2], ("a", "b"), "zeros")
    assert repr(dataset) == "<Dataset zeros: 4 + 2 pictures of 28x28, 2 classes>"
    for part in (dataset.train_images, dataset.train_labels, dataset.test_images):
        with pytest.raises(ValueError, match="read-only"):
            part[0] = 1
    images[0] = 1  # the caller's own array is not frozen
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.name = "ones"
    assert dataset != dataclasses.replace(dataset)


GOOD = {
    "train_images": [[1, 2], [3, 4]],
    "train_labels": [0, 1],
    "test_images": [],
    "test_labels": [],
    "class_names": ["a", "b"],
    "name": "mine",
}


def test_a_dataset_of_lists():
    dataset = Dataset(**GOOD)
    assert dataset.class_names == ("a", "b") and dataset.train_images.shape == (2, 2)
    assert not dataset.train_labels.flags.writeable
    assert dataset.test_labels.dtype.kind == "i" and len(dataset.test_images) == 0
    names = Dataset(**{**GOOD, "class_names": np.array(["a", "b"])}).class_names
    assert names == ("a", "b") and {type(name) for name in names} == {str}
    Dataset(**{**GOOD, "train_labels": [0, -100]})  # to be ignored


@pytest.mark.parametrize(
    "changed, error, message",
    [
        ({"train_images": [[1], [2, 3]]}, ValueError, "train_images cannot be made an array"),
        ({"train_images": 3}, TypeError, "train_images must be an array, got int"),
        ({"train_images": None}, TypeError, "train_images must be an array, got NoneType"),
        ({"train_images": [["a"], ["b"]]}, TypeError, "an array of numbers, got dtype <U1"),
        ({"train_images": [[None], [2]]}, TypeError, "got dtype object of NoneType"),
        ({"train_images": [1, 2]}, ValueError, r"train_images must be \(N, D\), .*, got \(2,\)"),
        ({"train_labels": [0]}, ValueError, r"train_labels must have shape \(2,\) as train_ima"),
        ({"test_labels": [1]}, ValueError, r"test_labels must have shape \(0,\) as test_images"),
        ({"train_labels": [0.0, 1.0]}, TypeError, "train_labels must be integers"),
        ({"train_labels": ["a", "b"]}, TypeError, "train_labels must be integers"),
        ({"train_labels": [[0], [1]]}, ValueError, "train_labels must be one-dimensional"),
        ({"train_labels": [0, 2]}, ValueError, r"train_labels\[1\] is 2, and there are 2 class"),
        ({"class_names": "ab"}, TypeError, "class_names must be a sequence of str, got the str"),
        ({"class_names": 2}, TypeError, "class_names must be a sequence of str, got int"),
        ({"class_names": [0, 1]}, TypeError, "class_names must .*, one of them is 0"),
        ({"name": 3}, TypeError, "name must be a str, got int"),
    ],
)
def test_what_is_no_dataset(changed, error, message):
    with pytest.raises(error, match=message):
        Dataset(**{**GOOD, **changed})


# The stand-in


def digest(array):
    return hashlib.sha256(array.tobytes()).hexdigest()[:16]


def test_the_same_pictures_on_every_machine():
    dataset = synthetic.make(n_train=70, n_test=10)
    assert digest(dataset.train_images[:10]) == "46367ad91ecdb395"
    assert digest(dataset.train_images[60:]) == "273326ed8386e2bc"
    assert digest(dataset.test_images) == "832b365bbb5eb546"
    assert dataset.train_labels[:10].tolist() == [3, 2, 1, 8, 6, 0, 7, 4, 5, 9]
    assert digest(synthetic.make(10, 0, seed=1).train_images) == "9749117988834f42"


def test_a_picture_does_not_depend_on_how_many_are_drawn():
    many = synthetic.make(n_train=185, n_test=135, seed=7)
    for n in (1, 59, 60, 61, 130):
        few = synthetic.make(n_train=n, n_test=n - 1, seed=7)
        np.testing.assert_array_equal(few.train_images, many.train_images[:n])
        np.testing.assert_array_equal(few.train_labels, many.train_labels[:n])
        np.testing.assert_array_equal(few.test_images, many.test_images[: n - 1])


def test_no_picture_is_drawn_twice():
    dataset = synthetic.make(n_train=600, n_test=600)
    other = synthetic.make(n_train=600, n_test=0, seed=1)
    pictures = np.concatenate([dataset.train_images, dataset.test_images, other.train_images])
    assert len(np.unique(pictures, axis=0)) == 1800


def test_the_record_of_the_stand_in(stand_in):
    assert stand_in.name == "synthetic"
    assert stand_in.class_names == fashion_mnist.CLASS_NAMES
    for part, n in (("train", 60_000), ("test", 10_000)):
        images, labels = getattr(stand_in, f"{part}_images"), getattr(stand_in, f"{part}_labels")
        assert images.shape == (n, 28, 28) and images.dtype == np.uint8
        assert images.flags.c_contiguous and not images.flags.writeable
        assert labels.shape == (n,) and labels.dtype == np.int32
        assert np.bincount(labels).tolist() == [n // 10] * 10
        # Every ten in a row hold every class.
        assert (np.sort(labels.reshape(-1, 10), axis=1) == np.arange(10)).all()


def test_the_pictures_of_the_stand_in(stand_in):
    images = stand_in.test_images
    covered = (images > 0).mean(axis=(1, 2))
    assert 0.05 < covered.min() and covered.max() < 0.95
    assert images.max() > 220
    assert (images[:, 0, 0] == 0).mean() > 0.95  # on a black background


def test_a_linear_model_finds_the_stand_in_hard_but_not_too_hard(stand_in):
    x = stand_in.train_images.reshape(-1, 784).astype(np.float32) / 255
    y = np.eye(10, dtype=np.float32)[stand_in.train_labels]
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(0, 0.01, (784, 10)).astype(np.float32), np.zeros(10, np.float32)
    losses = []
    for _ in range(10):
        total, order = 0.0, rng.permutation(len(x))
        for start in range(0, len(x), 256):
            rows = order[start : start + 256]
            logits = x[rows] @ weight + bias
            logits -= logits.max(axis=1, keepdims=True)
            logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
            total -= float((logits * y[rows]).sum())
            residual = (np.exp(logits) - y[rows]) * np.float32(0.1 / len(rows))
            weight -= x[rows].T @ residual
            bias -= residual.sum(axis=0)
        losses.append(total / len(x))
    scores = (stand_in.test_images.reshape(-1, 784).astype(np.float32) / 255) @ weight + bias
    assert (np.diff(losses) < 0).all() and losses[-1] < 0.6 * losses[0]
    assert 0.80 < (scores.argmax(axis=1) == stand_in.test_labels).mean() < 0.90


@pytest.fixture(scope="module")
def stand_in():
    return load_dataset("synthetic")


def test_odd_numbers_of_pictures():
    empty = synthetic.make(n_train=0, n_test=np.int64(0))
    assert empty.train_images.shape == (0, 28, 28) and empty.test_labels.shape == (0,)
    for wrong in ({"n_train": -1}, {"n_test": -1}, {"seed": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}=-1"):
            synthetic.make(**wrong)
    for wrong in ({"n_train": 1.5}, {"n_test": "3"}, {"seed": None}):
        with pytest.raises(TypeError):
            synthetic.make(**wrong)


# The real thing


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
