"""Rows that count for nothing, be they NaN or infinite: as if they were not there, in every
public function."""

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax.optim import Velocity
from helpers import need_backend

BAD = [np.nan, np.inf, -np.inf, 3e38]


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request):
    return request.param


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("positions", [(), (2,), (2, 3)])
def test_linear_cross_entropy(reduction, positions, dtype):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 7)).astype(dtype)
    weight = rng.standard_normal((5, *positions, 7)).astype(dtype)
    bias = rng.standard_normal((5, *positions)).astype(dtype)
    target = rng.integers(0, 5, (20, *positions))
    target[::3] = -100
    kept = np.arange(20) % 3 > 0
    x[~kept] = np.nan
    options = {"linear_bias": bias, "reduction": reduction}
    loss = fs.linear_cross_entropy(x, weight, target, **options)
    true_loss = fs.linear_cross_entropy(x[kept], weight, target[kept], **options)
    grad = fs.linear_cross_entropy_grad(x, weight, target, grad_input=True, **options)
    true = fs.linear_cross_entropy_grad(x[kept], weight, target[kept], grad_input=True, **options)
    if reduction == "none":
        assert not loss[~kept].any() and not grad.loss[~kept].any()
        loss, grad = loss[kept], grad._replace(loss=grad.loss[kept])
    assert not grad.grad_input[~kept].any()
    grad = grad._replace(grad_input=grad.grad_input[kept])
    for ours, theirs in zip((loss, *grad), (true_loss, *true), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_row_ignored_at_one_position(dtype):
    """In a K-dimensional loss the gradient of the other position is NaN, its own is not."""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((6, 4)).astype(dtype), rng.standard_normal((3, 2, 4))
    target = rng.integers(0, 3, (6, 2))
    x[2], target[2, 0] = np.nan, -100
    grad = fs.linear_cross_entropy_grad(x, weight.astype(dtype), target, reduction="sum")
    assert np.isfinite(grad.grad_weight[:, 0]).all() and np.isnan(grad.grad_weight[:, 1]).all()


def test_grad_output_of_0(dtype):
    """A loss whose grad_output is 0 has no part in the gradients."""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((6, 4)).astype(dtype), rng.standard_normal((3, 4))
    x[2] = np.nan
    grad = fs.linear_cross_entropy_grad(
        x, weight.astype(dtype), rng.integers(0, 3, 6), reduction="none", grad_input=True,
        grad_output=[1, 1, 0, 1, 1, 1],
    )  # fmt: skip
    assert np.flatnonzero(np.isnan(grad.loss)).tolist() == [2]
    assert np.isfinite(grad.grad_weight).all() and not grad.grad_input[2].any()


@pytest.mark.parametrize("value", BAD)
def test_losses_of_logits(value, dtype):
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((20, 5)).astype(dtype)
    target = rng.integers(1, 5, 20)
    probabilities = rng.dirichlet(np.ones(5), 20)
    bad = np.arange(20) % 3 == 0
    logits[bad], probabilities[bad] = value, 0
    logits[bad, 0] = -value
    class_weight = np.array([0, 1, 2, 1, 1])
    for given, keywords in (
        (np.where(bad, -100, target), {}),
        (np.where(bad, -100, target), {"label_smoothing": 0.1}),
        (np.where(bad, 0, target), {"weight": class_weight}),
        (probabilities, {}),
    ):
        losses = fs.cross_entropy(logits, given, reduction="none", **keywords)
        assert not losses[bad].any() and np.isfinite(losses).all() and losses[~bad].all()
        total = fs.cross_entropy(logits, given, reduction="sum", **keywords)
        without = fs.cross_entropy(logits[~bad], given[~bad], reduction="sum", **keywords)
        assert total == pytest.approx(without, rel=1e-6)
        if given.ndim == 1 and not keywords.get("label_smoothing"):
            losses = fs.nll_loss(logits, given, reduction="none", **keywords)
            assert not losses[bad].any() and np.isfinite(losses).all()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_step(momentum, dtype):
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((20, 7)).astype(dtype), rng.integers(0, 3, 20)
    bad = np.arange(20) % 3 == 0
    x[bad], target[bad] = np.nan, -100
    states = []
    for rows in (slice(None), ~bad):
        weight, bias = np.ones((3, 7), dtype), np.ones(3, dtype)
        sgd = fs.SGD(weight, bias, lr=0.1, momentum=momentum)
        loss = sgd.step(x[rows], target[rows])
        velocity = Velocity.of(weight, bias)
        loss += fs.sgd_step(
            *(x[rows], target[rows], weight, bias), lr=0.1, momentum=momentum, velocity=velocity
        )
        states.append((loss, weight, bias))
    for ours, true in zip(*states, strict=True):
        np.testing.assert_allclose(ours, true, rtol=1e-5)


@pytest.mark.parametrize("backend_name", fs.backends.BACKENDS)
@pytest.mark.parametrize("how", ["ignore_index", "sample_weight", "class_weight"])
def test_train(backend_name, how):
    need_backend(backend_name)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 4), np.float32), rng.integers(0, 3, 60)
    bad = np.arange(60) % 4 == 0
    options = {"epochs": 3, "batch_size": 60, "shuffle": False, "backend": backend_name}
    y[bad], y[1:4] = 2, range(3)
    if how == "ignore_index":
        y[bad], given = 9, {"ignore_index": 9}
    elif how == "sample_weight":
        given = {"sample_weight": np.where(bad, 0.0, 1.0)}
    else:
        bad, given = y == 2, {"class_weight": {2: 0}}
    results = []
    for value in (np.nan, 0.5):
        X[bad] = value
        result = fs.train((X, y), **options, **given)
        results.append((result.model.weight, result.history.train_loss))
        assert result.history.train_accuracy[-1] <= 1
    assert np.isfinite(results[0][0]).all() and np.array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    if how == "sample_weight":
        kept = fs.train((X[~bad], y[~bad]), **options)
        np.testing.assert_allclose(kept.model.weight, results[0][0], rtol=1e-4, atol=1e-6)
        assert kept.history.train_accuracy == result.history.train_accuracy
