"""Which backends there are here, and the choice of one."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from functools import cache
from typing import cast

from ..forks import import_lock
from .contract import Backend, Kernels

__all__ = ["BACKENDS", "auto_backend", "available_backends", "get_backend"]

BACKENDS = ("cython", "numba", "numpy")  # best first

# What there must be for one to be available: the extension that was built, or another package
_NEEDS = {"cython": f"{__package__}.cython", "numba": "numba", "numpy": "numpy"}
_HOW_TO_GET = {
    "cython": "which this build is without",
    "numba": "which `pip install fastsoftmax[numba]` installs",
}

_logger = logging.getLogger("fastsoftmax")


@cache
def available_backends() -> tuple[str, ...]:
    """Names of the backends that can be used here, best first."""
    return tuple(name for name in BACKENDS if importlib.util.find_spec(_NEEDS[name]))


@cache
def auto_backend() -> str:
    """Name of the backend that "auto" means: FASTSOFTMAX_BACKEND, or else the best there is."""
    name, why = os.environ.get("FASTSOFTMAX_BACKEND", ""), "FASTSOFTMAX_BACKEND"
    if not name:
        name, why = available_backends()[0], "the best available"
    elif name not in BACKENDS:
        raise ValueError(f"FASTSOFTMAX_BACKEND must be one of {BACKENDS}, got {name!r}")
    _logger.debug("the backend is %s, %s of %s", name, why, ", ".join(available_backends()))
    return name


_loaded: dict[str, Backend] = {}


def get_backend(name: str = "auto") -> Backend:
    """The backend of that `name`: "cython", "numba", "numpy", or "auto".

    "auto" is the one that FASTSOFTMAX_BACKEND names, or else the first of these that is available.

    Raises
    ------
    TypeError, ValueError
        There is no backend of that name.
    ImportError
        It is not available here.

    Examples
    --------
    >>> get_backend("numpy").name
    'numpy'
    """
    try:
        return _loaded[name]
    except (KeyError, TypeError):  # not yet, or what cannot be hashed
        pass
    if not isinstance(name, str):
        raise TypeError(f"backend must be one of {('auto', *BACKENDS)}, got {name!r}")
    _loaded[name] = get_backend(auto_backend()) if name == "auto" else _load(name)
    return _loaded[name]


def _load(name: str) -> Backend:
    if name not in BACKENDS:
        raise ValueError(f"backend must be one of {('auto', *BACKENDS)}, got {name!r}")
    if name not in available_backends():
        raise ImportError(f"backend {name!r} needs {_NEEDS[name]}, {_HOW_TO_GET[name]}")
    with import_lock:
        kernels = cast(Kernels, importlib.import_module(f"{__package__}.{name}"))
    return Backend(kernels)
