"""linear_cross_entropy and its gradients, cross_entropy and nll_loss: by hand in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastsoftmax as fs
from helpers import log_softmax
from helpers.functions import IGNORED, loss_problem, losses_of, probabilities, reduced

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
REDUCTIONS = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
OPTIONS = pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
WEIGHTED = pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
TARGETS = pytest.mark.parametrize("soft", [False, True], ids=["labels", "probabilities"])
TOLERANCE = {np.float32: {"rtol": 1e-6, "atol": 1e-6}, np.float64: {"rtol": 1e-13, "atol": 1e-13}}


@DTYPES
@REDUCTIONS
@OPTIONS
@WEIGHTED
@TARGETS
def test_by_hand(dtype, reduction, smoothing, weighted, soft):
    x, weight, target, bias, class_weight = loss_problem(dtype=dtype)
    if soft:
        target = probabilities(len(x), len(weight), dtype)
    options = {"weight": class_weight if weighted else None, "label_smoothing": smoothing}
    exact = [a.astype(np.float64) for a in (x, weight, bias)]
    logits = exact[0] @ exact[1].T + exact[2]
    losses = losses_of(log_softmax(logits), target, **options, ignore_index=IGNORED)
    expected = reduced(*losses, reduction)

    ours = fs.linear_cross_entropy(
        x, weight, target, linear_bias=bias, reduction=reduction, **options
    )
    np.testing.assert_allclose(ours, expected, **TOLERANCE[dtype])
    of_logits = fs.cross_entropy(logits.astype(dtype), target, reduction=reduction, **options)
    np.testing.assert_allclose(of_logits, expected, **TOLERANCE[dtype])
    for result in (ours, of_logits):
        assert result.dtype == dtype if reduction == "none" else type(result) is float
    if not soft and not smoothing:
        log_p = log_softmax(logits).astype(dtype)
        nll = fs.nll_loss(log_p, target, options["weight"], reduction=reduction)
        np.testing.assert_allclose(nll, expected, **TOLERANCE[dtype])


@REDUCTIONS
@OPTIONS
@WEIGHTED
@TARGETS
def test_gradients_by_differences(reduction, smoothing, weighted, soft):
    x, weight, target, bias, class_weight = loss_problem(6, 3, 4, np.float64)
    if soft:
        target = probabilities(6, 4, np.float64)
    options = {
        "weight": class_weight if weighted else None, "label_smoothing": smoothing,
        "reduction": reduction,
    }  # fmt: skip
    grad_output = np.linspace(-1, 2, 6) if reduction == "none" else 0.5

    def loss(x, weight, bias):
        result = fs.linear_cross_entropy(x, weight, target, linear_bias=bias, **options)
        return np.sum(grad_output * np.asarray(result))

    grad = fs.linear_cross_entropy_grad(
        x, weight, target, linear_bias=bias, grad_output=grad_output, grad_input=True, **options
    )
    at = (x, weight, bias)
    for i, ours in enumerate((grad.grad_input, grad.grad_weight, grad.grad_bias)):
        for index in np.ndindex(at[i].shape):
            step = np.zeros_like(at[i])
            step[index] = 1e-6
            ahead = loss(*(a + step if j == i else a for j, a in enumerate(at)))
            behind = loss(*(a - step if j == i else a for j, a in enumerate(at)))
            assert ours[index] == pytest.approx((ahead - behind) / 2e-6, rel=1e-7, abs=1e-8)


@DTYPES
def test_the_gradient_comes_with_the_loss(dtype):
    x, weight, target, bias, class_weight = loss_problem(dtype=dtype)
    for reduction in ("mean", "sum", "none"):
        options = {"linear_bias": bias, "weight": class_weight, "reduction": reduction}
        loss = fs.linear_cross_entropy(x, weight, target, **options)
        grad = fs.linear_cross_entropy_grad(x, weight, target, **options)
        np.testing.assert_allclose(grad.loss, loss, rtol=0 if reduction == "none" else 1e-6)
        assert grad.grad_weight.dtype == grad.grad_bias.dtype == dtype
        assert grad.grad_input is None


@REDUCTIONS
@pytest.mark.parametrize("grad_output", [0.0, -2.5, 1e-20])
def test_grad_output_multiplies(reduction, grad_output):
    x, weight, target, bias, class_weight = loss_problem()
    options = {"linear_bias": bias, "weight": class_weight, "reduction": reduction}
    given = np.full(65, grad_output) if reduction == "none" else grad_output
    one, other = (
        fs.linear_cross_entropy_grad(x, weight, target, grad_output=g, grad_input=True, **options)
        for g in (None, given)
    )
    np.testing.assert_array_equal(one.loss, other.loss)
    for a, b in zip(one[1:], other[1:], strict=True):
        size = np.abs(a).max() * abs(grad_output)
        np.testing.assert_allclose(b, grad_output * a.astype(float), rtol=0, atol=2e-6 * size)


def test_no_bias_is_a_bias_of_zero():
    x, weight, target, bias, _ = loss_problem()
    without = fs.linear_cross_entropy_grad(x, weight, target)
    zero = fs.linear_cross_entropy_grad(x, weight, target, linear_bias=bias * 0)
    assert without.grad_bias is None and zero.grad_bias.any()
    assert without.loss == zero.loss == fs.linear_cross_entropy(x, weight, target)
    assert without.grad_weight.tobytes() == zero.grad_weight.tobytes()


@DTYPES
def test_one_row(dtype):
    x, weight, target, bias, class_weight = loss_problem(dtype=dtype)
    q = probabilities(1, len(weight), dtype)
    for one, many in ((target[0], target[:1]), (int(target[0]), target[:1]), (q[0], q)):
        for reduction in ("mean", "sum", "none"):
            options = {"linear_bias": bias, "weight": class_weight, "reduction": reduction}
            expected = fs.linear_cross_entropy_grad(
                x[:1], weight, many, grad_input=True, **options
            )
            ours = fs.linear_cross_entropy_grad(x[0], weight, one, grad_input=True, **options)
            loss = fs.linear_cross_entropy(x[0], weight, one, **options)
            assert loss == ours.loss == expected.loss and np.shape(loss) == ()
            assert ours.grad_weight.tobytes() == expected.grad_weight.tobytes()
            assert ours.grad_input.shape == (20,)
            assert ours.grad_input.tobytes() == expected.grad_input.tobytes()
            logits = weight @ x[0] + bias
            del options["linear_bias"]
            of_logits = fs.cross_entropy(logits, one, **options)
            assert of_logits == pytest.approx(float(loss), rel=1e-5)


@DTYPES
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}], ids=str)
@WEIGHTED
def test_all_ignored(dtype, options, weighted):
    x, weight, target, bias, class_weight = loss_problem(dtype=dtype)
    options = {**options, "linear_bias": bias, "weight": class_weight if weighted else None}
    target[:] = IGNORED
    for reduction, expected in (("mean", math.nan), ("sum", 0.0), ("none", np.zeros(65))):
        grad = fs.linear_cross_entropy_grad(
            x, weight, target, reduction=reduction, grad_input=True, **options
        )
        loss = fs.linear_cross_entropy(x, weight, target, reduction=reduction, **options)
        np.testing.assert_array_equal(loss, expected)
        np.testing.assert_array_equal(grad.loss, expected)
        assert not (grad.grad_weight.any() or grad.grad_bias.any() or grad.grad_input.any())
        of_logits = fs.cross_entropy(x, target, reduction=reduction)
        np.testing.assert_array_equal(of_logits, expected)
        np.testing.assert_array_equal(fs.nll_loss(x, target, reduction=reduction), expected)


@DTYPES
@TARGETS
def test_no_rows(dtype, soft):
    x, weight, _, bias, _ = loss_problem(dtype=dtype)
    target = np.zeros((0, len(weight)), dtype) if soft else np.zeros(0, int)
    for reduction, expected in (("mean", math.nan), ("sum", 0.0), ("none", np.zeros(0))):
        grad = fs.linear_cross_entropy_grad(
            x[:0], weight, target, linear_bias=bias, reduction=reduction, grad_input=True
        )
        np.testing.assert_array_equal(grad.loss, expected)
        assert grad.grad_input.shape == (0, 20)
        assert not (grad.grad_weight.any() or grad.grad_bias.any())
        loss = fs.linear_cross_entropy(x[:0], weight, target, reduction=reduction)
        np.testing.assert_array_equal(loss, expected)
        logits = np.zeros((0, len(weight)), dtype)
        of_logits = fs.cross_entropy(logits, target, reduction=reduction)
        np.testing.assert_array_equal(of_logits, expected)
    with pytest.raises(ValueError, match="weight must have shape"):
        fs.linear_cross_entropy_grad(x[:0], weight, target, weight=np.ones(3))


def test_classes_that_weigh_nothing():
    """The mean of rows that weigh 0 is 0 / 0 if one is not ignored, as in PyTorch."""
    x, weight, *_ = loss_problem(4)
    options = {"weight": [0, 1, 1, 1, 1, 1, 1]}
    grad = fs.linear_cross_entropy_grad(x, weight, [0] * 4, grad_input=True, **options)
    assert math.isnan(grad.loss)
    assert np.isnan(grad.grad_weight).all() and np.isnan(grad.grad_input).all()
    target = [0, -100, 0, 0]
    grad = fs.linear_cross_entropy_grad(x, weight, target, grad_input=True, **options)
    assert np.isnan(grad.grad_input).all(axis=1).tolist() == [True, False, True, True]
    assert not grad.grad_input[1].any()
    assert fs.linear_cross_entropy(x, weight, [0] * 4, reduction="sum", **options) == 0
    logits = np.array([[-np.inf, 0.0]])
    assert fs.cross_entropy(logits, [0], [0, 1], reduction="sum") == 0
    assert fs.cross_entropy(logits, [[0.0, 1.0]]) == 0
    assert fs.cross_entropy(logits, [0]) == math.inf


@DTYPES
def test_classes_that_weigh_nothing_and_a_position_that_is_ignored(dtype):
    x, weight = np.ones((2, 3), dtype), np.ones((4, 2, 3), dtype)
    target = np.array([[2, -100], [2, -100]])
    grad = fs.linear_cross_entropy_grad(
        x, weight, target, linear_bias=weight[..., 0], weight=np.array([1, 1, 0, 1], dtype)
    )
    for gradient in (grad.grad_weight, grad.grad_bias):
        assert np.isnan(gradient[:, 0]).all()
        assert not gradient[:, 1].any()


def test_ignore_index_may_be_a_class_or_none():
    x, weight, target, *_ = loss_problem()
    target[target == IGNORED] = 0
    kept = target != 2
    assert 0 < kept.sum() < len(x)
    ours = fs.linear_cross_entropy(x, weight, target, ignore_index=2)
    assert ours == pytest.approx(fs.linear_cross_entropy(x[kept], weight, target[kept]), rel=1e-6)
    target[~kept] = IGNORED
    assert fs.linear_cross_entropy(x, weight, target, ignore_index=None) == ours
    assert fs.cross_entropy(x, target, ignore_index=-100) == pytest.approx(
        fs.cross_entropy(x[kept], target[kept]), rel=1e-6
    )


@DTYPES
def test_nan_shows(dtype):
    x, weight, target, *_ = loss_problem(dtype=dtype)
    x[5, 3] = np.nan
    losses = fs.linear_cross_entropy(x, weight, target, reduction="none")
    assert np.isnan(losses[5]) and np.isfinite(np.delete(losses, 5)).all()
    grad = fs.linear_cross_entropy_grad(x, weight, target)
    assert math.isnan(grad.loss) and np.isnan(grad.grad_weight).all()


@DTYPES
@TARGETS
def test_dimensions_after_the_classes(dtype, soft):
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((5, 4, 2, 3)).astype(dtype)
    target = rng.random((5, 4, 2, 3)).astype(dtype) if soft else rng.integers(0, 4, (5, 2, 3))
    ours = fs.cross_entropy(logits, target, reduction="none")
    assert ours.shape == (5, 2, 3)
    for i, j in np.ndindex(2, 3):
        expected = fs.cross_entropy(logits[..., i, j], target[..., i, j], reduction="none")
        assert ours[:, i, j].tobytes() == expected.tobytes()
    assert fs.cross_entropy(logits, target) == pytest.approx(ours.mean(dtype=float), rel=1e-7)
