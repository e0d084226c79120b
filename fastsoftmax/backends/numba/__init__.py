"""The Numba backend: checked arrays, handed to the drivers of kernels.py without the GIL.

A driver is compiled when it is first called, for the type of its rows, over prange or over range,
and kept on disk. The first of them prints a line where stderr is a terminal.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import config, types
from numba.core import event

from ...arrays import Array
from ...problem import Loss, Params, Rows, StepSettings, Sums
from ...terminal import has_terminal
from . import cache, kernels, team

name = "numba"

FLOATS = (np.dtype(np.float32),)

_CALL = 1 << 30  # multiply-adds of the logits of one call that trains: some 0.05 s

# In the place of a matrix or vector of float32 that there is not
NO_MATRIX, NO_VECTOR = np.empty((0, 0), np.float32), np.empty(0, np.float32)
NO_TARGET, NO_ORDER = np.empty(0, np.int32), np.empty(0, np.int64)


# ---- compilation ----


def _array(dtype: Any, ndim: int, readonly: bool = False) -> Any:
    """Contiguous, and at any address: one type, hence one code and the same bits."""
    return types.Array(dtype, ndim, "C", readonly=readonly, aligned=False)


VECTOR, MATRIX = _array(types.float32, 1), _array(types.float32, 2)
GIVEN_FLOATS, GIVEN_MATRIX = _array(types.float32, 1, True), _array(types.float32, 2, True)
TARGET, ORDER = _array(types.int32, 1, True), _array(types.int64, 1, True)
TERMS = TARGET, GIVEN_MATRIX, GIVEN_FLOATS, GIVEN_FLOATS, types.float64, types.boolean
SUMS = _array(types.float64, 1)
SETTINGS = types.NamedTuple(
    [types.float64, types.float64, types.float64, types.boolean, types.float64, types.float64],
    kernels.Settings,
)


def _signature(driver: Callable[..., Any], row_type: str) -> tuple[Any, ...]:
    x = _array(getattr(types, row_type), 2, True)
    if driver is kernels.score:
        return x, *TERMS, ORDER, types.float32, MATRIX, VECTOR, MATRIX, VECTOR, types.int64
    if driver is kernels.softmax:
        return x, types.boolean, MATRIX, types.int64
    return (
        *(x, *TERMS, ORDER, types.float32, types.int64, MATRIX, VECTOR, MATRIX, VECTOR),
        *(SETTINGS, types.boolean, MATRIX, VECTOR, MATRIX, SUMS, types.int64),
    )


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


class _Notice(event.Listener):  # type: ignore[misc]
    """Says once on a terminal why nothing seems to happen."""

    said = False

    def on_start(self, event: Any) -> None:
        if not _Notice.said and has_terminal():
            print("fastsoftmax: compiling the Numba kernels, once", file=sys.stderr, flush=True)
        _Notice.said = True

    def on_end(self, event: Any) -> None:
        pass


def _compile(
    function: Callable[..., Any], signature: tuple[Any, ...], parallel: bool
) -> Callable[..., Any]:
    dispatcher = numba.njit(parallel=_PRANGE_ALONE if parallel else False, nogil=True)(function)
    if not config.DISABLE_JIT:
        cache.keep(dispatcher, function)
        with event.install_listener("numba:compile", _Notice()):
            dispatcher.compile(signature)
        dispatcher.disable_compile()
    compiled: Callable[..., Any] = dispatcher
    return compiled


@functools.cache
def _compiled(driver: Callable[..., Any], row_type: str, parallel: bool) -> Callable[..., Any]:
    loop = numba.prange if parallel else range
    if driver is kernels.train_by_rows:
        return _compile(
            driver(loop, row_type == "float32"), _signature(driver, row_type), parallel
        )
    return _compile(driver(loop), _signature(driver, row_type), parallel)


@functools.cache
def _compiled_update() -> Callable[..., Any]:
    parameters = VECTOR, GIVEN_FLOATS, VECTOR
    arguments = (*parameters, types.float64, types.float64, SETTINGS, types.boolean)
    function = getattr(kernels.update, "py_func", kernels.update)  # with the JIT disabled, itself
    return _compile(function, arguments, parallel=False)


def _run(driver: Callable[..., Any], threads: int, x: Array, *arguments: Any) -> Any:
    with team.threads(threads) as n_tasks:
        return _compiled(driver, x.dtype.name, n_tasks > 1)(x, *arguments, n_tasks)


def _terms(terms: Loss) -> tuple[Any, ...]:
    """What a driver takes of them."""
    target, probabilities, class_weight, sample_weight, label_smoothing, plain, _ = terms
    return (
        NO_TARGET if target is None else target,
        NO_MATRIX if probabilities is None else probabilities,
        NO_VECTOR if class_weight is None else class_weight,
        NO_VECTOR if sample_weight is None else sample_weight,
        label_smoothing,
        plain,
    )


class _OnlyRead:
    """An array that no driver writes to where it is given as one of its parameters, be it of the
    type of those that are updated: a kernel is compiled for one type, and nothing is copied."""

    def __init__(self, array: Array) -> None:
        self.array = array
        self.__array_interface__ = {
            **array.__array_interface__,
            "data": (array.ctypes.data, False),
        }


def _only_read(*arrays: Array) -> tuple[Array, ...]:
    return tuple(np.asarray(_OnlyRead(array)) for array in arrays)


def _sums(sums: Array) -> Sums:
    loss, correct, weight, counted = sums[:4].tolist()
    return Sums(loss, int(correct), weight, int(counted))


def _train_driver(weight: Array) -> Callable[..., Any]:
    large = kernels.by_tiles(*weight.shape)
    return kernels.train_by_tiles if large else kernels.train_by_rows


def _settings(settings: StepSettings) -> kernels.Settings:
    return kernels.Settings(
        settings.lr,
        settings.momentum,
        settings.dampening,
        settings.nesterov,
        settings.weight_decay,
        settings.bias_weight_decay,
    )


_NO_UPDATE = kernels.Settings(0.0, 0.0, 0.0, False, 0.0, 0.0)


# ---- the functions of Kernels ----


def loss_and_grad(
    rows: Rows,
    loss: Loss,
    params: Params,
    num_threads: int,
    *,
    grad_scale: float = 1.0,
    grad_input: Array | None = None,
    entropy: bool = False,
) -> tuple[Sums, Array, Array, float]:
    weight, bias, *_ = params
    grad_weight, grad_bias = np.empty_like(weight), np.empty_like(bias)
    into = NO_MATRIX if grad_input is None else grad_input
    sums = np.zeros(5)
    _run(
        *(_train_driver(weight), num_threads, rows.x, *_terms(loss), NO_ORDER, rows.scale),
        *(rows.n_rows, *_only_read(weight, bias), NO_MATRIX, NO_VECTOR, _NO_UPDATE, False),
        *(grad_weight, grad_bias, into, sums),
    )
    if grad_scale != 1:
        for gradient in (grad_weight, grad_bias, into):
            gradient *= np.float32(grad_scale)
    return _sums(sums), grad_weight, grad_bias, 0.0


def sgd_update(
    params: Params,
    grad_weight: Array,
    grad_bias: Array,
    total_weight: float,
    settings: StepSettings,
) -> None:
    weight, bias, v_weight, v_bias = params
    no_velocity = v_weight is None or v_bias is None
    for w, g, v, decay in (
        (weight, grad_weight, v_weight, settings.weight_decay),
        (bias, grad_bias, v_bias, settings.bias_weight_decay),
    ):
        velocity = NO_VECTOR if no_velocity or v is None else v.reshape(-1)
        first_step = settings.first_step and not no_velocity
        _compiled_update()(
            *(w.reshape(-1), g.reshape(-1), velocity, total_weight, decay),
            *(_settings(settings), first_step),
        )


def train(
    rows: Rows,
    loss: Loss,
    params: Params,
    settings: StepSettings,
    batch_size: int,
    num_threads: int,
) -> tuple[Sums, BaseException | None]:
    weight, bias, v_weight, v_bias = params
    v_weight = NO_MATRIX if v_weight is None else v_weight
    v_bias = NO_VECTOR if v_bias is None else v_bias
    first_step = settings.first_step and len(v_bias) > 0
    # Some steps a call: within one, Ctrl-C is not heard.
    rows_a_call = batch_size * max(1, _CALL // (batch_size * weight.size))
    sums = np.zeros(5)  # and the number of steps
    try:
        for begin in range(0, rows.n_rows, rows_a_call):
            part = slice(begin, begin + rows_a_call)
            if rows.order is None:
                of_call = rows.x[part], *_terms(loss.take(part)), NO_ORDER
            else:
                of_call = rows.x, *_terms(loss), rows.order[part]
            _run(
                *(_train_driver(weight), num_threads, *of_call, rows.scale, batch_size),
                *(weight, bias, v_weight, v_bias, _settings(settings)),
                *(first_step and begin == 0, NO_MATRIX, NO_VECTOR, NO_MATRIX, sums),
            )
    except BaseException as error:
        if sums[4] == 0:
            raise
        return _sums(sums), error
    return _sums(sums), None


def evaluate(
    rows: Rows,
    loss: Loss,
    params: Params,
    num_threads: int,
    losses: Array | None = None,
) -> Sums:
    weight, bias, *_ = params
    result = _run(
        *(kernels.score, num_threads, rows.x, *_terms(loss), NO_ORDER, rows.scale),
        *(*_only_read(weight, bias), NO_MATRIX, NO_VECTOR if losses is None else losses),
    )
    return _sums(result)


def predict_logits(rows: Rows, params: Params, num_threads: int) -> Array:
    weight, bias, *_ = params
    logits = np.empty((len(rows.x), len(bias)), np.float32)
    if len(logits):
        nothing = Loss(None, None, None, None, 0.0, plain=True)
        _run(
            *(kernels.score, num_threads, rows.x, *_terms(nothing), NO_ORDER, rows.scale),
            *(*_only_read(weight, bias), logits, NO_VECTOR),
        )
    return logits


def softmax(logits: Array, log: bool, num_threads: int) -> Array:
    out = np.empty_like(logits)
    _run(kernels.softmax, num_threads, logits, log, out)
    return out
