"""What Numba compiles, kept on disk: where it can be, and as it was.

Numba's own cache raises an error where there is no folder to write to, where the disk is full, and
where a file of it is damaged, until somebody deletes that. It links damaged machine code, and that
may end the process. Here all of these are a miss, with one warning.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba.core import caching
from numba.core.serialize import dumps

from ...files import remove_remains

_REMAINS = r"kernels\..+\.nb[ic]\.tmp\.[0-9a-f]{16}"  # of Numba, where it was killed
_warned = False


class _UserWide(caching.UserWideCacheLocator):  # type: ignore[misc]
    """Without a home folder there is no such place: not one of the name "~" here."""

    def ensure_cache_path(self) -> None:
        if not os.path.isabs(self.get_cache_path()):
            raise OSError("there is no home folder")
        super().ensure_cache_path()


class _Checked(caching.CompileResultCacheImpl):  # type: ignore[misc]
    """Keeps a checksum with the code."""

    _locator_classes = tuple(
        _UserWide if locator is caching.UserWideCacheLocator else locator
        for locator in caching.CompileResultCacheImpl._locator_classes
    )

    def reduce(self, compiled: Any) -> tuple[bytes, bytes]:
        content = dumps(super().reduce(compiled))
        return hashlib.sha256(content).digest(), content

    def rebuild(self, target_context: Any, kept: tuple[bytes, bytes]) -> Any:
        digest, content = kept
        if hashlib.sha256(content).digest() != digest:
            raise ValueError("a file of it is damaged")
        return super().rebuild(target_context, pickle.loads(content))


class _Cache(caching.FunctionCache):  # type: ignore[misc]
    _impl_class = _Checked

    # `except Exception`, as damaged pickles raise any

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(signature, target_context)
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
