"""rows -> logits."""

from __future__ import annotations

from ....arrays import Array
from ....problem import Rows
from .jit import CLASSES, SUM, ZERO, divide_up, fill, kernel, never_inlined
from .rows import BLOCK_FEATURES, gather, row_of
from .workspace import Workspace


@kernel
def start_at(bias: Array, n: int, z: Array) -> None:
    """z (K, n) = the bias of each class."""
    for k in range(z.shape[0]):
        fill(z[k][:n], bias[k] if k < bias.shape[0] else ZERO)


@kernel(fastmath=SUM)
def add_products(
    rows: Rows, begin: int, end: int, first: int, weight: Array, f: int, z: Array
) -> None:
    """z (K, n) += scale * weight (K, D) . rows [begin, end).T, of up to BLOCK_FEATURES features.

    They begin at f in the weight, and at `first` in the rows, which may be gathered from f on.

    One loop takes CLASSES classes and 2 rows: 7 loads for 10 products. Measured slower, therefore
    not done: 1 row; 4 rows, which gain a little with 32 vector registers and lose much with 16.
    """
    never_inlined()
    last = weight.shape[0] - 1
    width = min(BLOCK_FEATURES, weight.shape[1] - f)
    for k in range(0, last + 1, CLASSES):
        w0, w1 = weight[k][f : f + width], weight[min(k + 1, last)][f : f + width]
        w2, w3 = weight[min(k + 2, last)][f : f + width], weight[min(k + 3, last)][f : f + width]
        w4 = weight[min(k + 4, last)][f : f + width]
        for r in range(0, end - begin, 2):
            x = row_of(rows, begin + r)[first : first + width]
            y = row_of(rows, min(begin + r + 1, end - 1))[first : first + width]
            x0 = x1 = x2 = x3 = x4 = y0 = y1 = y2 = y3 = y4 = ZERO
            for i in range(width):
                x0 += x[i] * w0[i]
                x1 += x[i] * w1[i]
                x2 += x[i] * w2[i]
                x3 += x[i] * w3[i]
                x4 += x[i] * w4[i]
                y0 += y[i] * w0[i]
                y1 += y[i] * w1[i]
                y2 += y[i] * w2[i]
                y3 += y[i] * w3[i]
                y4 += y[i] * w4[i]
            for j, sums in enumerate(((x0, y0), (x1, y1), (x2, y2), (x3, y3), (x4, y4))):
                z[k + j, r] += rows.scale * sums[0]
                z[k + j, r + 1] += rows.scale * sums[1]


@kernel
def logits(
    rows: Rows, begin: int, end: int, weight: Array, bias: Array, workspace: Workspace
) -> None:
    """z (K, n) = scale * weight . rows [begin, end).T + bias, n with the rows of padding.

    The rows are gathered, as many features at a time as the block has.
    """
    never_inlined()
    block = Rows(workspace.block, rows.scale, rows.order[:0])
    start_at(bias, divide_up(end - begin, 4) * 4, workspace.z)
    for f in range(0, rows.x.shape[1], block.x.shape[1]):
        gather(rows, begin, end, f, workspace.block)
        add_products(block, 0, end - begin, 0, weight, f, workspace.z)
