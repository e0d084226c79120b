"""By rows or by tiles: the plan of a step, and the thresholds between the two.

By rows each chunk of rows has a partial gradient of its own, and a row is fetched by one core
only. By tiles no partial gradient goes through memory, but the rows are gathered twice.
"""

from __future__ import annotations

from ..kernels.rows import BLOCK_FEATURES

TILES_FROM = 128 << 10  # bytes of weight
SPAN_ROWS = 1024  # by tiles: rows whose residuals are held at a time
TILE_FEATURES = 64  # by tiles: features of the gradient that are computed at a time


def is_by_tiles(n_features: int, n_classes: int) -> bool:
    """Whether a step is computed by tiles, and not by rows."""
    return n_classes * n_features * 4 >= TILES_FROM or n_features > BLOCK_FEATURES
