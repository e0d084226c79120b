"""Loss and gradients for a linear layer's weight and bias, no update: ours and PyTorch's."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

import fastsoftmax as fs
from benches.harness import contender
from benches.harness.data import Data
from fastsoftmax.torch import linear_cross_entropy

Loss = Callable[[torch.Tensor, torch.nn.Linear, torch.Tensor], torch.Tensor]


def adapter(x: torch.Tensor, linear: torch.nn.Linear, y: torch.Tensor) -> torch.Tensor:
    return linear_cross_entropy(x, linear.weight, y, linear_bias=linear.bias)


def plain(x: torch.Tensor, linear: torch.nn.Linear, y: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(linear(x), y)


def fused(x: torch.Tensor, linear: torch.nn.Linear, y: torch.Tensor) -> torch.Tensor:
    return functional.linear_cross_entropy(x, linear.weight, y, linear_bias=linear.bias)


def chunked(**options: Any) -> Loss:
    settings = torch.nn.LinearCrossEntropyOptions(**options)
    return lambda x, linear, y: functional.linear_cross_entropy(
        x, linear.weight, y, linear_bias=linear.bias, options=settings
    )


def losses(rows: int) -> dict[str, Loss]:
    """By name. The chunked path in its own way, and in its fastest: halves of the batch."""
    return {
        "adapter": adapter,
        "plain": plain,
        "fused": fused,
        "chunked": chunked(),
        "chunked-halves": chunked(chunking_method=None, batch_chunk_size=rows // 2),
    }


class Work:
    """The loss and gradients of one batch, `of` that name, again and again."""

    def __init__(
        self,
        of: str,
        threads: int,
        x: np.ndarray,  # (B, D)
        y: np.ndarray,  # (B,)
        weight: np.ndarray,  # (K, D)
        bias: np.ndarray,  # (K,)
    ) -> None:
        self.arrays = x, y, weight, bias
        self.threads = threads
        self.run = self.by_function
        if of != "function":
            torch.set_num_threads(threads)
            self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)
            self.linear = torch.nn.utils.skip_init(torch.nn.Linear, *weight.shape[::-1])
            self.linear.weight = torch.nn.Parameter(torch.from_numpy(weight))
            self.linear.bias = torch.nn.Parameter(torch.from_numpy(bias))
            self.loss = losses(len(x))[of]
            self.run = self.by_autograd

    def by_function(self) -> list[np.ndarray]:
        x, y, weight, bias = self.arrays
        grad = fs.linear_cross_entropy_grad(
            x, weight, y, linear_bias=bias, num_threads=self.threads
        )
        return [grad.grad_weight, grad.grad_bias]

    def by_autograd(self) -> None:
        self.linear.zero_grad()
        self.loss(self.x, self.linear, self.y).backward()

    def gradients(self) -> list[np.ndarray]:
        """Those of the mean loss, for weight and bias."""
        result = self.run()
        if result is not None:
            return result
        return [p.grad.numpy() for p in (self.linear.weight, self.linear.bias)]


class Contender(contender.Contender):
    def __init__(self, data: Data, of: str, threads: int) -> None:
        if of != "function" and not hasattr(functional, "linear_cross_entropy"):
            raise contender.NotAvailable(f"torch {torch.__version__} has no linear_cross_entropy")
        super().__init__(data)
        self.of_batch = Work(
            of, threads, data.rows("float32"), data.target, self.weight, self.bias
        )

    def about(self) -> dict[str, str]:
        return {"torch": torch.__version__, "fastsoftmax": fs.__version__}

    def batch(self, start: int, stop: int) -> None:
        """The work is over the only one."""

    def step(self, batch: None) -> None:
        for parameter, gradient in zip(
            (self.weight, self.bias), self.of_batch.gradients(), strict=True
        ):
            parameter -= self.data.job.lr * gradient

    def gradients(self) -> None:
        self.of_batch.run()
