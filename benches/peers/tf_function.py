"""TensorFlow: one `tf.function` for the whole epoch, compiled by XLA, no autograd.

Measured slower: the weight transposed, with XLA and without; without XLA; a GradientTape;
parallel_iterations=1.
"""

import os

import numpy as np
from numpy.typing import NDArray

from benches.harness import contender
from benches.harness.data import Data
from benches.harness.spec import THREADS

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
if hasattr(os, "sched_setaffinity"):  # XLA's own pool does not read the settings below
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])

import tensorflow as tf

tf.config.threading.set_intra_op_parallelism_threads(THREADS)
tf.config.threading.set_inter_op_parallelism_threads(THREADS)

Batch = tuple[tf.Tensor, tf.Tensor]


class Contender(contender.Contender):
    def __init__(self, data: Data) -> None:
        super().__init__(data)
        self.x = tf.constant(data.rows("float32"))
        self.y = tf.constant(data.target.astype(np.int32))
        self.w, self.b = tf.Variable(data.weight), tf.Variable(data.bias)
        self.tf_step = tf.function(self._step, jit_compile=True)
        self.tf_epoch = tf.function(self._epoch, jit_compile=True)

    def about(self) -> dict[str, str]:
        return {"tensorflow": tf.__version__}

    def reset(self) -> None:
        self.w.assign(self.data.weight)
        self.b.assign(self.data.bias)

    def epoch(self, order: NDArray[np.int64]) -> None:
        self.tf_epoch(tf.constant(order.astype(np.int32)))
        self._finish()

    def batch(self, start: int, stop: int) -> Batch:
        return self.x[start:stop], self.y[start:stop]

    def step(self, batch: Batch) -> None:
        self.tf_step(*batch)
        self._finish()

    def _finish(self) -> None:
        """Waits for the weights, too."""
        self.weight, self.bias = self.w.numpy(), self.b.numpy()

    def _step(self, x: tf.Tensor, y: tf.Tensor) -> None:
        p = tf.nn.softmax(tf.matmul(x, self.w, transpose_b=True) + self.b)
        d = (p - tf.one_hot(y, self.b.shape[0])) * (self.data.job.lr / x.shape[0])
        self.w.assign_sub(tf.matmul(d, x, transpose_a=True))
        self.b.assign_sub(tf.reduce_sum(d, 0))

    def _epoch(self, order: tf.Tensor) -> None:
        size, n = self.data.job.batch_size, order.shape[0]
        whole = n // size * size
        batches = tf.reshape(order[:whole], (-1, size))
        for i in tf.range(whole // size):
            self._step(tf.gather(self.x, batches[i]), tf.gather(self.y, batches[i]))
        if whole < n:
            self._step(tf.gather(self.x, order[whole:]), tf.gather(self.y, order[whole:]))
