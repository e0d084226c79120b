"""The contenders, one way to train in each file, and what they have in common."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benches.data import CHECKED_STEPS, Data, Trained

# Of the distance trained. Float32 arithmetic is off by 5e-7 (bias 2e-6), two rows swapped between
# batches by 9e-5, a last batch averaged over the wrong number of rows by 2e-2.
TOLERANCE = 1e-5


class NotAvailable(Exception):
    """This contender cannot run here; the message says why."""


class Contender:
    """Trains `weight` (K, D) and `bias` (K,), which are NumPy arrays, in place."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.weight = data.weight.copy()
        self.bias = data.bias.copy()

    def epoch(self, order: NDArray[np.int64]) -> tuple[float, int] | None:
        """Every step of one pass over the rows in this order.

        Returns the summed loss and the number of correct predictions where the contender
        computes them. The hand-written peers do not: that is work that they are let off.
        """
        raise NotImplementedError

    def batch(self, start: int, stop: int) -> Any:
        """Rows start to stop, in whatever form `step` takes them."""
        raise NotImplementedError

    def step(self, batch: Any) -> None:
        """One update by the mean gradient over a batch that lies ready in memory."""
        raise NotImplementedError

    def about(self) -> dict[str, str]:
        """The versions of what did the work, for the report."""
        return {}

    def reset(self) -> None:
        """Back to the weights that training starts from."""
        self.weight[...] = self.data.weight
        self.bias[...] = self.data.bias

    def check(self) -> None:
        """Assert that an epoch, and a few steps, end where float64 NumPy ends."""
        self.reset()
        totals = self.epoch(self.data.order)
        self._check_trained(self.data.epoch)
        if totals is not None:
            loss, correct = totals
            assert abs(loss / self.data.epoch.loss - 1) < TOLERANCE, loss
            # a tie between two logits may fall either way in float32
            assert abs(correct - self.data.epoch.correct) <= 2, correct
        self.reset()
        size = self.data.job.batch_size
        for i in range(CHECKED_STEPS):
            self.step(self.batch(i * size, (i + 1) * size))
        self._check_trained(self.data.steps)

    def _check_trained(self, truth: Trained) -> None:
        for name in ("weight", "bias"):
            start, end = getattr(self.data, name), getattr(truth, name)
            error = np.abs(getattr(self, name) - end).max() / np.abs(end - start).max()
            assert error < TOLERANCE, f"{name} is off by {error:.1e} of the distance trained"
