"""By rows or by tiles: the plan of a step, and the thresholds of it.

By rows each chunk of rows has a partial gradient of its own, and a row is fetched by one core
only. By tiles no partial gradient goes through memory, but the rows are gathered twice. The plan
decides in which order floats are added: it is a function of the shapes alone.

The rules are those of csrc/driver/plan.c, but for two, as this table says; tests/backends/
test_plans.py compares them.

======================  ================================  ===================================
a step is by tiles      in C                              here
======================  ================================  ===================================
of a large weight       from TILES_FROM on, classes       the same, padded to VECTOR floats:
                        padded to vectors of the ISA      LLVM does not say what its ISA is
of fewer rows than      yes, if classes are more than     no: threads never share the classes,
classes                 one group: threads share them     and by rows it takes less time
rows of a span          span_rows_of                      the same
======================  ================================  ===================================
"""

from __future__ import annotations

from ...chunks import BLOCK_ROWS
from ..kernels.jit import VECTOR, kernel

TILES_FROM = 256 << 10  # bytes of parameters

# By tiles, the rows of a span, whose residuals are held at a time:
SPAN_ROWS = 1024  # at most,
SPAN_LOGITS = 16 << 20  # but no more than so many logits,
SPAN_BYTES = 8 << 20  # and rows of so many bytes, which all tiles read once,
LEAST_SPAN_ROWS = 256  # unless they are of so few rows

TILE_FEATURES = 64  # by tiles: features of the gradient that are computed at a time


def is_by_tiles(n_features: int, n_classes: int) -> bool:
    """Whether a step is computed by tiles, and not by rows."""
    weight = n_classes * (-(-n_features // VECTOR) * VECTOR)
    bias = -(-n_classes // VECTOR) * VECTOR
    return 4 * (weight + bias) >= TILES_FROM


@kernel
def span_rows_of(row_bytes: int, n_classes: int) -> int:
    """How many rows a span has; the last has what is left."""
    most = min(SPAN_ROWS, min(SPAN_LOGITS // n_classes, SPAN_BYTES // row_bytes))
    n: int = max(LEAST_SPAN_ROWS, most // BLOCK_ROWS * BLOCK_ROWS)
    return n
