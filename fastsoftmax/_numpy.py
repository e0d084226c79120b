"""The step in plain NumPy: the specification, the oracle of the tests, and the last fallback.

With x (B, D), weight (K, D), bias (K,) and target (B,)::

    logits = x @ weight.T + bias                              (B, K)
    loss = sum(log(sum(exp(logits))) - logits[target])
    d logits = softmax(logits) - onehot(target)               (B, K)
    d weight = (d logits).T @ x,  d bias = sum(d logits)      (K, D), (K,)

It computes in the dtype of the weight, and is the only backend that takes float64: the truth that
the others are measured against. Its threads are those of the BLAS that NumPy was built with.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import checks
from .checks import FLOATS, Array
from .optim import SGD, Velocity
from .threads import check_num_threads

name = "numpy"

# Rows whose float copy and logits are held at a time: no memory that grows with N
_BLOCK_ROWS = 4096


def _forward(x: Array, weight: Array, bias: Array, scale: float) -> tuple[Array, Array]:
    """Scaled float rows (B, D), and logits (B, K)."""
    x = x.astype(weight.dtype, copy=False)
    if scale != 1:
        x = x * weight.dtype.type(scale)
    return x, x @ weight.T + bias


def _log_softmax(logits: Array) -> Array:
    with np.errstate(invalid="ignore"):  # inf - inf is NaN, and is meant to show
        shifted = logits - logits.max(axis=1, keepdims=True)
    log_p: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_p


def _sums(logits: Array, log_p: Array, target: Array) -> tuple[float, int]:
    """Summed loss, and the number of rows whose first largest logit is the target's."""
    loss = -log_p[np.arange(len(target)), target]
    correct = (logits.argmax(axis=1) == target) & ~np.isnan(loss)
    return float(loss.sum(dtype=np.float64)), int(correct.sum())


def _loss_and_grad(
    x: Array, target: Array, weight: Array, bias: Array, scale: float
) -> tuple[float, int, Array, Array]:
    loss, correct = 0.0, 0
    grad_weight, grad_bias = np.zeros_like(weight), np.zeros_like(bias)
    for begin in range(0, len(x), _BLOCK_ROWS):
        rows = slice(begin, begin + _BLOCK_ROWS)
        block, logits = _forward(x[rows], weight, bias, scale)
        log_p = _log_softmax(logits)
        block_loss, block_correct = _sums(logits, log_p, target[rows])
        residual = np.exp(log_p)
        residual[np.arange(len(block)), target[rows]] -= 1
        grad_weight += residual.T @ block
        grad_bias += residual.sum(axis=0)
        loss += block_loss
        correct += block_correct
    return loss, correct, grad_weight, grad_bias


def _update(
    w: Array, g: Array, v: Array | None, weight_decay: float, sgd: SGD, first: bool
) -> None:
    if weight_decay:
        g = g + weight_decay * w
    if v is not None:
        v[...] = g if first else sgd.momentum * v + (1 - sgd.dampening) * g
        g = g + sgd.momentum * v if sgd.nesterov else v
    w -= sgd.lr * g


def _sgd_update(
    weight: Array,
    bias: Array,
    grad_weight: Array,
    grad_bias: Array,
    batch_size: int,
    sgd: SGD,
    velocity: Velocity | None,
) -> None:
    first = velocity is not None and not velocity.started
    bias_decay = sgd.weight_decay if sgd.decay_bias else 0.0
    v_weight, v_bias = (velocity.weight, velocity.bias) if velocity else (None, None)
    _update(weight, grad_weight / batch_size, v_weight, sgd.weight_decay, sgd, first)
    _update(bias, grad_bias / batch_size, v_bias, bias_decay, sgd, first)
    if velocity is not None:
        velocity.started = True


# ---- the contract of backends.py ----


def loss_and_grad(
    x: Any,
    target: Any,
    weight: Array,
    bias: Array,
    *,
    scale: float = 1.0,
    num_threads: int | None = None,
) -> tuple[float, Array, Array]:
    check_num_threads(num_threads)
    weight, bias = checks.parameters(weight, bias, floats=FLOATS)
    x = checks.rows(x, weight.shape[1], floats=FLOATS)
    checks.not_empty(x.shape[0])
    target = checks.targets(target, x.shape[0], weight.shape[0])
    scale = checks.row_scale(scale)
    loss, _, grad_weight, grad_bias = _loss_and_grad(x, target, weight, bias, scale)
    return loss, grad_weight, grad_bias


