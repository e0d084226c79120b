"""The contract that every backend fulfils. Over 300 lines: each argument list stands here, once.

A backend is a module with the functions of `Kernels`; `Backend` checks arguments for all of them,
hence they raise the same exceptions. Parameters are updated in place. Within a backend, and bit
for bit:

- ``train_step`` is ``loss_and_grad``, then ``sgd_update`` by the weight of its rows, or by 1 where
  that is 0, as is the gradient then;
- ``train_epoch`` is a loop of ``train_step``;
- nothing depends on ``num_threads``.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from .. import checks, door
from ..checks import Array
from ..problem import Loss, Params, Rows, StepSettings, Sums, Velocity
from ..settings import CrossEntropy, SGDSettings
from ..threads import SOFTMAX_WORK, threads_for

__all__ = ["Backend", "Kernels", "take_steps"]


class Kernels(Protocol):
    """What a backend computes, of checked nouns; `num_threads` is final.

    The sums are of the weights that the `Loss` has, and gradients are of the summed loss.
    """

    name: str
    FLOATS: tuple[np.dtype[Any], ...]  # the dtypes of parameters that it takes

    def loss_and_grad(
        self,
        rows: Rows,
        loss: Loss,
        params: Params,
        num_threads: int,
        *,
        grad_scale: float = 1.0,
        grad_input: Array | None = None,
        entropy: bool = False,
    ) -> tuple[Sums, Array, Array, float]:
        """Sums, grad_weight (K, D), grad_bias (K,), and where it is asked for the entropy, or 0.

        The gradient for the rows goes into grad_input (N, D). Gradients are multiplied by
        grad_scale. The entropy is that of ``p = softmax(logits)``, summed over rows: ``sum(c) *
        (log(sum(exp(logits))) - sum(p * logits))``, with the coefficients c of the row.
        """

    def chunk_partials(
        self, rows: Rows, loss: Loss, params: Params, num_threads: int
    ) -> tuple[list[Sums], Array, Array]:
        """The same of each fixed chunk of the rows: C of them, (C, K, D) and (C, K)."""

    def sgd_update(
        self,
        params: Params,
        grad_weight: Array,
        grad_bias: Array,
        total_weight: float,
        settings: StepSettings,
    ) -> None:
        """One update by the gradients of a summed loss, over the weight of its rows."""

    def train(
        self,
        rows: Rows,
        loss: Loss,
        params: Params,
        settings: StepSettings,
        batch_size: int,
        num_threads: int,
    ) -> tuple[Sums, BaseException | None]:
        """A step for each batch of the rows.

        What ends it early after a first step, as Ctrl-C does, is returned, and else raised.
        """

    def evaluate(
        self,
        rows: Rows,
        loss: Loss,
        params: Params,
        num_threads: int,
        losses: Array | None = None,
    ) -> Sums:
        """Sums; the loss of each row into losses (N,)."""

    def predict_logits(self, rows: Rows, params: Params, num_threads: int) -> Array:
        """Logits (N, K)."""

    def softmax(self, logits: Array, log: bool, num_threads: int) -> Array:
        """Softmax over the classes of logits (B, K), or its logarithm."""


class Backend:
    """The fused step and its parts, by the kernels of one backend.

    Shapes: x (N, D) or (N, H, W) and the like, float32 or uint8, each feature multiplied by
    ``scale``; target (N,) of integers, or (N, K) of probabilities; sample_weight (N,); weight and
    its gradient (K, D), bias and its gradient (K,), float32. Losses are sums over rows, in double.
    Without a criterion it is ``CrossEntropy()``, and no row is ignored. A row of which every class
    has coefficient 0 counts for nothing: it may be NaN, it is not counted, and its loss and its
    row of grad_input are 0. What is written to must not share memory with any other argument.

    Each argument is checked here, once. Who has checked nouns calls `kernels`.
    """

    def __init__(self, kernels: Kernels) -> None:
        self.name = kernels.name
        self.kernels = kernels
        self.floats = kernels.FLOATS

    def __repr__(self) -> str:
        return f"<backend {self.name!r}>"

    def loss_and_grad(
        self,
        x: Any,
        target: Any,
        weight: Array,
        bias: Array,
        *,
        criterion: CrossEntropy | None = None,
        sample_weight: Any = None,
        scale: float = 1.0,
        num_threads: int | None = None,
        grad_scale: float = 1.0,
        grad_input: Array | None = None,
    ) -> tuple[float, Array, Array]:
        """Summed loss, and its gradients for weight and bias; into grad_input (N, D) for x.

        The gradients are multiplied by grad_scale.
        """
        rows, loss, params = door.problem(
            x, target, weight, bias, criterion, sample_weight, scale, self.floats
        )
        checks.not_empty(rows.n_rows)
        grad_scale = checks.finite("grad_scale", grad_scale)
        if grad_input is not None:
            grad_input = door.result("grad_input", grad_input, rows.x.shape, rows, loss, params)
        sums, grad_weight, grad_bias, _ = self.kernels.loss_and_grad(
            rows,
            loss,
            params,
            threads_for(num_threads, rows.n_rows * params.weight.size),
            grad_scale=grad_scale,
            grad_input=grad_input,
        )
        loss.unscale(grad_weight, grad_bias, grad_input)
        return loss.unscaled(sums).loss, grad_weight, grad_bias

    def sgd_update(
        self,
        weight: Array,
        bias: Array,
        grad_weight: Array,
        grad_bias: Array,
        total_weight: float,
        sgd: SGDSettings,
        velocity: Velocity | None = None,
    ) -> None:
        """One update by the gradients of a summed loss, over the weight of its rows.

        That is their number, where nothing weighs them.
        """
        params, grad_weight, grad_bias, settings = door.update_problem(
            weight, bias, grad_weight, grad_bias, sgd, velocity, floats=self.floats
        )
        total_weight = checks.total_weight(total_weight)
        self.kernels.sgd_update(params, grad_weight, grad_bias, total_weight, settings)
        if params.velocity_weight is not None and velocity is not None:
            velocity.started = True

    def train_step(
        self,
        x: Any,
        target: Any,
        weight: Array,
        bias: Array,
        sgd: SGDSettings,
        velocity: Velocity | None = None,
        *,
        criterion: CrossEntropy | None = None,
        sample_weight: Any = None,
        scale: float = 1.0,
        num_threads: int | None = None,
    ) -> Sums:
        """One update by the mean gradient; sums of loss and correct predictions before it."""
        problem = door.training_problem(
            x, target, None, weight, bias, sgd, velocity, criterion, sample_weight, scale,
            self.floats,
        )  # fmt: skip
        return take_steps(self.kernels, problem, None, velocity, num_threads)

    def train_epoch(
        self,
        x: Any,
        target: Any,
        order: Any,
        batch_size: int,
        weight: Array,
        bias: Array,
        sgd: SGDSettings,
        velocity: Velocity | None = None,
        *,
        criterion: CrossEntropy | None = None,
        sample_weight: Any = None,
        scale: float = 1.0,
        num_threads: int | None = None,
        lr: Any = None,
    ) -> Sums:
        """A step for each batch_size rows of x[order], the last with what is left; their sums.

        order is (M,) of row indices, in which a row may occur any number of times, or None for
        all rows as they come. lr is (n_steps,), the learning rate of each step, or None for that
        of sgd.
        """
        batch_size = checks.positive_int("batch_size", batch_size)
        problem = door.training_problem(
            x, target, order, weight, bias, sgd, velocity, criterion, sample_weight, scale,
            self.floats,
        )  # fmt: skip
        rows, loss, params, settings = problem
        if lr is not None:
            settings = settings.with_lr(lr, -(-rows.n_rows // batch_size))
        problem = rows, loss, params, settings
        return take_steps(self.kernels, problem, batch_size, velocity, num_threads)

    def evaluate(
        self,
        x: Any,
        target: Any,
        weight: Array,
        bias: Array,
        *,
        criterion: CrossEntropy | None = None,
        sample_weight: Any = None,
        scale: float = 1.0,
        num_threads: int | None = None,
        losses: Array | None = None,
    ) -> Sums:
        """Sums of loss and correct predictions; the loss of each row into losses (N,)."""
        rows, loss, params = door.problem(
            x, target, weight, bias, criterion, sample_weight, scale, self.floats
        )
        if losses is not None:
            losses = door.result("losses", losses, rows.x.shape[:1], rows, loss, params)
        threads = threads_for(num_threads, rows.n_rows * params.weight.size)
        sums = self.kernels.evaluate(rows, loss, params, threads, losses)
        loss.unscale(losses)
        return loss.unscaled(sums)

    def predict_logits(
        self,
        x: Any,
        weight: Array,
        bias: Array,
        *,
        scale: float = 1.0,
        num_threads: int | None = None,
    ) -> Array:
        """Logits (N, K)."""
        floats = self.floats
        params = Params(*checks.parameters(weight, bias, floats=floats))
        rows = Rows(
            checks.rows(x, params.weight.shape[1], floats=floats), checks.finite("scale", scale)
        )
        threads = threads_for(num_threads, rows.n_rows * params.weight.size)
        return self.kernels.predict_logits(rows, params, threads)

    def softmax(self, logits: Array, *, num_threads: int | None = None) -> Array:
        """Softmax over the classes of logits (B, K)."""
        return self._softmax(logits, False, num_threads)

    def log_softmax(self, logits: Array, *, num_threads: int | None = None) -> Array:
        """Logarithm of the softmax over the classes of logits (B, K)."""
        return self._softmax(logits, True, num_threads)

    def _softmax(self, logits: Array, log: bool, num_threads: int | None) -> Array:
        logits = checks.logits_matrix(logits, floats=self.floats)
        threads = threads_for(num_threads, SOFTMAX_WORK * logits.size)
        return self.kernels.softmax(logits, log, threads)


def take_steps(
    kernels: Kernels,
    problem: tuple[Rows, Loss, Params, StepSettings],
    batch_size: int | None,
    velocity: Velocity | None,
    num_threads: int | None,
) -> Sums:
    """A step for each batch of a training problem of the door; for all rows where None."""
    rows, loss, params, settings = problem
    n_rows = rows.n_rows
    if batch_size is None or batch_size > n_rows:
        batch_size = n_rows
    threads = threads_for(num_threads, batch_size * params.weight.size)
    sums, error = kernels.train(rows, loss, params, settings, batch_size, threads)
    if params.velocity_weight is not None and velocity is not None:
        velocity.started = True
    if error is not None:
        raise error
    return loss.unscaled(sums) if loss.exponent else sums
