"""Rows that lie in one array."""

from __future__ import annotations

from typing import Any

from .. import checks
from ..problem import Rows

__all__ = ["ArraySource"]


class ArraySource:
    """Rows of an array (N, D), or (N, H, W) and the like; float32, or uint8 taken as pixels / 255.

    The array is not copied, nor are the rows that are handed out.

    Examples
    --------
    >>> import numpy as np
    >>> source = ArraySource(np.zeros((10, 28, 28), np.uint8))
    >>> source.n_rows, source.n_features
    (10, 784)
    >>> source.rows(2, 5).x.shape
    (3, 784)
    """

    def __init__(self, x: Any, n_features: int | None = None) -> None:
        self._x = checks.rows(x, n_features)
        self._scale = checks.default_scale(self._x.dtype)

    @property
    def n_rows(self) -> int:
        return len(self._x)

    @property
    def n_features(self) -> int:
        return int(self._x.shape[1])

    def rows(self, begin: int = 0, end: int | None = None) -> Rows:
        return Rows(self._x[begin:end], self._scale)
