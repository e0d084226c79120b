"""What is written to stays what it is: links, permissions, owners, mounts."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from fastsoftmax.files import atomic_write, same_file
from helpers.files import NEW, OLD, names, needs_root, write

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
    """`..` is the parent of the folder that a link leads to, not of the link."""
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
        # at no moment may more users read it
        assert stat.S_IMODE((old.parent / new).stat().st_mode) == mode
    assert stat.S_IMODE(old.stat().st_mode) == mode
    assert old.read_bytes() == NEW


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
    """A folder that the user `nobody` can reach; those of pytest may not be."""
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
    """A container may mount a single file: no other file can take its name."""

    def replace(*args):
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(os, "replace", replace)
    inode = old.stat().st_ino
    write(old)
    assert old.read_bytes() == NEW and old.stat().st_ino == inode
    assert names(old.parent) == ["file"]


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
