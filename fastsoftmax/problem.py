"""The nouns that all floors speak of: what a call works on, checked, and what it adds up."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .arrays import Array

__all__ = ["Loss", "Sums", "Velocity"]


class Loss(NamedTuple):
    """Checked targets and what weighs them, as the kernels take them."""

    target: npt.NDArray[np.int32] | None  # (N,), -1 where the row is ignored
    probabilities: Array | None  # (N, K), instead of target
    class_weight: Array | None  # (K,)
    sample_weight: Array | None  # (N,)
    label_smoothing: float
    plain: bool  # nothing but targets in [0, K)
    exponent: int = 0  # sample_weight is divided by 2**exponent, lest float32 overflow

    def take(self, rows: Any) -> Loss:
        """Those of some rows."""
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
    def weight(self) -> float:
        """The old name of total_weight."""
        warnings.warn("Sums.weight is now Sums.total_weight", DeprecationWarning, stacklevel=2)
        return self.total_weight


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
