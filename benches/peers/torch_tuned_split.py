"""The tuned PyTorch loop with its two products cut up, as batched products.

MKL hardly shares a product with 10 classes between threads, but PyTorch shares a batched one.
The forward product is cut into 8 blocks of rows, the gradient into 2 blocks of features: 2 and 4
blocks of rows were slower, as were 4 and 8 blocks of features, and the gradient over blocks of
rows.
"""

from math import gcd

import torch

from benches.harness.data import Data
from benches.peers import torch_tuned

ROW_BLOCKS, FEATURE_BLOCKS = 8, 2


class Buffers(torch_tuned.Buffers):
    def __init__(self, size: int, n_features: int, n_classes: int) -> None:
        super().__init__(size, n_features, n_classes)
        m, n = gcd(size, ROW_BLOCKS), gcd(n_features, FEATURE_BLOCKS)
        self.x_blocks = m, size // m, n_features
        self.logits_blocks = torch.empty(m, n_classes, size // m)
        self.logits_rows = self.logits_blocks.transpose(0, 1)  # (K, m, B / m)
        self.logits_as_rows = self.logits.view(self.logits_rows.shape)
        self.d_blocks = self.d.expand(n, n_classes, size)
        self.grad_shape = size, n, n_features // n
        self.grad_blocks = torch.empty(n, n_classes, n_features // n)
        self.grad = self.grad_blocks.transpose(0, 1)  # (K, n, D / n)


class Contender(torch_tuned.Contender):
    buffers_class = Buffers

    def __init__(self, data: Data, rows: str) -> None:
        super().__init__(data, rows)
        job = data.job
        self.b_block = self.b[None, :, None]
        n = gcd(job.n_features, FEATURE_BLOCKS)
        self.w_blocks = self.w.view(job.n_classes, n, job.n_features // n)

    def forward(self, buffers: Buffers, x: torch.Tensor) -> None:
        z = buffers.logits_blocks
        x_blocks = x.view(buffers.x_blocks).transpose(1, 2)
        w_blocks = self.w.expand(len(z), *self.w.shape)
        torch.baddbmm(self.b_block, w_blocks, x_blocks, alpha=self.scale, out=z)
        # Not by reshape: the memory of a large copy would come fresh from the kernel each time.
        buffers.logits_as_rows.copy_(buffers.logits_rows)
        torch.softmax(buffers.logits, 0, out=buffers.d)

    def update(self, buffers: Buffers, x: torch.Tensor, lr: float) -> None:
        x_blocks = x.view(buffers.grad_shape).transpose(0, 1)
        torch.bmm(buffers.d_blocks, x_blocks, out=buffers.grad_blocks)
        self.w_blocks.sub_(buffers.grad, alpha=lr)
