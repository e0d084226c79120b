"""The one door: here arguments become the nouns of `problem`, each of them checked once."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import checks
from .arrays import Array
from .checks import FLOAT32
from .problem import Loss, Params, Rows, StepSettings, Velocity
from .settings import CrossEntropy, SGDSettings

__all__ = [
    "no_overlap",
    "problem",
    "result",
    "training_problem",
    "update_problem",
    "with_velocity",
]


def problem(
    x: Any,
    target: Any,
    weight: Any,
    bias: Any,
    criterion: CrossEntropy | None,
    sample_weight: Any,
    scale: Any,
    floats: tuple[np.dtype[Any], ...] = FLOAT32,
) -> tuple[Rows, Loss, Params]:
    """Rows, their loss, and parameters that are only read."""
    if checks.seen and sample_weight is None and _is_plain(criterion):
        nouns = checks.seen.problem(x, target, weight, bias, scale, False)
        if nouns is not None:
            return nouns
    params = Params(*checks.parameters(weight, bias, floats=floats))
    x = checks.rows(x, params.weight.shape[1], floats=floats)
    n_classes, dtype = params.weight.shape[0], params.weight.dtype
    loss = checks.loss(target, criterion, sample_weight, len(x), n_classes, dtype)
    return Rows(x, checks.finite("scale", scale)), loss, params


def training_problem(
    x: Any,
    target: Any,
    order: Any,
    weight: Any,
    bias: Any,
    sgd: SGDSettings,
    velocity: Velocity | None,
    criterion: CrossEntropy | None,
    sample_weight: Any,
    scale: Any,
    floats: tuple[np.dtype[Any], ...] = FLOAT32,
) -> tuple[Rows, Loss, Params, StepSettings]:
    """Rows in their order, their loss, and parameters to update, which share no memory."""
    nouns = None
    if checks.seen and sample_weight is None and _is_plain(criterion):
        nouns = checks.seen.problem(x, target, weight, bias, scale, True)
        if nouns is not None and order is None and type(sgd) is SGDSettings and sgd.momentum == 0:
            rows, loss, params = nouns
            return rows, loss, params, sgd.of_step(False)
    if nouns is not None:
        rows, loss, params = nouns
    else:
        params = Params(*checks.parameters(weight, bias, floats=floats, writeable=True))
        rows = Rows(checks.rows(x, params.weight.shape[1], floats=floats), 1.0)
        n_classes, dtype = len(params.bias), params.weight.dtype
        loss = checks.loss(target, criterion, sample_weight, len(rows.x), n_classes, dtype)
    rows = Rows(rows.x, checks.finite("scale", scale), checks.row_order(order, len(rows.x)))
    checks.not_empty(rows.n_rows)
    params, settings = with_velocity(params.weight, params.bias, sgd, velocity)
    no_overlap(params, _WRITTEN, _read(rows, loss), _READ)
    return rows, loss, params, settings


def with_velocity(
    weight: Array, bias: Array, sgd: SGDSettings, velocity: Velocity | None
) -> tuple[Params, StepSettings]:
    """Checked parameters along with their velocities, and the settings of the next step."""
    moments = checks.velocity_of(sgd, velocity, weight)
    if moments is None:
        return Params(weight, bias), sgd.of_step(False)
    velocity_weight, velocity_bias, started = moments
    return Params(weight, bias, velocity_weight, velocity_bias), sgd.of_step(not started)


def update_problem(
    weight: Any,
    bias: Any,
    grad_weight: Any,
    grad_bias: Any,
    sgd: SGDSettings,
    velocity: Velocity | None,
    *,
    floats: tuple[np.dtype[Any], ...] = FLOAT32,
) -> tuple[Params, Array, Array, StepSettings]:
    """Parameters to update, and gradients of their shape and dtype, which share no memory."""
    weight, bias = checks.parameters(weight, bias, floats=floats, writeable=True)
    grad_weight, grad_bias = checks.parameters(
        grad_weight,
        grad_bias,
        names=("grad_weight", "grad_bias"),
        shape=weight.shape,
        floats=(weight.dtype,),
    )
    params, settings = with_velocity(weight, bias, sgd, velocity)
    no_overlap(params, _WRITTEN, (grad_weight, grad_bias), ("grad_weight", "grad_bias"))
    return params, grad_weight, grad_bias, settings


def result(
    name: str, array: Any, shape: tuple[int, ...], rows: Rows, loss: Loss, params: Params
) -> Array:
    """`array` as one that results of this problem go to, and that shares no memory with it."""
    output = checks.output(name, array, shape, params.weight.dtype)
    no_overlap((output,), (name,), (*params[:2], *_read(rows, loss)), ("weight", "bias", *_READ))
    return output


_WRITTEN = "weight", "bias", "velocity.weight", "velocity.bias"
_READ = "x", "order", "target", "sample_weight"


def _read(rows: Rows, loss: Loss) -> tuple[Array | None, ...]:
    target = loss.probabilities if loss.target is None else loss.target
    return rows.x, rows.order, target, loss.sample_weight


def no_overlap(
    written: tuple[Array | None, ...],
    names_of_written: tuple[str, ...],
    read: tuple[Array | None, ...] = (),
    names_of_read: tuple[str, ...] = (),
) -> None:
    """Refuses arrays that are written to and share memory, with one another or with others.

    They are contiguous, so that their bounds tell.
    """
    if checks.seen and checks.seen.share_no_memory(written, read):
        return
    named = zip((*names_of_written, *names_of_read), (*written, *read), strict=True)
    others = {name: array for name, array in named if array is not None}
    for name in [name for name in names_of_written if name in others]:
        array = others.pop(name)
        for other, its in others.items():
            if np.may_share_memory(array, its):
                raise ValueError(
                    f"{name} shares memory with {other}, and is written to; give a copy of one"
                )


def _is_plain(criterion: CrossEntropy | None) -> bool:
    return criterion is None or (type(criterion) is CrossEntropy and criterion.is_plain)
