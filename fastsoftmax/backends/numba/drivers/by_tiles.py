"""Steps by tiles: all rows of a span at a time, for some features of the gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ....problem import Rows
from ..kernels.gradient import add_gradient, input_gradient
from ..kernels.jit import ZERO, copy, divide_up, fill
from ..kernels.logits import logits
from ..kernels.loss import losses, residuals
from ..kernels.rows import BLOCK_FEATURES, BLOCK_ROWS, chunks_of, gather, most_chunks, n_rows_of
from ..kernels.sums import N_SUMS, TOTAL_WEIGHT, add, add_sums, reduce
from ..kernels.update import of_bias, of_step, update
from ..kernels.workspace import padded, workspace_of, workspaces
from .plan import TILE_FEATURES, span_rows_of


def by_tiles(loop: Callable[[int], Any]) -> Callable[..., None]:
    """The driver.

    A task computes the residuals of some chunks of a span. Then it computes some tiles of the
    gradient, over all rows of the span, for which the rows are gathered once more.
    """

    def driver(
        rows, loss, params, settings, batch_size, gradients, chunk_sums, sums, entropy, n_tasks
    ):
        n_rows, (n_classes, n_features) = n_rows_of(rows), params.weight.shape
        n_tiles = divide_up(n_features, TILE_FEATURES)
        width = min(n_features, BLOCK_FEATURES)
        all_workspaces = workspaces(n_tasks, BLOCK_ROWS, width, n_classes, loss.plain)
        tile_blocks = np.zeros((n_tasks, BLOCK_ROWS, TILE_FEATURES), np.float32)
        span_rows = span_rows_of(n_features * rows.x.itemsize, n_classes)
        most = most_chunks(min(batch_size, span_rows))
        all_z = np.empty((most, padded(n_classes), BLOCK_ROWS), np.float32)
        all_taken = np.empty((most, BLOCK_ROWS), np.int32)
        tiles = np.empty((n_tiles, padded(n_classes), TILE_FEATURES), np.float32)
        bias_partials = np.empty((most, n_classes), np.float32)
        bias_sum = np.empty(n_classes, np.float32)
        batch_sums = np.empty(N_SUMS)
        as_they_come, no_losses = rows.order[:0], params.bias[:0]
        updating = gradients.weight.shape[0] == 0
        for begin in range(0, n_rows, batch_size):
            end, step = min(begin + batch_size, n_rows), begin // batch_size
            fill(batch_sums, 0.0)
            for span in range(begin, end, span_rows):
                stop = min(span + span_rows, end)
                n_chunks, chunk_rows = chunks_of(stop - span)
                for task in loop(n_tasks):
                    for c in range(n_chunks * task // n_tasks, n_chunks * (task + 1) // n_tasks):
                        taken = all_taken[c]
                        workspace = workspace_of(task, all_workspaces, all_z[c])
                        r = span + c * chunk_rows
                        last = min(r + chunk_rows, stop)
                        fill(bias_partials[c], ZERO)
                        fill(chunk_sums[c], 0.0)
                        logits(rows, r, last, params.weight, params.bias, workspace)
                        losses(
                            loss, rows.order, r, last, n_classes, entropy, workspace, no_losses,
                            chunk_sums[c],
                        )  # fmt: skip
                        residuals(
                            last - r, workspace, loss.plain, rows.scale, bias_partials[c], taken
                        )
                        if gradients.input.size > 0:
                            input_gradient(
                                workspace.z, taken, params.weight, gradients.input[r:last]
                            )
                add_sums(chunk_sums, n_chunks, batch_sums)
                total_weight = batch_sums[TOTAL_WEIGHT]
                for task in loop(n_tasks):
                    for tile in range(n_tiles * task // n_tasks, n_tiles * (task + 1) // n_tasks):
                        i = tile * TILE_FEATURES
                        if span == begin:
                            fill(tiles[tile].reshape(padded(n_classes) * TILE_FEATURES), ZERO)
                        for c in range(n_chunks):
                            r = span + c * chunk_rows
                            last = min(r + chunk_rows, stop)
                            gather(rows, r, last, i, tile_blocks[task])
                            block = Rows(tile_blocks[task], rows.scale, as_they_come)
                            add_gradient(
                                block, 0, last - r, all_taken[c], all_z[c], tiles[tile], rows,
                                n_rows,
                            )  # fmt: skip
                        for k in range(n_classes if stop == end else 0):
                            w = params.weight[k][i : i + TILE_FEATURES]
                            g = tiles[tile, k][: w.shape[0]]
                            if updating:
                                v = params.velocity_bias
                                if params.velocity_weight.size > 0:
                                    v = params.velocity_weight[k][i : i + TILE_FEATURES]
                                update(w, g, v, total_weight, of_step(settings, step))
                            else:
                                copy(g, gradients.weight[0, k][i : i + TILE_FEATURES])
                reduce(bias_partials, n_chunks, 0, n_classes)
                if span == begin:
                    copy(bias_partials[0], bias_sum)
                else:
                    add(bias_partials[0], bias_sum)
            if updating:
                now = of_bias(of_step(settings, step))
                update(params.bias, bias_sum, params.velocity_bias, batch_sums[TOTAL_WEIGHT], now)
            add(batch_sums, sums[:N_SUMS])
            sums[N_SUMS] += 1.0
        if not updating:
            copy(bias_sum, gradients.bias[0])

    return driver
