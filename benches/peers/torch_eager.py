"""PyTorch with autograd, as most people write it, but with the data in memory.

And a little better: index_select in place of X[rows], and the fused SGD. Gathering into a buffer
gained nothing more.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from benches.harness import contender
from benches.harness.data import Data

Batch = tuple[torch.Tensor, torch.Tensor]


class Contender(contender.Contender):
    def __init__(self, data: Data) -> None:
        super().__init__(data)
        job = data.job
        self.x = torch.from_numpy(data.rows("float32"))
        self.y = torch.from_numpy(data.target)
        self.linear = torch.nn.Linear(job.n_features, job.n_classes)
        self.linear.weight = torch.nn.Parameter(torch.from_numpy(self.weight))
        self.linear.bias = torch.nn.Parameter(torch.from_numpy(self.bias))
        self.optimizer = torch.optim.SGD(self.linear.parameters(), lr=job.lr, fused=True)

    def about(self) -> dict[str, str]:
        return {"torch": torch.__version__}

    def epoch(self, order: NDArray[np.int64]) -> None:
        for rows in torch.from_numpy(order).split(self.data.job.batch_size):
            x, y = torch.index_select(self.x, 0, rows), torch.index_select(self.y, 0, rows)
            self.step((x, y))

    def batch(self, start: int, stop: int) -> Batch:
        return self.x[start:stop], self.y[start:stop]

    def step(self, batch: Batch) -> None:
        x, y = batch
        self.optimizer.zero_grad()
        self.loss(x, y).backward()
        self.optimizer.step()

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.linear(x), y)
