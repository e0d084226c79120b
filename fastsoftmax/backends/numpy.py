"""The step in plain NumPy: the specification, the oracle of the tests, and the last fallback.

With x (B, D), weight (K, D), bias (K,), and of each row a coefficient c of every class, which is
onehot(target) where nothing weighs, smooths or ignores::

    logits = x @ weight.T + bias                              (B, K)
    p = softmax(logits), lse = log(sum(exp(logits)))
    loss = sum(c * (lse - logits))
    d logits = sum(c) * p - c                                 (B, K)
    d weight = (d logits).T @ x,  d bias = sum(d logits)      (K, D), (K,)
    d x = (d logits) @ weight                                 (B, D)
    entropy = sum(c) * (lse - sum(p * logits))

A row whose coefficients are all 0 counts for nothing, and is left out: it may be NaN.

It computes in the dtype of the weight, and is the only backend that takes float64: the truth that
the others are measured against. Its threads are those of the BLAS that NumPy was built with.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..arrays import Array
from ..problem import Loss, Params, Rows, StepSettings, Sums
from ..scalars import FLOAT32_TINY
from .chunks import chunks_of

name = "numpy"

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))

# Rows whose float copy and logits are held at a time: no memory that grows with N
_BLOCK_ROWS = 4096

_NOTHING = Sums(0.0, 0, 0, 0)


class _Forward(NamedTuple):
    """A block of rows, B, of which M count."""

    counts: Any  # which do, (B,), or all
    x: Array  # (M, D), scaled
    log_p: Array  # (M, K)
    c: Array  # (M, K), coefficients
    losses: Array  # (M,)
    sums: Sums


def _blocks(n_rows: int) -> list[slice]:
    return [slice(begin, begin + _BLOCK_ROWS) for begin in range(0, n_rows, _BLOCK_ROWS)]


def _logits(x: Array, scale: float, params: Params) -> tuple[Array, Array]:
    """Scaled float rows (B, D), and logits (B, K)."""
    weight, bias, *_ = params
    x = x.astype(weight.dtype, copy=False)
    if scale != 1:
        x = x * weight.dtype.type(scale)
    return x, x @ weight.T + bias


def _log_softmax(logits: Array) -> Array:
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, and is meant to show
        shifted = logits - logits.max(axis=1, keepdims=True)
    log_p: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_p


def _coefficients(loss: Loss, n_classes: int, dtype: Any) -> Array:
    """c (B, K), so that the loss of a row is ``-sum(c * log_p)``."""
    if loss.probabilities is not None:
        c = loss.probabilities
    else:
        assert loss.target is not None
        c = (loss.target[:, None] == np.arange(n_classes)).astype(dtype)
    if loss.label_smoothing:
        c = (1 - loss.label_smoothing) * c + loss.label_smoothing / n_classes
    if loss.class_weight is not None:
        c = c * loss.class_weight
    if loss.sample_weight is not None:
        c = c * loss.sample_weight[:, None]
    if loss.target is not None:
        c[loss.target < 0] = 0
    return c


def _times(c: Array, x: Array) -> Array:
    """c * x, where 0 * infinity is 0: a class of coefficient 0 has no part."""
    with np.errstate(invalid="ignore"):
        return np.where(c == 0, 0, c * x)


def _sums(logits: Array, losses: Array, loss: Loss, total_weight: float) -> Sums:
    """Of rows that count."""
    target = loss.target
    if target is None:
        assert loss.probabilities is not None
        target = loss.probabilities.argmax(axis=1)
    correct = (logits.argmax(axis=1) == target) & ~np.isnan(losses)
    return Sums(float(losses.sum(dtype=np.float64)), int(correct.sum()), total_weight, len(losses))


def _entropy(log_p: Array, c: Array) -> float:
    p = np.exp(log_p)
    of_row = -_times(p, log_p).sum(axis=1)
    return float((c.sum(axis=1) * of_row).sum(dtype=np.float64))


def _forward(x: Array, scale: float, loss: Loss, params: Params) -> _Forward:
    c = _coefficients(loss, len(params.bias), params.weight.dtype)
    counts: Any = (c != 0).any(axis=1)
    if counts.all():
        counts = slice(None)  # no copy
    c = c[counts]
    x, logits = _logits(x[counts], scale, params)
    log_p = _log_softmax(logits)
    losses = -_times(c, log_p).sum(axis=1)
    sums = _sums(logits, losses, loss.take(counts), loss.total_weight())
    return _Forward(counts, x, log_p, c, losses, sums)


def _update(
    w: Array, g: Array, v: Array | None, weight_decay: float, l1: float, settings: StepSettings
) -> None:
    if weight_decay:
        g = g + weight_decay * w
    if v is not None:
        momentum = settings.momentum
        v[...] = g if settings.first_step else momentum * v + (1 - settings.dampening) * g
        g = g + momentum * v if settings.nesterov else v
    w -= settings.lr * g
    if l1:  # the proximal step, soft thresholding
        w[...] = np.sign(w) * np.maximum(np.abs(w) - settings.lr * l1, 0) + 0.0


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
    sums, total_entropy = _NOTHING, 0.0
    grad_weight, grad_bias = np.zeros_like(weight), np.zeros_like(bias)
    for block in _blocks(len(rows.x)):
        forward = _forward(rows.x[block], rows.scale, loss.take(block), params)
        c, log_p = forward.c, forward.log_p
        residual = c.sum(axis=1, keepdims=True) * np.exp(log_p) - c
        grad_weight += residual.T @ forward.x
        grad_bias += residual.sum(axis=0)
        if grad_input is not None:
            grad_input[block] = 0
            grad_input[block][forward.counts] = weight.dtype.type(rows.scale) * (residual @ weight)
        sums = sums.plus(forward.sums)
        if entropy:
            total_entropy += _entropy(log_p, c)
    for gradient in (grad_weight, grad_bias, grad_input):
        if gradient is not None and grad_scale != 1:
            gradient *= weight.dtype.type(grad_scale)
    return sums, grad_weight, grad_bias, total_entropy


def chunk_partials(
    rows: Rows, loss: Loss, params: Params, num_threads: int
) -> tuple[list[Sums], Array, Array]:
    _, size = chunks_of(len(rows.x))
    chunks = [slice(begin, begin + size) for begin in range(0, len(rows.x), size)]
    parts = [
        loss_and_grad(Rows(rows.x[chunk], rows.scale), loss.take(chunk), params, num_threads)
        for chunk in chunks
    ]
    sums, weights, biases, _ = zip(*parts, strict=True)
    return list(sums), np.stack(weights), np.stack(biases)


def sgd_update(
    params: Params,
    grad_weight: Array,
    grad_bias: Array,
    total_weight: float,
    settings: StepSettings,
) -> None:
    weight, bias, v_weight, v_bias = params
    grad_weight, grad_bias = grad_weight / total_weight, grad_bias / total_weight
    _update(weight, grad_weight, v_weight, settings.weight_decay, settings.l1, settings)
    _update(bias, grad_bias, v_bias, settings.bias_weight_decay, 0.0, settings)


def train(
    rows: Rows,
    loss: Loss,
    params: Params,
    settings: StepSettings,
    batch_size: int,
    num_threads: int,
) -> tuple[Sums, BaseException | None]:
    sums, n_steps = _NOTHING, 0
    try:
        for begin in range(0, rows.n_rows, batch_size):
            batch: Any = slice(begin, begin + batch_size)
            if rows.order is not None:
                batch = rows.order[batch]
            batch_sums, grad_weight, grad_bias, _ = loss_and_grad(
                Rows(rows.x[batch], rows.scale), loss.take(batch), params, num_threads
            )
            # a batch of weight 0 has no gradient
            total = batch_sums.total_weight
            total = total if abs(total) >= FLOAT32_TINY else 1
            sgd_update(params, grad_weight, grad_bias, total, settings.after(n_steps))
            n_steps += 1
            sums = sums.plus(batch_sums)
    except BaseException as error:
        if n_steps == 0:
            raise
        return sums, error
    return sums, None


def evaluate(
    rows: Rows,
    loss: Loss,
    params: Params,
    num_threads: int,
    losses: Array | None = None,
) -> Sums:
    sums = _NOTHING
    for block in _blocks(len(rows.x)):
        forward = _forward(rows.x[block], rows.scale, loss.take(block), params)
        if losses is not None:
            losses[block] = 0
            losses[block][forward.counts] = forward.losses
        sums = sums.plus(forward.sums)
    return sums


def predict_logits(rows: Rows, params: Params, num_threads: int) -> Array:
    logits = np.empty((len(rows.x), len(params.bias)), params.weight.dtype)
    for block in _blocks(len(rows.x)):
        logits[block] = _logits(rows.x[block], rows.scale, params)[1]
    return logits


def softmax(logits: Array, log: bool, num_threads: int) -> Array:
    log_p = _log_softmax(logits)
    return log_p if log else np.exp(log_p)
