"""Steps by rows: a chunk of rows at a time, each with a partial gradient of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ....problem import Rows
from ..kernels.gradient import add_gradient, input_gradient
from ..kernels.jit import ZERO, aligned, copy, divide_up, fill
from ..kernels.logits import add_products, start_at
from ..kernels.loss import losses, residuals
from ..kernels.rows import BLOCK_FEATURES, BLOCK_ROWS, chunks_of, gather, most_chunks, n_rows_of
from ..kernels.sums import N_SUMS, TOTAL_WEIGHT, add, add_sums, reduce
from ..kernels.update import of_bias, of_step, update
from ..kernels.workspace import padded, workspace_of, workspaces


def by_rows(loop: Callable[[int], Any], direct: bool) -> Callable[..., None]:
    """The driver. `direct`: rows are float32, and are read where they lie.

    A task computes the residuals of a chunk, and its partial gradient while its rows are in L2.
    Meanwhile the rows of the task's next chunk are on their way there.
    """

    def driver(
        rows, loss, params, settings, batch_size, gradients, chunk_sums, sums, entropy, n_tasks
    ):
        n_rows, (n_classes, n_features) = n_rows_of(rows), params.weight.shape
        size, size_of_partial = n_classes * n_features, padded(n_classes) * n_features
        width = 0 if direct else n_features
        all_workspaces = workspaces(n_tasks, BLOCK_ROWS, width, n_classes, loss.plain)
        all_z = np.empty((n_tasks, padded(n_classes), BLOCK_ROWS), np.float32)
        all_taken = np.empty((n_tasks, BLOCK_ROWS), np.int32)
        most = most_chunks(batch_size)
        partials = aligned(most * size_of_partial).reshape((most, size_of_partial))
        bias_partials = np.empty((most, n_classes), np.float32)
        batch_sums = np.empty(N_SUMS)
        w = aligned(size)
        v = params.velocity_weight.reshape(params.velocity_weight.size)
        copy(params.weight.reshape(size), w)
        weight = w.reshape((n_classes, n_features))
        as_they_come, no_losses = rows.order[:0], params.bias[:0]
        n_gradients = gradients.weight.shape[0]
        for begin in range(0, n_rows, batch_size):
            end, step = min(begin + batch_size, n_rows), begin // batch_size
            n_chunks, chunk_rows = chunks_of(end - begin)
            for task in loop(n_tasks):
                taken = all_taken[task]
                workspace = workspace_of(task, all_workspaces, all_z[task])
                own = range(n_chunks * task // n_tasks, n_chunks * (task + 1) // n_tasks)
                for c in own:
                    fill(partials[c], ZERO)
                    fill(bias_partials[c], ZERO)
                    fill(chunk_sums[c], 0.0)
                    stop = min(begin + (c + 1) * chunk_rows, end)
                    for r in range(begin + c * chunk_rows, stop, BLOCK_ROWS):
                        last = min(r + BLOCK_ROWS, stop)
                        if direct:
                            block, i = rows, r
                        else:
                            block, i = Rows(workspace.block, rows.scale, as_they_come), 0
                            gather(rows, r, last, 0, workspace.block)
                        j = i + last - r
                        ahead = last
                        if last == min(begin + own.stop * chunk_rows, end):
                            ahead = begin + batch_size + own.start * chunk_rows
                        start_at(params.bias, divide_up(j - i, 4) * 4, workspace.z)
                        for f in range(0, n_features, BLOCK_FEATURES):
                            add_products(block, i, j, f, weight, f, workspace.z)
                        losses(
                            loss, rows.order, r, last, n_classes, entropy, workspace, no_losses,
                            chunk_sums[c],
                        )  # fmt: skip
                        residuals(
                            last - r, workspace, loss.plain, rows.scale, bias_partials[c], taken
                        )
                        grad = partials[c].reshape((padded(n_classes), n_features))
                        add_gradient(block, i, j, taken, workspace.z, grad, rows, ahead)
                        if gradients.input.size > 0:
                            input_gradient(workspace.z, taken, weight, gradients.input[r:last])
            fill(batch_sums, 0.0)
            add_sums(chunk_sums, n_chunks, batch_sums)
            total_weight = batch_sums[TOTAL_WEIGHT]
            for task in loop(n_tasks):
                i, j = size * task // n_tasks, size * (task + 1) // n_tasks
                if n_gradients <= 1:
                    reduce(partials, n_chunks, i, j)
                if n_gradients == 0:
                    now = of_step(settings, step)
                    update(w[i:j], partials[0][i:j], v[i:j], total_weight, now)
            if n_gradients <= 1:
                reduce(bias_partials, n_chunks, 0, n_classes)
            if n_gradients == 0:
                now = of_bias(of_step(settings, step))
                update(params.bias, bias_partials[0], params.velocity_bias, total_weight, now)
            add(batch_sums, sums[:N_SUMS])
            sums[N_SUMS] += 1.0
        if n_gradients == 0:
            copy(w, params.weight.reshape(size))
        for c in range(n_gradients):
            copy(partials[c], gradients.weight[c].reshape(size))
            copy(bias_partials[c], gradients.bias[c])

    return driver
