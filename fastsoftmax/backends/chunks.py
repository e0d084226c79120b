"""How a batch is cut into chunks of rows: by the batch alone, never by the threads.

The rule of csrc/driver/chunks.h. Each chunk has sums and a partial gradient of its own, and these
are added as a balanced binary tree over the chunk index. Numba compiles both functions as they
are: hence neither calls the other.
"""

from __future__ import annotations

BLOCK_ROWS = 64  # rows that a kernel holds at a time
CHUNK_ROWS = 16  # at least: fewer are not worth a thread's while
LEAST_CHUNKS = 4  # of a small batch
MAX_CHUNKS = 64


def most_chunks(n_rows: int) -> int:
    """The most chunks that a batch of at most n_rows can have."""
    return min(max(LEAST_CHUNKS, -(-n_rows // BLOCK_ROWS)), MAX_CHUNKS)


def chunks_of(n_rows: int) -> tuple[int, int]:
    """How many chunks n_rows are cut into, and their rows; the last has what is left.

    >>> chunks_of(256)
    (4, 64)
    >>> chunks_of(60_000)
    (63, 960)
    """
    most = min(max(LEAST_CHUNKS, -(-n_rows // BLOCK_ROWS)), MAX_CHUNKS)
    rows = -(-n_rows // most)
    unit = BLOCK_ROWS if rows > BLOCK_ROWS else 4  # kernels take 4 rows at a time
    rows = max(CHUNK_ROWS, -(-rows // unit) * unit)
    return -(-n_rows // rows), rows
