"""Writing a file so that nobody ever sees half of it.

Design
------
a) A new file is written beside the old one and then takes its name. A reader sees the old file,
   the new one, or none. The new file gets the permissions of the old one and, where that is
   allowed, the owner.
b) A path names what `open` would write to. Symbolic links are followed to the file that they
   name, and that file alone is replaced. It need not exist.
c) Some outputs cannot be replaced: devices, pipes, and what /dev/stdout and /proc/self/fd name; a
   file with several names (hard links), whose other names would keep the old content; a file
   whose owner cannot be kept, or in whose folder no file may be put. These are written in place,
   once the whole content is known.
d) Before a file is written in place, its space on the disk is reserved. A full disk then leaves
   the old content; only a kill in the moment of the writing does not.
e) A file without write permission is not replaced, even where its folder would allow it.
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

# Folders in which a link stands for an open file, whatever its target is called
_DESCRIPTORS = re.compile(r"/proc/\d+(/task/\d+)?/fd|/dev/fd")
TEMPORARY = r"\..+\.[0-9a-f]{16}\.tmp"  # the name of a file that is being written
_OLD = 3600.0  # seconds after which a temporary file is taken for abandoned
# Errors of a folder that takes no new file, or of a file that cannot be replaced (a mount point)
_NOT_HERE = {errno.EACCES, errno.EBUSY, errno.EPERM, errno.EROFS}


class Output(NamedTuple):
    """What a path names."""

    path: str  # with its final symbolic links followed
    status: os.stat_result | None  # None where nothing is there
    is_descriptor: bool  # an open file, as /dev/stdout is

    @property
    def is_file(self) -> bool:
        return self.status is not None and stat.S_ISREG(self.status.st_mode)


@contextmanager
def atomic_write(path: StrPath) -> Iterator[BinaryIO]:
    """A binary file to write to; `path` gets its content if the block ends without an error.

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
                # Without fsync a power cut can leave the new name with the right size and no
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
    """What `path` names; raises an OSError with the reason if it cannot be written."""
    name = target = os.fsdecode(path)
    try:
        status = os.stat(name)  # raises another OSError where links form a circle
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
    """The path of a new file beside `path`; file systems may allow 255 bytes for its name."""
    folder, name = os.path.split(path)
    # The random part is for processes that write the same file at the same time
    return os.path.join(folder, f".{name[:58]}.{os.urandom(8).hex()}.tmp")


def _open_new(temporary: str, output: Output) -> BinaryIO | None:
    """The new file, or None where the output must be written in place."""
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
            shutil.copystat(output.path, temporary)  # permissions and access lists
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
    """Writes in place: to a file from its beginning, to a device or a pipe as it comes."""
    own = f"/proc/{os.getpid()}/", "/dev/fd"
    if output.is_descriptor and os.path.realpath(os.path.dirname(output.path)).startswith(own):
        # The descriptor is used as it is. If its file were opened anew, it would be written from
        # its beginning, over what standard output has written there.
        with open(os.dup(int(os.path.basename(output.path))), "wb") as file:
            file.write(content)
        return
    with open(os.open(output.path, os.O_WRONLY), "wb") as file:
        if output.is_file:
            _reserve(file.fileno(), len(content))
        file.write(content)
        if output.is_file:
            file.truncate()
            file.flush()
            os.fsync(file.fileno())


def _reserve(descriptor: int, n_bytes: int) -> None:
    """Reserves space on the disk, or raises and leaves the file as it was."""
    if n_bytes == 0 or not hasattr(os, "posix_fallocate"):
        return
    before = os.fstat(descriptor).st_size
    try:
        os.posix_fallocate(descriptor, 0, n_bytes)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # the file system cannot reserve
            os.ftruncate(descriptor, before)
            raise


def remove_remains(folder: StrPath, pattern: str = TEMPORARY) -> None:
    """Removes temporary files that killed processes left, as far as this process may.

    Parameters
    ----------
    folder : path
    pattern : str
        A regular expression for the whole name. Files that it matches are removed if they are an
        hour old.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if re.fullmatch(pattern, entry.name) is None:
                continue
            with suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(found.st_mode) and found.st_mtime < time.time() - _OLD:
                    os.unlink(entry.path)
