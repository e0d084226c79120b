"""Writing to a path: whole or not at all, and what is there stays what it is."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import files, plots
from fastsoftmax.datasets.idx import write_idx
from fastsoftmax.files import atomic_write, check_output, same_file

OLD, NEW = b"old" * 1000, b"new" * 2000


def write(path, content=NEW):
    with atomic_write(path) as file:
        file.write(content)


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(OLD)
    return path


def names(folder):
    return sorted(os.listdir(folder))


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
    """Files cannot grow beyond 4 KB, as on a disk that is full: nor can the log of these tests."""
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


# ---- links ----


@pytest.mark.parametrize("relative", [True, False], ids=["relative", "absolute"])
def test_through_links_to_the_file(tmp_path, relative):
    (tmp_path / "there").mkdir()
    target = tmp_path / "there" / "file"
    target.write_bytes(OLD)
    inode = target.stat().st_ino
    link, second = tmp_path / "link", tmp_path / "second"
    link.symlink_to("there/file" if relative else target)
    second.symlink_to("link" if relative else link)
    seen = []
    with atomic_write(second) as file:
        file.write(NEW)
        seen += names(tmp_path / "there")
    assert len(seen) == 2  # beside the file, and so on its disk
    assert link.is_symlink() and second.is_symlink()
    assert target.read_bytes() == second.read_bytes() == NEW
    assert target.stat().st_ino != inode  # replaced as a whole
    assert names(tmp_path / "there") == ["file"]
    assert names(tmp_path) == ["link", "second", "there"]


def test_a_link_within_a_linked_folder(tmp_path):
    """The kernel goes up from where a link leads, not from where its name stands."""
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "short").symlink_to("deep/deeper")
    (tmp_path / "deep" / "deeper" / "link").symlink_to("../file")
    write(tmp_path / "short" / "link")
    assert (tmp_path / "deep" / "file").read_bytes() == NEW
    assert not (tmp_path / "file").exists()


def test_a_dangling_link_makes_its_file(tmp_path):
    (tmp_path / "link").symlink_to("file")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == NEW


def test_a_link_into_no_folder(tmp_path):
    (tmp_path / "link").symlink_to("nowhere/file")
    with pytest.raises(FileNotFoundError, match=r"the folder of .*link does not exist"):
        write(tmp_path / "link")


def test_links_in_a_circle(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError) as error:
        write(tmp_path / "a")
    assert error.value.errno == errno.ELOOP
    assert names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("n_bytes", [10, len(OLD), 20_000])
def test_a_file_of_two_names_stays_one(old, n_bytes):
    other = old.parent / "other"
    os.link(old, other)
    write(old, b"x" * n_bytes)
    assert old.read_bytes() == other.read_bytes() == b"x" * n_bytes
    assert old.samefile(other)
    assert names(old.parent) == ["file", "other"]


def test_a_file_of_two_names_is_not_touched_before_all_is_known(old):
    os.link(old, old.parent / "other")
    with pytest.raises(ZeroDivisionError), atomic_write(old) as file:
        file.write(NEW)
        raise ZeroDivisionError
    assert old.read_bytes() == OLD


# ---- permissions ----


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755, 0o700])
def test_permissions_are_kept(old, mode):
    old.chmod(mode)
    with atomic_write(old) as file:
        file.write(NEW)
        (new,) = set(names(old.parent)) - {"file"}
        # nor are they wider for a moment
        assert stat.S_IMODE((old.parent / new).stat().st_mode) == mode
    assert stat.S_IMODE(old.stat().st_mode) == mode
    assert old.read_bytes() == NEW


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")


@needs_root
def test_the_owner_is_kept(old):
    os.chown(old, 12345, 54321)
    old.chmod(0o640)
    write(old)
    status = old.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (12345, 54321, 0o640)


def test_extended_attributes_are_kept(old):
    try:
        os.setxattr(old, "user.about", b"a model")
    except (AttributeError, OSError):
        pytest.skip("this file system has none")
    write(old)
    assert os.getxattr(old, "user.about") == b"a model"


def as_nobody(function):
    """What `function` returns, in a process that is not root."""
    read, write_ = os.pipe()
    child = os.fork()
    if child == 0:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        try:
            said = repr(function())
        except OSError as error:
            said = f"{type(error).__name__}: {error}"
        os.write(write_, said.encode())
        os._exit(0)
    os.close(write_)
    with open(read, "rb") as file:
        said = file.read().decode()
    os.waitpid(child, 0)
    return said


@pytest.fixture
def folder():
    """One that nobody may reach, as pytest's own may not be."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name)


