"""The usual call by the shortest path: tensors are read, and gradients written, where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, get_num_threads, is_grad_enabled

from ..backends import get_backend
from .arrays import Grads
from .fits import DTYPE, PLAIN_TYPES
from .threads import lender

if TYPE_CHECKING:
    from ..backends.cython import TensorKernels

__all__ = ["loss_and_grads"]


def loss_and_grads(
    input: Tensor,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    target: Tensor,
    class_weight: Tensor | None,
    reduction: str,
    ignore_index: int | None,
    label_smoothing: float,
    needed: Sequence[bool] | None = None,
) -> tuple[Tensor, Grads] | None:
    """The loss, and its gradients where they are needed; None where the call is not the usual one.

    Usual are contiguous float32 tensors with classes as targets, none of them ignored, and a loss
    that is a mean or a sum without further options. Where nothing says what is needed, it is what
    autograd needs, and at least one gradient.
    """
    if (
        class_weight is not None
        or label_smoothing != 0
        or reduction not in ("mean", "sum")
        or not (ignore_index is None or (type(ignore_index) is int and ignore_index < 0))
        or (needed is None and not is_grad_enabled())
    ):
        return None
    kernels = _kernels()
    if kernels is None:
        return None
    return kernels.loss_and_grads(
        input, linear_weight, linear_bias, target, reduction == "mean", get_num_threads(), needed
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
