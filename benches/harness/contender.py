"""What a contender must be able to do. Each file of peers/ has one class `Contender`."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benches.harness.data import Data
from benches.harness.verification import Trained, assert_sums, assert_trained


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

        Returns the summed loss and the number of correct predictions where the contender computes
        them. The hand-written peers do not: they are let off that work.
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

    def work(self, task: str, rng: np.random.Generator) -> Callable[[], object]:
        """What is timed as this task: an epoch in a new random order, a step over the first batch
        (which stays in the cache), or else the method of that name."""
        if task == "epoch":
            order = rng.permutation(self.data.job.n_rows)
            return lambda: self.epoch(order)
        if task == "step":
            batch = self.batch(0, self.data.job.batch_size)
            return lambda: self.step(batch)
        method: Callable[[], object] = getattr(self, task)
        return method

    def check(self) -> None:
        """Asserts that an epoch, and a few steps, end where float64 NumPy ends."""
        if self.data.epoch is not None:
            self.reset()
            totals = self.epoch(self.data.checked_order)
            self._check_trained(self.data.epoch)
            if totals is not None:
                assert_sums(*totals[:2], self.data.epoch.loss, self.data.epoch.correct)
        if self.data.steps is not None:
            self.reset()
            size = self.data.job.batch_size
            for i in range(self.data.checked_steps):
                self.step(self.batch(i * size, (i + 1) * size))
            self._check_trained(self.data.steps)

    def _check_trained(self, truth: Trained) -> None:
        for name in ("weight", "bias"):
            start, end, true_end = (getattr(of, name) for of in (self.data, self, truth))
            assert_trained(name, start, end, true_end, self.data.job.tolerance)
