"""PyTorch with autograd and its own fused loss, `linear_cross_entropy` (PyTorch 2.13).

With options=LinearCrossEntropyOptions(), which saves memory by chunks, it takes longer.
"""

import torch
from torch.nn import functional

from benches.harness import contender
from benches.harness.data import Data
from benches.peers import torch_eager


class Contender(torch_eager.Contender):
    def __init__(self, data: Data) -> None:
        if not hasattr(functional, "linear_cross_entropy"):
            raise contender.NotAvailable(f"torch {torch.__version__} has no linear_cross_entropy")
        super().__init__(data)

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return functional.linear_cross_entropy(
            x, self.linear.weight, y, linear_bias=self.linear.bias
        )
