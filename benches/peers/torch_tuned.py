"""The PyTorch loop that an expert would write.

No autograd, and every buffer is allocated once. Of each part, what is used comes first; the rest
was measured slower:
  gather   index_select into a buffer; X[rows]
  forward  addmm with the logits transposed; x @ W.T
  labels   scatter_add_ of -1; index_select from an identity; d[y, arange] -= 1
  bias     addmv_ with ones; sum and add_
Slower as a whole: torch.compile of the step, also with max-autotune, and two Python threads with
half of the batch each.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from benches.harness import contender
from benches.harness.data import Data


class Buffers:
    """Of batches of one size: `size` rows."""

    def __init__(self, size: int, n_features: int, n_classes: int) -> None:
        self.pixels = torch.empty(size, n_features, dtype=torch.uint8)
        self.x = torch.empty(size, n_features)
        self.logits = torch.empty(n_classes, size)
        self.d = torch.empty(n_classes, size)  # softmax, then the gradient of the logits
        self.minus_one = torch.full((1, size), -1.0)
        self.one = torch.ones(size)


Batch = tuple[Buffers, torch.Tensor, torch.Tensor]  # buffers, rows (B, D), labels (1, B)


class Contender(contender.Contender):
    buffers_class = Buffers

    def __init__(self, data: Data, rows: str) -> None:
        super().__init__(data)
        job = data.job
        # Faster than no_grad. It is never left: there is nothing else in this process.
        self.mode = torch.inference_mode()
        self.mode.__enter__()
        self.scale = 1 / 255 if rows == "uint8" else 1.0
        self.x = torch.from_numpy(data.rows(rows))
        self.y = torch.from_numpy(data.target)
        self.w = torch.from_numpy(self.weight)
        self.b = torch.from_numpy(self.bias)
        self.b_column = self.b[:, None]
        sizes = {job.batch_size, job.n_rows % job.batch_size or job.batch_size}
        self.buffers = {
            size: self.buffers_class(size, job.n_features, job.n_classes) for size in sizes
        }

    def about(self) -> dict[str, str]:
        return {"torch": torch.__version__}

    def epoch(self, order: NDArray[np.int64]) -> None:
        rows = torch.from_numpy(order)
        size = self.data.job.batch_size
        labels = torch.index_select(self.y, 0, rows)[None].split(size, dim=1)
        for batch, y in zip(rows.split(size), labels, strict=True):
            buffers = self.buffers[len(batch)]
            gathered = buffers.pixels if self.x.dtype == torch.uint8 else buffers.x
            torch.index_select(self.x, 0, batch, out=gathered)
            self.step((buffers, gathered, y))

    def batch(self, start: int, stop: int) -> Batch:
        return self.buffers[stop - start], self.x[start:stop], self.y[None, start:stop]

    def step(self, batch: Batch) -> None:
        buffers, x, y = batch
        d = buffers.d
        if x.dtype == torch.uint8:
            # To gather a quarter of the bytes and convert them beats gathering float32 rows.
            x = buffers.x.copy_(x)
        lr = self.data.job.lr / len(x)
        self.forward(buffers, x)
        d.scatter_add_(0, y, buffers.minus_one)
        self.update(buffers, x, lr * self.scale)
        self.b.addmv_(d, buffers.one, alpha=-lr)

    def forward(self, buffers: Buffers, x: torch.Tensor) -> None:
        """The softmax of x into buffers.d."""
        torch.addmm(self.b_column, self.w, x.T, alpha=self.scale, out=buffers.logits)
        torch.softmax(buffers.logits, 0, out=buffers.d)

    def update(self, buffers: Buffers, x: torch.Tensor, lr: float) -> None:
        self.w.addmm_(buffers.d, x, alpha=-lr)
