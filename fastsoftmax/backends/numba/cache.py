"""What Numba compiles, kept on disk: where it can be, and as it was.

Numba's own cache raises an error where there is no folder to write to, where the disk is full, and
where a file of it is damaged, until somebody deletes that. It links damaged machine code, and that
may end the process. Here all of these are a miss, with one warning.

Of the files that code was compiled from, Numba looks at one alone, that of the driver. Hence a
digest of all of them is kept with the code. Where it differs, that is a miss, without a warning.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from numba.core import caching
from numba.core.serialize import dumps

from ...files import remove_remains
from ...problem import Loss, Params, Rows, StepSettings

# The files of drivers/ that Numba names what it keeps after; what it leaves where it is killed
_DRIVERS = ("by_rows", "by_tiles", "forward", "sgd")
_REMAINS = rf"({'|'.join(_DRIVERS)})\..+\.nb[ic]\.tmp\.[0-9a-f]{{16}}"
_warned = False


@cache
def _sources() -> bytes:
    """A digest of all that the code of a driver comes from."""
    digest = hashlib.sha256()
    parent = resources.files(__package__.rpartition(".")[0])
    here = parent / "numba"
    files = [parent / "chunks.py"]
    for folder in (here, here / "drivers", here / "kernels"):
        files += [file for file in folder.iterdir() if file.name.endswith(".py")]
    for file in sorted(files, key=str):
        digest.update(file.read_bytes())
    for noun in (Rows, Loss, Params, StepSettings):
        digest.update(repr(noun._fields).encode())
    return digest.digest()


class _Outdated(Exception):
    """It was compiled from other files."""


class _UserWide(caching.UserWideCacheLocator):  # type: ignore[misc]
    """Without a home folder there is no such place: not one of the name "~" here."""

    def ensure_cache_path(self) -> None:
        if not os.path.isabs(self.get_cache_path()):
            raise OSError("there is no home folder")
        super().ensure_cache_path()


_Kept = tuple[bytes, bytes, bytes]  # digest of the sources, checksum of the code, the code


class _Checked(caching.CompileResultCacheImpl):  # type: ignore[misc]
    """Keeps a digest of the sources and a checksum with the code."""

    _locator_classes = tuple(
        _UserWide if locator is caching.UserWideCacheLocator else locator
        for locator in caching.CompileResultCacheImpl._locator_classes
    )

    def reduce(self, compiled: Any) -> _Kept:
        content = dumps(super().reduce(compiled))
        return _sources(), hashlib.sha256(content).digest(), content

    def rebuild(self, target_context: Any, kept: _Kept) -> Any:
        sources, digest, content = kept
        if sources != _sources():
            raise _Outdated
        if hashlib.sha256(content).digest() != digest:
            raise ValueError("a file of it is damaged")
        return super().rebuild(target_context, pickle.loads(content))


class _Cache(caching.FunctionCache):  # type: ignore[misc]
    _impl_class = _Checked

    # `except Exception`, as damaged pickles raise any

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(signature, target_context)
        except _Outdated:
            return None
        except Exception as error:
            _warn(error)
            with suppress(Exception):
                self.flush()  # the index may be what is damaged, and is needed to save
            return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        remove_remains(Path(self.cache_path), _REMAINS)
        try:
            super().save_overload(signature, compiled)
        except Exception as error:
            _warn(error)


def keep(dispatcher: Any, function: Callable[..., Any]) -> None:
    """Lets the dispatcher of `function` look for its code on disk, and save it there."""
    try:
        dispatcher._cache = _Cache(function)
    except Exception as error:
        _warn(error)


def _warn(error: Exception) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"compiling the Numba kernels, as their cache cannot be used: {type(error).__name__}: "
            f"{error}. NUMBA_CACHE_DIR names a folder for it.",
            RuntimeWarning,
            stacklevel=2,
        )
