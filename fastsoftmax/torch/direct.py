"""The usual call by the shortest path: tensors are read, and gradients written, where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, get_num_threads, is_grad_enabled
from torch.autograd import forward_ad

from ..backends import get_backend
from .arrays import IGNORE_INDEX, Grads
from .fits import DTYPE, PLAIN_TYPES, Options
from .threads import lender

if TYPE_CHECKING:
    from ..backends.cython import TensorKernels

__all__ = ["loss_and_grads"]

_NOTHING = False, False, False


def loss_and_grads(
    input: Tensor,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    target: Tensor,
    options: Options,
    needed: Sequence[bool] | None = None,
) -> tuple[Tensor, Grads | None] | None:
    """The loss, and its gradients, or None where none is needed; None for an unusual call.

    Usual are contiguous float32 tensors with classes as targets, and a loss that is a mean or a
    sum and knows no weights or smoothing. Where nothing says what is needed, it is what autograd
    needs.
    """
    class_weight, reduction, ignore_index, label_smoothing = options
    if ignore_index is None:
        ignore_index = IGNORE_INDEX
    if (
        class_weight is not None
        or label_smoothing != 0
        or reduction not in ("mean", "sum")
        or type(ignore_index) is not int
        or forward_ad._current_level >= 0
    ):
        return None
    kernels = _kernels()
    if kernels is None:
        return None
    if needed is None and not is_grad_enabled():
        needed = _NOTHING
    mean, num_threads = reduction == "mean", get_num_threads()
    return kernels.loss_and_grads(
        input, linear_weight, linear_bias, target, ignore_index, mean, num_threads, needed
    )


@cache
def _kernels() -> TensorKernels | None:
    """Those of the Cython backend; None with another one, or a PyTorch before DLPack 1.3."""
    exchange = getattr(Tensor, "__dlpack_c_exchange_api__", None)
    if exchange is None or get_backend().name != "cython":
        return None
    from ..backends.cython import TensorKernels

    scalar = torch.empty((), dtype=DTYPE, device="cpu")
    try:
        return TensorKernels(exchange, PLAIN_TYPES, torch.empty_like, scalar, *lender())
    except ValueError:  # a DLPack 2
        return None
