"""Calls of fastsoftmax.torch, and the same of PyTorch's own functions."""

from __future__ import annotations

import pytest

from helpers import assert_as_good

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # its threads and ours on the same cores slow each other down tenfold

from torch.nn import functional  # noqa: E402

from fastsoftmax.torch import (  # noqa: E402
    linear_cross_entropy,
    linear_cross_entropy_grad,
)

TOLERANCE = 1e-6  # 17 roundings of float32, relative to the largest true value

SHAPES = [(7, 1, 2), (5, 3, 4), (64, 17, 10), (257, 33, 3), (3, 97, 65), (100, 784, 10)]
REDUCTIONS = ["mean", "sum", "none"]
OPTIONS = {
    "plain": {},
    "weight": {"weight": True},
    "label_smoothing": {"label_smoothing": 0.1},
    "ignore_index": {"ignore_index": 1},
    "ignore_index of no class": {"ignore_index": -7},
    "all": {"weight": True, "label_smoothing": 0.3, "ignore_index": 0},
}
TARGETS = ["int64", "int32", "uint8", "probabilities"]


class Case:
    """The tensors and options of one call of a loss."""

    def __init__(self, shape, target="int64", bias=True, seed=0, **options):
        n_rows, n_features, n_classes = self.shape = shape
        generator = torch.Generator().manual_seed(seed)
        draw = {"generator": generator, "dtype": torch.float64}
        # the numbers are those of float32: the same problem can be solved in float64
        self.input = torch.randn(n_rows, n_features, **draw).float()
        self.linear_weight = torch.randn(n_classes, n_features, **draw).float()
        self.linear_weight *= 2 / max(n_features, 1) ** 0.5
        self.linear_bias = torch.randn(n_classes, **draw).float() if bias else None
        self.options = dict(options)
        if self.options.get("weight"):
            self.options["weight"] = torch.rand(n_classes, **draw).float() + 0.1
        if target == "probabilities":
            self.options.pop("ignore_index", None)
            self.target = torch.randn(n_rows, n_classes, **draw).softmax(dim=1).float()
        else:
            self.target = torch.randint(0, n_classes, (n_rows,), generator=generator)
            ignored = self.options.get("ignore_index") or 0
            if ignored < 0 and target != "uint8":
                self.target[::3] = ignored
            self.target = self.target.to(getattr(torch, target))

    def arguments(self, dtype=torch.float32, needed=(True, True, True)):
        """Input, weight and bias as new leaves; `needed` says which need a gradient."""
        tensors = self.input, self.linear_weight, self.linear_bias
        return [
            None if t is None else t.to(dtype, copy=True).requires_grad_(need)
            for t, need in zip(tensors, needed, strict=True)
        ]

    def loss(self, function, tensors, **options):
        input, linear_weight, linear_bias = tensors
        options = {**self.options, **options}
        target = self.target
        if options.get("weight") is not None:
            options["weight"] = options["weight"].to(input.dtype)
        if target.is_floating_point():
            target = target.to(input.dtype)
        elif function not in (linear_cross_entropy, linear_cross_entropy_grad):
            target = target.long()
        return function(input, linear_weight, target, linear_bias=linear_bias, **options)

    def results(self, function, dtype=torch.float32, needed=(True, True, True), **options):
        """The loss and the gradients of what needs one; grad_output is not 1."""
        tensors = self.arguments(dtype, needed)
        loss = self.loss(function, tensors, **options)
        generator = torch.Generator().manual_seed(1)
        grad_output = torch.rand(loss.shape, generator=generator, dtype=torch.float64).to(dtype)
        loss.backward(grad_output)
        assert all(t is None or (t.grad is not None) == t.requires_grad for t in tensors)
        return [loss.detach(), *(t.grad for t in tensors if t is not None and t.grad is not None)]


def pytorchs(input, linear_weight, target, *, linear_bias=None, ignore_index=None, **options):
    """The same loss by PyTorch's linear and cross_entropy."""
    if ignore_index is not None:
        options["ignore_index"] = ignore_index
    logits = functional.linear(input, linear_weight, linear_bias)
    return functional.cross_entropy(logits, target, **options)


def assert_like_pytorch(case, **options):
    ours = case.results(linear_cross_entropy, **options)
    float32 = case.results(pytorchs, **options)
    truth = case.results(pytorchs, torch.float64, **options)
    for i, (our, plain, true) in enumerate(zip(ours, float32, truth, strict=True)):
        assert our.dtype == torch.float32 and our.shape == true.shape
        # a small loss is a difference of logits: its error is relative to them
        size = max(1.0, true.abs().max().item()) if i == 0 else None
        assert_as_good(our.numpy(), plain.numpy(), true.numpy(), TOLERANCE, size)


def errors(function, *args, **kwargs):
    """The type and the text of what a call raises."""
    with pytest.raises(Exception) as raised:
        function(*args, **kwargs)
    return raised.type, str(raised.value)
