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

from ... import checks
from ...checks import Array
from ...problem import Loss, Sums, Velocity
from ...settings import CrossEntropy, SGDSettings
from ...terminal import has_terminal
from ...threads import check_num_threads, threads_for
from . import cache, kernels, team

name = "numba"

_CALL = 1 << 30  # multiply-adds of the logits of one call that trains: some 0.05 s

# In the place of a matrix or vector of float32 that there is not
NO_MATRIX, NO_VECTOR = np.empty((0, 0), np.float32), np.empty(0, np.float32)
NO_TARGET, NO_ORDER = np.empty(0, np.int32), np.empty(0, np.int64)


# ---- compilation ----


def _array(dtype: Any, ndim: int, readonly: bool = False) -> Any:
    """Contiguous, and at any address: one type, hence one code and the same bits."""
    return types.Array(dtype, ndim, "C", readonly=readonly, aligned=False)


FLOATS, MATRIX = _array(types.float32, 1), _array(types.float32, 2)
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
        return x, *TERMS, ORDER, types.float32, MATRIX, FLOATS, MATRIX, FLOATS, types.int64
    if driver is kernels.softmax:
        return x, types.boolean, MATRIX, types.int64
    return (
        *(x, *TERMS, ORDER, types.float32, types.int64, MATRIX, FLOATS, MATRIX, FLOATS),
        *(SETTINGS, types.boolean, MATRIX, FLOATS, MATRIX, SUMS, types.int64),
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
    parameters = FLOATS, GIVEN_FLOATS, FLOATS
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


def _settings(sgd: SGDSettings) -> kernels.Settings:
    return kernels.Settings(
        float(sgd.lr),
        float(sgd.momentum),
        float(sgd.dampening),
        bool(sgd.nesterov),
        float(sgd.weight_decay),
        float(sgd.weight_decay) if sgd.decay_bias else 0.0,
    )


# ---- the contract of backends.py ----


def loss_and_grad(
    x: Any,
    target: Any,
    weight: Array,
    bias: Array,
    *,
    criterion: CrossEntropy | None = None,
    sample_weight: Any = None,
    scale: float = 1.0,
    num_threads: int | None = None,
    grad_scale: float = 1.0,
    grad_input: Array | None = None,
) -> tuple[float, Array, Array]:
    check_num_threads(num_threads)
    weight, bias = checks.parameters(weight, bias)
    x = checks.rows(x, weight.shape[1])
    checks.not_empty(x.shape[0])
    terms = checks.loss_terms(target, criterion, sample_weight, x, weight)
    scale = checks.row_scale(scale)
    grad_scale = checks.finite("grad_scale", grad_scale)
    if grad_input is None:
        grad_input = NO_MATRIX
    else:
        checks.output("grad_input", grad_input, x.shape, weight.dtype)
    checks.no_overlap_with_result("grad_input", grad_input, x, terms, weight, bias)
    threads = threads_for(num_threads, x.shape[0] * weight.size)
    grad_weight, grad_bias = np.empty_like(weight), np.empty_like(bias)
    sums = np.zeros(5)
    _run(
        *(_train_driver(weight), threads, x, *_terms(terms), NO_ORDER, scale, x.shape[0]),
        *(*_only_read(weight, bias), NO_MATRIX, NO_VECTOR, _settings(SGDSettings(lr=0)), False),
        *(grad_weight, grad_bias, grad_input, sums),
    )
    if grad_scale != 1:
        for gradient in (grad_weight, grad_bias, grad_input):
            gradient *= np.float32(grad_scale)
    terms.unscale(grad_weight, grad_bias, grad_input)
    return terms.unscaled(_sums(sums)).loss, grad_weight, grad_bias


def sgd_update(
    weight: Array,
    bias: Array,
    grad_weight: Array,
    grad_bias: Array,
    total_weight: float,
    sgd: SGDSettings,
    velocity: Velocity | None = None,
) -> None:
    weight, bias = checks.parameters(weight, bias, writeable=True)
    grad_weight, grad_bias = checks.parameters(
        grad_weight, grad_bias, names=("grad_weight", "grad_bias"), shape=weight.shape
    )
    moments = checks.velocity_of(sgd, velocity, weight)
    total_weight = checks.total_weight(total_weight)
    checks.no_overlap_in_update(weight, bias, grad_weight, grad_bias, moments)
    v_weight, v_bias, started = moments or (NO_VECTOR, NO_VECTOR, True)
    settings = _settings(sgd)
    for w, g, v, decay in (
        (weight.reshape(-1), grad_weight.reshape(-1), v_weight.reshape(-1), sgd.weight_decay),
        (bias, grad_bias, v_bias, settings.bias_weight_decay),
    ):
        _compiled_update()(w, g, v, total_weight, decay, settings, not started)
    if moments is not None and velocity is not None:
        velocity.started = True


def train_step(
    x: Any,
    target: Any,
    weight: Array,
    bias: Array,
    sgd: SGDSettings,
    velocity: Velocity | None = None,
    *,
    criterion: CrossEntropy | None = None,
    sample_weight: Any = None,
    scale: float = 1.0,
    num_threads: int | None = None,
) -> Sums:
    return _train(
        x, target, None, None, weight, bias, sgd, velocity, criterion, sample_weight, scale,
        num_threads,
    )  # fmt: skip


def train_epoch(
    x: Any,
    target: Any,
    order: Any,
    batch_size: int,
    weight: Array,
    bias: Array,
    sgd: SGDSettings,
    velocity: Velocity | None = None,
    *,
    criterion: CrossEntropy | None = None,
    sample_weight: Any = None,
    scale: float = 1.0,
    num_threads: int | None = None,
) -> Sums:
    batch_size = checks.positive_int("batch_size", batch_size)
    return _train(
        x, target, order, batch_size, weight, bias, sgd, velocity, criterion, sample_weight, scale,
        num_threads,
    )  # fmt: skip


def _train(
    x: Any,
    target: Any,
    order: Any,
    batch_size: int | None,
    weight: Array,
    bias: Array,
    sgd: SGDSettings,
    velocity: Velocity | None,
    criterion: CrossEntropy | None,
    sample_weight: Any,
    scale: float,
    num_threads: int | None,
) -> Sums:
    check_num_threads(num_threads)
    weight, bias = checks.parameters(weight, bias, writeable=True)
    x = checks.rows(x, weight.shape[1])
    terms = checks.loss_terms(target, criterion, sample_weight, x, weight)
    order = checks.row_order(order, x.shape[0])
    n_rows = x.shape[0] if order is None else order.shape[0]
    checks.not_empty(n_rows)
    moments = checks.velocity_of(sgd, velocity, weight)
    scale = checks.row_scale(scale)
    checks.no_overlap_in_training(x, terms, order, weight, bias, moments)
    v_weight, v_bias, started = moments or (NO_MATRIX, NO_VECTOR, True)
    batch_size = min(batch_size or n_rows, n_rows)
    threads = threads_for(num_threads, batch_size * weight.size)
    # Some steps a call: within one, Ctrl-C is not heard.
    rows_a_call = batch_size * max(1, _CALL // (batch_size * weight.size))
    sums = np.zeros(5)  # and the number of steps
    try:
        for begin in range(0, n_rows, rows_a_call):
            rows = slice(begin, begin + rows_a_call)
            if order is None:
                of_call = x[rows], *_terms(terms.take(rows)), NO_ORDER
            else:
                of_call = x, *_terms(terms), order[rows]
            _run(
                *(_train_driver(weight), threads, *of_call, scale, batch_size),
                *(weight, bias, v_weight, v_bias, _settings(sgd)),
                *(not started and begin == 0, NO_MATRIX, NO_VECTOR, NO_MATRIX, sums),
            )
    finally:
        if moments is not None and velocity is not None and sums[4] > 0:
            velocity.started = True
    return terms.unscaled(_sums(sums))


def evaluate(
    x: Any,
    target: Any,
    weight: Array,
    bias: Array,
    *,
    criterion: CrossEntropy | None = None,
    sample_weight: Any = None,
    scale: float = 1.0,
    num_threads: int | None = None,
    losses: Array | None = None,
) -> Sums:
    check_num_threads(num_threads)
    weight, bias = checks.parameters(weight, bias)
    x = checks.rows(x, weight.shape[1])
    terms = checks.loss_terms(target, criterion, sample_weight, x, weight)
    scale = checks.row_scale(scale)
    if losses is None:
        losses = NO_VECTOR
    else:
        checks.output("losses", losses, x.shape[:1], weight.dtype)
    checks.no_overlap_with_result("losses", losses, x, terms, weight, bias)
    threads = threads_for(num_threads, x.shape[0] * weight.size)
    sums = _run(
        *(kernels.score, threads, x, *_terms(terms), NO_ORDER, scale, *_only_read(weight, bias)),
        *(NO_MATRIX, losses),
    )
    terms.unscale(losses)
    return terms.unscaled(_sums(sums))


def predict_logits(
    x: Any, weight: Array, bias: Array, *, scale: float = 1.0, num_threads: int | None = None
) -> Array:
    check_num_threads(num_threads)
    weight, bias = checks.parameters(weight, bias)
    x = checks.rows(x, weight.shape[1])
    scale = checks.row_scale(scale)
    threads = threads_for(num_threads, x.shape[0] * weight.size)
    logits = np.empty((x.shape[0], weight.shape[0]), np.float32)
    if x.shape[0]:
        terms = Loss(None, None, None, None, 0.0, plain=True)
        _run(
            *(
                kernels.score,
                threads,
                x,
                *_terms(terms),
                NO_ORDER,
                scale,
                *_only_read(weight, bias),
            ),
            *(logits, NO_VECTOR),
        )
    return logits


def softmax(logits: Array, *, num_threads: int | None = None) -> Array:
    return _softmax(logits, False, num_threads)


def log_softmax(logits: Array, *, num_threads: int | None = None) -> Array:
    return _softmax(logits, True, num_threads)


def _softmax(logits: Array, log: bool, num_threads: int | None) -> Array:
    check_num_threads(num_threads)
    logits = checks.logits_matrix(logits)
    threads = threads_for(num_threads, 16 * logits.size)  # as long as an exp takes
    out = np.empty_like(logits)
    _run(kernels.softmax, threads, logits, log, out)
    return out
