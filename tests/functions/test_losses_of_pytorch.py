"""The losses against PyTorch's, over shapes and options that hypothesis draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastsoftmax as fs

try:
    import torch
except ModuleNotFoundError:
    torch = None
else:
    torch.set_num_threads(1)


@st.composite
def calls(draw):
    """A call of linear_cross_entropy: arguments, options, and the dtype."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    n_rows, n_features = draw(st.integers(1, 70)), draw(st.integers(1, 40))
    n_classes, more = draw(st.integers(2, 20)), draw(st.sampled_from([(), (), (2,), (3, 1)]))
    rows = () if not more and draw(st.booleans()) and draw(st.booleans()) else (n_rows,)
    soft = draw(st.booleans())
    x = rng.standard_normal((*rows, n_features)).astype(dtype)
    weight = rng.standard_normal((n_classes, *more, n_features)).astype(dtype)
    options = {
        "reduction": draw(st.sampled_from(["mean", "sum", "none"])),
        "label_smoothing": draw(st.sampled_from([0.0, 0.1, 0.7, 1.0])),
    }
    if draw(st.booleans()):
        options["linear_bias"] = rng.standard_normal((n_classes, *more)).astype(dtype)
    if draw(st.booleans()):
        options["weight"] = rng.choice([0, 0.5, 2], n_classes).astype(dtype)
    if soft:
        target = rng.random((*rows, n_classes, *more)).astype(dtype)
    else:
        ignore_index = draw(st.sampled_from([None, -100, -1, 0, n_classes]))
        options["ignore_index"] = ignore_index
        target = rng.integers(0, n_classes, (*rows, *more))
        ignored = rng.random(target.shape) < draw(st.sampled_from([0, 0.3, 1]))
        target = np.where(ignored, -100 if ignore_index is None else ignore_index, target)
    return x, weight, target, options, dtype


@pytest.mark.skipif(torch is None, reason="torch is not installed")
@settings(max_examples=300, deadline=None)
@given(calls())
def test_as_pytorch(call):
    x, weight, target, options, dtype = call
    of_torch = {
        name: torch.tensor(value).double() if isinstance(value, np.ndarray) else value
        for name, value in options.items()
    }
    args = torch.tensor(x).double(), torch.tensor(weight).double(), torch.tensor(target)
    if args[2].is_floating_point():
        args = (*args[:2], args[2].double())
    leaves = [*args[:2], *([of_torch["linear_bias"]] if "linear_bias" in options else [])]
    for leaf in leaves:
        leaf.requires_grad_(True)
    truth = torch.nn.functional.linear_cross_entropy(*args, **of_torch)
    gradients = torch.autograd.grad(truth.sum(), leaves)

    ours = fs.linear_cross_entropy_grad(x, weight, target, grad_input=True, **options)
    assert_near(fs.linear_cross_entropy(x, weight, target, **options), truth, dtype)
    assert_near(ours.loss, truth, dtype)
    results = (ours.grad_input, ours.grad_weight, ours.grad_bias)
    for result, gradient in zip(results, gradients, strict=False):
        assert_near(result, gradient, dtype)

    logits = torch.einsum("...d,k...d->...k", args[0], args[1]) if weight.ndim == 2 else None
    if logits is not None and "linear_bias" not in options:
        del options["label_smoothing"]
        options["ignore_index"] = options.get("ignore_index") or -100
        z = logits.detach().numpy().astype(dtype)
        of_torch = {
            n: torch.tensor(v).double() if isinstance(v, np.ndarray) else v
            for n, v in options.items()
        }
        truth = torch.nn.functional.cross_entropy(torch.tensor(z).double(), args[2], **of_torch)
        assert_near(fs.cross_entropy(z, target, **options), truth, dtype)


def assert_near(ours, truth, dtype):
    """Both are within some roundings of the largest true value, and finite at the same places."""
    ours, truth = np.asarray(ours, np.float64), truth.detach().numpy()
    assert ours.shape == truth.shape
    finite = np.isfinite(truth)
    np.testing.assert_array_equal(np.isfinite(ours), finite)
    size = max(1.0, np.abs(truth[finite]).max(initial=0))
    tolerance = {np.float32: 3e-6, np.float64: 1e-13}[dtype] * size
    np.testing.assert_allclose(ours[finite], truth[finite], rtol=0, atol=tolerance)
