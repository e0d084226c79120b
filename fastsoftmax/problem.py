"""The nouns that all floors speak of, once their arguments are checked.

``Rows, Loss, Params, StepSettings`` are what a call works on, and ``Sums`` is what it adds up. All
backends have them, and so has csrc/. The letters of every shape: N rows of data, B rows of a
batch, D features, K classes.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .arrays import Array
from .settings import StepSettings as StepSettings

__all__ = ["Loss", "Params", "Rows", "StepSettings", "Sums", "Velocity", "mean"]


class Rows(NamedTuple):
    """Rows of features, and the order in which they are taken."""

    x: Array  # (N, D), C-contiguous: float32 or uint8, for the NumPy backend float64, too
    scale: float  # a feature is scale * x
    order: npt.NDArray[np.int64] | None = None  # (M,) of [0, N), or None: as they come

    @property
    def n_rows(self) -> int:
        """How many rows are taken."""
        return len(self.x if self.order is None else self.order)

    def between(self, begin: int, end: int) -> Rows:
        """The rows at these positions of the order."""
        if self.order is None:
            return self._replace(x=self.x[begin:end])
        return self._replace(order=self.order[begin:end])


class Loss(NamedTuple):
    """The targets of N rows, and what weighs them."""

    target: npt.NDArray[np.int32] | None  # (N,), -1 where the row is ignored
    probabilities: Array | None  # (N, K), in the place of target
    class_weight: Array | None  # (K,)
    sample_weight: Array | None  # (N,)
    label_smoothing: float
    plain: bool  # nothing but targets in [0, K)
    exponent: int = 0  # sample_weight is divided by 2**exponent, lest float32 overflow

    @classmethod
    def of_classes(cls, target: npt.NDArray[np.int32]) -> Loss:
        """That of targets in [0, K), which nothing weighs or smooths."""
        return cls(target, None, None, None, 0.0, True)

    def take(self, rows: Any) -> Loss:
        """That of some rows."""
        target, probabilities, class_weight, sample_weight, smoothing, plain, exponent = self
        return Loss(
            None if target is None else target[rows],
            None if probabilities is None else probabilities[rows],
            class_weight,
            None if sample_weight is None else sample_weight[rows],
            smoothing,
            plain,
            exponent,
        )

    def row_weights(self) -> Array:
        """What each row weighs in the mean, (N,), over 2**exponent."""
        if self.target is None:
            assert self.probabilities is not None
            each: Array = np.ones(len(self.probabilities))
        else:
            each = self.target >= 0
            if self.class_weight is not None:
                each = each * self.class_weight[self.target]
        return each if self.sample_weight is None else each * self.sample_weight

    def total_weight(self) -> float:
        """What the mean loss over all rows divides by, over 2**exponent."""
        if self.plain and self.target is not None:
            return len(self.target)
        return float(self.row_weights().sum(dtype=np.float64))

    def any_kept(self) -> bool:
        """Whether there is a row that is not ignored."""
        if self.target is None:
            return self.probabilities is not None and len(self.probabilities) > 0
        return len(self.target) > 0 if self.plain else bool((self.target >= 0).any())

    def unscaled(self, sums: Sums) -> Sums:
        """The sums of the weights as they were given."""
        if not self.exponent:
            return sums
        return sums._replace(
            loss=math.ldexp(sums.loss, self.exponent),
            total_weight=math.ldexp(sums.total_weight, self.exponent),
        )

    def unscale(self, *results: Array | None) -> None:
        """Multiplies what is linear in the weights as they were given, in place."""
        if self.exponent:
            with np.errstate(over="ignore", under="ignore"):
                for array in results:
                    if array is not None:
                        np.ldexp(array, self.exponent, out=array)


class Params(NamedTuple):
    """The parameters, and with momentum their velocities."""

    weight: Array  # (K, D)
    bias: Array  # (K,)
    velocity_weight: Array | None = None  # (K, D)
    velocity_bias: Array | None = None  # (K,)


class Sums(NamedTuple):
    """What a pass over rows adds up."""

    loss: float  # the losses of the rows
    correct: int  # rows whose first largest logit is the target's, or where targets are largest
    total_weight: float  # what a mean loss divides by: their number, where nothing weighs them
    counted: int  # rows that count for anything: neither ignored nor of weight 0

    def plus(self, other: Sums) -> Sums:
        return Sums(
            self.loss + other.loss,
            self.correct + other.correct,
            self.total_weight + other.total_weight,
            self.counted + other.counted,
        )

    @property
    def mean_loss(self) -> float:
        return mean(self.loss, self.total_weight)

    @property
    def accuracy(self) -> float:
        return self.correct / self.counted

    @property
    def weight(self) -> float:
        """The old name of total_weight."""
        warnings.warn("Sums.weight is now Sums.total_weight", DeprecationWarning, stacklevel=2)
        return self.total_weight


def mean(loss: float, total_weight: float) -> float:
    """``loss / total_weight`` as IEEE 754 has it: NaN for 0 / 0."""
    return loss / total_weight if total_weight else loss * math.inf


@dataclass
class Velocity:
    """What momentum remembers between steps: an array for each parameter.

    Examples
    --------
    >>> import numpy as np
    >>> velocity = Velocity.of(np.ones((10, 784), np.float32), np.zeros(10, np.float32))
    >>> velocity.weight.shape, velocity.started
    ((10, 784), False)
    """

    weight: npt.NDArray[np.floating]
    bias: npt.NDArray[np.floating]
    started: bool = False  # the first step sets the velocity to the gradient, undamped

    @classmethod
    def of(cls, weight: npt.NDArray[np.floating], bias: npt.NDArray[np.floating]) -> Velocity:
        """The velocity of parameters that have not moved yet."""
        return cls(np.zeros_like(weight), np.zeros_like(bias))
