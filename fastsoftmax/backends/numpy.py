"""The step in plain NumPy: the specification, the oracle of the tests, and the last fallback.

With x (B, D), weight (K, D), bias (K,), and of each row a coefficient c of every class, which is
onehot(target) where nothing weighs, smooths or ignores::

    logits = x @ weight.T + bias                              (B, K)
    loss = sum(c * (log(sum(exp(logits))) - logits))
    d logits = sum(c) * softmax(logits) - c                   (B, K)
    d weight = (d logits).T @ x,  d bias = sum(d logits)      (K, D), (K,)
    d x = (d logits) @ weight                                 (B, D)

A row whose coefficients are all 0 counts for nothing, and is left out: it may be NaN.

It computes in the dtype of the weight, and is the only backend that takes float64: the truth that
the others are measured against. Its threads are those of the BLAS that NumPy was built with.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks
from ..checks import FLOATS, Array
from ..problem import Loss, Sums, Velocity
from ..scalars import FLOAT32_TINY
from ..settings import CrossEntropy, SGDSettings
from ..threads import check_num_threads

name = "numpy"

# Rows whose float copy and logits are held at a time: no memory that grows with N
_BLOCK_ROWS = 4096

_NOTHING = Sums(0.0, 0, 0, 0)


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


def _coefficients(terms: Loss, n_classes: int, dtype: Any) -> Array:
    """c (B, K), so that the loss of a row is ``-sum(c * log_p)``."""
    if terms.probabilities is not None:
        c = terms.probabilities
    else:
        assert terms.target is not None
        c = (terms.target[:, None] == np.arange(n_classes)).astype(dtype)
    if terms.label_smoothing:
        c = (1 - terms.label_smoothing) * c + terms.label_smoothing / n_classes
    if terms.class_weight is not None:
        c = c * terms.class_weight
    if terms.sample_weight is not None:
        c = c * terms.sample_weight[:, None]
    if terms.target is not None:
        c[terms.target < 0] = 0
    return c


def _sums(logits: Array, losses: Array, terms: Loss, total_weight: float) -> Sums:
    """Of rows that count."""
    target = terms.target
    if target is None:
        assert terms.probabilities is not None
        target = terms.probabilities.argmax(axis=1)
    correct = (logits.argmax(axis=1) == target) & ~np.isnan(losses)
    loss = float(losses.sum(dtype=np.float64))
    return Sums(loss, int(correct.sum()), total_weight, len(losses))


def _forward_loss(
    x: Array, terms: Loss, weight: Array, bias: Array, scale: float
) -> tuple[Any, Array, Array, Array, Array, Sums]:
    """Which rows count, M of B; of these the scaled rows (M, D), log_p and c (M, K), and the loss
    of each (M,); sums."""
    c = _coefficients(terms, len(bias), weight.dtype)
    counts: Any = (c != 0).any(axis=1)
    if counts.all():
        counts = slice(None)  # no copy
    c = c[counts]
    x, logits = _forward(x[counts], weight, bias, scale)
    log_p = _log_softmax(logits)
    with np.errstate(invalid="ignore"):  # 0 * -inf, of a class that has no part in the loss
        losses = -np.where(c == 0, 0, c * log_p).sum(axis=1)
    sums = _sums(logits, losses, terms.take(counts), terms.total_weight())
    return counts, x, log_p, c, losses, sums


def _loss_and_grad(
    x: Array,
    terms: Loss,
    weight: Array,
    bias: Array,
    scale: float,
    grad_input: Array | None = None,
) -> tuple[Sums, Array, Array]:
    sums = _NOTHING
    grad_weight, grad_bias = np.zeros_like(weight), np.zeros_like(bias)
    for begin in range(0, len(x), _BLOCK_ROWS):
        rows = slice(begin, begin + _BLOCK_ROWS)
        counts, block, log_p, c, _, block_sums = _forward_loss(
            x[rows], terms.take(rows), weight, bias, scale
        )
        residual = c.sum(axis=1, keepdims=True) * np.exp(log_p) - c
        grad_weight += residual.T @ block
        grad_bias += residual.sum(axis=0)
        if grad_input is not None:
            grad_input[rows] = 0
            grad_input[rows][counts] = weight.dtype.type(scale) * (residual @ weight)
        sums = sums.plus(block_sums)
    return sums, grad_weight, grad_bias


def _update(
    w: Array, g: Array, v: Array | None, weight_decay: float, sgd: SGDSettings, first: bool
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
    total_weight: float,
    sgd: SGDSettings,
    velocity: Velocity | None,
) -> None:
    first = velocity is not None and not velocity.started
    bias_decay = sgd.weight_decay if sgd.decay_bias else 0.0
    v_weight, v_bias = (velocity.weight, velocity.bias) if velocity else (None, None)
    _update(weight, grad_weight / total_weight, v_weight, sgd.weight_decay, sgd, first)
    _update(bias, grad_bias / total_weight, v_bias, bias_decay, sgd, first)
    if velocity is not None:
        velocity.started = True


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
    weight, bias = checks.parameters(weight, bias, floats=FLOATS)
    x = checks.rows(x, weight.shape[1], floats=FLOATS)
    checks.not_empty(x.shape[0])
    terms = checks.loss_terms(target, criterion, sample_weight, x, weight)
    scale = checks.row_scale(scale)
    grad_scale = checks.finite("grad_scale", grad_scale)
    if grad_input is not None:
        checks.output("grad_input", grad_input, x.shape, weight.dtype)
    checks.no_overlap_with_result("grad_input", grad_input, x, terms, weight, bias)
    sums, grad_weight, grad_bias = _loss_and_grad(x, terms, weight, bias, scale, grad_input)
    terms.unscale(grad_weight, grad_bias, grad_input)
    for gradient in (grad_weight, grad_bias, grad_input):
        if gradient is not None:
            gradient *= weight.dtype.type(grad_scale)
    return terms.unscaled(sums).loss, grad_weight, grad_bias


def sgd_update(
    weight: Array,
    bias: Array,
    grad_weight: Array,
    grad_bias: Array,
    total_weight: float,
    sgd: SGDSettings,
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
    moments = checks.velocity_of(sgd, velocity, weight)
    if moments is None:
        velocity = None
    total_weight = checks.total_weight(total_weight)
    checks.no_overlap_in_update(weight, bias, grad_weight, grad_bias, moments)
    _sgd_update(weight, bias, grad_weight, grad_bias, total_weight, sgd, velocity)


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
    weight, bias = checks.parameters(weight, bias, floats=FLOATS, writeable=True)
    x = checks.rows(x, weight.shape[1], floats=FLOATS)
    terms = checks.loss_terms(target, criterion, sample_weight, x, weight)
    order = checks.row_order(order, x.shape[0])
    n_rows = x.shape[0] if order is None else order.shape[0]
    checks.not_empty(n_rows)
    moments = checks.velocity_of(sgd, velocity, weight)
    if moments is None:
        velocity = None
    scale = checks.row_scale(scale)
    checks.no_overlap_in_training(x, terms, order, weight, bias, moments)
    sums = _NOTHING
    for begin in range(0, n_rows, batch_size or n_rows):
        batch: Any = slice(begin, begin + (batch_size or n_rows))
        if order is not None:
            batch = order[batch]
        batch_sums, grad_weight, grad_bias = _loss_and_grad(
            x[batch], terms.take(batch), weight, bias, scale
        )
        # a batch of weight 0 has no gradient
        total = batch_sums.total_weight if abs(batch_sums.total_weight) >= FLOAT32_TINY else 1
        _sgd_update(weight, bias, grad_weight, grad_bias, total, sgd, velocity)
        sums = sums.plus(batch_sums)
    return terms.unscaled(sums)


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
    weight, bias = checks.parameters(weight, bias, floats=FLOATS)
    x = checks.rows(x, weight.shape[1], floats=FLOATS)
    terms = checks.loss_terms(target, criterion, sample_weight, x, weight)
    scale = checks.row_scale(scale)
    if losses is not None:
        checks.output("losses", losses, x.shape[:1], weight.dtype)
    checks.no_overlap_with_result("losses", losses, x, terms, weight, bias)
    sums = _NOTHING
    for begin in range(0, len(x), _BLOCK_ROWS):
        rows = slice(begin, begin + _BLOCK_ROWS)
        counts, *_, block_losses, block_sums = _forward_loss(
            x[rows], terms.take(rows), weight, bias, scale
        )
        if losses is not None:
            losses[rows] = 0
            losses[rows][counts] = block_losses
        sums = sums.plus(block_sums)
    terms.unscale(losses)
    return terms.unscaled(sums)


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
