"""The loss and its gradients in one call, without a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from . import arrays, direct, reference
from .arrays import Grads, Problem
from .fits import Options, fits, traced

__all__ = ["LinearCrossEntropyGrad", "linear_cross_entropy_grad"]


class LinearCrossEntropyGrad(NamedTuple):
    """What `linear_cross_entropy_grad` returns."""

    loss: Tensor  # ()
    grad_weight: Tensor  # as linear_weight
    grad_bias: Tensor | None  # as linear_bias; None without it
    grad_input: Tensor | None  # as input; None where it was not asked for


def linear_cross_entropy_grad(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    grad_input: bool = False,
) -> LinearCrossEntropyGrad:
    """The loss of `linear_cross_entropy`, and its gradients, computed together.

    It is the shorter way for a training loop of one's own: autograd takes about as long as the
    kernels do for 256 rows of 784 features. Nothing is recorded in a graph, and no tensor needs
    to require a gradient.

    Parameters
    ----------
    input, linear_weight, target, linear_bias, weight, ignore_index, label_smoothing
        As in `linear_cross_entropy`.
    reduction : {"mean", "sum"}
    grad_input : bool
        Whether the gradient for `input` is wanted.

    Returns
    -------
    LinearCrossEntropyGrad
        ``loss``, ``grad_weight`` (C, D), ``grad_bias`` (C,) or None without a bias, and
        ``grad_input`` of the shape of `input` or None: tensors that nobody else has.

    Raises
    ------
    ValueError
        `reduction` is neither of the two.
    IndexError, RuntimeError, ValueError
        As in `linear_cross_entropy`.

    Notes
    -----
    The kernels are used, and PyTorch's own function, where `linear_cross_entropy` uses them.

    Examples
    --------
    A linear layer, which an optimizer then updates:

    >>> import torch
    >>> layer = torch.nn.Linear(2, 2)
    >>> input, target = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
    >>> grad = linear_cross_entropy_grad(input, layer.weight, target, linear_bias=layer.bias)
    >>> layer.weight.grad, layer.bias.grad = grad.grad_weight, grad.grad_bias

    The last layer of a model, whose other layers go on with the gradient of its input:

    >>> first = torch.nn.Linear(2, 2)
    >>> hidden = first(input).relu()
    >>> grad = linear_cross_entropy_grad(hidden, layer.weight, target, grad_input=True)
    >>> hidden.backward(grad.grad_input)
    >>> first.weight.grad.shape
    torch.Size([2, 2])
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
    tensors = input, linear_weight, linear_bias, target
    options = Options(weight, reduction, ignore_index, label_smoothing)
    needed = grad_input, True, linear_bias is not None
    loss, grads = None, None
    if not traced():
        loss, grads = direct.loss_and_grads(*tensors, options, needed) or (None, None)
        if grads is None:
            loss, grads = _by_arrays(*tensors, options, needed) or (None, None)
    if grads is None:
        loss, grads = _by_pytorch(*tensors, options, needed)
    of_input, of_weight, of_bias = grads
    return LinearCrossEntropyGrad(loss, of_weight, of_bias, of_input)


def _by_arrays(
    input: Tensor,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    target: Tensor,
    options: Options,
    needed: Sequence[bool],
) -> tuple[Tensor, Grads] | None:
    if not fits(input, linear_weight, linear_bias, target, options):
        return None
    is_row = input.dim() == 1
    if is_row:
        input, target = input.unsqueeze(0), target.unsqueeze(0)
    try:
        problem = Problem.of(input, linear_weight, linear_bias, target, options)
        loss, (of_input, *others) = arrays.loss_and_grads(problem, options.reduction, needed)
    except ValueError:
        return None  # PyTorch's to compute, or to refuse
    if is_row and of_input is not None:
        of_input = of_input.squeeze(0)
    return loss, [of_input, *others]


def _by_pytorch(
    input: Tensor,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    target: Tensor,
    options: Options,
    needed: Sequence[bool],
) -> tuple[Tensor, Grads]:
    x, w, b = (
        tensor.detach().requires_grad_(need) if isinstance(tensor, Tensor) else tensor
        for tensor, need in zip((input, linear_weight, linear_bias), needed, strict=True)
    )
    loss, grads = reference.loss_and_grads(x, w, b, target, options, needed)
    return loss.detach(), grads
