"""With options of the loss too, a step is its parts and an epoch its steps, bit for bit."""

import operator
from functools import reduce

import numpy as np
import pytest

from fastsoftmax.optim import SGDSettings
from fastsoftmax.settings import CrossEntropy
from helpers import make_problem, shape_id
from helpers.backends import TOGETHER, WEIGHED_SHAPES, bits, parameters, weigh


@pytest.fixture(params=WEIGHED_SHAPES, ids=shape_id)
def shape(request):
    return request.param


@pytest.fixture(params=TOGETHER.values(), ids=TOGETHER)
def weighed(request, shape, row_type):
    return weigh(make_problem(*shape, row_type), request.param)


def test_plain_criterion_changes_nothing(backend, shape, row_type):
    problem = make_problem(*shape, row_type)
    results = []
    for keywords in ({}, {"criterion": CrossEntropy()}):
        state = problem.parameters()
        sums = backend.train_epoch(
            *(problem.x, problem.target, None, 64, *state, SGDSettings(lr=0.1)),
            **keywords,
            scale=problem.scale,
        )
        results.append((sums, *(array.tobytes() for array in state)))
    assert results[0] == results[1]


def test_weights_of_1_change_little(backend, shape, row_type):
    """The kernels of weights give nearly what those without weights give."""
    problem = make_problem(*shape, row_type)
    n_rows, _, n_classes = shape
    onehot = np.eye(n_classes, dtype=np.float32)[problem.target]
    plain = backend.loss_and_grad(*problem, scale=problem.scale)
    for target, keywords in (
        (problem.target, {"sample_weight": np.ones(n_rows)}),
        (problem.target, {"criterion": CrossEntropy(np.ones(n_classes))}),
        (onehot, {}),
    ):
        results = backend.loss_and_grad(
            problem.x, target, problem.weight, problem.bias, **keywords, scale=problem.scale
        )
        assert results[0] == pytest.approx(plain[0], rel=1e-6)
        for ours, theirs in zip(results[1:], plain[1:], strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-6 * np.abs(theirs).max(), rtol=0)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_train_step_is_its_parts(backend, weighed, momentum):
    fused, parts = parameters(weighed, momentum), parameters(weighed, momentum)
    x, target = weighed.arguments[:2]
    for _ in range(2):
        before = backend.evaluate(x, target, *fused[:2], **weighed.keywords)
        sums = backend.train_step(x, target, *fused, **weighed.keywords)
        loss, *gradients = backend.loss_and_grad(x, target, *parts[:2], **weighed.keywords)
        weight, bias, sgd, velocity = parts
        backend.sgd_update(weight, bias, *gradients, sums.total_weight or 1, sgd, velocity)
        assert sums.loss == loss
        assert bits(*fused) == bits(*parts)
        assert sums[1::2] == before[1::2]
        assert sums == pytest.approx(before, rel=1e-6)


@pytest.mark.parametrize("batch_size", [64, 1060])
def test_train_epoch_is_a_loop_of_train_step(backend, weighed, batch_size):
    n_rows = len(weighed.target)
    rng = np.random.default_rng(0)
    whole, steps = parameters(weighed), parameters(weighed)
    x, target = weighed.arguments[:2]
    for order in (rng.permutation(n_rows), rng.integers(0, n_rows, n_rows + batch_size // 2)):
        sums = backend.train_epoch(*(x, target, order, batch_size, *whole), **weighed.keywords)
        parts = []
        for i in range(0, len(order), batch_size):
            arrays, keywords = weighed.of(order[i : i + batch_size])
            parts.append(backend.train_step(*arrays, *steps, **keywords))
        assert bits(*whole) == bits(*steps)
        assert sums == tuple(reduce(operator.add, part, 0.0) for part in zip(*parts, strict=True))


def everything(backend, weighed, num_threads):
    """The bits of all results that depend on the options."""
    keywords = weighed.keywords | {"num_threads": num_threads}
    state = parameters(weighed)
    grad_input = np.empty(weighed.problem.x.shape, np.float32)
    losses = np.empty(len(weighed.target), np.float32)
    order = np.random.default_rng(0).permutation(len(losses))
    results = [
        backend.train_epoch(*weighed.arguments[:2], order, 150, *state, **keywords),
        backend.evaluate(*weighed.arguments, **keywords, losses=losses),
        *backend.loss_and_grad(*weighed.arguments, **keywords, grad_input=grad_input),
        losses,
        grad_input,
    ]
    return [
        result.tobytes() if isinstance(result, np.ndarray) else result for result in results
    ] + bits(*state)


def test_same_bits_for_any_number_of_threads(backend, weighed):
    expected = everything(backend, weighed, 1)
    for num_threads in (2, 3, 4, 5):
        assert everything(backend, weighed, num_threads) == expected


def test_outputs_change_nothing_else(backend, weighed):
    grad_input = np.empty(weighed.problem.x.shape, np.float32)
    losses = np.empty(len(weighed.target), np.float32)
    with_them = (
        *backend.loss_and_grad(*weighed.arguments, **weighed.keywords, grad_input=grad_input),
        backend.evaluate(*weighed.arguments, **weighed.keywords, losses=losses),
    )
    without = (
        *backend.loss_and_grad(*weighed.arguments, **weighed.keywords),
        backend.evaluate(*weighed.arguments, **weighed.keywords),
    )
    for ours, theirs in zip(with_them, without, strict=True):
        assert np.array_equal(ours, theirs)
