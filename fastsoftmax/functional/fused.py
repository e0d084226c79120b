"""The fused linear cross-entropy of one (K, D) weight: from array-likes to calls of a backend."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import checks
from ..arrays import as_array, wrong_rows
from ..checks import FLOATS, Array
from ..labels import check_index
from ..scalars import FLOAT32_MAX
from ..settings import CrossEntropy
from .cross_entropy import check_no_index, mean
from .softmax import backend_for

__all__ = [
    "LinearCrossEntropyGrad",
    "criterion_of",
    "gradients",
    "kept_weight",
    "loss",
    "row_factors",
    "scale",
]


class LinearCrossEntropyGrad(NamedTuple):
    """What `linear_cross_entropy_grad` returns."""

    loss: Any  # as linear_cross_entropy returns it
    grad_weight: Array  # as linear_weight
    grad_bias: Array | None  # as linear_bias; None without it
    grad_input: Array | None  # as input; None where it was not asked for


def loss(
    input: Any,
    linear_weight: Any,
    target: Any,
    *,
    linear_bias: Any,
    reduction: str,
    weight: Any,
    ignore_index: int | None,
    label_smoothing: float,
    num_threads: int | None,
    out: Array | None = None,
) -> Any:
    """`linear_cross_entropy`, but for its K-dimensional form."""
    x, w, target, b, criterion = _arguments(
        input, linear_weight, target, linear_bias, weight, ignore_index, label_smoothing
    )
    losses, shape = None, np.shape(input)[:-1]
    if reduction == "none":
        if out is not None:
            checks.output("out", out, shape, w.dtype)
        losses = np.empty(len(x), w.dtype)  # not out, which may share memory with what is read
    sums = backend_for(w).evaluate(
        x, target, w, b, criterion=criterion, num_threads=num_threads, losses=losses
    )
    if losses is not None:
        if out is None:
            return losses.reshape(shape)[()]
        out[...] = losses.reshape(shape)
        return out
    return sums.loss if reduction == "sum" else mean(sums.loss, sums.total_weight)


def gradients(
    input: Any,
    linear_weight: Any,
    target: Any,
    *,
    linear_bias: Any,
    reduction: str,
    weight: Any,
    ignore_index: int | None,
    label_smoothing: float,
    num_threads: int | None,
    grad_output: Any,
    grad_input: bool,
) -> LinearCrossEntropyGrad:
    """`linear_cross_entropy_grad`, but for its K-dimensional form."""
    if grad_output is not None:
        check_index(input=input, target=target, grad_output=grad_output)
    x, w, target, b, criterion = _arguments(
        input, linear_weight, target, linear_bias, weight, ignore_index, label_smoothing
    )
    backend = backend_for(w)
    factors, factor = row_factors(grad_output, reduction, np.shape(input)[:-1])

    divisor = 1.0
    if reduction == "mean":
        n, total = kept_weight(target, criterion, len(w))
        divisor = total if n else 1.0  # where nothing has a part in it, gradients stay 0
    grad_scale = factor / divisor if divisor else 1.0
    too_large = abs(grad_scale) > FLOAT32_MAX  # of both, and yet not what they scale
    if too_large:
        grad_scale = 1 / divisor
    result: Any
    d_x = np.empty_like(x) if grad_input else None
    if len(x):
        result, d_w, d_b = backend.loss_and_grad(
            x,
            target,
            w,
            b,
            criterion=criterion,
            sample_weight=factors,
            num_threads=num_threads,
            grad_scale=grad_scale,
            grad_input=d_x,
        )
    else:
        result, d_w, d_b = 0.0, np.zeros_like(w), np.zeros_like(b)
    if reduction == "none" or len(x) == 0:
        losses = np.empty(len(x), w.dtype)
        backend.evaluate(
            x, target, w, b, criterion=criterion, num_threads=num_threads, losses=losses
        )
    if reduction == "none":
        result = losses.reshape(np.shape(input)[:-1])[()]
    elif reduction == "mean":
        result = mean(result, total)
    if too_large:
        scale((d_w, d_b, d_x), factor, 1.0, target, ignore_index)
    if divisor == 0:
        scale((d_w, d_b, d_x), factor, divisor, target, ignore_index)
    return LinearCrossEntropyGrad(
        result,
        d_w,
        None if linear_bias is None else d_b,
        None if d_x is None else d_x.reshape(np.shape(input)),
    )


def _arguments(
    input: Any,
    linear_weight: Any,
    target: Any,
    linear_bias: Any,
    weight: Any,
    ignore_index: int | None,
    label_smoothing: float,
) -> tuple[Array, Array, Array, Array, CrossEntropy]:
    """x (B, D), weight, target, bias and criterion, as a backend takes them."""
    if type(input) is not np.ndarray:
        check_index(input=input, target=target)
    x = as_array("input", input)
    w, target = as_array("linear_weight", linear_weight), as_array("target", target)
    if x.dtype not in FLOATS:
        raise wrong_rows("input", "float32 or float64", x, input)
    if x.ndim not in (1, 2):
        raise ValueError(f"input must be (B, D) or (D,), got shape {x.shape}")
    if w.ndim != 2 or len(w) < 2:
        raise ValueError(
            f"linear_weight must be (K, D) or (K, d1, ..., D), K >= 2, got shape {w.shape}"
        )
    if x.shape[-1] != w.shape[1]:
        raise ValueError(f"input has {x.shape[-1]} features, and linear_weight {w.shape[1]}")
    b = np.zeros(len(w), x.dtype) if linear_bias is None else as_array("linear_bias", linear_bias)
    if b.shape != (len(w),):
        raise ValueError(f"linear_bias must have shape ({len(w)},), got {b.shape}")
    for name, array in (("linear_weight", w), ("linear_bias", b)):
        if array.dtype != x.dtype:
            raise TypeError(
                f"{name} must be {x.dtype} as input, got {array.dtype}; "
                f"np.asarray({name}, np.{x.dtype}) is"
            )
    if target.shape == (*x.shape[:-1], len(w)) and target.dtype.kind == "f":
        if ignore_index is not None:
            check_no_index(ignore_index)
    elif target.shape != x.shape[:-1]:
        raise ValueError(
            f"target must have shape {x.shape[:-1]}, or {(*x.shape[:-1], len(w))} where it is "
            f"probabilities, got {target.shape} of {target.dtype}"
        )
    criterion = criterion_of(w, weight, ignore_index, label_smoothing)
    if x.ndim == 1:
        x, target = x[None], target[None]
    return (
        np.ascontiguousarray(x),
        np.ascontiguousarray(w),
        target,
        np.ascontiguousarray(b),
        criterion,
    )


def criterion_of(
    w: Array, weight: Any, ignore_index: int | None, label_smoothing: float
) -> CrossEntropy:
    if weight is not None:
        weight = checks.class_weights("weight", weight, len(w), w.dtype)
    return CrossEntropy(weight, label_smoothing, -100 if ignore_index is None else ignore_index)


def row_factors(
    grad_output: Any, reduction: str, shape: tuple[int, ...]
) -> tuple[Array | None, float]:
    """What the gradient of each row is multiplied by, and of all of them."""
    if grad_output is None:
        return None, 1.0
    if reduction != "none":
        return None, checks.finite("grad_output", grad_output)
    factors = as_array("grad_output", grad_output)
    if factors.shape != shape:
        raise ValueError(f"grad_output must have shape {shape} as the losses, got {factors.shape}")
    flat = factors.reshape(-1)
    return checks.float_vector("grad_output", flat, len(flat), "rows"), 1.0


def kept_weight(target: Array, criterion: CrossEntropy, n_classes: int) -> tuple[int, float]:
    """Losses that are not ignored, and what their mean divides by. Checks no targets."""
    if target.dtype.kind == "f":
        n = target.size // n_classes
        return n, n
    kept = target != criterion.ignore_index
    n = int(np.count_nonzero(kept))
    if criterion.class_weight is None:
        return n, n
    weights = criterion.class_weight.take(target[kept], mode="clip")
    return n, float(weights.sum(dtype=np.float64))


def scale(
    gradients: tuple[Array, Array, Array | None],
    factor: float,
    divisor: float,
    target: Array,
    ignore_index: int | None,
) -> None:
    """Gradients of a sum become those of a mean, in place; the last is that of the input."""
    for gradient in gradients:
        if gradient is None:
            continue
        if divisor != 1:
            with np.errstate(divide="ignore", invalid="ignore"):  # what IEEE 754 has for g / 0
                gradient /= divisor
        if factor != 1:
            gradient *= factor
    if divisor == 0:  # what is ignored has no part in what is NaN then
        d_w, d_b, d_x = gradients
        ignored = target == (-100 if ignore_index is None else ignore_index)
        of_position = ignored.all(axis=0)
        d_w[:, of_position] = d_b[:, of_position] = 0
        if d_x is not None:
            d_x[ignored.reshape(len(target), -1).all(axis=1)] = 0
