"""linear_cross_entropy and its gradients: the public functions, and the K-dimensional loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, scalars
from ..arrays import Array, as_array
from . import fused
from .cross_entropy import check_reduction, mean
from .fused import LinearCrossEntropyGrad

__all__ = ["LinearCrossEntropyGrad", "linear_cross_entropy", "linear_cross_entropy_grad"]


def linear_cross_entropy(
    input: Any,
    linear_weight: Any,
    target: Any,
    *,
    linear_bias: Any = None,
    weight: Any = None,
    reduction: str = "mean",
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Any:
    """Cross-entropy of ``input @ linear_weight.T + linear_bias``, without holding the logits.

    As ``torch.nn.functional.linear_cross_entropy`` (2.13). With ``p = softmax(logits)`` of a row,
    ``w = weight`` and ``e = label_smoothing``, its loss is ``-(1 - e) * w[target] *
    log(p[target]) - e / K * sum(w * log(p))``, or, where its target is a probability ``q`` of
    each class, ``-sum(((1 - e) * q + e / K) * w * log(p))``.

    Parameters
    ----------
    input : array_like of float32 or float64, shape (B, D) or (D,)
        float32 is computed in float32 by the best backend, float64 in float64 by NumPy. Neither
        is converted to the other. It is copied if it is not C-contiguous.
    linear_weight : array_like, shape (K, D), K >= 2, or (K, d1, d2, ..., D)
        Of the dtype of `input`; copied if it is not C-contiguous. With more dimensions there is a
        loss for each position in (d1, d2, ...), PyTorch's K-dimensional loss: one pass each.
    target : array_like
        Integers in ``[0, K)``, (B,) or (B, d1, d2, ...); or floats, the probabilities of the
        classes, (B, K) or (B, K, d1, d2, ...). For one row (D,) of input: () or (K,).
    linear_bias : array_like, shape (K,) or (K, d1, d2, ...), optional
        Of the dtype of `input`.
    weight : array_like, shape (K,), optional
        Of each class: 0, or from 1e-30 to 1e30 in magnitude.
    reduction : {"mean", "sum", "none"}
        The mean is weighted: over the sum of ``w[target]``. With probabilities it is over the
        number of rows.
    ignore_index : int or None
        Rows of this target count for nothing; None is -100.
    label_smoothing : float
        In [0, 1].
    out : ndarray, shape (B,) or (B, d1, d2, ...), optional
        For the losses, with ``reduction="none"``; C-contiguous, of the dtype of `input`. It may
        share memory with what is read.
    num_threads : int, optional
        `get_num_threads` of them where None. The result has the same bits for any.

    Returns
    -------
    float, or ndarray of the dtype of `input`, shape (B,) or (B, d1, d2, ...)
        The latter for ``reduction="none"``. Sums are in double. A mean over nothing is NaN.

    Raises
    ------
    TypeError, ValueError
        An argument is not of that kind; `out` is untouched then.

    Notes
    -----
    A class whose weight or probability is 0 has no part in the loss, even if ``log(p)`` is -inf,
    and a row of which no class has a part may hold NaN or infinities: its loss and its gradients
    are 0. PyTorch gives NaN there.

    Examples
    --------
    >>> input = np.array([[1, 0], [0, 1]], np.float32)
    >>> linear_weight = np.array([[1, -1], [-1, 1]], np.float32)
    >>> linear_cross_entropy(input, linear_weight, [0, 1])
    0.1269...
    >>> linear_cross_entropy(input, linear_weight, [0, -100], reduction="none")
    array([0.12692805, 0.        ], dtype=float32)
    """
    check_reduction(reduction, out)
    ignore_index = None if ignore_index is None else scalars.integer("ignore_index", ignore_index)
    linear_weight = as_array("linear_weight", linear_weight)
    compute = fused.loss if linear_weight.ndim <= 2 else _k_dimensional
    return compute(
        input, linear_weight, target, linear_bias=linear_bias, reduction=reduction, out=out,
        weight=weight, ignore_index=ignore_index, label_smoothing=label_smoothing,
        num_threads=num_threads,
    )  # fmt: skip


def linear_cross_entropy_grad(
    input: Any,
    linear_weight: Any,
    target: Any,
    *,
    linear_bias: Any = None,
    weight: Any = None,
    reduction: str = "mean",
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    grad_output: Any = None,
    grad_input: bool = False,
    num_threads: int | None = None,
) -> LinearCrossEntropyGrad:
    """Loss and gradients of `linear_cross_entropy`, in one pass over the rows.

    With ``c`` the coefficients of the classes of a row, ``loss = -sum(c * log(p))``, divided by
    what a mean divides by, its part of the gradients is ``r = sum(c) * p - c`` for the bias,
    ``outer(r, x)`` for the weight, and ``r @ linear_weight`` for the row of input.

    Parameters
    ----------
    input, linear_weight, target, linear_bias, weight, reduction, ignore_index, label_smoothing
        As in `linear_cross_entropy`.
    grad_output : float, or with ``reduction="none"`` array_like of the losses' shape, optional
        The gradient for the loss of what is computed from it, as ``loss.backward`` takes it in
        PyTorch; 1 where None. Finite.
    grad_input : bool
        Whether the gradient for `input` is wanted.
    num_threads : int, optional
        `get_num_threads` of them where None. The result has the same bits for any.

    Returns
    -------
    LinearCrossEntropyGrad
        ``loss``, ``grad_weight`` (K, D), ``grad_bias`` (K,) or None without a bias, ``grad_input``
        of the shape of `input` or None; arrays of the dtype of `input`. Where all rows are
        ignored, gradients are 0. With ``reduction="none"`` the losses take a second pass.

    Raises
    ------
    TypeError, ValueError
        An argument is not of that kind.

    Examples
    --------
    >>> input = np.array([[1, 0], [0, 1]], np.float32)
    >>> linear_weight, linear_bias = np.zeros((2, 2), np.float32), np.zeros(2, np.float32)
    >>> grad = linear_cross_entropy_grad(input, linear_weight, [0, 1], linear_bias=linear_bias)
    >>> grad.loss
    0.6931...
    >>> grad.grad_weight
    array([[-0.25,  0.25],
           [ 0.25, -0.25]], dtype=float32)
    """
    check_reduction(reduction, None)
    ignore_index = None if ignore_index is None else scalars.integer("ignore_index", ignore_index)
    grad_input = scalars.boolean("grad_input", grad_input)
    linear_weight = as_array("linear_weight", linear_weight)
    compute = fused.gradients if linear_weight.ndim <= 2 else _k_dimensional_grad
    return compute(
        input, linear_weight, target, linear_bias=linear_bias, reduction=reduction,
        grad_output=grad_output, grad_input=grad_input, weight=weight, ignore_index=ignore_index,
        label_smoothing=label_smoothing, num_threads=num_threads,
    )  # fmt: skip


# ---- PyTorch's K-dimensional loss: one for each position in (d1, d2, ...) ----


def _k_dimensional(
    input: Any,
    linear_weight: Any,
    target: Any,
    *,
    linear_bias: Any,
    reduction: str,
    out: Array | None,
    **options: Any,
) -> Any:
    x, w, target, b = _k_arguments(input, linear_weight, target, linear_bias)
    shape, each, losses = _k_losses(x, w, reduction)
    if out is not None:
        checks.output("out", out, shape, x.dtype)
    for p in np.ndindex(shape[1:]):
        at = (..., *p)
        losses[at] = fused.loss(
            x, w[(slice(None), *p)], target[at], linear_bias=b[at], reduction=each, **options
        )
    if out is not None:
        out[...] = losses
        return out
    return _k_reduce(losses, target, w, reduction, options)[0]


def _k_dimensional_grad(
    input: Any,
    linear_weight: Any,
    target: Any,
    *,
    linear_bias: Any,
    reduction: str,
    grad_output: Any,
    grad_input: bool,
    **options: Any,
) -> LinearCrossEntropyGrad:
    x, w, target, b = _k_arguments(input, linear_weight, target, linear_bias)
    shape, each, losses = _k_losses(x, w, reduction)
    factors, factor = fused.row_factors(grad_output, reduction, shape)
    d_w, d_b = np.empty_like(w), np.empty_like(b)
    d_x = np.zeros_like(x) if grad_input else None
    for p in np.ndindex(shape[1:]):
        at = (..., *p)
        part = fused.gradients(
            x,
            w[(slice(None), *p)],
            target[at],
            linear_bias=b[at],
            reduction=each,
            grad_output=None if factors is None else factors.reshape(shape)[at],
            grad_input=grad_input,
            **options,
        )
        losses[at], d_w[(slice(None), *p)], d_b[at] = part.loss, part.grad_weight, part.grad_bias
        if d_x is not None:
            d_x += part.grad_input
    loss, divisor = _k_reduce(losses, target, w, reduction, options)
    fused.scale((d_w, d_b, d_x), factor, divisor, target, options["ignore_index"])
    return LinearCrossEntropyGrad(loss, d_w, None if linear_bias is None else d_b, d_x)


def _k_arguments(
    input: Any, linear_weight: Array, target: Any, linear_bias: Any
) -> tuple[Array, Array, Array, Array]:
    """Arrays whose positions go together; of each one all else is checked."""
    x, w, target = as_array("input", input), linear_weight, as_array("target", target)
    if x.ndim != 2:
        raise ValueError(
            f"input must be (B, D) where linear_weight is {w.shape}, got shape {x.shape}"
        )
    shape, of_classes = (len(x), *w.shape[1:-1]), (len(x), *w.shape[:-1])
    if target.shape not in (shape, of_classes):
        raise ValueError(
            f"target must have shape {shape}, or {of_classes} where it is probabilities, "
            f"got {target.shape}"
        )
    b = (
        np.zeros(w.shape[:-1], w.dtype)
        if linear_bias is None
        else as_array("linear_bias", linear_bias)
    )
    if b.shape != w.shape[:-1]:
        raise ValueError(f"linear_bias must have shape {w.shape[:-1]}, got {b.shape}")
    return x, w, target, b


def _k_losses(x: Array, w: Array, reduction: str) -> tuple[tuple[int, ...], str, Array]:
    """The shape of all losses, how those of a position are reduced, and room for that."""
    shape = (len(x), *w.shape[1:-1])
    if reduction == "none":
        return shape, "none", np.empty(shape, x.dtype)
    return shape, "sum", np.empty(shape[1:])


def _k_reduce(
    losses: Array, target: Array, w: Array, reduction: str, options: dict[str, Any]
) -> tuple[Any, float]:
    """The loss, and what gradients of the sum are divided by."""
    if reduction == "none":
        return losses, 1.0
    loss = float(losses.sum())
    if reduction == "sum":
        return loss, 1.0
    criterion = fused.criterion_of(w, options["weight"], options["ignore_index"], 0.0)
    n, total = fused.kept_weight(target, criterion, len(w))
    return mean(loss, total), total if n else 1.0
