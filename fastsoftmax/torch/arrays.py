"""A call by arrays: tensors as arrays of the same memory, for any backend and all options."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import checks
from ..arrays import Array
from ..backends import get_backend
from ..problem import Loss, Params, Rows, mean
from ..scalars import FLOAT32_MAX
from ..settings import CrossEntropy
from ..threads import worthwhile
from .fits import Options
from .threads import lender

__all__ = ["IGNORE_INDEX", "Grads", "Problem", "grads_by_row", "loss", "loss_and_grads", "view"]

IGNORE_INDEX = -100  # that of PyTorch, where none is given
_PLAIN = CrossEntropy(ignore_index=IGNORE_INDEX)

Grads = Sequence[Tensor | None]  # for input, weight and bias; None where it is not needed


class Problem(NamedTuple):
    """What the functions of a backend take."""

    rows: Rows
    loss: Loss
    params: Params
    num_threads: int

    @classmethod
    def of(
        cls,
        input: Tensor,
        linear_weight: Tensor,
        linear_bias: Tensor | None,
        target: Tensor,
        options: Options,
    ) -> Problem:
        """Of (N, D) input and what `fits` with it."""
        x, weight = view(input), view(linear_weight)
        n_classes, dtype = len(weight), weight.dtype
        bias = np.zeros(n_classes, dtype) if linear_bias is None else view(linear_bias)
        loss = checks.loss(view(target), _criterion(options), None, len(x), n_classes, dtype)
        threads = worthwhile(torch.get_num_threads(), len(x) * weight.size)
        return cls(Rows(x, 1.0), loss, Params(weight, bias), threads)

    def call(self, function: str, **results: Any) -> Any:
        """That function of the backend; Cython's on PyTorch's threads."""
        kernels = get_backend().kernels
        if kernels.name != "cython":
            return getattr(kernels, function)(*self, **results)
        from ..backends.cython import borrow_threads

        borrow_threads(*lender())
        try:
            return getattr(kernels, function)(*self, **results)
        finally:
            borrow_threads(0, 0)

    def divisor(self, reduction: str) -> float:
        """What the summed loss is divided by; a ValueError where its gradients cannot be."""
        if reduction == "sum":
            return 1.0
        total_weight = self.loss.total_weight()
        if abs(total_weight) * FLOAT32_MAX < 1 and self.loss.any_kept():
            raise ValueError(f"there is no mean over a weight of {total_weight}")
        return total_weight


def _criterion(options: Options) -> CrossEntropy:
    class_weight, _, ignore_index, label_smoothing = options
    if class_weight is None and ignore_index is None and label_smoothing == 0:
        return _PLAIN
    return CrossEntropy(
        None if class_weight is None else view(class_weight),
        label_smoothing,
        IGNORE_INDEX if ignore_index is None else ignore_index,
    )


def view(tensor: Tensor) -> Array:
    """A contiguous array of its memory, or of a copy where that is not contiguous."""
    return np.ascontiguousarray(tensor.numpy(force=True))


def loss(problem: Problem, reduction: str) -> Tensor:
    """The loss alone."""
    x = problem.rows.x
    if reduction == "none":
        losses = np.empty(len(x), x.dtype)
        problem.call("evaluate", losses=losses)
        return torch.from_numpy(losses)
    divisor = problem.divisor(reduction)
    return _scalar(mean(problem.call("evaluate").loss, divisor), x.dtype)


def loss_and_grads(
    problem: Problem, reduction: str, needed: Sequence[bool]
) -> tuple[Tensor, Grads]:
    """The loss, "mean" or "sum", and its gradients."""
    divisor = problem.divisor(reduction)
    # where all rows are ignored the mean is NaN, and its gradients are 0
    summed, grads = _summed(problem, needed, 1.0 / divisor if divisor else 1.0)
    return _scalar(mean(summed, divisor), problem.rows.x.dtype), grads


def grads_by_row(problem: Problem, grad_output: Tensor, needed: Sequence[bool]) -> Grads:
    """The gradients of the losses of all rows, each times its grad_output, (N,)."""
    dtype = problem.rows.x.dtype
    weighted = checks.with_sample_weight(problem.loss, view(grad_output), dtype)
    return _summed(problem._replace(loss=weighted), needed)[1]


def _summed(
    problem: Problem, needed: Sequence[bool], grad_scale: float = 1.0
) -> tuple[float, Grads]:
    """The sum of all losses, and its gradients times grad_scale."""
    grad_input = np.empty_like(problem.rows.x) if needed[0] else None
    sums, grad_weight, grad_bias, _ = problem.call(
        "loss_and_grad", grad_scale=grad_scale, grad_input=grad_input
    )
    grads = grad_input, grad_weight, grad_bias
    problem.loss.unscale(*grads)
    return sums.loss, [
        torch.from_numpy(grad) if grad is not None and need else None
        for grad, need in zip(grads, needed, strict=True)
    ]


def _scalar(value: float, dtype: np.dtype[Any]) -> Tensor:
    # torch.scalar_tensor takes longer, and raises an error where PyTorch's loss is infinite
    if abs(value) > FLOAT32_MAX:  # of which NumPy would warn
        value = math.copysign(math.inf, value)
    return torch.from_numpy(np.array(value, dtype))
