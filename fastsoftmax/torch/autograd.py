"""The fused loss under PyTorch's autograd, and when PyTorch's own takes its place.

Needs torch. Tensors are read as arrays where they lie. The C kernels run on PyTorch's threads
where these are OpenMP's: they spin between its operations, and would take half of a core from
ours.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..backends import get_backend
from ..checks import Array
from ..scalars import FLOAT32_MAX
from ..settings import CrossEntropy
from ..threads import worthwhile

__all__ = ["linear_cross_entropy"]

_DTYPE = torch.float32
_PLAIN = (Tensor, torch.nn.Parameter)  # their subclasses may mean anything
_IGNORE_INDEX = -100  # that of PyTorch, where none is given
_PLAIN_CRITERION = CrossEntropy(ignore_index=_IGNORE_INDEX)


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    target: Tensor,
    options: dict[str, Any],
) -> Tensor:
    """By the kernels where they fit, else by PyTorch.

    Options are weight, reduction, ignore_index and label_smoothing.
    """
    if not _traced() and _fits(input, linear_weight, linear_bias, target, options):
        try:
            if input.dim() == 2:
                return _fused(input, linear_weight, linear_bias, target, options)
            row = input.unsqueeze(0)
            loss = _fused(row, linear_weight, linear_bias, target.unsqueeze(0), options)
            return loss.squeeze(0) if options["reduction"] == "none" else loss
        except ValueError:
            # What their checks refuse is left to PyTorch: a target out of range, an infinite
            # weight. Outside of this block, lest its errors name ours as their context.
            pass
    return _pytorch(input, linear_weight, linear_bias, target, options)


def _traced() -> bool:
    """Whether something other than eager PyTorch wants to see what is computed."""
    return bool(
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack()
    )


def _fits(
    input: Tensor,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    target: Tensor,
    options: dict[str, Any],
) -> bool:
    """Whether the kernels know this kind of thing; their own checks of values follow."""
    weight = options["weight"]
    for tensor in (input, linear_weight, linear_bias, weight):
        if tensor is not None and not (_is_plain(tensor) and tensor.dtype is _DTYPE):
            return False
    if not _is_plain(target) or linear_weight.dim() != 2:
        return False
    n_classes, n_features = linear_weight.shape
    rows = target.shape
    if target.dtype is _DTYPE:
        if target.requires_grad or options["ignore_index"] is not None:
            return False
        target_fits = rows[-1:] == (n_classes,)
        rows = rows[:-1]
    else:
        target_fits = _is_integer(target)
    return (
        target_fits
        and len(rows) < 2
        and 0 not in rows
        and input.shape == (*rows, n_features)
        and n_classes > 1
        and n_features > 0
        and not (weight is not None and weight.requires_grad)
        and options["reduction"] in ("mean", "sum", "none")
    )


def _is_plain(tensor: Any) -> bool:
    return type(tensor) in _PLAIN and tensor.is_cpu and tensor.layout is torch.strided


def _is_integer(tensor: Tensor) -> bool:
    dtype = tensor.dtype
    return not (dtype.is_floating_point or dtype.is_complex or dtype is torch.bool)


def _pytorch(
    input: Tensor,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    target: Tensor,
    options: dict[str, Any],
) -> Tensor:
    """PyTorch's own, for targets of any integer type."""
    if isinstance(target, Tensor) and _is_integer(target):
        target = target.long()
    if hasattr(functional, "linear_cross_entropy"):  # from 2.13
        return functional.linear_cross_entropy(
            input, linear_weight, target, linear_bias=linear_bias, **options
        )
    if options["ignore_index"] is None:
        options = {**options, "ignore_index": _IGNORE_INDEX}
    logits = functional.linear(input, linear_weight, linear_bias)
    return functional.cross_entropy(logits, target, **options)


def _fused(
    input: Tensor,
    linear_weight: Tensor,
    linear_bias: Tensor | None,
    target: Tensor,
    options: dict[str, Any],
) -> Tensor:
    needs_grad = torch.is_grad_enabled() and (
        input.requires_grad
        or linear_weight.requires_grad
        or (linear_bias is not None and linear_bias.requires_grad)
    )
    if needs_grad:
        loss: Tensor = _LinearCrossEntropy.apply(
            input, linear_weight, linear_bias, target, options
        )
        return loss
    arguments = _Arguments(input, linear_weight, linear_bias, target, options)
    return _loss(arguments, options["reduction"])


