"""Settings and state of stochastic gradient descent, and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["SGD", "Schedule", "Velocity", "cosine", "exponential", "step"]

Schedule = Callable[[int], float]

FLOAT32_MAX = float(np.finfo(np.float32).max)  # of what the kernels compute with


@dataclass(frozen=True)
class SGD:
    """Settings of one update, with the meaning that they have in ``torch.optim.SGD``.

    They are what a backend takes; ``fastsoftmax.SGD`` is the optimizer, with parameters and state.

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
        _not_negative("lr", self.lr)
        _not_negative("momentum", self.momentum)
        _not_negative("weight_decay", self.weight_decay)
        _number("dampening", self.dampening)
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError(
                "nesterov needs momentum > 0 and dampening == 0, got "
                f"momentum={self.momentum!r}, dampening={self.dampening!r}"
            )


def _number(name: str, value: object) -> float:
    try:
        in_range = math.fabs(value) <= FLOAT32_MAX  # type: ignore[arg-type]  # says so itself
    except TypeError:
        raise TypeError(f"{name} must be a number, got {value!r}") from None
    except OverflowError:
        in_range = False
    if not in_range:
        raise ValueError(f"{name} must be finite in float32, got {value!r}")
    return value  # type: ignore[return-value]


def _not_negative(name: str, value: object) -> None:
    if not _number(name, value) >= 0:
        raise ValueError(f"{name} must be >= 0, got {value!r}")


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


def step(lr: float, every: int, gamma: float = 0.1) -> Schedule:
    """``lr``, multiplied by `gamma` after each `every` epochs.

    Examples
    --------
    >>> [round(step(0.1, every=2)(epoch), 4) for epoch in range(5)]
    [0.1, 0.1, 0.01, 0.01, 0.001]
    """
    if every < 1:
        raise ValueError(f"every must be >= 1, got {every}")
    return lambda epoch: lr * gamma ** (epoch // every)


def exponential(lr: float, gamma: float) -> Schedule:
    """``lr * gamma ** epoch``.

    Examples
    --------
    >>> [exponential(0.8, 0.5)(epoch) for epoch in range(3)]
    [0.8, 0.4, 0.2]
    """
    return lambda epoch: lr * gamma**epoch


def cosine(lr: float, epochs: int) -> Schedule:
    """``lr`` falling to 0 over `epochs` along half a cosine (Loshchilov & Hutter, 2017).

    Examples
    --------
    >>> [round(cosine(0.1, epochs=4)(epoch), 4) for epoch in range(5)]
    [0.1, 0.0854, 0.05, 0.0146, 0.0]
    """
    if epochs < 1:
        raise ValueError(f"epochs must be >= 1, got {epochs}")
    return lambda epoch: lr * 0.5 * (1 + math.cos(math.pi * min(epoch, epochs) / epochs))