@needs_root
def test_a_file_in_a_folder_that_takes_no_other_is_written_itself(folder):
    path = folder / "file"
    path.write_bytes(OLD)
    path.chmod(0o666)
    folder.chmod(0o755)
    assert as_nobody(lambda: write(path)) == "None"
    assert path.read_bytes() == NEW


@needs_root
def test_a_file_whose_owner_cannot_be_kept_is_written_itself(folder):
    path = folder / "file"
    path.write_bytes(OLD)
    path.chmod(0o666)
    assert as_nobody(lambda: write(path)) == "None"
    assert path.read_bytes() == NEW and path.stat().st_uid == 0
    assert names(folder) == ["file"]


@needs_root
def test_a_file_that_may_not_be_written_is_not_replaced(folder):
    path = folder / "file"
    path.write_bytes(OLD)
    path.chmod(0o444)
    assert as_nobody(lambda: write(path)) == f"PermissionError: {path} may not be written"
    assert path.read_bytes() == OLD


@needs_root
def test_a_folder_that_takes_no_file(folder):
    folder.chmod(0o755)
    path = folder / "file"
    assert as_nobody(lambda: write(path)) == (
        f"PermissionError: the folder of {path} may not be written"
    )


def test_a_file_that_is_mounted_is_written_itself(old, monkeypatch):
    """As a container has it for a single file: no other can take its name."""

    def replace(*args):
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(os, "replace", replace)
    inode = old.stat().st_ino
    write(old)
    assert old.read_bytes() == NEW and old.stat().st_ino == inode
    assert names(old.parent) == ["file"]


# ---- what is no file ----


def test_a_pipe_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write(tmp_path / "pipe")
    reader.join()
    assert got == [NEW]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert names(tmp_path) == ["pipe"]


@needs_root
@pytest.mark.parametrize("minor", [3, 7], ids=["null", "full"])
def test_a_device_is_written_to(tmp_path, minor):
    """A null and a full device of our own: those of the machine are not for experiments."""
    path = tmp_path / "device"
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        path.write_bytes(b"")
    except OSError:
        pytest.skip("no devices can be made here")
    if minor == 7:
        with pytest.raises(OSError) as error:
            write(path)
        assert error.value.errno == errno.ENOSPC
    else:
        write(path)
    status = path.stat()
    assert stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(1, minor)
    assert names(tmp_path) == ["device"]


def test_a_socket_is_refused_and_stays(tmp_path, monkeypatch):
    import socket

    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with pytest.raises(OSError):
            write("socket")
        assert stat.S_ISSOCK(os.stat("socket").st_mode)
    assert names(tmp_path) == ["socket"]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
@pytest.mark.parametrize("name", ["/proc/self/fd/1", "/dev/fd/1", "link", "second"])
def test_standard_output_goes_on_where_it_is(tmp_path, name):
    """Sent to a file: that is not replaced, nor written from its beginning.

    The links are as /dev/stdout is, which a wrong program would replace for the whole machine.
    """
    code = (
        "import os, sys; from fastsoftmax.files import atomic_write\n"
        "print('before', flush=True)\n"
        "with atomic_write(sys.argv[1]) as file: file.write(b'content\\n')\n"
        "print('after')\n"
    )
    (tmp_path / "link").symlink_to("/proc/self/fd/1")
    (tmp_path / "second").symlink_to("link")
    with open(tmp_path / "out", "wb") as out:
        subprocess.run([sys.executable, "-c", code, name], cwd=tmp_path, stdout=out, check=True)
    assert (tmp_path / "out").read_bytes() == b"before\ncontent\nafter\n"
    assert names(tmp_path) == ["link", "out", "second"]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_a_file_without_a_name_any_more(tmp_path):
    with open(tmp_path / "gone", "w+b") as file:
        os.unlink(tmp_path / "gone")
        write(f"/proc/self/fd/{file.fileno()}")
        file.seek(0)
        assert file.read() == NEW
    assert names(tmp_path) == []


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


# ---- one file of two names ----


def test_same_file(tmp_path, old, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("new")
    (tmp_path / "folder").symlink_to(tmp_path)
    os.link(old, tmp_path / "hard")
    for a, b in (
        ("file", old),
        ("file", "./file"),
        ("file", "link"),
        ("file", "hard"),
        ("file", "folder/file"),
        ("new", tmp_path / "new"),
        ("new", "dangling"),
        ("new", "folder/new"),
    ):
        assert same_file(a, b) and same_file(b, a), (a, b)
    for a, b in (("file", "new"), ("new", "newer"), ("file", "dangling")):
        assert not same_file(a, b) and not same_file(b, a), (a, b)
