"""The contenders, one way to train in each file, and what they have in common."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benches.data import Data, Trained

TOLERANCE = 1e-5  # of sums in float64


class NotAvailable(Exception):
    """This contender cannot run here; the message says why."""


class Contender:
    """Trains `weight` (K, D) and `bias` (K,), which NumPy can read."""

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
        if self.data.epoch is not None:
            self.reset()
            totals = self.epoch(self.data.checked_order)
            self._check_trained(self.data.epoch)
            if totals is not None:
                loss, correct = totals[:2]
                assert abs(loss / self.data.epoch.loss - 1) < TOLERANCE, loss
                # a tie between two logits may fall either way in float32
                assert abs(correct - self.data.epoch.correct) <= 2, correct
        if self.data.steps is not None:
            self.reset()
            size = self.data.job.batch_size
            for i in range(self.data.checked_steps):
                self.step(self.batch(i * size, (i + 1) * size))
            self._check_trained(self.data.steps)

    def _check_trained(self, truth: Trained) -> None:
        for name in ("weight", "bias"):
            start, end = getattr(self.data, name), getattr(truth, name)
            error = np.abs(np.asarray(getattr(self, name)) - end).max() / np.abs(end - start).max()
            assert error < self.data.job.tolerance, (
                f"{name} is off by {error:.1e} of the distance trained"
            )
