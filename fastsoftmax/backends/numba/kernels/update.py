"""gradient -> parameters: the update of torch.optim.SGD."""

from __future__ import annotations

import numpy as np

from ....arrays import Array
from ....problem import StepSettings
from .jit import ONE, ZERO, kernel, never_inlined

TINY = 2.0**-126  # the least that float32 has in all its digits


@kernel
def of_step(settings: StepSettings, step: int) -> StepSettings:
    """The settings of one step of a call."""
    lr_of_steps = settings.lr_of_steps
    return StepSettings(
        lr_of_steps[step] if lr_of_steps.shape[0] > 0 else settings.lr,
        settings.momentum, settings.dampening, settings.nesterov,
        settings.weight_decay, settings.bias_weight_decay, settings.l1,
        settings.first_step and step == 0, lr_of_steps,
    )  # fmt: skip


@kernel
def of_bias(settings: StepSettings) -> StepSettings:
    """The settings of the bias, in the place of those of the weight."""
    return StepSettings(
        settings.lr, settings.momentum, settings.dampening, settings.nesterov,
        settings.bias_weight_decay, settings.bias_weight_decay, 0.0, settings.first_step,
        settings.lr_of_steps,
    )  # fmt: skip


@kernel
def update(w: Array, grad: Array, v: Array, total_weight: float, settings: StepSettings) -> None:
    """One update of w (n,) by the gradient (n,) of a summed loss, v (n,) being the velocity.

    The mean divides by the weight of the rows, or by 1 where that is none. Without momentum v is
    (0,). There is no fast-math: a slice of a parameter gets the bits that the whole gets.
    """
    never_inlined()
    grad_scale = ONE / (np.float32(total_weight) if abs(total_weight) >= TINY else ONE)
    decay = np.float32(settings.weight_decay)
    lr, momentum = np.float32(settings.lr), np.float32(settings.momentum)
    shrinkage = lr * np.float32(settings.l1)
    undamped = ONE - np.float32(settings.dampening)
    for i in range(w.shape[0]):
        g = grad[i] * grad_scale
        if decay != ZERO:
            g += decay * w[i]
        if v.shape[0] > 0:
            v[i] = g if settings.first_step else momentum * v[i] + undamped * g
            g = g + momentum * v[i] if settings.nesterov else v[i]
        w[i] -= lr * g
        if shrinkage > ZERO and w[i] == w[i]:  # the proximal step of L1; NaN stays NaN
            away = abs(w[i]) - shrinkage
            w[i] = ZERO if away <= ZERO else (away if w[i] > ZERO else -away)
