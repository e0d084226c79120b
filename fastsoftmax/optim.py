"""Settings and state of stochastic gradient descent, and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from . import scalars

__all__ = ["SGD", "Schedule", "Velocity", "cosine", "exponential", "step"]

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class SGD:
    """Settings of one update, with the meaning that they have in ``torch.optim.SGD``.

    They are what a backend takes; ``fastsoftmax.SGD`` is the optimizer, with parameters and state.
    A number may come as any that Python or NumPy has, or as an array or a tensor of no dimensions;
    it is a Python number from then on.

    With ``g`` the gradient of the mean loss, ``w`` a parameter and ``v`` its velocity::

        g += weight_decay * w
        v = momentum * v + (1 - dampening) * g      (first step: v = g)
        w -= lr * (g + momentum * v if nesterov else v)

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

    Raises
    ------
    TypeError, ValueError
        A setting is not a number, or out of its range.

    Examples
    --------
    >>> SGD(lr=0.1, momentum=0.9)
    SGD(lr=0.1, momentum=0.9, dampening=0.0, nesterov=False, weight_decay=0.0, decay_bias=True)
    """

    lr: float
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    decay_bias: bool = True

    def __post_init__(self) -> None:
        # settings are values: what comes as an array or a tensor may change later
        keep = partial(object.__setattr__, self)
        for name in ("lr", "momentum", "weight_decay"):
            keep(name, scalars.not_negative(name, getattr(self, name)))
        keep("dampening", scalars.finite("dampening", self.dampening))
        for name in ("nesterov", "decay_bias"):
            keep(name, scalars.boolean(name, getattr(self, name)))
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError(
                "nesterov needs momentum > 0 and dampening == 0, got "
                f"momentum={self.momentum!r}, dampening={self.dampening!r}"
            )


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


def _power(base: float, n: int) -> float:
    """``base**n``, infinite where Python finds it too large, as elsewhere in floats."""
    try:
        return base**n
    except OverflowError:
        return math.inf


def step(lr: float, every: int, gamma: float = 0.1) -> Schedule:
    """``lr``, multiplied by `gamma` after each `every` epochs.

    Examples
    --------
    >>> [round(step(0.1, every=2)(epoch), 4) for epoch in range(5)]
    [0.1, 0.1, 0.01, 0.01, 0.001]
    """
    lr, gamma = scalars.not_negative("lr", lr), scalars.not_negative("gamma", gamma)
    every = scalars.positive_int("every", every)
    return lambda epoch: lr * _power(gamma, epoch // every)


def exponential(lr: float, gamma: float) -> Schedule:
    """``lr * gamma ** epoch``.

    Examples
    --------
    >>> [exponential(0.8, 0.5)(epoch) for epoch in range(3)]
    [0.8, 0.4, 0.2]
    """
    lr, gamma = scalars.not_negative("lr", lr), scalars.not_negative("gamma", gamma)
    return lambda epoch: lr * _power(gamma, epoch)


def cosine(lr: float, epochs: int) -> Schedule:
    """``lr`` falling to 0 over `epochs` along half a cosine (Loshchilov & Hutter, 2017).

    Examples
    --------
    >>> [round(cosine(0.1, epochs=4)(epoch), 4) for epoch in range(5)]
    [0.1, 0.0854, 0.05, 0.0146, 0.0]
    """
    lr, epochs = scalars.not_negative("lr", lr), scalars.positive_int("epochs", epochs)
    return lambda epoch: lr * 0.5 * (1 + math.cos(math.pi * min(epoch, epochs) / epochs))
