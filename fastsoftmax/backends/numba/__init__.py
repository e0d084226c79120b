"""The Numba backend: it hands the nouns to the drivers, which Numba compiles.

A driver is compiled for arguments of one type. So where a noun has None for an array, the driver
takes an empty one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...arrays import Array
from ...problem import Loss, Params, Rows, StepSettings, Sums
from ...settings import SGDSettings
from ..chunks import MAX_CHUNKS, chunks_of
from .compile import Driver, run
from .drivers.by_rows import by_rows
from .drivers.by_tiles import by_tiles
from .drivers.forward import score as _score
from .drivers.forward import softmax as _softmax
from .drivers.plan import is_by_tiles
from .drivers.sgd import sgd as _sgd
from .kernels.gradient import Gradients
from .kernels.sums import ENTROPY, N_SUMS

name = "numba"

FLOATS = (np.dtype(np.float32),)

_CALL = 1 << 30  # multiply-adds of the logits of one call that trains: some 0.05 s

_NO_TARGET, _NO_ORDER = np.empty(0, np.int32), np.empty(0, np.int64)
_NO_VECTOR, _NO_MATRIX = np.empty(0, np.float32), np.empty((0, 0), np.float32)
_NO_GRADIENTS = Gradients(np.empty((0, 0, 0), np.float32), _NO_MATRIX, _NO_MATRIX)
_NO_LOSS = Loss(_NO_TARGET, _NO_MATRIX, _NO_VECTOR, _NO_VECTOR, 0.0, plain=True)
_NO_UPDATE = SGDSettings(lr=0).of_step(False)


# ---- nouns, as the drivers take them ----


def _rows(rows: Rows) -> Rows:
    return rows._replace(order=_NO_ORDER) if rows.order is None else rows


def _loss(loss: Loss) -> Loss:
    target, probabilities, class_weight, sample_weight, smoothing, plain, exponent = loss
    return Loss(
        _NO_TARGET if target is None else target,
        _NO_MATRIX if probabilities is None else probabilities,
        _NO_VECTOR if class_weight is None else class_weight,
        _NO_VECTOR if sample_weight is None else sample_weight,
        smoothing,
        plain,
        exponent,
    )


def _params(params: Params) -> Params:
    if params.velocity_weight is None:
        return Params(params.weight, params.bias, _NO_MATRIX, _NO_VECTOR)
    return params


def _new_sums() -> tuple[Array, Array]:
    """Space for the sums of each chunk; the sums of all steps, and the number of steps."""
    return np.empty((MAX_CHUNKS, N_SUMS)), np.zeros(N_SUMS + 1)


def _sums(sums: Array) -> Sums:
    loss, correct, total_weight, counted = sums[:4].tolist()
    return Sums(loss, int(correct), total_weight, int(counted))


def _driver_of_steps(params: Params) -> Callable[..., Driver]:
    n_classes, n_features = params.weight.shape
    return by_tiles if is_by_tiles(n_features, n_classes) else by_rows


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
    gradients = _new_gradients(1, params, grad_input)
    driver = _driver_of_steps(params)
    _, sums = _run_one_batch(driver, rows, loss, params, gradients, entropy, num_threads)
    if grad_scale != 1:
        for gradient in gradients:
            gradient *= np.float32(grad_scale)
    return _sums(sums), gradients.weight[0], gradients.bias[0], float(sums[ENTROPY])


def chunk_partials(
    rows: Rows, loss: Loss, params: Params, num_threads: int
) -> tuple[list[Sums], Array, Array]:
    n_chunks, _ = chunks_of(rows.n_rows)
    gradients = _new_gradients(n_chunks, params, None)
    chunk_sums, _ = _run_one_batch(by_rows, rows, loss, params, gradients, False, num_threads)
    return [_sums(sums) for sums in chunk_sums[:n_chunks]], gradients.weight, gradients.bias


def _new_gradients(n: int, params: Params, grad_input: Array | None) -> Gradients:
    return Gradients(
        np.empty((n, *params.weight.shape), np.float32),
        np.empty((n, *params.bias.shape), np.float32),
        _NO_MATRIX if grad_input is None else grad_input,
    )


def _run_one_batch(
    driver: Callable[..., Driver],
    rows: Rows,
    loss: Loss,
    params: Params,
    gradients: Gradients,
    entropy: bool,
    num_threads: int,
) -> tuple[Array, Array]:
    """The sums of each chunk of the rows, and of all."""
    chunk_sums, sums = _new_sums()
    nouns = _rows(rows), _loss(loss), _params(params), _NO_UPDATE
    run(
        *(driver, num_threads, rows.x.dtype.name, *nouns, rows.n_rows, gradients),
        *(chunk_sums, sums, entropy),
    )
    return chunk_sums, sums


def sgd_update(
    params: Params,
    grad_weight: Array,
    grad_bias: Array,
    total_weight: float,
    settings: StepSettings,
) -> None:
    run(_sgd, 1, "float32", _params(params), grad_weight, grad_bias, total_weight, settings)


def train(
    rows: Rows,
    loss: Loss,
    params: Params,
    settings: StepSettings,
    batch_size: int,
    num_threads: int,
) -> tuple[Sums, BaseException | None]:
    driver, (chunk_sums, sums) = _driver_of_steps(params), _new_sums()
    # Some steps a call: within one, Ctrl-C is not heard
    rows_a_call = batch_size * max(1, _CALL // (batch_size * params.weight.size))
    try:
        for begin in range(0, rows.n_rows, rows_a_call):
            end = begin + rows_a_call
            its_loss = loss.take(slice(begin, end)) if rows.order is None else loss
            of_call = settings.after(begin // batch_size)
            nouns = _rows(rows.between(begin, end)), _loss(its_loss), _params(params), of_call
            run(
                *(driver, num_threads, rows.x.dtype.name, *nouns, batch_size, _NO_GRADIENTS),
                *(chunk_sums, sums, False),
            )
    except BaseException as error:
        n_steps = sums[N_SUMS]
        if n_steps == 0:
            raise
        return _sums(sums), error
    return _sums(sums), None


def evaluate(
    rows: Rows, loss: Loss, params: Params, num_threads: int, losses: Array | None = None
) -> Sums:
    chunk_sums, sums = _new_sums()
    if rows.n_rows:
        nouns = _rows(rows), _loss(loss), _params(params)
        losses = _NO_VECTOR if losses is None else losses
        run(
            *(_score, num_threads, rows.x.dtype.name, *nouns, _NO_MATRIX, losses),
            *(chunk_sums, sums, False),
        )
    return _sums(sums)


def predict_logits(rows: Rows, params: Params, num_threads: int) -> Array:
    logits = np.empty((rows.n_rows, len(params.bias)), np.float32)
    if rows.n_rows:
        nouns = _rows(rows), _NO_LOSS, _params(params)
        run(
            *(_score, num_threads, rows.x.dtype.name, *nouns, logits, _NO_VECTOR),
            *(*_new_sums(), False),
        )
    return logits


def softmax(logits: Array, log: bool, num_threads: int) -> Array:
    out = np.empty_like(logits)
    run(_softmax, num_threads, "float32", logits, log, out)
    return out
