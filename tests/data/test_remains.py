"""What killed runs leave behind is removed, and nothing else."""

from __future__ import annotations

import os
import time

from fastsoftmax.datasets import (
    fashion_mnist,
    load_dataset,
)
from fastsoftmax.datasets.cache import clean
from fastsoftmax.files import atomic_write, remove_remains
from helpers.data import assert_is, decoded_file, files_below, use_folder


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
        clean(tmp_path)
        assert list(tmp_path.iterdir()) == []
