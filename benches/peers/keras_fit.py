"""Keras: `fit`, with as many steps per execution as there are.

Keras cannot be given an order, so the rows are gathered before each epoch. To let it shuffle
(shuffle=True) takes a little less, but is another job. It runs on JAX, its fastest backend:
TensorFlow and PyTorch were slower. So was one step per execution.
"""

import os

import numpy as np
from numpy.typing import NDArray

from benches.harness import contender
from benches.harness.data import Data
from benches.harness.spec import THREADS

os.environ["KERAS_BACKEND"] = "jax"
if hasattr(os, "sched_setaffinity"):  # as in jax_scan.py
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])

import jax
import keras

Batch = tuple[NDArray[np.float32], NDArray[np.int32]]


class Contender(contender.Contender):
    def __init__(self, data: Data) -> None:
        super().__init__(data)
        job = data.job
        self.x = data.rows("float32")
        self.y = data.target.astype(np.int32)
        self.gathered = np.empty_like(self.x)
        self.model = keras.Sequential(
            [keras.Input((job.n_features,)), keras.layers.Dense(job.n_classes)]
        )
        self.model.compile(
            optimizer=keras.optimizers.SGD(job.lr),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            steps_per_execution=-(-job.n_rows // job.batch_size),
        )

    def about(self) -> dict[str, str]:
        return {"keras": keras.__version__, "jax": jax.__version__}

    def reset(self) -> None:
        self.model.set_weights([self.data.weight.T, self.data.bias])

    def epoch(self, order: NDArray[np.int64]) -> None:
        x = self.gathered[: len(order)]
        np.take(self.x, order, axis=0, out=x, mode="clip")
        size = self.data.job.batch_size
        self.model.fit(x, self.y[order], batch_size=size, shuffle=False, verbose=0)
        self._finish()

    def batch(self, start: int, stop: int) -> Batch:
        return self.x[start:stop], self.y[start:stop]

    def step(self, batch: Batch) -> None:
        self.model.train_on_batch(*batch)
        self._finish()

    def _finish(self) -> None:
        kernel, self.bias = self.model.get_weights()
        self.weight = kernel.T
