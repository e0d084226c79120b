"""What a task works in: a block of rows, its logits, and what the loss needs of each row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ....arrays import Array
from .jit import CLASSES, aligned, divide_up, kernel
from .rows import BLOCK_ROWS

# Vectors of a block, by their place in Workspace.vectors
LARGEST = 0  # logit
TOTAL = 1  # sum of exponentials
WEIGHT = 2  # S, the sum of the coefficients
ERROR, SCRATCH = 3, 4  # for a while
N_VECTORS = 5


class Workspace(NamedTuple):
    """Of one block."""

    block: Array  # (BLOCK_ROWS, width), gathered rows
    z: Array  # (K, BLOCK_ROWS), logits, then residuals
    coefficients: Array  # (K, BLOCK_ROWS), of each class in the loss; (0, 0) where all is plain
    vectors: Array  # (N_VECTORS, BLOCK_ROWS)
    distance: Array  # (BLOCK_ROWS,), of the target's logit from the largest, in double
    best: Array  # (BLOCK_ROWS,), the first class of the largest logit
    label: Array  # (BLOCK_ROWS,), the target, -1 where the row counts for nothing


# Of all tasks: those of a Workspace but z. It is a plain tuple, as a parallel loop of Numba takes
# no named one that a function has returned.
Workspaces = tuple[Array, Array, Array, Array, Array]


@kernel
def padded(n_classes: int) -> int:
    """n_classes, and those that lack to a multiple of CLASSES."""
    n: int = divide_up(n_classes, CLASSES) * CLASSES
    return n


@kernel
def workspaces(
    n_tasks: int, block_rows: int, width: int, n_classes: int, plain: bool
) -> Workspaces:
    """Those of n_tasks tasks, whose blocks hold block_rows rows of `width` features."""
    blocks = aligned(n_tasks * block_rows * width).reshape((n_tasks, block_rows, width))
    coefficients = np.empty((n_tasks, 0 if plain else n_classes, BLOCK_ROWS), np.float32)
    vectors = np.empty((n_tasks, N_VECTORS, BLOCK_ROWS), np.float32)
    distances = np.empty((n_tasks, BLOCK_ROWS), np.float64)
    classes = np.empty((n_tasks, 2, BLOCK_ROWS), np.int32)
    return blocks, coefficients, vectors, distances, classes


@kernel
def workspace_of(task: int, all_of: Workspaces, z: Array) -> Workspace:
    """That of a task, with the logits z (K, BLOCK_ROWS)."""
    blocks, coefficients, vectors, distances, classes = all_of
    return Workspace(
        blocks[task], z, coefficients[task], vectors[task], distances[task], classes[task, 0],
        classes[task, 1],
    )  # fmt: skip
