"""Pipes, devices, sockets and standard output are written to where they are."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading

import pytest

from helpers.files import NEW, names, needs_root, write


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
    """Tried on devices made here: those of the machine are not for experiments."""
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
    """If it is sent to a file, the file is neither replaced nor written from its beginning.

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
