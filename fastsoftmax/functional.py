"""The kernels as functions of NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import checks
from .backends import get_backend
from .checks import Array
from .optim import SGD, Velocity

__all__ = ["log_softmax", "sgd_step", "softmax"]


def softmax(logits: Any, *, num_threads: int | None = None) -> Array:
    """Softmax over the last axis, ``exp(z) / sum(exp(z))``, by the log-sum-exp trick.

    Parameters
    ----------
    logits : array_like, shape (..., K)
        float32 is computed in float32 by the C kernels, anything else in float64 by NumPy.
    num_threads : int, optional
        `get_num_threads` of them where None.

    Returns
    -------
    ndarray, shape (..., K)
        float32 or float64. A row with NaN or +inf, or with nothing but -inf, is NaN.

    Raises
    ------
    ValueError
        `logits` has no last axis, or nothing along it.

    Examples
    --------
    >>> softmax(np.log([[1.0, 1.0, 2.0]]))
    array([[0.25, 0.25, 0.5 ]])
    >>> softmax(np.array([1e4, -1e4], np.float32))
    array([1., 0.], dtype=float32)
    """
    return _over_last_axis("softmax", logits, num_threads)


def log_softmax(logits: Any, *, num_threads: int | None = None) -> Array:
    """Logarithm of the softmax over the last axis, ``z - log(sum(exp(z)))``.

    Parameters
    ----------
    logits : array_like, shape (..., K)
        float32 is computed in float32 by the C kernels, anything else in float64 by NumPy.
    num_threads : int, optional
        `get_num_threads` of them where None.

    Returns
    -------
    ndarray, shape (..., K)
        float32 or float64. A row with NaN or +inf, or with nothing but -inf, is NaN.

    Raises
    ------
    ValueError
        `logits` has no last axis, or nothing along it.

    Examples
    --------
    >>> log_softmax(np.array([1e4, -1e4], np.float32))
    array([     0., -20000.], dtype=float32)
    """
    return _over_last_axis("log_softmax", logits, num_threads)


def _over_last_axis(name: str, logits: Any, num_threads: int | None) -> Array:
    z = np.asarray(logits)
    if z.dtype != np.float32:
        z = z.astype(np.float64)
    if z.ndim == 0 or z.shape[-1] == 0:
        raise ValueError(f"logits must be (..., K) with K >= 1, got shape {z.shape}")
    matrix = np.ascontiguousarray(z).reshape(-1, z.shape[-1])
    backend = get_backend("auto" if z.dtype == np.float32 else "numpy")
    result: Array = getattr(backend, name)(matrix, num_threads=num_threads)
    return result.reshape(z.shape)


def sgd_step(
    x: Any,
    target: Any,
    weight: Array,
    bias: Array,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    velocity: Velocity | None = None,
    scale: float | None = None,
    num_threads: int | None = None,
) -> float:
    """One fused step of SGD on softmax regression: forward, loss, gradient and update.

    The loss is the mean over the batch of ``log(sum(exp(z))) - z[target]``, with the logits
    ``z = scale * x @ weight.T + bias``. `weight`, `bias` and `velocity` are updated in place.

    Parameters
    ----------
    x : ndarray of float32 or uint8, shape (B, D) or (B, H, W) and the like
        C-contiguous; never copied.
    target : ndarray of integers, shape (B,)
        Classes, in ``[0, K)``.
    weight : ndarray of float32, shape (K, D)
    bias : ndarray of float32, shape (K,)
    lr, momentum, dampening, nesterov, weight_decay
        As in `SGD`.
    velocity : Velocity, optional
        Needed where ``momentum > 0``: made once by ``Velocity.of(weight, bias)``.
    scale : float, optional
        By which each feature is multiplied; None is 1/255 for uint8, 1 for float32.
    num_threads : int, optional
        `get_num_threads` of them where None. The result has the same bits for any.

    Returns
    -------
    float
        The mean loss before the update.

    Raises
    ------
    TypeError, ValueError
        An argument is not of that kind; nothing has been changed then.

    Examples
    --------
    >>> x = np.array([[1, 0], [0, 1]], np.float32)
    >>> weight, bias = np.zeros((2, 2), np.float32), np.zeros(2, np.float32)
    >>> loss = sgd_step(x, np.array([0, 1]), weight, bias, lr=4.0)
    >>> round(loss, 4)
    0.6931
    >>> weight
    array([[ 1., -1.],
           [-1.,  1.]], dtype=float32)
    """
    x = np.asarray(x)
    sums = get_backend().train_step(
        x,
        target,
        weight,
        bias,
        SGD(lr, momentum, dampening, nesterov, weight_decay),
        velocity,
        scale=checks.default_scale(x.dtype) if scale is None else scale,
        num_threads=num_threads,
    )
    return sums.loss / sums.weight
