"""Writing to a path: whole or not at all."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import files, plots
from fastsoftmax.datasets.idx import write_idx
from fastsoftmax.files import atomic_write, check_output
from helpers.files import NEW, OLD, names, write

# ---- whole, or not at all ----


@pytest.mark.parametrize("kind", [str, Path, os.fsencode])
def test_a_new_file(tmp_path, kind):
    write(kind(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == NEW
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("no space left")], ids=repr)
def test_a_failed_write_leaves_the_old_file_and_no_other(old, error):
    with pytest.raises(type(error)), atomic_write(old) as file:
        file.write(NEW)
        raise error
    assert names(old.parent) == ["file"]
    assert old.read_bytes() == OLD


def test_two_writers_at_once(tmp_path):
    path = tmp_path / "file"
    with atomic_write(path) as first, atomic_write(path) as second:
        first.write(b"first" * 1000)
        second.write(b"second")
        assert not path.exists()
    assert path.read_bytes() == b"first" * 1000  # the last to finish
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, "n.safetensors", "a" * 240 + ".png"])
def test_a_name_as_long_as_names_may_be(tmp_path, name):
    write(tmp_path / name, OLD)
    write(tmp_path / name, NEW)
    assert (tmp_path / name).read_bytes() == NEW
    assert names(tmp_path) == [name]


@contextmanager
def small_disk():
    """In this context no file can grow beyond 4 KB, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def history():
    return fs.History(lr=[0.1] * 2, train_loss=[0.9, 0.5], train_accuracy=[0.5, 0.6])


def model(n_features=4000):
    weight = np.random.default_rng(0).standard_normal((3, n_features)).astype(np.float32)
    return fs.LinearClassifier(weight, np.zeros(3, np.float32))


WRITERS = {
    "save": (lambda path: model().save(path), "m"),
    "idx": (lambda path: write_idx(path, np.zeros((100, 28, 28), np.uint8)), "images"),
    "plot": (lambda path: plots.curves(history(), path), "c.png"),
    "result": (
        lambda path: fs.TrainResult(model(), history(), "arrays", "numpy").plot(path),
        "c.svg",
    ),
}


@pytest.mark.parametrize("linked", [False, True], ids=["", "hard link"])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_costs_nothing_that_was_there(tmp_path, writer, linked):
    if writer in ("plot", "result"):
        pytest.importorskip("matplotlib")
    write_to, name = WRITERS[writer]
    path = tmp_path / name
    path.write_bytes(OLD)
    if linked:
        os.link(path, tmp_path / "other name")
    before = names(tmp_path)
    with pytest.raises(OSError) as error, small_disk():
        write_to(path)
    assert error.value.errno == errno.EFBIG and name in str(error.value)
    assert path.read_bytes() == OLD
    assert names(tmp_path) == before


def test_a_kill_leaves_the_old_file(tmp_path):
    code = """
import sys
from fastsoftmax.files import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write(b"new" * 100_000)
    file.flush()
    print("now", flush=True)
    sys.stdin.read()
"""
    path = tmp_path / "file"
    path.write_bytes(OLD)
    with subprocess.Popen(
        [sys.executable, "-c", code, path],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"now\n"
        process.send_signal(signal.SIGKILL)
    assert path.read_bytes() == OLD


# ---- what is refused ----


@pytest.mark.parametrize("do", [write, check_output])
def test_what_cannot_be_written(tmp_path, old, do):
    with pytest.raises(IsADirectoryError, match=f"{tmp_path} is a folder"):
        do(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"the folder of .*nowhere/file does not exist"):
        do(tmp_path / "nowhere" / "file")
    with pytest.raises(FileNotFoundError, match=r"the folder of .*new/ does not exist"):
        do(f"{tmp_path}/new/")
    with pytest.raises(NotADirectoryError):
        do(old / "file")
    with pytest.raises(OSError, match="name too long"):
        do(tmp_path / ("n" * 256))
    with pytest.raises(TypeError):
        do(3)
    assert names(tmp_path) == ["file"]


def test_an_error_names_the_file_that_was_asked_for(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError) as error:
        write(tmp_path / "file")
    assert str(error.value) == f"[Errno 28] No space left on device: '{tmp_path / 'file'}'"
