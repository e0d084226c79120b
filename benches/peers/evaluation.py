"""fastsoftmax where it does not train epochs: `evaluate`, `predict_logits`, `fs.sgd_step`."""

from collections.abc import Callable

import numpy as np

import fastsoftmax as fs
from benches.harness.data import Data
from benches.harness.verification import assert_sums, loss_and_gradients, one_hot
from benches.peers import ours

N_TEST = 10_000


class Contender(ours.Contender):
    def __init__(self, data: Data, rows: str, threads: int) -> None:
        super().__init__(data, rows, threads)
        # memory of their own: an epoch over the other rows drives them from the cache
        self.test_x, self.test_y = self.x[:N_TEST].copy(), self.y[:N_TEST].copy()

    def work(self, task: str, rng: np.random.Generator) -> Callable[[], object]:
        if task != "epoch_evaluate":
            return super().work(task, rng)
        epoch = super().work("epoch", rng)
        return lambda: (epoch(), self.evaluate_test())

    def evaluate(self) -> tuple[float, int]:
        return self.backend.evaluate(self.x, self.y, self.weight, self.bias, **self.options)

    def evaluate_test(self) -> None:
        self.backend.evaluate(self.test_x, self.test_y, self.weight, self.bias, **self.options)

    def predict(self) -> np.ndarray:
        return self.backend.predict_logits(self.x, self.weight, self.bias, **self.options)

    def sgd_step(self) -> float:
        """As a user would call it, with the labels as PyTorch wants them."""
        return fs.sgd_step(self.x, self.data.target, self.weight, self.bias, lr=self.data.job.lr)

    def check(self) -> None:
        super().check()
        self.reset()
        x, y = self.data.pixels / 255.0, self.data.target
        weight, bias = self.data.weight.astype(np.float64), self.data.bias.astype(np.float64)
        truth = loss_and_gradients(x, one_hot(y, len(bias)), weight, bias)
        assert np.abs(self.predict() - (x @ weight.T + bias)).max() < 1e-5
        loss, correct, *_ = self.evaluate()
        assert_sums(loss, correct, truth.loss, truth.correct, tolerance=1e-6)
        assert abs(self.sgd_step() - truth.loss / len(y)) < 1e-5
