"""How a batch is cut into chunks of rows: by the batch alone, never by the threads.

The rule of csrc/driver/chunks.h and of the Numba kernels. Each chunk has sums and a partial
gradient of its own, and these are added as a balanced binary tree over the chunk index.
"""

from __future__ import annotations

BLOCK_ROWS = 64  # rows that a kernel holds at a time
CHUNK_ROWS = 16  # at least: fewer are not worth a thread's while
LEAST_CHUNKS = 4  # of a small batch
MAX_CHUNKS = 64


def chunks_of(n_rows: int) -> tuple[int, int]:
    """How many chunks n_rows are cut into, and their rows; the last has what is left.

    >>> chunks_of(256)
    (4, 64)
    >>> chunks_of(60_000)
    (63, 960)
    """
    most = min(max(LEAST_CHUNKS, _divide_up(n_rows, BLOCK_ROWS)), MAX_CHUNKS)
    rows = _round_up(_divide_up(n_rows, most), 4)
    if rows > BLOCK_ROWS:
        rows = _round_up(rows, BLOCK_ROWS)
    rows = max(CHUNK_ROWS, rows)
    return _divide_up(n_rows, rows), rows


def _divide_up(a: int, b: int) -> int:
    return -(-a // b)


def _round_up(a: int, b: int) -> int:
    return _divide_up(a, b) * b
