"""Functions of arrays, named as in ``torch.nn.functional``."""

from .cross_entropy import cross_entropy, nll_loss
from .linear_cross_entropy import (
    LinearCrossEntropyGrad,
    linear_cross_entropy,
    linear_cross_entropy_grad,
)
from .softmax import log_softmax, softmax

__all__ = [
    "LinearCrossEntropyGrad",
    "cross_entropy",
    "linear_cross_entropy",
    "linear_cross_entropy_grad",
    "log_softmax",
    "nll_loss",
    "softmax",
]