class _Arguments:
    """The arguments of a backend, as views of tensors."""

    __slots__ = ("bias", "criterion", "input", "num_threads", "target", "weight")

    def __init__(
        self,
        input: Tensor,
        linear_weight: Tensor,
        linear_bias: Tensor | None,
        target: Tensor,
        options: dict[str, Any],
    ) -> None:
        self.input = _view(input)
        self.weight = _view(linear_weight)
        self.target = _view(target)
        if linear_bias is None:
            self.bias = np.zeros(len(self.weight), self.weight.dtype)
        else:
            self.bias = _view(linear_bias)
        self.criterion = _criterion(options)
        work = len(self.input) * self.weight.size
        self.num_threads = worthwhile(torch.get_num_threads(), work)

    def call(self, function: str, **results: Any) -> Any:
        backend = get_backend()
        borrow, lender = _lender(backend.name)
        borrow(*lender)
        try:
            return getattr(backend, function)(
                self.input,
                self.target,
                self.weight,
                self.bias,
                criterion=self.criterion,
                num_threads=self.num_threads,
                **results,
            )
        finally:
            borrow(0, 0)

    def mean_over(self) -> tuple[int, float]:
        """The rows that are not ignored, and what the mean of their losses divides by."""
        target, ignore_index = self.target, self.criterion.ignore_index
        class_weight = self.criterion.class_weight
        # the least one is found in 0.3 us: to compare and count takes 1 us by itself, and 5 us
        # between calls of PyTorch, whose own code runs slower after it
        if target.ndim == 2 or (
            class_weight is None and ignore_index < 0 <= target.item(target.argmin())
        ):
            return len(target), len(target)
        kept = target != ignore_index
        count = int(np.count_nonzero(kept))
        if class_weight is None:
            return count, count
        # clip: a target out of range is for the backend to refuse
        weights = class_weight.take(target[kept], mode="clip")
        return count, float(weights.sum(dtype=np.float64))


@cache
def _lender(backend: str) -> tuple[Callable[[int, int], None], tuple[int, int]]:
    """The function that borrows threads for our kernels, and PyTorch's addresses for it, or 0."""
    if backend != "cython":
        return lambda parallel, max_threads: None, (0, 0)
    from ..backends.cython import borrow_threads

    try:
        if "ATen parallel backend: OpenMP" not in torch.__config__.parallel_info():
            return borrow_threads, (0, 0)
        library = ctypes.CDLL(None)
        parallel, max_threads = (
            ctypes.cast(function, ctypes.c_void_p).value or 0
            for function in (library.GOMP_parallel, library.omp_get_max_threads)
        )
    except (AttributeError, OSError):
        # PyTorch has loaded no such functions for all to see
        return borrow_threads, (0, 0)
    return borrow_threads, (parallel, max_threads)


def _criterion(options: dict[str, Any]) -> CrossEntropy:
    class_weight, ignore_index = options["weight"], options["ignore_index"]
    smoothing = options["label_smoothing"]
    if class_weight is None and ignore_index is None and smoothing == 0:
        return _PLAIN_CRITERION
    return CrossEntropy(
        None if class_weight is None else _view(class_weight),
        smoothing,
        _IGNORE_INDEX if ignore_index is None else ignore_index,
    )


def _view(tensor: Tensor) -> Array:
    """A contiguous array of its memory, or of a copy where that is not contiguous."""
    return np.ascontiguousarray(tensor.numpy(force=True))


def _scalar(value: float, dtype: np.dtype[Any]) -> Tensor:
    # torch.scalar_tensor takes 3 us more, and raises an error where PyTorch's loss is infinite
    if abs(value) > FLOAT32_MAX:  # of which NumPy would warn
        value = math.copysign(math.inf, value)
    return torch.from_numpy(np.array(value, dtype))


def _mean(loss: float, weight: float) -> float:
    return loss / weight if weight else math.nan


def _loss(arguments: _Arguments, reduction: str) -> Tensor:
    if reduction == "none":
        losses = np.empty(len(arguments.input), arguments.input.dtype)
        arguments.call("evaluate", losses=losses)
        return torch.from_numpy(losses)
    sums = arguments.call("evaluate")
    loss = _mean(sums.loss, sums.total_weight) if reduction == "mean" else sums.loss
    return _scalar(loss, arguments.weight.dtype)


