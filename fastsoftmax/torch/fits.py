"""Which calls the kernels fit. All others are PyTorch's, and so are their errors."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C import _are_functorch_transforms_active, _len_torch_dispatch_stack
from torch.autograd.forward_ad import unpack_dual
from torch.compiler import is_compiling
from torch.jit import is_tracing

__all__ = ["DTYPE", "PLAIN_TYPES", "Options", "fits", "is_integer", "traced"]

DTYPE = torch.float32
PLAIN_TYPES = (Tensor, torch.nn.Parameter)  # their subclasses may mean anything


class Options(NamedTuple):
    """What a call says beside its tensors."""

    class_weight: Tensor | None
    reduction: str
    ignore_index: int | None
    label_smoothing: float


def traced() -> bool:
    """Whether something other than eager PyTorch wants to see what is computed."""
    return bool(
        is_compiling()
        or is_tracing()
        or _are_functorch_transforms_active()
        or _len_torch_dispatch_stack()
    )


def fits(
    input: Tensor,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    target: Tensor,
    options: Options,
) -> bool:
    """Whether the kernels know tensors of these types and shapes; `checks` looks at values."""
    class_weight = options.class_weight
    for tensor in (input, linear_weight, linear_bias, class_weight):
        if tensor is not None and not (_is_plain(tensor) and tensor.dtype is DTYPE):
            return False
    if not _is_plain(target) or linear_weight.dim() != 2:
        return False
    n_classes, n_features = linear_weight.shape
    rows = target.shape
    if target.dtype is DTYPE:
        if _is_differentiated(target) or options.ignore_index is not None:
            return False
        target_fits = rows[-1:] == (n_classes,)
        rows = rows[:-1]
    else:
        target_fits = is_integer(target)
    return (
        target_fits
        and len(rows) < 2
        and 0 not in rows
        and input.shape == (*rows, n_features)
        and n_classes > 1
        and n_features > 0
        and (linear_bias is None or linear_bias.shape == (n_classes,))
        and (class_weight is None or not _is_differentiated(class_weight))
        and options.reduction in ("mean", "sum", "none")
    )


def _is_plain(tensor: Any) -> bool:
    return type(tensor) in PLAIN_TYPES and tensor.is_cpu and tensor.layout is torch.strided


def _is_differentiated(tensor: Tensor) -> bool:
    return tensor.requires_grad or unpack_dual(tensor).tangent is not None


def is_integer(tensor: Tensor) -> bool:
    """Whether its dtype is one of integers; bool is none."""
    dtype = tensor.dtype
    return not (dtype.is_floating_point or dtype.is_complex or dtype is torch.bool)
