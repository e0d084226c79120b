"""L1 by proximal steps: exact zeros in the weight, and nothing of it in the bias."""

import numpy as np
import pytest

from fastsoftmax.optim import SGDSettings, Velocity
from helpers import make_problem, shape_id

# (N, D, K): by rows; by tiles; by tiles, of which the weight is updated where it is
SHAPES = [(300, 37, 13), (1100, 97, 700), (40, 4096, 40)]


@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
def test_small_elements_become_zero(backend, shape, row_type):
    problem = make_problem(*shape, row_type)
    sgd, plain = SGDSettings(lr=0.5, l1=0.1), SGDSettings(lr=0.5)
    weight, bias = problem.parameters()
    without, bias_without = problem.parameters()
    given = problem.x, problem.target
    backend.train_step(*given, weight, bias, sgd, scale=problem.scale)
    backend.train_step(*given, without, bias_without, plain, scale=problem.scale)
    zeros = np.abs(without) <= np.float32(0.5) * np.float32(0.1)
    assert 0 < zeros.sum() < weight.size
    assert not weight[zeros].any() and not np.signbit(weight[zeros]).any()
    expected = without - np.sign(without) * np.float32(0.05)
    np.testing.assert_array_equal(weight[~zeros], expected[~zeros])
    assert bias.tobytes() == bias_without.tobytes()


def test_velocity_knows_nothing_of_it(backend):
    problem = make_problem(70, 17, 5)
    velocities = []
    for l1 in (0.0, 0.2):
        weight, bias = problem.parameters()
        velocity = Velocity.of(weight, bias)
        sgd = SGDSettings(lr=0.5, momentum=0.9, l1=l1)
        backend.train_step(problem.x, problem.target, weight, bias, sgd, velocity)
        velocities.append(velocity.weight.tobytes() + velocity.bias.tobytes())
    assert velocities[0] == velocities[1]


def test_what_is_not_finite_shows(backend):
    x, target = np.ones((4, 17), np.float32), np.array([0, 1, 2, 0])
    weight, bias = np.zeros((3, 17), np.float32), np.zeros(3, np.float32)
    grad = np.zeros_like(weight)
    grad[0, :3] = np.nan, np.inf, -np.inf
    backend.sgd_update(weight, bias, grad, bias.copy(), 1.0, SGDSettings(lr=0.5, l1=0.1))
    assert np.isnan(weight[0, 0]) and weight[0, 1] == -np.inf and weight[0, 2] == np.inf
    assert not weight[1:].any()
    sums = backend.train_step(x, target, weight, bias, SGDSettings(lr=0.5, l1=0.1))
    assert np.isnan(sums.loss)


def test_by_the_learning_rate_of_each_step(backend):
    problem = make_problem(90, 17, 5)
    lr, results = [0.5, 0.0, 0.25], []
    weight, bias = problem.parameters()
    given = problem.x, problem.target, None, 30, weight, bias, SGDSettings(1.0, l1=0.2)
    backend.train_epoch(*given, lr=lr)
    results.append(weight)
    weight, bias = problem.parameters()
    for i, rate in enumerate(lr):
        rows = slice(30 * i, 30 * i + 30)
        step = SGDSettings(rate, l1=0.2)
        backend.train_step(problem.x[rows], problem.target[rows], weight, bias, step)
    assert weight.tobytes() == results[0].tobytes()
