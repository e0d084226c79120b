"""Sources hand out the rows that a model is trained on or evaluated on; today there are arrays."""

from __future__ import annotations

from typing import Any, Protocol

from ..problem import Rows
from .arrays import ArraySource

__all__ = ["Source", "source_of"]


class Source(Protocol):
    """N rows of D features, which are checked once, when the source is made."""

    @property
    def n_rows(self) -> int:
        """N."""

    @property
    def n_features(self) -> int:
        """D."""

    def rows(self, begin: int = 0, end: int | None = None) -> Rows:
        """The rows from `begin` up to `end`, by default all of them."""


def source_of(x: Any, n_features: int | None = None) -> Source:
    """The source of rows that a caller gave as `x`; `n_features` is D where a model has one.

    Raises
    ------
    TypeError, ValueError
        `x` are no rows, or not of D features.
    """
    return ArraySource(x, n_features)
