"""The kernels for PyTorch: a loss with autograd, a module, and conversion of models.

Needs torch, and is imported by ``import fastsoftmax.torch`` only.

The fused kernels take what they are made for: float32 on the CPU, two-dimensional weights, eager
mode. All else is handed to PyTorch's own ``linear_cross_entropy``, with the same result, and so is
what is wrong, so that errors are PyTorch's, too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import autograd
from .fits import Options
from .gradients import LinearCrossEntropyGrad, linear_cross_entropy_grad
from .models import from_linear, to_linear

__all__ = [
    "FusedLinearCrossEntropy",
    "LinearCrossEntropyGrad",
    "from_linear",
    "linear_cross_entropy",
    "linear_cross_entropy_grad",
    "to_linear",
]


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy of a linear layer's logits, fused: no (N, C) logits or their gradient.

    The same as ``cross_entropy(linear(input, linear_weight, linear_bias), target, ...)``, or as
    ``torch.nn.functional.linear_cross_entropy``, whose arguments it takes. With
    ``p = softmax(logits)`` of a row, ``w = weight`` and ``e = label_smoothing``, its loss is::

        -(1 - e) * w[target] * log(p[target]) - e / C * sum(w * log(p))

    and a mean divides the sum of the losses by that of their ``w[target]``.

    The gradients are computed along with the loss, and kept until ``backward``, which scales them
    in place and hands them over; a second ``backward`` (``retain_graph=True``) computes them
    again, and one with ``create_graph=True`` is left to PyTorch. With ``reduction="none"`` they
    are computed in ``backward`` alone.

    A tensor that has been changed in place in the meantime is an error where it is one for
    PyTorch, and wherever gradients are computed in ``backward``.

    Parameters
    ----------
    input : Tensor, shape (N, D) or (D,)
    linear_weight : Tensor, shape (C, D)
    target : Tensor, shape (N,) or ()
        Classes, of any integer type; or of the dtype of `input`, (N, C) or (C,), probabilities.
    linear_bias : Tensor, shape (C,), optional
        Zero where None.
    weight : Tensor, shape (C,), optional
        Of the classes; 1 each where None.
    reduction : {"mean", "sum", "none"}
    ignore_index : int, optional
        Rows of this target count for nothing; -100 where None. Not for probabilities. By the
        kernels (see the notes) such rows may hold NaN, which PyTorch's own makes of gradients.
    label_smoothing : float
        In [0, 1].

    Returns
    -------
    Tensor, shape () or, with ``reduction="none"``, that of `target` without classes
        NaN where a mean is over nothing.

    Raises
    ------
    IndexError
        A target is no class, and not `ignore_index`.
    RuntimeError, ValueError
        Those of PyTorch: shapes or dtypes do not fit, or `reduction` is none of the three.

    Notes
    -----
    The kernels are used where all of this holds, and PyTorch's own function where not: tensors
    (no subclasses) are float32, on the CPU and strided, with a two-dimensional `linear_weight` of
    C >= 2; neither `target` nor `weight` requires a gradient; and nothing is compiled, traced or
    transformed (``torch.compile``, ``torch.jit.trace``, ``torch.func``, dispatch modes).
    Forward-mode differentiation is an error.

    Contiguous tensors are read where they lie; of others one copy is made. As many threads are
    used as ``torch.get_num_threads()`` says, or fewer for a small batch; they are PyTorch's own,
    where these are OpenMP's. Under ``torch.autocast`` float32 tensors are computed in float32,
    which is what autocast does for a cross-entropy, but not for a linear layer; inputs of a lower
    precision go to PyTorch.

    Examples
    --------
    >>> input = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> weight = torch.zeros(2, 2, requires_grad=True)
    >>> loss = linear_cross_entropy(input, weight, torch.tensor([0, 1]))
    >>> loss.backward()
    >>> weight.grad
    tensor([[-0.2500,  0.2500],
            [ 0.2500, -0.2500]])
    """
    options = Options(weight, reduction, ignore_index, label_smoothing)
    return autograd.linear_cross_entropy(input, linear_weight, linear_bias, target, options)


class FusedLinearCrossEntropy(torch.nn.Linear):
    """A linear layer and the cross-entropy of its logits, fused: the last layer in training.

    It is a ``torch.nn.Linear``: the same parameters ``weight`` (C, D) and ``bias`` (C,), the same
    start, and the same ``state_dict``, to and fro. Only its ``forward`` takes targets, and
    returns the loss, as `linear_cross_entropy` computes it.

    Parameters
    ----------
    in_features : int
        D.
    num_classes : int
        C.
    bias : bool
    weight : Tensor, shape (C,), optional
        Of the classes. It is the buffer ``class_weight``, and no part of the state_dict.
    reduction : {"mean", "sum", "none"}
    ignore_index : int, optional
    label_smoothing : float
        As in `linear_cross_entropy`.
    device, dtype
        Of the parameters, as in ``torch.nn.Linear``.

    Raises
    ------
    RuntimeError
        `weight` is not of that shape, or `label_smoothing` not in [0, 1].

    Examples
    --------
    >>> head = FusedLinearCrossEntropy(4, 3, label_smoothing=0.1)
    >>> head.load_state_dict(torch.nn.Linear(4, 3).state_dict())
    <All keys matched successfully>
    >>> input, target = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    >>> head(input, target).backward()
    >>> head.weight.grad.shape
    torch.Size([3, 4])
    >>> head.logits(input).shape
    torch.Size([5, 3])
    """

    class_weight: Tensor | None

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        bias: bool = True,
        *,
        weight: Tensor | None = None,
        reduction: str = "mean",
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if weight is not None and weight.shape != (num_classes,):
            raise RuntimeError(
                f"expected weight shape to be {(num_classes,)}, got {tuple(weight.shape)}"
            )
        if not 0 <= label_smoothing <= 1:
            raise RuntimeError(
                f"expected label_smoothing to be in range [0, 1], got {label_smoothing}"
            )
        super().__init__(in_features, num_classes, bias, device, dtype)
        self.register_buffer("class_weight", weight, persistent=False)
        self.reduction = reduction
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    @property
    def num_classes(self) -> int:
        """C."""
        return int(self.out_features)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of `input` (N, D) or (D,), as `linear_cross_entropy` has it."""
        return linear_cross_entropy(
            input,
            self.weight,
            target,
            linear_bias=self.bias,
            weight=self.class_weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
        )

    def logits(self, input: Tensor) -> Tensor:
        """The logits (..., C) of `input` (..., D), as those of ``torch.nn.Linear``."""
        return super().forward(input)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, num_classes={self.num_classes}, "
            f"bias={self.bias is not None}, reduction={self.reduction!r}, "
            f"ignore_index={self.ignore_index}, label_smoothing={self.label_smoothing}"
        )
