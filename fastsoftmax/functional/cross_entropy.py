"""Losses of logits and of log-probabilities that are there already."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks
from ..arrays import Array, as_array
from ..labels import check_index
from ..problem import Loss, mean
from ..settings import CrossEntropy
from ..threads import SOFTMAX_WORK, threads_for
from .reduction import backend_for, check_no_index, check_reduction, floats, put

__all__ = ["cross_entropy", "nll_loss"]


def cross_entropy(
    logits: Any,
    target: Any,
    weight: Any = None,
    *,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Any:
    """Cross-entropy of logits, as ``torch.nn.functional.cross_entropy``.

    With ``p = softmax(logits)`` of a row, ``w = weight`` and ``e = label_smoothing``, its loss is
    ``-(1 - e) * w[target] * log(p[target]) - e / K * sum(w * log(p))``, or, where its target is a
    probability ``q`` of each class, ``-sum(((1 - e) * q + e / K) * w * log(p))``. Where the logits
    come of a linear layer, `linear_cross_entropy` takes its input instead, and never holds them.

    Parameters
    ----------
    logits : array_like, shape (B, K), (K,) or (B, K, d1, d2, ...)
        float32 is computed in float32 by the best backend, any other real dtype in float64 by
        NumPy. Of more than two dimensions one copy is made.
    target : array_like
        Integers in ``[0, K)``, of the shape of `logits` without K; or probabilities of the
        classes, floats of the shape of `logits`.
    weight : array_like, shape (K,), optional
        Of each class: 0, or from 1e-30 to 1e30 in magnitude.
    reduction : {"mean", "sum", "none"}
        The mean is weighted: over the sum of ``w[target]``. With probabilities it is over the
        number of rows.
    ignore_index : int
        Rows of this target count for nothing.
    label_smoothing : float
        In [0, 1].
    out : ndarray, optional
        For the losses, with ``reduction="none"``; C-contiguous. It may share memory with what is
        read.
    num_threads : int, optional
        `get_num_threads` of them where None.

    Returns
    -------
    float, or ndarray of the shape of `logits` without K
        The latter for ``reduction="none"``, in the dtype of the computation. Sums are in double.
        A mean over nothing is NaN.

    Raises
    ------
    TypeError, ValueError
        An argument is not of that kind; `out` is untouched then.

    Notes
    -----
    A class whose weight or probability is 0 has no part in the loss, even if ``log(p)`` is -inf
    or NaN; PyTorch gives NaN there.

    Examples
    --------
    >>> logits = np.log([[1.0, 1.0, 2.0], [5.0, 3.0, 2.0]])
    >>> cross_entropy(logits, [2, 0])
    0.693...
    >>> cross_entropy(logits, [2, -100], reduction="none")
    array([0.69314718, 0.        ])
    """
    check_index(logits=logits, target=target)
    z, losses_shape = _class_rows("logits", logits)
    target = as_array("target", target)
    if target.shape == np.shape(logits):
        if target.dtype.kind != "f":
            raise TypeError(
                f"target must be floats where it has the shape of logits, got {target.dtype}"
            )
        check_no_index(ignore_index)
        target = _class_rows("target", target)[0]
    else:
        target = _flat_targets(target, losses_shape, or_else=f", or {np.shape(logits)}")
    its_loss = _loss_of(z, target, weight, ignore_index, label_smoothing)
    out = _losses_out(reduction, out, losses_shape, z)
    threads = threads_for(num_threads, SOFTMAX_WORK * z.size)
    log_p = backend_for(z).kernels.softmax(z, True, threads)
    return _reduce(_losses(log_p, its_loss), its_loss, reduction, losses_shape, out)


def nll_loss(
    log_probs: Any,
    target: Any,
    weight: Any = None,
    *,
    reduction: str = "mean",
    ignore_index: int = -100,
    out: Array | None = None,
) -> Any:
    """Negative log-likelihood, ``-weight[target] * log_probs[target]`` of each row.

    As ``torch.nn.functional.nll_loss``; `cross_entropy` is this of `log_softmax`.

    Parameters
    ----------
    log_probs : array_like, shape (B, K), (K,) or (B, K, d1, d2, ...)
        float32 is computed in float32, any other real dtype in float64.
    target : array_like of integers in ``[0, K)``
        Of the shape of `log_probs` without K.
    weight : array_like, shape (K,), optional
        Of each class: 0, or from 1e-30 to 1e30 in magnitude.
    reduction : {"mean", "sum", "none"}
        The mean is weighted: over the sum of ``weight[target]``.
    ignore_index : int
        Rows of this target count for nothing.
    out : ndarray, optional
        For the losses, with ``reduction="none"``; C-contiguous. It may share memory with what is
        read.

    Returns
    -------
    float, or ndarray of the shape of `log_probs` without K
        The latter for ``reduction="none"``. Sums are in double. A mean over nothing is NaN.

    Raises
    ------
    TypeError, ValueError
        An argument is not of that kind; `out` is untouched then.

    Examples
    --------
    >>> nll_loss([[-1.0, -2.0], [-3.0, -4.0]], [0, 1], weight=[1, 3])
    3.25
    """
    check_index(log_probs=log_probs, target=target)
    log_p, losses_shape = _class_rows("log_probs", log_probs)
    target = _flat_targets(as_array("target", target), losses_shape)
    its_loss = _loss_of(log_p, target, weight, ignore_index, 0.0)
    out = _losses_out(reduction, out, losses_shape, log_p)
    return _reduce(_losses(log_p, its_loss), its_loss, reduction, losses_shape, out)


def _class_rows(name: str, value: Any) -> tuple[Array, tuple[int, ...]]:
    """(B, K, ...) as rows (M, K), contiguous, and the shape that the M have."""
    array = floats(name, value)
    if array.ndim == 0 or array.shape[min(array.ndim, 2) - 1] == 0:
        raise ValueError(
            f"{name} must be (B, K), (K,) or (B, K, ...) with K >= 1, got shape {array.shape}"
        )
    shape = array.shape[:-1] if array.ndim == 1 else array.shape[:1] + array.shape[2:]
    if array.ndim > 2:
        array = np.moveaxis(array, 1, -1)
    return np.ascontiguousarray(array).reshape(-1, array.shape[-1]), shape


def _flat_targets(target: Array, shape: tuple[int, ...], or_else: str = "") -> Array:
    if target.shape != shape:
        raise ValueError(f"target must have shape {shape}{or_else}, got {target.shape}")
    return target.reshape(-1)


def _loss_of(
    z: Array, target: Array, weight: Any, ignore_index: int, label_smoothing: float
) -> Loss:
    if weight is not None:
        weight = checks.class_weights("weight", weight, z.shape[1], z.dtype)
    criterion = CrossEntropy(weight, label_smoothing, ignore_index)
    return checks.loss(target, criterion, None, len(z), z.shape[1], z.dtype)


def _losses_out(
    reduction: str, out: Array | None, shape: tuple[int, ...], z: Array
) -> Array | None:
    check_reduction(reduction, out)
    return None if out is None else checks.output("out", out, shape, z.dtype)


def _losses(log_p: Array, its_loss: Loss) -> Array:
    """Of each row of log_p (M, K), the loss (M,)."""
    target, e, w = its_loss.target, its_loss.label_smoothing, its_loss.class_weight
    losses = np.zeros(len(log_p), log_p.dtype)
    smooth: Any = e / log_p.shape[1]
    if target is None:
        assert its_loss.probabilities is not None
        smooth = (1 - e) * its_loss.probabilities + smooth
    else:
        rows = np.flatnonzero(target >= 0)
        of_target = log_p[rows, target[rows]]
        losses[rows] = -of_target if w is None else _times(-w[target[rows]], of_target)
    if e or target is None:
        if w is not None:
            smooth = smooth * w
        losses = (1 - e) * losses - _times(np.asarray(smooth, log_p.dtype), log_p).sum(axis=1)
        if target is not None:
            losses[target < 0] = 0
    return losses


def _times(c: Array, log_p: Array) -> Array:
    """c * log_p, where 0 * -inf is 0."""
    with np.errstate(invalid="ignore"):
        return np.where(c == 0, log_p.dtype.type(0), c * log_p)


def _reduce(
    losses: Array, its_loss: Loss, reduction: str, shape: tuple[int, ...], out: Array | None
) -> Any:
    if reduction == "none":
        return put(losses.reshape(shape), out)
    loss = float(losses.sum(dtype=np.float64))
    return loss if reduction == "sum" else mean(loss, its_loss.total_weight())
