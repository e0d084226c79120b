"""The tuned PyTorch loop with its logits as rows, (B, K), instead of transposed.

The better layout where there are many classes: a row of logits is long enough then for the
softmax, and MKL's product has two long sides either way.
"""

import torch

from benches.peers import torch_tuned


class Buffers(torch_tuned.Buffers):
    def __init__(self, size: int, n_features: int, n_classes: int) -> None:
        super().__init__(size, n_features, n_classes)
        self.logits = torch.empty(size, n_classes)
        self.d_rows = torch.empty(size, n_classes)
        self.d = self.d_rows.T


class Contender(torch_tuned.Contender):
    buffers_class = Buffers

    def forward(self, buffers: Buffers, x: torch.Tensor) -> None:
        torch.addmm(self.b, x, self.w.T, alpha=self.scale, out=buffers.logits)
        torch.softmax(buffers.logits, 1, out=buffers.d_rows)
