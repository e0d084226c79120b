"""Class and sample weights, label smoothing, ignored rows and probabilities for targets: the
values of every backend.

Truth is the NumPy oracle in float64, itself held to PyTorch in float64; our error may exceed that
of PyTorch in float32, or where it is not installed of NumPy, by TOLERANCE, relative to the largest
true value; that of a loss, relative to the largest logit and weight.
"""

import importlib.util
from functools import lru_cache

import numpy as np
import pytest

from fastsoftmax.backends import get_backend
from fastsoftmax.problem import Sums
from helpers import assert_as_good, make_problem, shape_id
from helpers.backends import COMBINATIONS, WEIGHED_SHAPES, weigh

_numpy = get_backend("numpy")

TOLERANCE = 1e-6
GRADIENT_TOLERANCE = 2e-6


@pytest.fixture(params=WEIGHED_SHAPES, ids=shape_id)
def shape(request):
    return request.param


def by_numpy(weighed, dtype):
    problem = weighed.problem
    weight, bias = problem.parameters(dtype)
    grad_input = np.empty(problem.x.shape, dtype)
    losses = np.empty(len(problem.x), dtype)
    arguments = problem.x, weighed.target, weight, bias
    loss, grad_weight, grad_bias = _numpy.loss_and_grad(
        *arguments, **weighed.keywords, grad_input=grad_input
    )
    sums = _numpy.evaluate(*arguments, **weighed.keywords, losses=losses)
    return {
        "loss": loss,
        "losses": losses,
        "grad_weight": grad_weight,
        "grad_bias": grad_bias,
        "grad_input": grad_input,
        "sums": sums,
    }


def by_torch(weighed, dtype):
    import torch

    torch.set_num_threads(1)  # its threads and ours on the same cores slow each other down
    problem, criterion = weighed.problem, weighed.criterion
    dtype = getattr(torch, np.dtype(dtype).name)
    x, weight, bias = (
        torch.tensor(array).to(dtype).requires_grad_()
        for array in (problem.x, problem.weight, problem.bias)
    )
    class_weight = criterion.class_weight
    target = torch.tensor(weighed.target)
    losses = torch.nn.functional.cross_entropy(
        torch.nn.functional.linear(x * problem.scale, weight, bias),
        target.to(dtype) if target.is_floating_point() else target,
        weight=None if class_weight is None else torch.tensor(class_weight).to(dtype),
        label_smoothing=criterion.label_smoothing,
        ignore_index=criterion.ignore_index,
        reduction="none",
    )
    if weighed.sample_weight is not None:
        losses = losses * torch.tensor(weighed.sample_weight).to(dtype)
    losses.sum().backward()
    return {
        "loss": losses.double().sum().item(),
        "losses": losses.detach().numpy(),
        "grad_weight": weight.grad.numpy(),
        "grad_bias": bias.grad.numpy(),
        "grad_input": x.grad.numpy(),
    }


@lru_cache(maxsize=64)
def _answers(problem, flags):
    weighed = weigh(problem, flags)
    plain = by_torch if importlib.util.find_spec("torch") else by_numpy
    return weighed, by_numpy(weighed, np.float64), plain(weighed, np.float32)


@pytest.fixture(params=COMBINATIONS.values(), ids=COMBINATIONS)
def answers(request, shape, row_type):
    """The problem, the truth, and the answers of PyTorch in float32."""
    return _answers(make_problem(*shape, row_type), request.param)


def test_the_oracle_is_pytorch(answers):
    pytest.importorskip("torch")
    weighed, truth, _ = answers
    for name, value in by_torch(weighed, np.float64).items():
        np.testing.assert_allclose(truth[name], value, rtol=1e-11, atol=1e-11, err_msg=name)


def test_values(backend, answers):
    weighed, truth, float32 = answers
    grad_input = np.full(weighed.problem.x.shape, np.nan, np.float32)
    losses = np.full(len(weighed.target), np.nan, np.float32)
    loss, grad_weight, grad_bias = backend.loss_and_grad(
        *weighed.arguments, **weighed.keywords, grad_input=grad_input
    )
    sums = backend.evaluate(*weighed.arguments, **weighed.keywords, losses=losses)

    largest = max(1.0, truth["losses"].max())
    assert_as_good(loss, float32["loss"], truth["loss"], TOLERANCE, largest * len(losses))
    assert_as_good(losses, float32["losses"], truth["losses"], TOLERANCE, largest)
    for name, ours in (
        ("grad_weight", grad_weight),
        ("grad_bias", grad_bias),
        ("grad_input", grad_input),
    ):
        assert_as_good(ours, float32[name], truth[name], GRADIENT_TOLERANCE)

    assert isinstance(sums, Sums)
    assert sums.loss == pytest.approx(loss, rel=1e-12)
    assert (sums.correct, sums.counted) == (truth["sums"].correct, truth["sums"].counted)
    assert sums.total_weight == pytest.approx(truth["sums"].total_weight, rel=1e-6)
    assert [type(value) for value in (sums.correct, sums.counted)] == [int, int]


@pytest.mark.parametrize(
    "flags",
    [flags for flags in COMBINATIONS.values() if flags[3]],
    ids=[name for name, flags in COMBINATIONS.items() if flags[3]],
)
def test_ignored_rows_count_for_nothing(backend, shape, flags):
    """Their losses and gradients are exactly 0, and without them nothing else changes."""
    weighed = weigh(make_problem(*shape), flags)
    kept = weighed.target >= 0
    grad_input = np.empty(weighed.problem.x.shape, np.float32)
    losses = np.empty(len(kept), np.float32)
    _, *gradients = backend.loss_and_grad(
        *weighed.arguments, **weighed.keywords, grad_input=grad_input
    )
    sums = backend.evaluate(*weighed.arguments, **weighed.keywords, losses=losses)
    assert not losses[~kept].any() and not grad_input[~kept].any()
    assert losses[kept].any() and grad_input[kept].any()
    (x, target), keywords = weighed.of(kept)
    parameters = weighed.problem.weight, weighed.problem.bias
    _, *without = backend.loss_and_grad(x, target, *parameters, **keywords)
    sums_without = backend.evaluate(x, target, *parameters, **keywords)
    assert sums == pytest.approx(sums_without, rel=1e-6)
    if weighed.sample_weight is not None:  # 0 of some rows, which count for nothing either
        kept &= weighed.sample_weight > 0
    if weighed.criterion.class_weight is not None and not weighed.criterion.label_smoothing:
        kept[kept] = weighed.criterion.class_weight[weighed.target[kept]] > 0
    assert sums.counted == kept.sum()
    for with_them, without_them in zip(gradients, without, strict=True):
        size = np.abs(without_them).max()
        np.testing.assert_allclose(with_them, without_them, atol=4e-6 * size, rtol=0)
