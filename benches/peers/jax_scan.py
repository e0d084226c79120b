"""JAX: the whole epoch is one `jit`, a `lax.scan` over its batches, which are gathered inside.

No autograd, and the weights are donated. Measured slower: the gradient by `jax.grad`; the learning
rate applied to the gradient of the weight, in place of that of the logits; rows gathered by
x[rows], whose bounds are checked; logits transposed; weight transposed; -1 scattered to the
labels; all rows gathered before the scan.
"""

import os
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benches.harness import contender
from benches.harness.data import Data
from benches.harness.spec import THREADS

if hasattr(os, "sched_setaffinity"):
    # XLA takes as many threads as it may use CPUs, and looks only once, when it is loaded.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])

import jax
import jax.numpy as jnp
from jax import lax

jax.config.update("jax_default_matmul_precision", "highest")

Params = tuple[jax.Array, jax.Array]  # weight (K, D), bias (K,)
Batch = tuple[jax.Array, jax.Array]


def sgd(params: Params, x: jax.Array, y: jax.Array, scale: float, lr: float) -> Params:
    """One step; x may be uint8."""
    w, b = params
    x = x.astype(jnp.float32)
    p = jax.nn.softmax((x @ w.T) * scale + b)
    d = (p - jax.nn.one_hot(y, len(b))) * (lr / len(x))
    return w - (d * scale).T @ x, b - d.sum(0)


class Contender(contender.Contender):
    def __init__(self, data: Data, rows: str) -> None:
        super().__init__(data)
        self.x = jnp.asarray(data.rows(rows))
        self.y = jnp.asarray(data.target, jnp.int32)
        size = data.job.batch_size
        step = partial(sgd, scale=1 / 255 if rows == "uint8" else 1.0, lr=data.job.lr)

        def step_rows(params: Params, rows: jax.Array, x: jax.Array, y: jax.Array) -> Params:
            return step(params, jnp.take(x, rows, 0, mode="clip"), jnp.take(y, rows, mode="clip"))

        def epoch(params: Params, order: jax.Array, x: jax.Array, y: jax.Array) -> Params:
            whole = len(order) // size * size
            params, _ = lax.scan(
                lambda params, rows: (step_rows(params, rows, x, y), None),
                params,
                order[:whole].reshape(-1, size),
            )
            return step_rows(params, order[whole:], x, y) if whole < len(order) else params

        self.jit_step = jax.jit(step, donate_argnums=0)
        self.jit_epoch = jax.jit(epoch, donate_argnums=0)

    def about(self) -> dict[str, str]:
        return {"jax": jax.__version__}

    def reset(self) -> None:
        # copies: what is donated is written over
        self.weight = jnp.array(self.data.weight, copy=True)
        self.bias = jnp.array(self.data.bias, copy=True)

    def epoch(self, order: NDArray[np.int64]) -> None:
        rows = order.astype(np.int32)
        self._finish(self.jit_epoch((self.weight, self.bias), rows, self.x, self.y))

    def batch(self, start: int, stop: int) -> Batch:
        return self.x[start:stop], self.y[start:stop]

    def step(self, batch: Batch) -> None:
        self._finish(self.jit_step((self.weight, self.bias), *batch))

    def _finish(self, params: Params) -> None:
        self.weight, self.bias = jax.block_until_ready(params)
