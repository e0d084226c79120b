"""The coefficient of each class in the loss of a row, where something weighs, smooths or ignores.

With coefficients c of a row, and S their sum, its loss is ::

    sum(c * (largest - z)) + S * log(sum(exp(z - largest)))

Where all is plain, c is onehot(target) and S is 1. A row whose coefficients are all 0 counts for
nothing, be it NaN. A class of coefficient 0 has no part in the loss, be its logit -infinity.
"""

from __future__ import annotations

import numpy as np

from ....arrays import Array
from ....problem import Loss
from .jit import ONE, ZERO, kernel, never_inlined
from .rows import index_of
from .sums import COUNTED, TOTAL_WEIGHT
from .workspace import ERROR, LARGEST, SCRATCH, TOTAL, WEIGHT, Workspace


@kernel
def weigh(
    loss: Loss, order: Array, begin: int, end: int, n: int, n_classes: int, workspace: Workspace,
    sums: Array,
) -> None:  # fmt: skip
    """Coefficients and labels of the rows [begin, end), and 0 and -1 in the padding up to n.

    Adds what the rows weigh, and the number of those that count, to sums.
    """
    never_inlined()
    c, label = workspace.coefficients, workspace.label
    every, counts = workspace.vectors[WEIGHT], workspace.vectors[ERROR]
    hard = loss.probabilities.size == 0
    smoothing = np.float32(loss.label_smoothing / n_classes)
    remaining = np.float32(1 - loss.label_smoothing)
    for r in range(n):
        every[r], counts[r], label[r] = ZERO, ZERO, -1
    for r in range(end - begin):
        row = index_of(order, begin + r)
        every[r] = loss.sample_weight[row] if loss.sample_weight.size > 0 else ONE
        if hard:
            label[r] = loss.target[row]
        else:
            q, first = loss.probabilities[row], 0
            for k in range(n_classes):
                c[k, r] = remaining * q[k] + smoothing
                first = k if q[k] > q[first] else first
            label[r] = first
        if label[r] < 0:
            every[r] = ZERO
    if not hard:
        for k in range(n_classes):
            for r in range(end - begin, n):
                c[k, r] = ZERO  # what lies there may be NaN
    for k in range(n_classes):
        weight = loss.class_weight[k] if loss.class_weight.size > 0 else ONE
        for r in range(n):
            c[k, r] = every[r] * ((smoothing if hard else c[k, r]) * weight)
            counts[r] = ONE if c[k, r] != ZERO else counts[r]
    for r in range(end - begin):
        if label[r] >= 0:
            weight = every[r]
            if hard:
                if loss.class_weight.size > 0:
                    weight *= loss.class_weight[label[r]]
                c[label[r], r] += remaining * weight
            sums[TOTAL_WEIGHT] += np.float64(weight)
            if counts[r] != ZERO or c[label[r], r] != ZERO:
                sums[COUNTED] += 1.0
            else:
                label[r] = -1


@kernel
def weighted_distances(n: int, n_classes: int, workspace: Workspace) -> None:
    """distance (n,) = sum(c * (largest - z)) and vectors[WEIGHT] = sum(c) of each row.

    Both are compensated sums (Kahan): there may be thousands of classes.
    """
    never_inlined()
    z, c, vectors = workspace.z, workspace.coefficients, workspace.vectors
    largest, below, below_error = vectors[LARGEST], vectors[TOTAL], vectors[SCRATCH]
    all_c, error = vectors[WEIGHT], vectors[ERROR]
    for r in range(n):
        below[r] = below_error[r] = all_c[r] = error[r] = ZERO
    for k in range(n_classes):
        for r in range(n):
            term = c[k, r] - error[r]
            following = all_c[r] + term
            error[r] = (following - all_c[r]) - term
            all_c[r] = following
            term = (c[k, r] * (largest[r] - z[k, r]) if c[k, r] != ZERO else ZERO) - below_error[r]
            following = below[r] + term
            lost = (following - below[r]) - term
            below_error[r] = lost if lost == lost else ZERO  # an infinite sum remains one
            below[r] = following
    for r in range(n):
        workspace.distance[r] = np.float64(below[r])
