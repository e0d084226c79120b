"""Settings, frozen and checked once: those of one update, and those of the loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import arrays, scalars

__all__ = ["CrossEntropy", "SGDSettings", "StepSettings"]


class StepSettings(NamedTuple):
    """The numbers of an update, as the kernels take them: those of the first step of a call."""

    lr: float
    momentum: float
    dampening: float
    nesterov: bool
    weight_decay: float
    bias_weight_decay: float
    l1: float  # of the weight alone
    first_step: bool  # the velocity becomes the gradient, undamped
    lr_of_steps: npt.NDArray[np.float64]  # (n_steps,); or (0,), where lr is that of all steps

    def after(self, n_steps: int) -> StepSettings:
        """Those of the step that comes so many steps later."""
        rest = self.lr_of_steps[n_steps:]
        return self._replace(
            lr=float(rest[0]) if len(rest) else self.lr,
            first_step=self.first_step and n_steps == 0,
            lr_of_steps=rest,
        )

    def with_lr(self, lr: Any, n_steps: int, name: str = "lr") -> StepSettings:
        """The same with that learning rate, a number or one for each of n_steps, (n_steps,)."""
        if np.ndim(lr) == 0:
            return self._replace(lr=scalars.not_negative(name, lr), lr_of_steps=_ALL_STEPS)
        rates = arrays.numbers(name, lr).astype(np.float64)
        if rates.shape != (n_steps,):
            raise ValueError(
                f"{name} must be a number, or have shape ({n_steps},) as there are steps, "
                f"got {rates.shape}"
            )
        wrong = ~((rates >= 0) & (rates <= scalars.FLOAT32_MAX))
        if wrong.any():
            raise ValueError(f"{name} must be >= 0 and finite, got {rates[wrong][0]}")
        return self._replace(lr=float(rates[0]), lr_of_steps=rates)


_ALL_STEPS = np.empty(0)


@dataclass(frozen=True)
class SGDSettings:
    """Settings of one update, with the meaning that they have in ``torch.optim.SGD``.

    They are what a backend takes; ``fastsoftmax.SGD`` is the optimizer, with parameters and state.
    A number may come as any that Python or NumPy has, or as an array or a tensor of no dimensions;
    it is a Python number from then on.

    With ``g`` the gradient of the mean loss, ``w`` a parameter and ``v`` its velocity::

        g += weight_decay * w
        v = momentum * v + (1 - dampening) * g      (first step: v = g)
        w -= lr * (g + momentum * v if nesterov else v)

    and of the weight alone, with ``l1``, the proximal step of an L1 penalty, which makes exact
    zeros. It comes after the update, and momentum remembers nothing of it::

        w = sign(w) * max(abs(w) - lr * l1, 0)

    Parameters
    ----------
    lr : float
        Learning rate, >= 0.
    momentum : float
        >= 0; 0 keeps no velocity.
    dampening : float
        Of the gradient's part in the velocity.
    nesterov : bool
        Needs ``momentum > 0`` and ``dampening == 0``.
    weight_decay : float
        L2 penalty, >= 0.
    decay_bias : bool
        Whether the bias decays like the weight, as in PyTorch.
    l1 : float
        L1 penalty of the weight, >= 0.

    Raises
    ------
    TypeError, ValueError
        A setting is not a number, or out of its range.

    Examples
    --------
    >>> SGDSettings(lr=0.1, momentum=0.9)  # doctest: +NORMALIZE_WHITESPACE
    SGDSettings(lr=0.1, momentum=0.9, dampening=0.0, nesterov=False, weight_decay=0.0,
                decay_bias=True, l1=0.0)
    """

    lr: float
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    decay_bias: bool = True
    l1: float = 0.0

    def __post_init__(self) -> None:
        # settings are values: what comes as an array or a tensor may change later
        keep = partial(object.__setattr__, self)
        for name in ("lr", "momentum", "weight_decay", "l1"):
            keep(name, scalars.not_negative(name, getattr(self, name)))
        keep("dampening", scalars.finite("dampening", self.dampening))
        for name in ("nesterov", "decay_bias"):
            keep(name, scalars.boolean(name, getattr(self, name)))
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError(
                "nesterov needs momentum > 0 and dampening == 0, got "
                f"momentum={self.momentum!r}, dampening={self.dampening!r}"
            )
        numbers = self.lr, self.momentum, self.dampening, self.nesterov, self.weight_decay
        bias_weight_decay = self.weight_decay if self.decay_bias else 0.0
        steps = [
            StepSettings(*numbers, bias_weight_decay, self.l1, first, _ALL_STEPS)
            for first in (False, True)
        ]
        keep("_steps", steps)

    def of_step(self, first_step: bool) -> StepSettings:
        """As the kernels take them; at the `first_step` there is no velocity yet."""
        steps: list[StepSettings] = self._steps  # type: ignore[attr-defined]
        return steps[first_step]


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
    is_plain: bool = field(init=False, repr=False)  # whether it leaves all classes alone

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
        ignore_index = scalars.integer("ignore_index", self.ignore_index)
        keep("ignore_index", ignore_index)
        keep("is_plain", self.class_weight is None and smoothing == 0 and ignore_index < 0)
