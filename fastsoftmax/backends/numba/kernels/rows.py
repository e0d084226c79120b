"""The rows of a block: where they lie, fetched ahead, gathered as float32."""

from __future__ import annotations

import numpy as np

from ....arrays import Array
from ....problem import Rows
from ... import chunks
from .jit import CACHE_LINE, kernel, prefetch

BLOCK_ROWS = chunks.BLOCK_ROWS
BLOCK_FEATURES = 1024  # for logits, at a time: 256 KB of a block, for an L2 of 512 KB

chunks_of = kernel(chunks.chunks_of)
most_chunks = kernel(chunks.most_chunks)


@kernel
def n_rows_of(rows: Rows) -> int:
    n: int = rows.order.shape[0] if rows.order.shape[0] > 0 else rows.x.shape[0]
    return n


@kernel
def index_of(order: Array, i: int) -> int:
    """The i-th row in an order; an empty order takes rows as they come."""
    index: int = order[i] if order.shape[0] > 0 else i
    return index


@kernel
def row_of(rows: Rows, i: int) -> Array:
    row: Array = rows.x[index_of(rows.order, i)]
    return row


@kernel
def fetch(rows: Rows, i: int, begin: int, end: int) -> None:
    """Asks that features [begin, end) of the i-th row in an order, if there is one, be in L2.

    They are as many as whole cache lines hold, or end with the row. Rows as they come are left to
    the CPU, which fetches ahead by itself.
    """
    if i < rows.order.shape[0]:
        row = row_of(rows, i)
        for f in range(begin, end, CACHE_LINE // row.itemsize):
            prefetch(row, f)
        if end == row.shape[0]:
            prefetch(row, end - 1)  # in one line more, where the row begins within a line


@kernel
def gather(rows: Rows, begin: int, end: int, f: int, block: Array) -> None:
    """block (BLOCK_ROWS, width) = features from f on of the rows [begin, end), as float32."""
    width = min(block.shape[1], rows.x.shape[1] - f)
    for r in range(end - begin):
        row, to = row_of(rows, begin + r)[f : f + width], block[r]
        for i in range(width):
            to[i] = np.float32(row[i])
