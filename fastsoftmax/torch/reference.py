"""PyTorch's own function, for all that the kernels do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .arrays import IGNORE_INDEX, Grads
from .fits import Options, is_integer

__all__ = ["linear_cross_entropy", "loss_and_grads"]


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    target: Tensor,
    options: Options,
) -> Tensor:
    """PyTorch's own, for targets of any integer type."""
    class_weight, reduction, ignore_index, label_smoothing = options
    if isinstance(target, Tensor) and is_integer(target):
        target = target.long()
    if hasattr(functional, "linear_cross_entropy"):  # from 2.13
        return functional.linear_cross_entropy(
            input,
            linear_weight,
            target,
            linear_bias=linear_bias,
            weight=class_weight,
            reduction=reduction,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
        )
    return functional.cross_entropy(
        functional.linear(input, linear_weight, linear_bias),
        target,
        weight=class_weight,
        reduction=reduction,
        ignore_index=IGNORE_INDEX if ignore_index is None else ignore_index,
        label_smoothing=label_smoothing,
    )


def loss_and_grads(
    input: Tensor,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    target: Tensor,
    options: Options,
    needed: Sequence[bool],
    grad_output: Tensor | None = None,
    create_graph: bool = False,
) -> tuple[Tensor, Grads]:
    """The loss, and those of its gradients for input, weight and bias that are needed."""
    with torch.enable_grad():
        loss = linear_cross_entropy(input, linear_weight, linear_bias, target, options)
    tensors: list[Any] = [input, linear_weight, linear_bias]
    asked = [tensor for tensor, need in zip(tensors, needed, strict=True) if need]
    grads = iter(torch.autograd.grad(loss, asked, grad_output, create_graph=create_graph))
    return loss, [next(grads) if need else None for need in needed]
