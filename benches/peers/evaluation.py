"""fastsoftmax where it does not train epochs: `evaluate`, `predict_logits`, `fs.sgd_step`."""

import numpy as np

import fastsoftmax as fs
from benches.data import Data
from benches.peers import ours

N_TEST = 10_000


class Contender(ours.Contender):
    def __init__(self, data: Data, rows: str, threads: int) -> None:
        super().__init__(data, rows, threads)
        # memory of their own: an epoch over the other rows drives them from the cache
        self.test_x, self.test_y = self.x[:N_TEST].copy(), self.y[:N_TEST].copy()

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
        logits = x @ self.data.weight.T.astype(np.float64)
        assert np.abs(self.predict() - logits).max() < 1e-5
        loss, correct, *_ = self.evaluate()
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        true_loss = -log_p[np.arange(len(y)), y].sum()
        assert abs(loss / true_loss - 1) < 1e-6, (loss, true_loss)
        assert abs(correct - (logits.argmax(axis=1) == y).sum()) <= 2, correct
        assert abs(self.sgd_step() - true_loss / len(y)) < 1e-5
