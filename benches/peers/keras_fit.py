"""Keras: `fit`, with as many steps per execution as there are.

Keras cannot be given an order, so the rows are gathered before each epoch, in 22 ms of its 125 or
so on a two-core Zen 4; to let it shuffle (shuffle=True) takes 117. It runs on its fastest backend:
with one step per execution JAX takes 141, TensorFlow 385, PyTorch 428; with all, TensorFlow 232.
"""

import os

import numpy as np
from numpy.typing import NDArray

from benches import peers
from benches.contenders import THREADS
from benches.data import Data

os.environ["KERAS_BACKEND"] = "jax"
if hasattr(os, "sched_setaffinity"):  # as in jax_scan.py
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])

import jax
import keras

Batch = tuple[NDArray[np.float32], NDArray[np.int32]]


class Contender(peers.Contender):
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
