"""Softmax and its logarithm."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks
from ..arrays import Array
from ..threads import SOFTMAX_WORK, threads_for
from .reduction import backend_for, floats, put

__all__ = ["log_softmax", "softmax"]


def softmax(logits: Any, *, out: Array | None = None, num_threads: int | None = None) -> Array:
    """Softmax over the last axis, ``exp(z) / sum(exp(z))``, by the log-sum-exp trick.

    Parameters
    ----------
    logits : array_like, shape (..., K)
        float32 is computed in float32 by the C kernels, anything else in float64 by NumPy.
    out : ndarray, shape (..., K), optional
        C-contiguous, float32 or float64 as the result; it may share memory with `logits`.
    num_threads : int, optional
        `get_num_threads` of them where None.

    Returns
    -------
    ndarray, shape (..., K)
        float32 or float64; `out` where given. A row with NaN or +inf, or with nothing but -inf,
        is NaN. Probabilities below e**-87 lose digits in float32, and are 0 from e**-104 on:
        `log_softmax` has all of them.

    Raises
    ------
    TypeError
        `logits` are complex, or `out` is not of the result's dtype.
    ValueError
        `logits` has no last axis, or nothing along it; `out` is not of its shape.

    Examples
    --------
    >>> softmax(np.log([[1.0, 1.0, 2.0]]))
    array([[0.25, 0.25, 0.5 ]])
    >>> softmax(np.array([1e4, -1e4], np.float32))
    array([1., 0.], dtype=float32)
    """
    return _over_last_axis("softmax", logits, out, num_threads)


def log_softmax(logits: Any, *, out: Array | None = None, num_threads: int | None = None) -> Array:
    """Logarithm of the softmax over the last axis, ``z - log(sum(exp(z)))``.

    Parameters
    ----------
    logits : array_like, shape (..., K)
        float32 is computed in float32 by the C kernels, anything else in float64 by NumPy.
    out : ndarray, shape (..., K), optional
        C-contiguous, float32 or float64 as the result; it may share memory with `logits`.
    num_threads : int, optional
        `get_num_threads` of them where None.

    Returns
    -------
    ndarray, shape (..., K)
        float32 or float64; `out` where given. A row with NaN or +inf, or with nothing but -inf,
        is NaN.

    Raises
    ------
    TypeError
        `logits` are complex, or `out` is not of the result's dtype.
    ValueError
        `logits` has no last axis, or nothing along it; `out` is not of its shape.

    Examples
    --------
    >>> log_softmax(np.array([1e4, -1e4], np.float32))
    array([     0., -20000.], dtype=float32)
    """
    return _over_last_axis("log_softmax", logits, out, num_threads)


def _over_last_axis(name: str, logits: Any, out: Array | None, num_threads: int | None) -> Array:
    z = floats("logits", logits)
    if z.ndim == 0 or z.shape[-1] == 0:
        raise ValueError(f"logits must be (..., K) with K >= 1, got shape {z.shape}")
    if out is not None:
        checks.output("out", out, z.shape, z.dtype)
    matrix = np.ascontiguousarray(z).reshape(-1, z.shape[-1])
    threads = threads_for(num_threads, SOFTMAX_WORK * matrix.size)
    result = backend_for(z).kernels.softmax(matrix, name == "log_softmax", threads)
    return put(result.reshape(z.shape), out)  # type: ignore[no-any-return]
