"""The loss under PyTorch's autograd, and when PyTorch's own takes its place.

The loss and its gradients are computed at once, then joined to the graph by a node that keeps the
gradients until `backward`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from . import arrays, direct, reference
from .arrays import Grads, Problem, view
from .fits import Options, fits, traced

__all__ = ["linear_cross_entropy"]


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    target: Tensor,
    options: Options,
) -> Tensor:
    """By the kernels where they fit, else by PyTorch."""
    if traced():
        return reference.linear_cross_entropy(input, linear_weight, linear_bias, target, options)
    # the usual call first: each look at a tensor counts (measurements: adapter)
    computed = direct.loss_and_grads(input, linear_weight, linear_bias, target, options)
    if computed is None:
        return _by_arrays(input, linear_weight, linear_bias, target, options)
    if computed[1] is None:
        return computed[0]
    return _join(input, linear_weight, linear_bias, target, computed, options)


def _by_arrays(
    input: Tensor,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    target: Tensor,
    options: Options,
) -> Tensor:
    if fits(input, linear_weight, linear_bias, target, options):
        try:
            if input.dim() == 2:
                return _fused(input, linear_weight, linear_bias, target, options)
            row = input.unsqueeze(0)
            loss = _fused(row, linear_weight, linear_bias, target.unsqueeze(0), options)
            return loss.squeeze(0) if options.reduction == "none" else loss
        except ValueError:
            # What their checks refuse is left to PyTorch: a target out of range, an infinite
            # weight. Outside of this block, lest its errors name ours as their context.
            pass
    return reference.linear_cross_entropy(input, linear_weight, linear_bias, target, options)


def _fused(
    input: Tensor,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    target: Tensor,
    options: Options,
) -> Tensor:
    """By the kernels, of (N, D) input."""
    tensors = input, linear_weight, linear_bias, target
    needed = [tensor is not None and tensor.requires_grad for tensor in tensors[:3]]
    problem = Problem.of(*tensors, options)
    in_graph = torch.is_grad_enabled() and any(needed)
    # a node refuses tangents, which a loss alone would be without
    if not in_graph and forward_ad._current_level < 0:
        return arrays.loss(problem, options.reduction)
    computed: tuple[Tensor, Grads | None]
    if options.reduction == "none":
        computed = arrays.loss(problem, "none"), None
    else:
        computed = arrays.loss_and_grads(problem, options.reduction, needed)
    joined: Tensor = _LinearCrossEntropy.apply(*tensors, computed, options)
    return joined


class _LinearCrossEntropy(torch.autograd.Function):
    """Joins a loss of (N, D) input, and its gradients, to the graph.

    Where there are no gradients, as with reduction="none", backward computes them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        linear_weight: Tensor,
        linear_bias: Tensor | None,
        target: Tensor,
        computed: tuple[Tensor, Grads | None],  # in a tuple PyTorch does not see the tensors
        options: Options,
    ) -> Tensor:
        _save(ctx, (input, linear_weight, linear_bias), target, options)
        loss, ctx.grads = computed
        return loss

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # raises an error if one has changed, be it of use or not
        grads = ctx.grads
        if grads is None or torch.is_grad_enabled():
            grads = _computed_again(ctx, saved, grad_output)
        else:
            ctx.grads = None  # handed over: they become the tensors' own
            _scale(grads, grad_output)
        return *grads, None, None, None


# The apply of PyTorch's C++ below that in Python, which only looks for what `traced` has ruled out
# and `direct` does not take: dead wrappers of torch.func.
_join = super(torch.autograd.Function, _LinearCrossEntropy).apply


def _scale(grads: Grads, grad_output: Tensor) -> None:
    factor = grad_output.item()
    if factor != 1:
        for grad in grads:
            if grad is not None:
                grad.mul_(factor)


# ---- what backward needs ----


def _save(
    ctx: Any,
    tensors: tuple[Tensor, Tensor, Tensor | None],
    target: Tensor,
    options: Options,
) -> None:
    """Keeps the arguments for a backward that computes gradients.

    Saved by PyTorch, and hence not to be changed, are those that its own loss would read: the
    input for the gradient of the weight, and the weight for that of the input. With
    reduction="none" ours reads all. The others, `unread`, may change as long as no gradient is
    computed again.
    """
    input, linear_weight, linear_bias = tensors
    by_row = options.reduction == "none"
    needs_input, needs_weight = ctx.needs_input_grad[:2]
    unread: list[tuple[int, Tensor, int]] = []
    if not (needs_weight or by_row):
        unread.append((0, input, input._version))
        input = None
    if not (needs_input or by_row):
        unread.append((1, linear_weight, linear_weight._version))
        linear_weight = None
    if not by_row and linear_bias is not None:
        unread.append((2, linear_bias, linear_bias._version))
        linear_bias = None
    ctx.save_for_backward(input, linear_weight, linear_bias, target, options.class_weight)
    ctx.unread, ctx.options = unread, options


def _as_saved(
    ctx: Any, saved: tuple[Tensor | None, ...]
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Input, weight, bias and target as they were."""
    tensors: list[Any] = list(saved[:4])
    for i, tensor, version in ctx.unread:
        if tensor._version != version:
            raise RuntimeError(
                f"one of the variables needed for gradient computation has been modified by "
                f"an inplace operation: the tensor of shape {tuple(tensor.shape)} is at "
                f"version {tensor._version}, expected version {version} instead"
            )
        tensors[i] = tensor
    input, linear_weight, linear_bias, target = tensors
    return input, linear_weight, linear_bias, target


def _computed_again(ctx: Any, saved: tuple[Tensor | None, ...], grad_output: Tensor) -> Grads:
    """The gradients once more, or for the first time."""
    tensors, options = _as_saved(ctx, saved), ctx.options
    needed = ctx.needs_input_grad[:3]
    by_row = options.reduction == "none"
    if torch.is_grad_enabled() or (by_row and not np.isfinite(view(grad_output)).all()):
        # differentiable themselves, where that is asked for
        create_graph = torch.is_grad_enabled()
        return reference.loss_and_grads(*tensors, options, needed, grad_output, create_graph)[1]
    problem = Problem.of(*tensors, options)
    if by_row:
        return arrays.grads_by_row(problem, grad_output, needed)
    _, grads = arrays.loss_and_grads(problem, options.reduction, needed)
    _scale(grads, grad_output)
    return grads
