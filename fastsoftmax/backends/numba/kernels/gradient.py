"""residuals -> the gradient of the weight, and that of the rows."""

from __future__ import annotations

from typing import NamedTuple

from ....arrays import Array
from ....problem import Rows
from .jit import CACHE_LINE, CLASSES, FUSE, SUM, VECTOR, ZERO, fill, kernel, never_inlined
from .rows import fetch, row_of


class Gradients(NamedTuple):
    """Where a driver stores gradients. Where it stores none of the weight, it updates it."""

    weight: Array  # (0, K, D); (1, K, D), of all rows; (C, K, D), of each of C chunks
    bias: Array  # the same, of (K,)
    input: Array  # (N, D), of the rows; (0, 0) where nobody asks for it


@kernel(fastmath=SUM)
def add_gradient(
    rows: Rows, begin: int, end: int, taken: Array, z: Array, grad: Array, source: Rows, ahead: int
) -> None:  # fmt: skip
    """grad (K, width) += residuals z (K, n) . rows [begin, end), each row the one in taken (n,).

    Meanwhile as many rows of the source, from `ahead` on, are fetched.

    One loop takes CLASSES classes and 4 rows: 9 loads and 5 stores for 20 products. Where the
    width is a multiple of VECTOR there is a loop of its own: in a loop that may leave a rest, LLVM
    keeps half of the factors in memory. Measured slower, therefore not done: 1 class and 8 rows; a
    second loop for the rest alone, after which LLVM keeps them in memory again; the rest by rows.
    """
    never_inlined()
    n_classes, width = grad.shape
    whole, n_rows = width // VECTOR * VECTOR, end - begin if taken[0] >= 0 else 0
    of_line = CACHE_LINE // source.x.itemsize
    for k in range(0, n_classes, CLASSES):
        g0, g1, g2, g3, g4 = grad[k], grad[k + 1], grad[k + 2], grad[k + 3], grad[k + 4]
        # the features of the next rows that are this part's, in whole lines: of many classes most
        # have none, and lose no time with it
        fetched = width * k // n_classes // of_line * of_line
        to_fetch = width * (k + CLASSES) // n_classes // of_line * of_line
        if k + CLASSES >= n_classes:
            to_fetch = width
        for r in range(0, n_rows, 4):
            if fetched < to_fetch and ahead + r < source.order.shape[0]:
                for i in range(r, r + 4):
                    fetch(source, ahead + i, fetched, to_fetch)
            x0, x1 = row_of(rows, begin + taken[r]), row_of(rows, begin + taken[r + 1])
            x2, x3 = row_of(rows, begin + taken[r + 2]), row_of(rows, begin + taken[r + 3])
            a0, a1, a2, a3 = z[k, r], z[k, r + 1], z[k, r + 2], z[k, r + 3]
            b0, b1, b2, b3 = z[k + 1, r], z[k + 1, r + 1], z[k + 1, r + 2], z[k + 1, r + 3]
            c0, c1, c2, c3 = z[k + 2, r], z[k + 2, r + 1], z[k + 2, r + 2], z[k + 2, r + 3]
            d0, d1, d2, d3 = z[k + 3, r], z[k + 3, r + 1], z[k + 3, r + 2], z[k + 3, r + 3]
            e0, e1, e2, e3 = z[k + 4, r], z[k + 4, r + 1], z[k + 4, r + 2], z[k + 4, r + 3]
            if whole == width:
                for i in range(whole):
                    p, q, s, t = x0[i], x1[i], x2[i], x3[i]
                    g0[i] += a0 * p + a1 * q + a2 * s + a3 * t
                    g1[i] += b0 * p + b1 * q + b2 * s + b3 * t
                    g2[i] += c0 * p + c1 * q + c2 * s + c3 * t
                    g3[i] += d0 * p + d1 * q + d2 * s + d3 * t
                    g4[i] += e0 * p + e1 * q + e2 * s + e3 * t
            else:
                for i in range(width):
                    p, q, s, t = x0[i], x1[i], x2[i], x3[i]
                    g0[i] += a0 * p + a1 * q + a2 * s + a3 * t
                    g1[i] += b0 * p + b1 * q + b2 * s + b3 * t
                    g2[i] += c0 * p + c1 * q + c2 * s + c3 * t
                    g3[i] += d0 * p + d1 * q + d2 * s + d3 * t
                    g4[i] += e0 * p + e1 * q + e2 * s + e3 * t


@kernel(fastmath=FUSE)
def input_gradient(z: Array, taken: Array, weight: Array, grad: Array) -> None:
    """grad (n, D) = residuals z (K, n).T . weight (K, D).

    It is 0 of a row that counts for nothing, be the weight infinite.
    """
    never_inlined()
    last = weight.shape[0] - 1
    for r in range(grad.shape[0]):
        fill(grad[r], ZERO)
    for k in range(0, last + 1, CLASSES):
        w0, w1, w2 = weight[k], weight[min(k + 1, last)], weight[min(k + 2, last)]
        w3, w4 = weight[min(k + 3, last)], weight[min(k + 4, last)]
        for r in range(grad.shape[0]):
            a0, a1 = z[k, r], z[k + 1, r] if k + 1 <= last else ZERO
            a2 = z[k + 2, r] if k + 2 <= last else ZERO
            a3 = z[k + 3, r] if k + 3 <= last else ZERO
            a4 = z[k + 4, r] if k + 4 <= last else ZERO
            g = grad[r]
            for i in range(g.shape[0]):
                g[i] += a0 * w0[i] + a1 * w1[i] + a2 * w2[i] + a3 * w3[i] + a4 * w4[i]
    for r in range(grad.shape[0]):
        if taken[r] != r:
            fill(grad[r], ZERO)
