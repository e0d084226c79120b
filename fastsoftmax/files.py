"""Writing to a path, as whole as what is there allows.

Design
------
a) A reader sees the old file, or the new one, or none, never half: a new file is written beside
   it and takes its name, with the permissions, and where allowed the owner, of the old one.
b) A path is what `open` would write to. Symbolic links are followed to the file they name, be it
   there or not; only that file is replaced.
c) What cannot be replaced without becoming something else is written itself, when the whole
   content is known: devices, pipes, and what /dev/stdout and /proc/self/fd name; a file of
   several names (hard links), whose other names would keep the old content; a file whose owner
   cannot be kept, or in whose folder nothing may be put. For a file, room on the disk is taken
   before its content is touched, so that a full disk costs nothing; only a kill in the moment of
   the writing can.
d) A file that may not be written is not replaced either, though the folder would allow it.
"""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, NamedTuple, TypeAlias

StrPath: TypeAlias = "str | os.PathLike[str]"

# Folders in which a link is an open file, whatever its text says
_DESCRIPTORS = re.compile(r"/proc/\d+(/task/\d+)?/fd|/dev/fd")
TEMPORARY = r"\..+\.[0-9a-f]{16}\.tmp"  # the name of a file that is being written
_OLD = 3600.0  # seconds after which nobody is writing it any more
# What a folder says that takes no new file, or none in the place of this one (a mount point)
_NOT_HERE = {errno.EACCES, errno.EBUSY, errno.EPERM, errno.EROFS}


class Output(NamedTuple):
    """What a path names."""

    path: str  # without the links that it ends in
    status: os.stat_result | None  # of what is there, if anything is
    is_descriptor: bool  # as /dev/stdout is

    @property
    def is_file(self) -> bool:
        return self.status is not None and stat.S_ISREG(self.status.st_mode)


@contextmanager
def atomic_write(path: StrPath) -> Iterator[BinaryIO]:
    """Open a binary file whose content is that of `path` when the block ends without an error.

    Parameters
    ----------
    path : path
        Its folder must exist.

    Yields
    ------
    BinaryIO
        If the block raises, `path` is as it was.

    Raises
    ------
    OSError
        `path` cannot be written: its folder does not exist, it is a folder, or the like.
    """
    output = check_output(path)
    temporary = _temporary_name(output.path)
    try:
        new = _open_new(temporary, output)
        with io.BytesIO() if new is None else new as file:
            yield file
            if isinstance(file, io.BytesIO):
                _overwrite(output, file.getvalue())
            else:
                # Without this a power cut can leave the new name with the right size and no
                # content.
                file.flush()
                os.fsync(file.fileno())
        if new is not None:
            _rename(temporary, output)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno and error.filename in (None, temporary):
            error.filename = os.fsdecode(path)  # the name that the caller knows
        raise


def check_output(path: StrPath) -> Output:
    """What `path` names, if it can be written: an OSError says why not."""
    name = target = os.fsdecode(path)
    try:
        status = os.stat(name)  # an OSError, too, where links go round in a circle
    except FileNotFoundError:
        status = None
    is_descriptor = False
    while os.path.islink(target) and not is_descriptor:
        folder = os.path.dirname(target)
        is_descriptor = bool(_DESCRIPTORS.fullmatch(os.path.realpath(folder)))
        if not is_descriptor:
            target = os.path.join(folder, os.readlink(target))
    folder = os.path.dirname(target) or os.curdir
    if status is None:
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"the folder of {name} does not exist")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f"the folder of {name} may not be written")
    elif stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(f"{name} is a folder")
    elif not os.access(target, os.W_OK):
        raise PermissionError(f"{name} may not be written")
    return Output(target, status, is_descriptor)


def same_file(a: StrPath, b: StrPath) -> bool:
    """Whether two paths are one file, or would be when written."""
    try:
        return os.path.samefile(a, b)
    except OSError:  # one is not there yet
        return os.path.realpath(a) == os.path.realpath(b)


def _temporary_name(path: str) -> str:
    """Of a new file beside it; no longer than a file system takes, which may be 255 bytes."""
    folder, name = os.path.split(path)
    # The random part keeps processes apart that write the same file at the same time.
    return os.path.join(folder, f".{name[:58]}.{os.urandom(8).hex()}.tmp")


def _open_new(temporary: str, output: Output) -> BinaryIO | None:
    """The new file, or None where the output must be written itself."""
    status = output.status
    if status is None:
        return open(temporary, "xb")
    if not output.is_file or output.is_descriptor or status.st_nlink > 1:
        return None
    try:
        new = open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, 0o600))
        try:
            own = os.fstat(new.fileno())
            if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
                os.chown(temporary, status.st_uid, status.st_gid)
            shutil.copystat(output.path, temporary)  # access lists, too; the times will be new
        except BaseException:
            new.close()
            raise
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        with suppress(OSError):
            os.unlink(temporary)
        return None
    return new


def _rename(temporary: str, output: Output) -> None:
    try:
        os.replace(temporary, output.path)
    except OSError as error:
        if output.status is None or error.errno not in _NOT_HERE:
            raise
        with open(temporary, "rb") as file:
            _overwrite(output, file.read())
        os.unlink(temporary)


def _overwrite(output: Output, content: bytes) -> None:
    """Writes what is there itself: a file from its beginning, a device or a pipe as it goes."""
    own = f"/proc/{os.getpid()}/", "/dev/fd"
    if output.is_descriptor and os.path.realpath(os.path.dirname(output.path)).startswith(own):
        # As it stands: a file that was opened anew would be written from its beginning, over what
        # standard output has written there.
        with open(os.dup(int(os.path.basename(output.path))), "wb") as file:
            file.write(content)
        return
    with open(os.open(output.path, os.O_WRONLY), "wb") as file:
        if output.is_file:
            _take_room(file.fileno(), len(content))
        file.write(content)
        if output.is_file:
            file.truncate()
            file.flush()
            os.fsync(file.fileno())


def _take_room(descriptor: int, n_bytes: int) -> None:
    """Takes the room on the disk, or raises and leaves the file as it was."""
    if n_bytes == 0 or not hasattr(os, "posix_fallocate"):
        return
    before = os.fstat(descriptor).st_size
    try:
        os.posix_fallocate(descriptor, 0, n_bytes)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # not every file system can
            os.ftruncate(descriptor, before)
            raise


def remove_remains(folder: StrPath, pattern: str = TEMPORARY) -> None:
    """Removes temporary files that killed processes left, as far as this process may.

    Parameters
    ----------
    folder : path
    pattern : str
        A regular expression for the whole name. What it matches, and is an hour old, is removed.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if re.fullmatch(pattern, entry.name) is None:
                continue
            with suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(found.st_mode) and found.st_mtime < time.time() - _OLD:
                    os.unlink(entry.path)
