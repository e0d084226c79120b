"""The fused linear cross-entropy: its loss, and its gradients, without logits in memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import checks
from .checks import FLOATS, Array
from .functional import backend_for
from .logits import check_no_index, check_reduction, mean
from .loss import CrossEntropy

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
    linear_weight : array_like, shape (K, D), K >= 2
        Of the dtype of `input`; copied if it is not C-contiguous.
    target : array_like
        Integers in ``[0, K)``, (B,); or floats, the probabilities of the classes, (B, K). For one
        row (D,) of input: () or (K,).
    linear_bias : array_like, shape (K,), optional
        Of the dtype of `input`.
    weight : array_like, shape (K,), optional
        Of each class; finite.
    reduction : {"mean", "sum", "none"}
        The mean is weighted: over the sum of ``w[target]``. With probabilities it is over the
        number of rows.
    ignore_index : int or None
        Rows of this target count for nothing; None is -100.
    label_smoothing : float
        In [0, 1].
    out : ndarray, shape (B,), optional
        For the losses, with ``reduction="none"``; C-contiguous, of the dtype of `input`.
    num_threads : int, optional
        `get_num_threads` of them where None. The result has the same bits for any.

    Returns
    -------
    float, or ndarray of the dtype of `input`, shape (B,)
        The latter for ``reduction="none"``. Sums are in double. A mean over nothing is NaN.

    Raises
    ------
    TypeError, ValueError
        An argument is not of that kind; `out` is untouched then.

    Notes
    -----
    PyTorch's K-dimensional loss, with a `linear_weight` of more than two dimensions, is not
    covered. A class whose weight or probability is 0 has no part in the loss, even if ``log(p)``
    is -inf; PyTorch gives NaN there.

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
    x, w, target, b, criterion = _arguments(
        input, linear_weight, target, linear_bias, weight, ignore_index, label_smoothing
    )
    losses = None
    if reduction == "none":
        shape = np.shape(input)[:-1]
        losses = np.empty(shape, w.dtype)
        if out is not None:
            losses = checks.output("out", out, shape, w.dtype)
        losses = losses.reshape(-1)
    sums = backend_for(w).evaluate(
        x, target, w, b, criterion=criterion, num_threads=num_threads, losses=losses
    )
    if losses is not None:
        return losses.reshape(shape)[()] if out is None else out
    return sums.loss if reduction == "sum" else mean(sums.loss, sums.weight)


class LinearCrossEntropyGrad(NamedTuple):
    """What `linear_cross_entropy_grad` returns."""

    loss: Any  # as linear_cross_entropy returns it
    grad_weight: Array  # (K, D)
    grad_bias: Array | None  # (K,); None without linear_bias
    grad_input: Array | None  # as input; None where it was not asked for


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
    grad_output : float, or with ``reduction="none"`` array_like, shape (B,), optional
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
    x, w, target, b, criterion = _arguments(
        input, linear_weight, target, linear_bias, weight, ignore_index, label_smoothing
    )
    backend = backend_for(w)
    factors, factor = None, 1.0
    if grad_output is not None and reduction == "none":
        if np.shape(grad_output) != np.shape(input)[:-1]:
            raise ValueError(
                f"grad_output must have shape {np.shape(input)[:-1]} as the losses, "
                f"got {np.shape(grad_output)}"
            )
        factors = checks.float_vector(
            "grad_output", np.reshape(grad_output, -1), len(x), "rows", w.dtype
        )
    elif grad_output is not None:
        factor = checks.finite("grad_output", grad_output)

    loss: Any
    d_x = np.empty_like(x) if grad_input else None
    if len(x):
        loss, d_w, d_b = backend.loss_and_grad(
            x,
            target,
            w,
            b,
            criterion=criterion,
            sample_weight=factors,
            num_threads=num_threads,
            grad_input=d_x,
        )
    else:
        loss, d_w, d_b = 0.0, np.zeros_like(w), np.zeros_like(b)
    if reduction == "none" or len(x) == 0:
        losses = np.empty(len(x), w.dtype)
        backend.evaluate(
            x, target, w, b, criterion=criterion, num_threads=num_threads, losses=losses
        )
    gradients = (d_w, d_b) if d_x is None else (d_w, d_b, d_x)
    if reduction == "none":
        loss = losses.reshape(np.shape(input)[:-1])[()]
    elif reduction == "mean":
        n, total = _kept(target, criterion)
        loss = mean(loss, total)
        if n:
            with np.errstate(divide="ignore", invalid="ignore"):  # what IEEE 754 has for g / 0
                for gradient in gradients:
                    gradient /= total
    if factor != 1:
        for gradient in gradients:
            gradient *= factor
    return LinearCrossEntropyGrad(
        loss,
        d_w,
        None if linear_bias is None else d_b,
        None if d_x is None else d_x.reshape(np.shape(input)),
    )


def _arguments(
    input: Any,
    linear_weight: Any,
    target: Any,
    linear_bias: Any,
    weight: Any,
    ignore_index: int | None,
    label_smoothing: float,
) -> tuple[Array, Array, Array, Array, CrossEntropy]:
    """x (B, D), weight, target, bias and criterion, as a backend takes them."""
    x, w, target = np.asarray(input), np.asarray(linear_weight), np.asarray(target)
    if x.dtype not in FLOATS:
        raise TypeError(
            f"input must be float32 or float64, got {x.dtype}; convert it once with "
            f"input.astype(np.float32)"
        )
    if x.ndim not in (1, 2):
        raise ValueError(f"input must be (B, D) or (D,), got shape {x.shape}")
    if w.ndim != 2 or len(w) < 2:
        raise ValueError(f"linear_weight must be (K, D), K >= 2, got shape {w.shape}")
    if x.shape[-1] != w.shape[1]:
        raise ValueError(f"input has {x.shape[-1]} features, and linear_weight {w.shape[1]}")
    b = np.zeros(len(w), x.dtype) if linear_bias is None else np.asarray(linear_bias)
    if b.shape != (len(w),):
        raise ValueError(f"linear_bias must have shape ({len(w)},), got {b.shape}")
    for name, array in (("linear_weight", w), ("linear_bias", b)):
        if array.dtype != x.dtype:
            raise TypeError(f"{name} must be {x.dtype} as input, got {array.dtype}")
    if target.shape == (*x.shape[:-1], len(w)) and target.dtype.kind == "f":
        if ignore_index is not None:
            check_no_index(ignore_index)
    elif target.shape != x.shape[:-1]:
        raise ValueError(
            f"target must have shape {x.shape[:-1]}, or {(*x.shape[:-1], len(w))} where it is "
            f"probabilities, got {target.shape} of {target.dtype}"
        )
    if weight is not None:
        weight = checks.float_vector("weight", weight, len(w), "classes", w.dtype)
    criterion = CrossEntropy(
        weight, label_smoothing, -100 if ignore_index is None else ignore_index
    )
    if x.ndim == 1:
        x, target = x[None], target[None]
    return (
        np.ascontiguousarray(x),
        np.ascontiguousarray(w),
        target,
        np.ascontiguousarray(b),
        criterion,
    )


def _kept(target: Array, criterion: CrossEntropy) -> tuple[int, float]:
    """Rows that are not ignored, and what their mean divides by, for targets that were checked."""
    if target.ndim == 2:
        return len(target), len(target)
    kept = target != criterion.ignore_index
    n = int(np.count_nonzero(kept))
    if criterion.class_weight is None:
        return n, n
    return n, float(criterion.class_weight[target[kept]].sum(dtype=np.float64))
