"""Settings of the loss, and what a pass over rows adds up."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy.typing as npt

__all__ = ["CrossEntropy", "Sums"]


@dataclass(frozen=True, eq=False)
class CrossEntropy:
    """Settings of the loss, with the meaning they have in ``torch.nn.functional.cross_entropy``.

    With ``p = softmax(logits)`` of a row, ``w = class_weight`` and ``e = label_smoothing``, its
    loss is::

        -(1 - e) * w[target] * log(p[target]) - e / K * sum(w * log(p))

    or, where its target is a probability ``q`` of each class::

        -sum(((1 - e) * q + e / K) * w * log(p))

    A mean over rows divides the sum of their losses by that of their ``w[target]``; where targets
    are probabilities, by their number. A `sample_weight` multiplies both.

    A row counts for nothing if the loss has no ``log(p)`` of it: it is ignored, or the weights or
    probabilities are 0. It may hold NaN or infinities: its loss and its gradients are 0. But with
    ``e > 0`` a row of a class of weight 0 counts, as the other classes have a part in its loss.

    Parameters
    ----------
    class_weight : ndarray, shape (K,), optional
        1 each where None.
    label_smoothing : float
        In [0, 1].
    ignore_index : int
        Rows of this target count for nothing. It need not be a class.

    Raises
    ------
    TypeError, ValueError
        A setting is not a number, or out of its range.

    Examples
    --------
    >>> CrossEntropy(label_smoothing=0.1)
    CrossEntropy(class_weight=None, label_smoothing=0.1, ignore_index=-100)
    """

    class_weight: npt.NDArray[Any] | None = None
    label_smoothing: float = 0.0
    ignore_index: int = -100

    def __post_init__(self) -> None:
        try:
            in_range = 0 <= self.label_smoothing <= 1
        except TypeError:
            raise TypeError(
                f"label_smoothing must be a number, got {self.label_smoothing!r}"
            ) from None
        if not in_range:
            raise ValueError(f"label_smoothing must be in [0, 1], got {self.label_smoothing!r}")
        try:
            operator.index(self.ignore_index)
        except TypeError:
            raise TypeError(
                f"ignore_index must be an integer, got {self.ignore_index!r}"
            ) from None


class Sums(NamedTuple):
    """What a pass over rows adds up."""

    loss: float  # the losses of the rows
    correct: int  # rows whose first largest logit is the target's, or where targets are largest
    weight: float  # what a mean loss divides by: the number of rows, where nothing weighs them
    counted: int  # rows that count for anything: neither ignored nor of weight 0
