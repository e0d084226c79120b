"""From the arguments of `linear_cross_entropy` to nouns, and calls of the kernels with these.

PyTorch's K-dimensional loss has a weight (K, d1, d2, ..., D), and a loss for each position in
(d1, d2, ...). A weight (K, D) has one position, (). Each position is a problem of the kernels.
"""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np

from .. import checks, scalars
from ..arrays import Array, as_array, wrong_rows
from ..backends import Backend
from ..checks import FLOATS
from ..labels import check_index
from ..problem import Loss, Params, Rows
from ..scalars import FLOAT32_MAX
from ..settings import CrossEntropy
from ..threads import threads_for
from .reduction import backend_for, check_no_index

__all__ = ["Gradients", "Problem"]

_IGNORE_INDEX = -100  # that of PyTorch, where none is given
_PLAIN = CrossEntropy(ignore_index=_IGNORE_INDEX)


class Gradients(NamedTuple):
    weight: Array  # (K, d1, d2, ..., D)
    bias: Array  # (K, d1, d2, ...)
    input: Array | None  # (B, D)


class Position(NamedTuple):
    """One of the losses of each row."""

    at: tuple[Any, ...]  # its index behind that of the rows
    loss: Loss
    params: Params


class Problem(NamedTuple):
    """B rows, and what is to be computed of each."""

    rows: Rows
    positions: list[Position]
    shape: tuple[int, ...]  # of all losses, (B, d1, d2, ...); for one row (D,) of input ()
    shape_of_bias: tuple[int, ...]  # (K, d1, d2, ...)
    backend: Backend

    @classmethod
    def of(
        cls,
        input: Any,
        linear_weight: Any,
        target: Any,
        linear_bias: Any,
        class_weight: Any,
        ignore_index: int | None,
        label_smoothing: float,
    ) -> Problem:
        if ignore_index is not None:
            ignore_index = scalars.integer("ignore_index", ignore_index)
        if checks.seen and class_weight is None and _is_plain(label_smoothing, ignore_index):
            nouns = checks.seen.problem(input, target, linear_weight, linear_bias, 1.0, False)
            if nouns is not None and input.itemsize == 4:  # not uint8
                rows, loss, params = nouns
                n, k = len(rows.x), len(params.bias)
                only = Position((slice(None),), loss, params)
                return cls(rows, [only], (n,), (k,), backend_for(rows.x))
        x, weight, target, bias = _arrays(input, linear_weight, target, linear_bias, ignore_index)
        n_classes, dtype = len(weight), x.dtype
        shape, shape_of_bias = (*x.shape[:-1], *weight.shape[1:-1]), weight.shape[:-1]
        if class_weight is not None:
            class_weight = checks.class_weights("weight", class_weight, n_classes, dtype)
        criterion = _criterion(class_weight, label_smoothing, ignore_index)
        if x.ndim == 1:
            x, target = x[None], target[None]
        positions = []
        for position in product(*map(range, shape_of_bias[1:])):
            at: tuple[Any, ...] = (slice(None), *position)
            params = Params(_contiguous(weight[at]), _contiguous(bias[at]))
            of_rows = target[(..., *position)] if position else target
            loss = checks.loss(of_rows, criterion, None, len(x), n_classes, dtype)
            positions.append(Position(at, loss, params))
        rows = Rows(_contiguous(x), 1.0)
        return cls(rows, positions, shape, shape_of_bias, backend_for(x))

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.rows.x.dtype

    def total_weight(self) -> float:
        """What the mean of all losses divides by."""
        return sum(position.loss.total_weight() for position in self.positions)

    def any_kept(self) -> bool:
        """Whether there is a loss that is not ignored."""
        return any(position.loss.any_kept() for position in self.positions)

    def evaluate(self, num_threads: int | None) -> float:
        """The sum of all losses."""
        return sum(
            self.backend.kernels.evaluate(
                self.rows, loss, params, self._threads(num_threads, params)
            ).loss
            for _, loss, params in self.positions
        )

    def losses(self, num_threads: int | None) -> Array:
        """Each of them, of this problem's shape."""
        losses = np.empty((len(self.rows.x), *self.shape_of_bias[1:]), self.dtype)
        for at, loss, params in self.positions:
            of_rows = np.empty(len(losses), self.dtype)
            threads = self._threads(num_threads, params)
            self.backend.kernels.evaluate(self.rows, loss, params, threads, of_rows)
            losses[at] = of_rows
        return losses.reshape(self.shape)

    def gradients(
        self,
        num_threads: int | None,
        factors: Array | None,
        factor: float,
        divisor: float,
        input_too: bool,
    ) -> tuple[float, Gradients]:
        """The sum of all losses, and the gradients times `factor` over `divisor`.

        The losses that gradients are of are multiplied by `factors`, of this problem's shape.
        """
        x = self.rows.x
        grad_scale, rest = factor / divisor if divisor else 1.0, 1.0
        if abs(grad_scale) > FLOAT32_MAX:  # and yet not what it scales
            grad_scale, rest = 1 / divisor, factor
        total, parts = 0.0, []
        for at, loss, params in self.positions if len(x) else ():
            if factors is not None:
                of_position = factors.reshape(len(x), *self.shape_of_bias[1:])[at]
                loss = checks.with_sample_weight(loss, of_position, x.dtype)
            grad_input = np.empty_like(x) if input_too else None
            sums, grad_weight, grad_bias, _ = self.backend.kernels.loss_and_grad(
                self.rows,
                loss,
                params,
                self._threads(num_threads, params),
                grad_scale=grad_scale,
                grad_input=grad_input,
            )
            loss.unscale(grad_weight, grad_bias, grad_input)
            total += loss.unscaled(sums).loss
            parts.append(Gradients(grad_weight, grad_bias, grad_input))
        gradients = self._together(parts, input_too)
        if divisor == 0:
            self._divide_by_nothing(gradients, factor)
        elif rest != 1:
            for gradient in gradients:
                if gradient is not None:
                    gradient *= rest
        return total, gradients

    def _together(self, parts: list[Gradients], input_too: bool) -> Gradients:
        """The gradients of all positions."""
        if len(parts) == 1:
            weight, bias, grad_input = parts[0]
            shape = self.shape_of_bias
            return Gradients(weight.reshape(*shape, -1), bias.reshape(shape), grad_input)
        x = self.rows.x
        weight = np.zeros((*self.shape_of_bias, x.shape[1]), x.dtype)
        bias = np.zeros(self.shape_of_bias, x.dtype)
        grad_input = np.zeros_like(x) if input_too else None
        for (at, *_), part in zip(self.positions, parts, strict=False):
            weight[at], bias[at] = part.weight, part.bias
            if grad_input is not None:
                grad_input += part.input
        return Gradients(weight, bias, grad_input)

    def _divide_by_nothing(self, gradients: Gradients, factor: float) -> None:
        """What IEEE 754 has for g / 0; but what is ignored has no part in it, and stays 0."""
        any_kept = np.zeros((len(self.rows.x),), bool)
        for at, loss, _ in self.positions:
            kept = np.ones(len(any_kept), bool) if loss.target is None else loss.target >= 0
            any_kept |= kept
            if kept.any():
                _over_nothing(gradients.weight, at, factor)
                _over_nothing(gradients.bias, at, factor)
        if gradients.input is not None:
            _over_nothing(gradients.input, any_kept, factor)

    def _threads(self, num_threads: int | None, params: Params) -> int:
        return threads_for(num_threads, len(self.rows.x) * params.weight.size)


