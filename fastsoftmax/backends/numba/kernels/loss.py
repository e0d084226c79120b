"""logits -> softmax, losses, residuals; logits are (K, BLOCK_ROWS), rows in lanes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ....arrays import Array
from ....problem import Loss
from .exp import exp
from .jit import ONE, ZERO, divide_up, kernel, never_inlined
from .rows import index_of
from .sums import CORRECT, COUNTED, ENTROPY, LOSS, TOTAL_WEIGHT
from .weighted_loss import weigh, weighted_distances
from .workspace import ERROR, LARGEST, SCRATCH, TOTAL, WEIGHT, Workspace


@kernel
def maxima(z: Array, n: int, n_classes: int, largest: Array, best: Array) -> None:
    """largest (n,) = the largest logit of each row of z (K, n), best (n,) = the first class of
    it."""
    never_inlined()
    for r in range(n):
        largest[r], best[r] = z[0, r], 0
    for k in range(1, n_classes):
        for r in range(n):
            larger = z[k, r] > largest[r]
            largest[r] = z[k, r] if larger else largest[r]
            best[r] = np.int32(k) if larger else best[r]


@kernel
def exponentials(z: Array, n: int, n_classes: int, vectors: Array) -> None:
    """z (K, n) becomes exp(z - vectors[LARGEST]), and vectors[TOTAL] the sum of it in each row."""
    never_inlined()
    largest, total, error = vectors[LARGEST], vectors[TOTAL], vectors[ERROR]
    for r in range(n):
        total[r], error[r] = ZERO, ZERO
    for k in range(n_classes):
        for r in range(n):
            z[k, r] = exp(z[k, r] - largest[r])
            # the error of the sum is carried along (Kahan): there may be thousands of classes
            term = z[k, r] - error[r]
            following = total[r] + term
            error[r] = (following - total[r]) - term
            total[r] = following


@kernel
def expected_distances(z: Array, n: int, n_classes: int, vectors: Array) -> None:
    """vectors[SCRATCH] = sum(exp(z - largest) * (largest - z)) of each row of logits z (K, n).

    A class of probability 0 has no part in it, be its logit -infinity.
    """
    never_inlined()
    largest, total, error = vectors[LARGEST], vectors[SCRATCH], vectors[ERROR]
    for r in range(n):
        total[r], error[r] = ZERO, ZERO
    for k in range(n_classes):
        for r in range(n):
            below = largest[r] - z[k, r]
            e = exp(-below)
            term = (e * below if e != ZERO else ZERO) - error[r]
            following = total[r] + term
            error[r] = (following - total[r]) - term
            total[r] = following


@kernel
def losses(
    loss: Loss, order: Array, begin: int, end: int, n_classes: int, entropy: bool,
    workspace: Workspace, out: Array, sums: Array,
) -> None:  # fmt: skip
    """Adds to sums those of the rows [begin, end), whose logits are z of the workspace.

    The loss of each goes to out (N,), unless that is (0,). z becomes exp(z - largest), and
    vectors[WEIGHT] is S. The entropy of a row, log(sum(exp(z))) - softmax(z) . z, is added up
    times S.
    """
    never_inlined()
    n = divide_up(end - begin, 4) * 4
    z, vectors, distance = workspace.z, workspace.vectors, workspace.distance
    largest, total, all_c, expected = (
        vectors[LARGEST], vectors[TOTAL], vectors[WEIGHT], vectors[SCRATCH],
    )  # fmt: skip
    best, label = workspace.best, workspace.label
    maxima(z, n, n_classes, largest, best)
    if loss.plain:
        for r in range(end - begin):
            label[r], all_c[r] = loss.target[index_of(order, begin + r)], ONE
            distance[r] = np.float64(largest[r]) - np.float64(z[label[r], r])
        sums[TOTAL_WEIGHT] += np.float64(end - begin)
        sums[COUNTED] += np.float64(end - begin)
    else:
        weigh(loss, order, begin, end, n, n_classes, workspace, sums)
        weighted_distances(n, n_classes, workspace)
    if entropy:
        expected_distances(z, n, n_classes, vectors)
    exponentials(z, n, n_classes, vectors)
    total_loss, correct, total_entropy = 0.0, 0, 0.0
    for r in range(end - begin):
        row_loss = distance[r]
        if all_c[r] != ZERO:
            log_total = math.log(np.float64(total[r]))
            row_loss += np.float64(all_c[r]) * log_total
            if entropy:
                mean_distance = np.float64(expected[r]) / np.float64(total[r])
                total_entropy += np.float64(all_c[r]) * (log_total + mean_distance)
        total_loss += row_loss
        if best[r] == label[r] and row_loss == row_loss:  # NaN is not, and no right prediction
            correct += 1
        if out.shape[0] > 0:
            out[begin + r] = np.float32(row_loss)
    sums[LOSS] += total_loss
    sums[CORRECT] += np.float64(correct)
    sums[ENTROPY] += total_entropy


@kernel
def residuals(
    n_rows: int, workspace: Workspace, plain: bool, scale: Any, grad_bias: Array, taken: Array
) -> None:  # fmt: skip
    """After `losses`: z becomes the residuals S * softmax(z) - c, and 0 in the padding.

    They are added up in grad_bias (K,), and then take the scale of the rows.

    taken (n,) is the row of the block whose features the gradient takes for each row. A row that
    counts for nothing, or is padding, has residuals of 0, but 0 times NaN would be NaN: a row that
    counts stands in for it. Where no row counts, taken is -1.
    """
    never_inlined()
    z, factor, label = workspace.z, workspace.vectors[ERROR], workspace.label
    n = divide_up(n_rows, 4) * 4
    other = 0
    if not plain:
        while other < n_rows and label[other] < 0:
            other += 1
        if other == n_rows:
            other = -1
    for r in range(n):
        taken[r] = r if r < n_rows and (plain or label[r] >= 0) else other
        weight, total = workspace.vectors[WEIGHT, r], workspace.vectors[TOTAL, r]
        factor[r] = weight / total if r < n_rows else ZERO
    for k in range(grad_bias.shape[0]):
        for r in range(n):
            z[k, r] *= factor[r]
    if plain:
        for r in range(n_rows):
            z[label[r], r] -= ONE
    else:
        for k in range(grad_bias.shape[0]):
            for r in range(n):
                c = workspace.coefficients[k, r]
                z[k, r] = z[k, r] - c if label[r] >= 0 else ZERO
    for k in range(grad_bias.shape[0]):
        total = ZERO
        for r in range(n):
            total += z[k, r]
            z[k, r] *= scale
        grad_bias[k] += total


@kernel
def softmax_rows(
    x: Array, log: bool, z: Array, vectors: Array, best: Array, out: Array
) -> None:  # fmt: skip
    """out (n, K) = softmax of logits x (n, K), or its logarithm.

    What is too small for `exp` is computed anew: people read it.
    """
    never_inlined()
    n, n_classes = x.shape
    for r in range(n):
        for k in range(n_classes):
            z[k, r] = x[r, k]
    maxima(z, n, n_classes, vectors[LARGEST], best)
    exponentials(z, n, n_classes, vectors)
    for r in range(n):
        largest, total = np.float64(vectors[LARGEST, r]), vectors[TOTAL, r]
        log_total = math.log(np.float64(total))
        for k in range(n_classes):
            if log:
                out[r, k] = np.float32((np.float64(x[r, k]) - largest) - log_total)
            elif z[k, r] != ZERO:
                out[r, k] = z[k, r] / total
            else:
                out[r, k] = np.float32(math.exp(np.float64(x[r, k]) - largest) / np.float64(total))
