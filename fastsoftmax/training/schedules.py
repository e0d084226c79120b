"""Learning rates of a training, and schedules: functions of the epoch, which counts from 0."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import arrays, scalars
from ..settings import StepSettings

__all__ = ["LearningRates", "Schedule", "cosine", "exponential", "step_decay"]

Schedule = Callable[[int], Any]


class LearningRates:
    """What `train` is given as `lr`: the learning rate of each epoch, or of each of its steps.

    Parameters
    ----------
    lr : float, array_like of shape (epochs,) or (epochs * n_steps,), or Schedule
    epochs : int

    Raises
    ------
    TypeError, ValueError
        The number, or the first one of the schedule, is no learning rate.
    """

    def __init__(self, lr: Any, epochs: int) -> None:
        self._lr, self._epochs = lr, epochs
        if callable(lr):
            self._first = self._scheduled(0)
            if np.ndim(self._first) == 0:
                scalars.not_negative("lr(0)", self._first)
        elif np.ndim(lr) == 0:
            self._lr = scalars.not_negative("lr", lr)
        else:
            self._lr = arrays.numbers("lr", lr)

    def of_epoch(self, sgd: StepSettings, epoch: int, n_steps: int) -> StepSettings:
        """`sgd` with the learning rate of that epoch, or with those of its n_steps."""
        if callable(self._lr):
            lr = self._scheduled(epoch) if epoch else self._first
            return sgd.with_lr(lr, n_steps, f"lr({epoch})")
        if isinstance(self._lr, float):
            return sgd._replace(lr=self._lr)
        if self._lr.shape == (self._epochs,):
            return sgd.with_lr(self._lr[epoch], n_steps, f"lr[{epoch}]")
        if self._lr.shape == (self._epochs * n_steps,):
            return sgd.with_lr(self._lr[epoch * n_steps :][:n_steps], n_steps)
        raise ValueError(
            f"lr must be a number, or have shape ({self._epochs},) as there are epochs, or "
            f"({self._epochs * n_steps},) as there are steps, got {self._lr.shape}"
        )

    def _scheduled(self, epoch: int) -> Any:
        try:
            return self._lr(epoch)
        except OverflowError:
            raise ValueError(f"lr({epoch}) is too large a number") from None


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
