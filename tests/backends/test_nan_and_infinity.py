"""NaN and infinity in rows, parameters and logits show in the results of these, and only there."""

import math

import numpy as np
import pytest

from fastsoftmax.backends import get_backend
from fastsoftmax.optim import SGDSettings
from helpers import make_problem

_numpy = get_backend("numpy")


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "shape, row, feature",
    [((67, 37, 12), row, feature) for row in (0, 63, 64, 66) for feature in (0, 16, 36)]
    + [((67, 97, 700), 66, 96), ((67, 97, 700), 5, 0)],
    ids=str,
)
def test_a_bad_feature_shows(bad, shape, row, feature, backend):
    """The feature is in a full vector or after all; the row is an odd last one or before it."""
    good = make_problem(*shape)
    x = good.x.copy()
    target = _numpy.predict_logits(x, good.weight, good.bias).argmax(axis=1)
    assert backend.evaluate(x, target, good.weight, good.bias)[1] == 67
    x[row, feature] = bad
    for label in range(12):  # whatever the first largest of its logits may seem to be
        target[row] = label
        assert not math.isfinite(backend.loss_and_grad(x, target, good.weight, good.bias)[0])
        loss, correct, *_ = backend.evaluate(x, target, good.weight, good.bias)
        assert not math.isfinite(loss) and correct == 66
        weight, bias = good.parameters()
        loss, correct, *_ = backend.train_epoch(
            x, target, None, 67, weight, bias, SGDSettings(lr=0.1)
        )
        assert not math.isfinite(loss) and correct == 66
    # nor is it lost in the sum over batches; logits of other rows stay as they were
    weight, bias = good.parameters()
    loss, *_ = backend.train_epoch(x, target, None, 1, weight, bias, SGDSettings(lr=0))
    assert not math.isfinite(loss)
    logits = backend.predict_logits(x, good.weight, good.bias)
    assert np.isfinite(np.delete(logits, row, axis=0)).all()
    assert not np.isfinite(logits[row]).any()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_parameters_show(bad, backend):
    problem = make_problem(5, 3, 4)
    for k in range(4):
        weight, bias = problem.parameters()
        weight[k, 1] = bad
        assert not math.isfinite(backend.evaluate(problem.x, problem.target, weight, bias)[0])


INFINITE = [
    ([-np.inf, 0], [0, 1], [-np.inf, 0]),
    ([0, -np.inf, 0], [0.5, 0, 0.5], [-math.log(2), -np.inf, -math.log(2)]),
    ([-np.inf, -np.inf], [np.nan] * 2, [np.nan] * 2),
    ([np.inf, 0], [np.nan] * 2, [np.nan] * 2),
    ([np.inf, np.inf, 1], [np.nan] * 3, [np.nan] * 3),
    ([np.inf, -np.inf], [np.nan] * 2, [np.nan] * 2),
    ([0, np.nan, 1], [np.nan] * 3, [np.nan] * 3),
    ([np.nan, 0], [np.nan] * 2, [np.nan] * 2),
    ([-np.inf], [np.nan], [np.nan]),
    ([np.inf], [np.nan], [np.nan]),
    ([-5e37], [1], [0]),
]


@pytest.mark.parametrize("logits, softmax, log_softmax", INFINITE, ids=lambda z: str(z))
def test_softmax_of_infinite_logits(logits, softmax, log_softmax, backend):
    """As PyTorch defines it."""
    z = np.array([[0] * len(logits), logits, [1] * len(logits)], np.float32)
    np.testing.assert_allclose(backend.softmax(z)[1], softmax, rtol=2e-7)
    np.testing.assert_allclose(backend.log_softmax(z)[1], log_softmax, rtol=2e-7)
    for neighbour in (0, 2):
        np.testing.assert_allclose(backend.softmax(z)[neighbour], 1 / len(logits), rtol=2e-7)


def test_a_class_masked_by_an_infinite_bias(backend):
    x, _, weight, bias = make_problem(20, 5, 3)
    bias = bias.copy()
    bias[1] = -np.inf
    target = np.arange(20) % 2 * 2  # never 1
    loss, grad_weight, grad_bias = backend.loss_and_grad(x, target, weight, bias)
    two, *_ = backend.loss_and_grad(x, target // 2, weight[::2].copy(), bias[::2].copy())
    assert loss == pytest.approx(two, rel=1e-6)
    assert grad_bias[1] == 0 and not grad_weight[1].any()
    assert backend.evaluate(x, np.full(20, 1), weight, bias)[0] == np.inf
