"""Compiles a driver when it is first run: for one type of rows, over prange or over range.

The types of its arguments are declared here, and the door has seen to it that they are these. So
a compiled driver is called by its entry point, which looks at no types.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, get_type_hints

import numba
from numba import config, types
from numba.core import event

from ...problem import Loss, Params, Rows, StepSettings
from ...terminal import has_terminal
from . import cache, team
from .drivers.by_rows import by_rows
from .drivers.by_tiles import by_tiles
from .drivers.forward import score, softmax
from .drivers.sgd import sgd
from .kernels.gradient import Gradients

Driver = Callable[..., None]


def _array(dtype: Any, ndim: int, readonly: bool = False) -> Any:
    """Contiguous, and at any address: one type, hence one code and the same bits."""
    return types.Array(dtype, ndim, "C", readonly=readonly, aligned=False)


_INT, _DOUBLE, _BOOL = types.int64, types.float64, types.boolean
_FLOATS, _MATRIX = _array(types.float32, 1), _array(types.float32, 2)
_GIVEN_FLOATS, _GIVEN_MATRIX = _array(types.float32, 1, True), _array(types.float32, 2, True)
_TARGET, _ORDER = _array(types.int32, 1, True), _array(_INT, 1, True)

_LOSS = types.NamedTuple(
    [_TARGET, _GIVEN_MATRIX, _GIVEN_FLOATS, _GIVEN_FLOATS, _DOUBLE, _BOOL, _INT], Loss
)
_PARAMS = types.NamedTuple([_MATRIX, _FLOATS, _MATRIX, _FLOATS], Params)
_OF_NUMBERS = {float: _DOUBLE, bool: _BOOL}
_SETTINGS = types.NamedTuple(
    [_OF_NUMBERS.get(hint, _array(_DOUBLE, 1)) for hint in get_type_hints(StepSettings).values()],
    StepSettings,
)
_GRADIENTS = types.NamedTuple([_array(types.float32, 3), _MATRIX, _MATRIX], Gradients)
_ALL_SUMS = _array(_DOUBLE, 2), _array(_DOUBLE, 1), _BOOL, _INT  # and the number of tasks
_OF_STEPS = _LOSS, _PARAMS, _SETTINGS, _INT, _GRADIENTS, *_ALL_SUMS


def signature(driver: Callable[..., Driver], row_type: str) -> tuple[Any, ...]:
    x = _array(getattr(types, row_type), 2, True)
    rows = types.NamedTuple([x, types.float32, _ORDER], Rows)
    signatures = {
        by_rows: (rows, *_OF_STEPS),
        by_tiles: (rows, *_OF_STEPS),
        score: (rows, _LOSS, _PARAMS, _MATRIX, _FLOATS, *_ALL_SUMS),
        softmax: (x, _BOOL, _MATRIX, _INT),
        sgd: (_PARAMS, _MATRIX, _FLOATS, _DOUBLE, _SETTINGS, _INT),
    }
    return signatures[driver]


# What else Numba would make parallel, and look for at length
_PRANGE_ALONE = {
    "comprehension": False,
    "inplace_binop": False,
    "numpy": False,
    "prange": True,
    "reduction": False,
    "setitem": False,
    "stencil": False,
}


class Notice(event.Listener):  # type: ignore[misc]
    """Says once on a terminal why nothing seems to happen."""

    said = False

    def on_start(self, event: Any) -> None:
        if not Notice.said and has_terminal():
            print("fastsoftmax: compiling the Numba kernels, once", file=sys.stderr, flush=True)
        Notice.said = True

    def on_end(self, event: Any) -> None:
        pass


def dispatcher_of(driver: Callable[..., Driver], row_type: str, parallel: bool) -> Any:
    """The driver, compiled or from the cache. With the JIT disabled it is a plain function."""
    loop = numba.prange if parallel else range
    function = driver(loop, row_type == "float32") if driver is by_rows else driver(loop)
    dispatcher = numba.njit(parallel=_PRANGE_ALONE if parallel else False, nogil=True)(function)
    if not config.DISABLE_JIT:
        cache.keep(dispatcher, function)
        with event.install_listener("numba:compile", Notice()):
            dispatcher.compile(signature(driver, row_type))
    return dispatcher


def entry_point_of(dispatcher: Any) -> Driver:
    """What takes the arguments as declared, and looks at no types."""
    if config.DISABLE_JIT:
        plain: Driver = dispatcher
        return plain
    (result,) = dispatcher.overloads.values()
    entry_point: Driver = result.entry_point
    return entry_point


@functools.cache
def _compiled(driver: Callable[..., Driver], row_type: str, parallel: bool) -> Driver:
    return entry_point_of(dispatcher_of(driver, row_type, parallel))


def run(driver: Callable[..., Driver], num_threads: int, row_type: str, *arguments: Any) -> None:
    """Runs a driver by up to num_threads threads, without the GIL."""
    with team.threads(num_threads) as n_tasks:
        _compiled(driver, row_type, n_tasks > 1)(*arguments, n_tasks)
