"""Cross-entropy of a linear layer, and its gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import checks, scalars
from ..arrays import Array
from ..labels import check_index
from ..problem import mean
from .linear_problem import Problem
from .reduction import check_reduction, put, row_factors

__all__ = ["LinearCrossEntropyGrad", "linear_cross_entropy", "linear_cross_entropy_grad"]


class LinearCrossEntropyGrad(NamedTuple):
    """What `linear_cross_entropy_grad` returns."""

    loss: Any  # as linear_cross_entropy returns it
    grad_weight: Array  # as linear_weight
    grad_bias: Array | None  # as linear_bias; None without it
    grad_input: Array | None  # as input; None where it was not asked for


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
    problem = Problem.of(
        input, linear_weight, target, linear_bias, weight, ignore_index, label_smoothing
    )
    if out is not None:
        checks.output("out", out, problem.shape, problem.dtype)
    if reduction == "none":
        return put(problem.losses(num_threads), out)
    loss = problem.evaluate(num_threads)
    return loss if reduction == "sum" else mean(loss, problem.total_weight())


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
    grad_input = scalars.boolean("grad_input", grad_input)
    if grad_output is not None:
        check_index(input=input, target=target, grad_output=grad_output)
    problem = Problem.of(
        input, linear_weight, target, linear_bias, weight, ignore_index, label_smoothing
    )
    factors, factor = row_factors(grad_output, reduction, problem.shape)
    total_weight = problem.total_weight() if reduction == "mean" else 1.0
    # where nothing has a part in the loss, gradients stay 0
    divisor = total_weight if reduction == "mean" and problem.any_kept() else 1.0
    loss, gradients = problem.gradients(num_threads, factors, factor, divisor, grad_input)
    result: Any = loss
    if reduction == "none":
        result = put(problem.losses(num_threads), None)
    elif reduction == "mean":
        result = mean(loss, total_weight)
    return LinearCrossEntropyGrad(
        result,
        gradients.weight,
        None if linear_bias is None else gradients.bias,
        None if gradients.input is None else gradients.input.reshape(np.shape(input)),
    )
