"""Schedules of the learning rate: functions of the epoch, which counts from 0."""

from __future__ import annotations

import math
from collections.abc import Callable

from .. import scalars

__all__ = ["Schedule", "cosine", "exponential", "lr_at", "step_decay"]

Schedule = Callable[[int], float]


def lr_at(schedule: Schedule, epoch: int) -> float:
    """The learning rate of an epoch, checked; a message names the epoch."""
    try:
        lr = schedule(epoch)
    except OverflowError:
        raise ValueError(f"lr({epoch}) is too large a number") from None
    return scalars.not_negative(f"lr({epoch})", lr)


def _power(base: float, n: int) -> float:
    """``base**n``, or infinity where Python raises OverflowError."""
    try:
        return base**n
    except OverflowError:
        return math.inf


def step_decay(lr: float, every: int, gamma: float = 0.1) -> Schedule:
    """``lr``, multiplied by `gamma` after every `every` epochs.

    Examples
    --------
    >>> [round(step_decay(0.1, every=2)(epoch), 4) for epoch in range(5)]
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
