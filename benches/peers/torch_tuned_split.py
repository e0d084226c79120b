"""The tuned PyTorch loop with its two products cut up, as batched products.

MKL hardly shares a product with 10 classes between threads (13 ms an epoch against 17 with one),
but PyTorch shares a batched one: the forward product over 8 blocks of rows takes 9 ms instead of
13, the gradient over 2 blocks of features 10 instead of 12. Both on Zen 4; 2 and 4 blocks of
rows took 10.0 and 10.6, 4 and 8 blocks of features 11.6 and 10.3, the gradient over blocks of
rows 13. As a whole 40 where the loop it derives from took 50.
"""

from math import gcd

import torch

from benches.data import Data
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
