"""Passes that need no gradient: losses, logits, softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..kernels.jit import fill
from ..kernels.logits import logits
from ..kernels.loss import losses, softmax_rows
from ..kernels.rows import BLOCK_FEATURES, BLOCK_ROWS, chunks_of, n_rows_of
from ..kernels.sums import N_SUMS, add_sums
from ..kernels.workspace import N_VECTORS, padded, workspace_of, workspaces


def score(loop: Callable[[int], Any]) -> Callable[..., None]:
    """Logits of all rows into logits_out (N, K), or where that is (0, 0) their losses.

    The loss of each goes to losses_out (N,), unless that is (0,).
    """

    def driver(rows, loss, params, logits_out, losses_out, chunk_sums, sums, entropy, n_tasks):
        n_rows, (n_classes, n_features) = n_rows_of(rows), params.weight.shape
        width = min(n_features, BLOCK_FEATURES)
        all_workspaces = workspaces(n_tasks, BLOCK_ROWS, width, n_classes, loss.plain)
        all_z = np.empty((n_tasks, padded(n_classes), BLOCK_ROWS), np.float32)
        n_chunks, chunk_rows = chunks_of(n_rows)
        for task in loop(n_tasks):
            workspace = workspace_of(task, all_workspaces, all_z[task])
            for c in range(n_chunks * task // n_tasks, n_chunks * (task + 1) // n_tasks):
                fill(chunk_sums[c], 0.0)
                stop = min((c + 1) * chunk_rows, n_rows)
                for r in range(c * chunk_rows, stop, BLOCK_ROWS):
                    last = min(r + BLOCK_ROWS, stop)
                    logits(rows, r, last, params.weight, params.bias, workspace)
                    if logits_out.size > 0:
                        for i in range(last - r):
                            for k in range(n_classes):
                                logits_out[r + i, k] = workspace.z[k, i]
                    else:
                        losses(
                            loss, rows.order, r, last, n_classes, entropy, workspace, losses_out,
                            chunk_sums[c],
                        )  # fmt: skip
        add_sums(chunk_sums, n_chunks, sums[:N_SUMS])

    return driver


def softmax(loop: Callable[[int], Any]) -> Callable[..., None]:
    """Softmax of x (N, K), or its logarithm, into out."""

    def driver(x, log, out, n_tasks):
        n_rows, n_classes = x.shape
        all_z = np.empty((n_tasks, n_classes, BLOCK_ROWS), np.float32)
        vectors = np.empty((n_tasks, N_VECTORS, BLOCK_ROWS), np.float32)
        best = np.empty((n_tasks, BLOCK_ROWS), np.int32)
        n_chunks, chunk_rows = chunks_of(n_rows)
        for task in loop(n_tasks):
            for c in range(n_chunks * task // n_tasks, n_chunks * (task + 1) // n_tasks):
                stop = min((c + 1) * chunk_rows, n_rows)
                for r in range(c * chunk_rows, stop, BLOCK_ROWS):
                    softmax_rows(
                        x[r : min(r + BLOCK_ROWS, stop)], log, all_z[task], vectors[task],
                        best[task], out[r : r + BLOCK_ROWS],
                    )  # fmt: skip

    return driver
