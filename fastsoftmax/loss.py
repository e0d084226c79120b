"""Settings of the loss, and what a pass over rows adds up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy.typing as npt

from . import arrays, scalars

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
    are probabilities, by their number, as in PyTorch: one of probabilities 0 is one of them. A
    `sample_weight` multiplies both.

    A row counts for nothing if the loss has no ``log(p)`` of it: it is ignored, or the weights or
    probabilities are 0. It may hold NaN or infinities: its loss and its gradients are 0. But with
    ``e > 0`` a row of a class of weight 0 counts, as the other classes have a part in its loss.

    Parameters
    ----------
    class_weight : array_like, shape (K,), optional
        1 each where None. Each is 0, or from 1e-30 to 1e30 in magnitude. Kept is a copy.
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
        # settings are values: what comes as an array or a tensor may change later
        keep = partial(object.__setattr__, self)
        if self.class_weight is not None:
            keep("class_weight", arrays.class_weights("class_weight", self.class_weight))
        smoothing = scalars.number("label_smoothing", self.label_smoothing)
        if not 0 <= smoothing <= 1:
            raise ValueError(
                f"label_smoothing must be in [0, 1], got {scalars.shown(self.label_smoothing)}"
            )
        keep("label_smoothing", smoothing)
        keep("ignore_index", scalars.integer("ignore_index", self.ignore_index))


class Sums(NamedTuple):
    """What a pass over rows adds up."""

    loss: float  # the losses of the rows
    correct: int  # rows whose first largest logit is the target's, or where targets are largest
    weight: float  # what a mean loss divides by: the number of rows, where nothing weighs them
    counted: int  # rows that count for anything: neither ignored nor of weight 0
