"""Values that can be worked out by hand; and the NumPy oracle against plain loops."""

import math

import numpy as np
import pytest

from fastsoftmax.backends import get_backend
from fastsoftmax.optim import SGDSettings
from helpers import make_problem, shape_id

_numpy = get_backend("numpy")

# ---- known values ----


def test_hand_computed_zero_weight(backend):
    x = np.array([[1, 2], [3, 4]], np.float32)
    target = np.array([0, 1])
    weight, bias = np.zeros((2, 2), np.float32), np.zeros(2, np.float32)
    loss, grad_weight, grad_bias = backend.loss_and_grad(x, target, weight, bias)
    # residuals (-1/2, 1/2) and (1/2, -1/2)
    assert loss == pytest.approx(2 * math.log(2), rel=1e-7)
    assert grad_weight.tolist() == [[1, 1], [-1, -1]]
    assert grad_bias.tolist() == [0, 0]
    # the mean gradient is half the sum; the first of equal logits is the prediction
    sums = backend.train_step(x, target, weight, bias, SGDSettings(lr=1))
    assert sums == (loss, 1, 2, 2)
    assert weight.tolist() == [[-0.5, -0.5], [0.5, 0.5]]
    assert bias.tolist() == [0, 0]


def test_hand_computed_softmax(backend):
    x = np.array([[1, 0], [0, 1]], np.float32)
    weight, bias = np.array([[math.log(3), 0], [0, 0]], np.float32), np.zeros(2, np.float32)
    loss, grad_weight, grad_bias = backend.loss_and_grad(x, np.array([1, 0]), weight, bias)
    # probabilities (3/4, 1/4) and (1/2, 1/2)
    assert loss == pytest.approx(math.log(4) + math.log(2), rel=2e-7)
    np.testing.assert_allclose(grad_weight, [[0.75, -0.5], [-0.75, 0.5]], rtol=2e-7)
    np.testing.assert_allclose(grad_bias, [0.25, -0.25], rtol=4e-7)
    np.testing.assert_allclose(
        backend.softmax(np.array([[math.log(3), 0]], np.float32)), [[0.75, 0.25]], rtol=2e-7
    )


def test_uint8_pixels(backend):
    x = np.array([[0, 51, 255]], np.uint8)
    weight = np.array([[7, 5, 1], [0, 10, -1]], np.float32)
    logits = backend.predict_logits(x, weight, np.array([0.5, 0], np.float32), scale=1 / 255)
    np.testing.assert_allclose(logits, [[2.5, 1]], rtol=5e-7)


def test_oracle_against_plain_loops():
    rng = np.random.default_rng(0)
    x, weight, bias = rng.normal(size=(5, 3)), rng.normal(size=(4, 3)), rng.normal(size=4)
    target = [0, 3, 1, 1, 2]
    loss = 0.0
    for row, label in zip(x.tolist(), target, strict=True):
        logits = [
            sum(a * b for a, b in zip(row, w, strict=True)) + c
            for w, c in zip(weight.tolist(), bias.tolist(), strict=True)
        ]
        loss += math.log(sum(math.exp(z) for z in logits)) - logits[label]
    ours = _numpy.loss_and_grad(x, np.array(target), weight, bias)[0]
    assert ours == pytest.approx(loss, rel=1e-14)
    assert _numpy.evaluate(x, np.array(target), weight, bias)[0] == ours


@pytest.mark.parametrize("shape", [(1, 1, 2), (4, 3, 2), (5, 4, 7)], ids=shape_id)
def test_oracle_gradient_is_the_slope_of_its_loss(shape, row_type):
    problem = make_problem(*shape, row_type)
    parameters = problem.parameters(np.float64)
    x, target = problem.x, problem.target
    _, *gradients = _numpy.loss_and_grad(x, target, *parameters, scale=problem.scale)
    step = 1e-5
    for parameter, gradient in zip(parameters, gradients, strict=True):
        for index in np.ndindex(parameter.shape):
            kept = parameter[index]
            losses = []
            for moved in (kept + step, kept - step):
                parameter[index] = moved
                losses.append(_numpy.evaluate(x, target, *parameters, scale=problem.scale)[0])
            parameter[index] = kept
            slope = (losses[0] - losses[1]) / (2 * step)
            assert slope == pytest.approx(gradient[index], rel=1e-7, abs=1e-9)


EXTREME = {
    "plus and minus 100": [100, -100, 99],
    "plus and minus 1e4": [-1e4, 1e4, 0, 9990],
    "certain": [0, 0, 1e4, 0],
    "all equal": [3] * 11,
    "all equal and large": [1e4] * 5,
    "all equal and far below": [-1e4] * 5,
    "beyond the range of exp": [88, 89, 0, -88, -104, 200],
    "two": [-100, 100],
}


# ---- extreme logits ----


@pytest.mark.parametrize("logits", EXTREME.values(), ids=EXTREME)
def test_extreme_logits(logits, backend):
    n_classes = len(logits)
    z = np.array(logits, np.float64)
    log_p = z - z.max() - math.log(np.exp(z - z.max()).sum())
    x, weight = np.ones((1, 1), np.float32), np.array(logits, np.float32)[:, None]
    bias = np.zeros(n_classes, np.float32)
    for label in range(n_classes):
        target = np.array([label])
        loss, grad_weight, grad_bias = backend.loss_and_grad(x, target, weight, bias)
        assert loss == pytest.approx(-log_p[label], rel=2e-7, abs=2e-7)
        residual = np.exp(log_p) - (np.arange(n_classes) == label)
        np.testing.assert_allclose(grad_weight[:, 0], residual, rtol=0, atol=2e-7)
        np.testing.assert_allclose(grad_bias, residual, rtol=0, atol=2e-7)
        evaluated = backend.evaluate(x, target, weight, bias)
        assert evaluated == (loss, z.argmax() == label, 1, 1)
        trained = backend.train_step(x, target, weight.copy(), bias.copy(), SGDSettings(lr=0.1))
        assert trained == evaluated


def test_certain_and_right_costs_nothing(backend):
    x, weight = np.ones((1, 1), np.float32), np.array([[1e4], [0], [-1e4]], np.float32)
    loss, grad_weight, grad_bias = backend.loss_and_grad(
        x, np.array([0]), weight, np.zeros(3, np.float32)
    )
    assert loss == 0
    assert not grad_weight.any() and not grad_bias.any()


def test_nearly_equal_logits_are_not_a_tie(backend):
    # they differ by less than the spacing of their log-softmax, which cannot tell the largest
    x, weight = np.ones((2, 1), np.float32), np.array([[0], [1e-9]], np.float32)
    target, bias = np.array([0, 1]), np.zeros(2, np.float32)
    assert backend.evaluate(x, target, weight, bias)[1] == 1
    assert backend.evaluate(x[:1], target[:1], weight, bias)[1] == 0
    assert backend.train_step(x[:1], target[:1], weight, bias, SGDSettings(lr=0))[1] == 0
