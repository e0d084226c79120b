"""The sample inputs of PyTorch's own operator tests, run against ours.

They ship inside torch, which asks for the package expecttest before it shows them. PyTorch in
float64 is the truth; in float32 our error may exceed that of PyTorch in float32 by TOLERANCE, and
by four roundings of the largest logit: the samples have logits up to some hundreds.
"""

from __future__ import annotations

import numpy as np
import pytest

import fastsoftmax as fs
from helpers import assert_as_good

torch = pytest.importorskip("torch")
invocations = pytest.importorskip("torch.testing._internal.common_methods_invocations")
torch.set_num_threads(1)  # its threads and ours on the same cores slow each other down tenfold

TOLERANCE = 1e-6  # 17 roundings of float32, relative to the largest true value
DTYPES = {"float32": torch.float32, "float64": torch.float64}

COUNTS = {"cross_entropy": 21, "nll_loss": 61, "linear_cross_entropy": 119}


def samples(operator, dtype):
    """The samples of that operator by name, the same in each call."""
    torch.manual_seed(0)
    generate = getattr(invocations, f"sample_inputs_{operator}")
    found = {}
    for sample in generate(None, "cpu", dtype, requires_grad=False):
        shapes = [str(tuple(a.shape)).replace(" ", "") for a in (sample.input, *sample.args)]
        options = [
            name if isinstance(value, torch.Tensor) else f"{name}={value}"
            for name, value in sample.kwargs.items()
        ]
        found[f"{len(found)}: {' '.join(shapes + options)}"] = sample
    return found


def cases(operator):
    return [
        pytest.param(name, sample, id=f"{name}-{case}")
        for name in DTYPES
        for case, sample in samples(operator, DTYPES[name]).items()
    ]


def as_numpy(value):
    return value.numpy() if isinstance(value, torch.Tensor) else value


def to(dtype, value):
    return (
        value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value
    )


def by_torch(operator, sample, dtype):
    """PyTorch's result in that dtype, and the arguments it was computed from."""
    args = [to(dtype, a).clone() for a in (sample.input, *sample.args)]
    kwargs = {name: to(dtype, value) for name, value in sample.kwargs.items()}
    for tensor in (*args[: len(args) - 1], kwargs.get("linear_bias")):
        if tensor is not None:
            tensor.requires_grad_(True)
    return getattr(torch.nn.functional, operator)(*args, **kwargs), args, kwargs


def by_ours(function, sample, **more):
    kwargs = {name: as_numpy(value) for name, value in sample.kwargs.items()}
    return function(*map(as_numpy, (sample.input, *sample.args)), **kwargs, **more)


def largest_logit(operator, sample):
    if operator == "linear_cross_entropy":
        return torch.tensordot(sample.input, sample.args[0], ([-1], [-1])).abs().max().item()
    return sample.input.abs().max().item()


def check(ours, operator, sample, name, pick=lambda result, args, kwargs: result):
    """`ours` against what `pick` takes of PyTorch's result and arguments."""
    truth = pick(*by_torch(operator, sample, torch.float64)).detach().numpy()
    plain = pick(*by_torch(operator, sample, DTYPES[name])).detach().numpy()
    assert np.shape(ours) == truth.shape
    if name == "float64":
        np.testing.assert_allclose(ours, truth, rtol=1e-12, atol=1e-12)
    else:
        assert np.isfinite(truth).all()
        assert_as_good(ours, plain, truth, TOLERANCE + 2**-22 * largest_logit(operator, sample))


@pytest.mark.parametrize("name, sample", cases("cross_entropy"))
def test_cross_entropy(name, sample):
    ours = by_ours(fs.cross_entropy, sample)
    check(ours, "cross_entropy", sample, name)


@pytest.mark.parametrize("name, sample", cases("nll_loss"))
def test_nll_loss(name, sample):
    check(by_ours(fs.nll_loss, sample), "nll_loss", sample, name)


@pytest.mark.parametrize("name, sample", cases("linear_cross_entropy"))
def test_linear_cross_entropy(name, sample):
    ours = by_ours(fs.linear_cross_entropy, sample)
    check(ours, "linear_cross_entropy", sample, name)


@pytest.mark.parametrize("name, sample", cases("linear_cross_entropy"))
def test_gradients_of_linear_cross_entropy(name, sample):
    ours = by_ours(fs.linear_cross_entropy_grad, sample, grad_input=True)

    def gradient(of):
        def pick(result, args, kwargs):
            wanted = {"input": args[0], "weight": args[1], "bias": kwargs.get("linear_bias")}[of]
            return torch.autograd.grad(result.sum(), wanted)[0]

        return pick

    check(ours.loss, "linear_cross_entropy", sample, name)
    for of in ("input", "weight", "bias"):
        if of == "bias" and "linear_bias" not in sample.kwargs:
            assert ours.grad_bias is None
        else:
            result = getattr(ours, f"grad_{of}")
            assert result.dtype == name
            check(result, "linear_cross_entropy", sample, name, gradient(of))


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("operator", COUNTS)
def test_all_samples_are_covered(operator, name):
    """None may drop out unseen when PyTorch changes them."""
    assert len(samples(operator, DTYPES[name])) == len(cases(operator)) / 2 == COUNTS[operator]


ERRORS = {
    "input of three dimensions": (ValueError, r"input must be \(B, D\) or \(D,\), got shape"),
    "linear_weight of one": (ValueError, r"linear_weight must be .*K >= 2, got shape"),
    "features": (ValueError, "input has 3 features, and linear_weight 4"),
    "ignore_index and probabilities": (ValueError, "ignore_index must be negative where target"),
    "K-dimensional, unbatched": (ValueError, r"input must be \(B, D\) where linear_weight is"),
    "linear_bias": (ValueError, r"linear_bias must have shape \(2,\), got \(3,\)"),
}


def test_their_errors_are_errors_of_ours():
    theirs = list(invocations.error_inputs_linear_cross_entropy(None, "cpu"))
    assert len(theirs) == len(ERRORS)
    for error_input, (error, message) in zip(theirs, ERRORS.values(), strict=True):
        with pytest.raises(error, match=message):
            by_ours(fs.linear_cross_entropy, error_input.sample_input)