def sgd_update(
    weight: Array,
    bias: Array,
    grad_weight: Array,
    grad_bias: Array,
    batch_size: int,
    sgd: SGD,
    velocity: Velocity | None = None,
) -> None:
    weight, bias = checks.parameters(weight, bias, floats=FLOATS, writeable=True)
    grad_weight, grad_bias = checks.parameters(
        grad_weight,
        grad_bias,
        names=("grad_weight", "grad_bias"),
        shape=weight.shape,
        floats=(weight.dtype,),
    )
    if checks.velocity_of(sgd, velocity, weight) is None:
        velocity = None
    batch_size = checks.positive_int("batch_size", batch_size)
    _sgd_update(weight, bias, grad_weight, grad_bias, batch_size, sgd, velocity)


def train_step(
    x: Any,
    target: Any,
    weight: Array,
    bias: Array,
    sgd: SGD,
    velocity: Velocity | None = None,
    *,
    scale: float = 1.0,
    num_threads: int | None = None,
) -> tuple[float, int]:
    return _train(x, target, None, None, weight, bias, sgd, velocity, scale, num_threads)


def train_epoch(
    x: Any,
    target: Any,
    order: Any,
    batch_size: int,
    weight: Array,
    bias: Array,
    sgd: SGD,
    velocity: Velocity | None = None,
    *,
    scale: float = 1.0,
    num_threads: int | None = None,
) -> tuple[float, int]:
    batch_size = checks.positive_int("batch_size", batch_size)
    return _train(x, target, order, batch_size, weight, bias, sgd, velocity, scale, num_threads)


def _train(
    x: Any,
    target: Any,
    order: Any,
    batch_size: int | None,
    weight: Array,
    bias: Array,
    sgd: SGD,
    velocity: Velocity | None,
    scale: float,
    num_threads: int | None,
) -> tuple[float, int]:
    check_num_threads(num_threads)
    weight, bias = checks.parameters(weight, bias, floats=FLOATS, writeable=True)
    x = checks.rows(x, weight.shape[1], floats=FLOATS)
    target = checks.targets(target, x.shape[0], weight.shape[0])
    order = checks.row_order(order, x.shape[0])
    n_rows = x.shape[0] if order is None else order.shape[0]
    checks.not_empty(n_rows)
    if checks.velocity_of(sgd, velocity, weight) is None:
        velocity = None
    scale = checks.row_scale(scale)
    loss, correct = 0.0, 0
    for begin in range(0, n_rows, batch_size or n_rows):
        batch: Any = slice(begin, begin + (batch_size or n_rows))
        if order is not None:
            batch = order[batch]
        batch_target = target[batch]
        batch_loss, batch_correct, grad_weight, grad_bias = _loss_and_grad(
            x[batch], batch_target, weight, bias, scale
        )
        _sgd_update(weight, bias, grad_weight, grad_bias, len(batch_target), sgd, velocity)
        loss += batch_loss
        correct += batch_correct
    return loss, correct


def evaluate(
    x: Any,
    target: Any,
    weight: Array,
    bias: Array,
    *,
    scale: float = 1.0,
    num_threads: int | None = None,
) -> tuple[float, int]:
    check_num_threads(num_threads)
    weight, bias = checks.parameters(weight, bias, floats=FLOATS)
    x = checks.rows(x, weight.shape[1], floats=FLOATS)
    target = checks.targets(target, x.shape[0], weight.shape[0])
    scale = checks.row_scale(scale)
    loss, correct = 0.0, 0
    for begin in range(0, len(x), _BLOCK_ROWS):
        rows = slice(begin, begin + _BLOCK_ROWS)
        _, logits = _forward(x[rows], weight, bias, scale)
        block_loss, block_correct = _sums(logits, _log_softmax(logits), target[rows])
        loss += block_loss
        correct += block_correct
    return loss, correct


def predict_logits(
    x: Any, weight: Array, bias: Array, *, scale: float = 1.0, num_threads: int | None = None
) -> Array:
    check_num_threads(num_threads)
    weight, bias = checks.parameters(weight, bias, floats=FLOATS)
    x = checks.rows(x, weight.shape[1], floats=FLOATS)
    scale = checks.row_scale(scale)
    logits = np.empty((x.shape[0], weight.shape[0]), weight.dtype)
    for begin in range(0, len(x), _BLOCK_ROWS):
        rows = slice(begin, begin + _BLOCK_ROWS)
        logits[rows] = _forward(x[rows], weight, bias, scale)[1]
    return logits


def softmax(logits: Array, *, num_threads: int | None = None) -> Array:
    check_num_threads(num_threads)
    return np.exp(_log_softmax(checks.logits_matrix(logits, floats=FLOATS)))


def log_softmax(logits: Array, *, num_threads: int | None = None) -> Array:
    check_num_threads(num_threads)
    return _log_softmax(checks.logits_matrix(logits, floats=FLOATS))
