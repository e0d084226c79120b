"""What was built, and what is in use here."""

from __future__ import annotations

import platform

import numpy as np

from . import _build_info
from .backends import available_backends, get_backend
from .threads import get_num_threads

__all__ = ["show_config"]


def show_config() -> None:
    """Prints version, compiler, instruction sets built and chosen, threads and backends.

    Examples
    --------
    >>> show_config()  # doctest: +ELLIPSIS
    fastsoftmax    ...
    """
    config = _config()
    width = max(map(len, config))
    for name, value in config.items():
        print(f"{name:<{width}} {value}")


def _config() -> dict[str, str]:
    config = {
        "fastsoftmax": _build_info.version,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "built by": f"{_build_info.compiler} for {_build_info.host}",
    }
    threads = get_num_threads()  # before Numba, whose message for a wrong number is another
    available = available_backends()
    if "cython" in available:
        from .backends.cython import built_isas, selected_isa, supported_isas

        config["isas built"] = ", ".join(built_isas())
        config["isas usable"] = ", ".join(supported_isas())
        config["isa in use"] = selected_isa()
    if "numba" in available:
        config |= _numba()
    config["backends"] = ", ".join(available)
    config["backend in use"] = get_backend().name
    config["threads"] = str(threads)
    return config


def _numba() -> dict[str, str]:
    """The version and the threading layer of Numba, or why it cannot be used."""
    try:
        import numba

        from .backends.numba.team import layer

        return {"numba": numba.__version__, "numba threading layer": layer()}
    except (ImportError, ValueError) as error:
        return {"numba": " ".join(str(error).split())}