class _LinearCrossEntropy(torch.autograd.Function):
    """`linear_cross_entropy` of (N, D) inputs."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        linear_weight: Tensor,
        linear_bias: Tensor | None,
        target: Tensor,
        options: dict[str, Any],
    ) -> Tensor:
        _save(ctx, (input, linear_weight, linear_bias), target, options)
        arguments = _Arguments(input, linear_weight, linear_bias, target, options)
        if options["reduction"] == "none":
            return _loss(arguments, "none")
        ctx.grad_scale, weight = 1.0, 1.0
        if options["reduction"] == "mean":
            count, weight = arguments.mean_over()
            if count:  # NaN where the weight of the rows is 0: refused, hence left to PyTorch
                ctx.grad_scale = _mean(1.0, weight)
        loss, ctx.grads = _loss_and_grads(
            arguments, ctx.needs_input_grad, grad_scale=ctx.grad_scale
        )
        return _scalar(_mean(loss, weight), arguments.weight.dtype)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors  # raises an error if one has changed, be it of use or not
        by_row = ctx.options["reduction"] == "none"
        if torch.is_grad_enabled() or (by_row and not np.isfinite(_view(grad_output)).all()):
            return _pytorch_grads(ctx, tensors, grad_output)
        if by_row:
            grads = _saved_grads(ctx, tensors, sample_weight=_view(grad_output))
        else:
            grads, ctx.grads = ctx.grads, None  # handed over: they become the tensors' own
            if grads is None:
                grads = _saved_grads(ctx, tensors, grad_scale=ctx.grad_scale)
            _scale(grads, grad_output.item())
        return (*(None if grad is None else torch.from_numpy(grad) for grad in grads), None, None)


def _save(
    ctx: Any,
    tensors: tuple[Tensor, Tensor, Tensor | None],
    target: Tensor,
    options: dict[str, Any],
) -> None:
    """What backward needs of input, weight and bias.

    Saved for it are those that PyTorch's own would read, which must not change: the input for the
    gradient of the weight, and the weight for that of the input. With reduction="none" ours reads
    all. The others, `unread`, may change as long as no gradient is computed again.
    """
    input, linear_weight, linear_bias = tensors
    by_row = options["reduction"] == "none"
    needs_input, needs_weight = ctx.needs_input_grad[:2]
    saved = (
        input if by_row or needs_weight else None,
        linear_weight if by_row or needs_input else None,
        linear_bias if by_row else None,
    )
    ctx.save_for_backward(*saved, target, options["weight"])
    ctx.unread = [
        None if tensor is None or tensor is kept else (tensor, tensor._version)
        for tensor, kept in zip(tensors, saved, strict=True)
    ]
    ctx.options = options


def _saved(
    ctx: Any, saved: tuple[Tensor | None, ...]
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Input, weight, bias and target as they were."""
    tensors: list[Any] = list(saved[:4])
    for i, unread in enumerate(ctx.unread):
        if unread is not None:
            tensor, version = unread
            if tensor._version != version:
                raise RuntimeError(
                    f"one of the variables needed for gradient computation has been modified by "
                    f"an inplace operation: the tensor of shape {tuple(tensor.shape)} is at "
                    f"version {tensor._version}, expected version {version} instead"
                )
            tensors[i] = tensor
    input, linear_weight, linear_bias, target = tensors
    return input, linear_weight, linear_bias, target


def _saved_grads(
    ctx: Any, tensors: tuple[Tensor | None, ...], **scaled_by: Any
) -> list[Array | None]:
    """The gradients once more, or for the first time."""
    input, linear_weight, linear_bias, target = _saved(ctx, tensors)
    arguments = _Arguments(input, linear_weight, linear_bias, target, ctx.options)
    return _loss_and_grads(arguments, ctx.needs_input_grad, **scaled_by)[1]


def _loss_and_grads(
    arguments: _Arguments,
    needed: Sequence[bool],
    *,
    grad_scale: float = 1.0,
    sample_weight: Array | None = None,
) -> tuple[float, list[Array | None]]:
    """Summed loss, and those of its gradients for input, weight and bias that are needed."""
    grad_input = np.empty_like(arguments.input) if needed[0] else None
    loss, grad_weight, grad_bias = arguments.call(
        "loss_and_grad",
        grad_input=grad_input,
        grad_scale=grad_scale,
        sample_weight=sample_weight,
    )
    return loss, [
        grad_input,
        grad_weight if needed[1] else None,
        grad_bias if needed[2] else None,
    ]


def _scale(grads: list[Array | None], factor: float) -> None:
    if factor != 1:
        with np.errstate(over="ignore", invalid="ignore"):  # as silent as PyTorch
            for grad in grads:
                if grad is not None:
                    grad *= factor


def _pytorch_grads(
    ctx: Any, saved: tuple[Tensor | None, ...], grad_output: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradients by PyTorch, themselves differentiable where that is asked for."""
    create_graph = torch.is_grad_enabled()
    input, linear_weight, linear_bias, target = _saved(ctx, saved)
    with torch.enable_grad():
        loss = _pytorch(input, linear_weight, linear_bias, target, ctx.options)
    tensors = input, linear_weight, linear_bias
    asked = [t for t, need in zip(tensors, ctx.needs_input_grad, strict=False) if need]
    grads = iter(torch.autograd.grad(loss, asked, grad_output, create_graph=create_graph))
    return tuple(next(grads) if need else None for need in ctx.needs_input_grad)