def _contiguous(array: Array) -> Array:
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _is_plain(label_smoothing: float, ignore_index: int | None) -> bool:
    """Whether these are the usual ones, to which no class is special."""
    return (
        (ignore_index is None or ignore_index == _IGNORE_INDEX)
        and type(label_smoothing) is float
        and label_smoothing == 0
    )


def _criterion(
    class_weight: Array | None, label_smoothing: float, ignore_index: int | None
) -> CrossEntropy:
    if ignore_index is None:
        ignore_index = _IGNORE_INDEX
    if class_weight is None and _is_plain(label_smoothing, ignore_index):
        return _PLAIN
    return CrossEntropy(class_weight, label_smoothing, ignore_index)


def _over_nothing(gradient: Array, at: Any, factor: float) -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        gradient[at] = gradient[at] / gradient.dtype.type(0) * gradient.dtype.type(factor)


def _arrays(
    input: Any, linear_weight: Any, target: Any, linear_bias: Any, ignore_index: int | None
) -> tuple[Array, Array, Array, Array]:
    """Input (B, D) or (D,), weight, target and bias, whose shapes and dtypes fit each other."""
    if type(input) is not np.ndarray:
        check_index(input=input, target=target)
    x = as_array("input", input)
    w, target = as_array("linear_weight", linear_weight), as_array("target", target)
    if x.dtype not in FLOATS:
        raise wrong_rows("input", "float32 or float64", x, input)
    if w.ndim > 2 and x.ndim != 2:
        raise ValueError(
            f"input must be (B, D) where linear_weight is {w.shape}, got shape {x.shape}"
        )
    if x.ndim not in (1, 2):
        raise ValueError(f"input must be (B, D) or (D,), got shape {x.shape}")
    if w.ndim < 2 or len(w) < 2:
        raise ValueError(
            f"linear_weight must be (K, D) or (K, d1, ..., D), K >= 2, got shape {w.shape}"
        )
    if x.shape[-1] != w.shape[-1]:
        raise ValueError(f"input has {x.shape[-1]} features, and linear_weight {w.shape[-1]}")
    if x.shape[-1] == 0:
        raise ValueError("input has 0 features, expected at least 1")
    of_classes = w.shape[:-1]
    if linear_bias is None:
        b = np.zeros(of_classes, x.dtype)
    else:
        b = as_array("linear_bias", linear_bias)
    if b.shape != of_classes:
        raise ValueError(f"linear_bias must have shape {of_classes}, got {b.shape}")
    for name, array in (("linear_weight", w), ("linear_bias", b)):
        if array.dtype != x.dtype:
            raise TypeError(
                f"{name} must be {x.dtype} as input, got {array.dtype}; "
                f"np.asarray({name}, np.{x.dtype}) is"
            )
    shape = (*x.shape[:-1], *w.shape[1:-1])
    shape_of_probabilities = (*x.shape[:-1], *of_classes)
    if target.shape == shape_of_probabilities and target.dtype.kind == "f":
        if ignore_index is not None:
            check_no_index(ignore_index)
    elif target.shape != shape:
        raise ValueError(
            f"target must have shape {shape}, or {shape_of_probabilities} where it is "
            f"probabilities, got {target.shape} of {target.dtype}"
        )
    return x, w, target, b
