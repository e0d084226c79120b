"""train_epoch takes a learning rate for each step: the same bits as a loop of steps with these."""

import numpy as np
import pytest

from fastsoftmax.optim import SGDSettings, Velocity
from helpers import make_problem, shape_id

# (N, D, K, batch_size): by rows, the last batch smaller; by tiles, in several spans
SHAPES = [(300, 37, 13, 64), (1100, 97, 700, 550)]
LR = [0.3, 0.0, 0.7, 0.05, 0.2]
SETTINGS = [
    SGDSettings(lr=9.0),
    SGDSettings(lr=9.0, weight_decay=0.07, decay_bias=False),
    SGDSettings(lr=9.0, momentum=0.9, dampening=0.4),
    SGDSettings(lr=9.0, momentum=0.9, nesterov=True),
]


def parameters(problem):
    weight, bias = problem.parameters()
    return weight, bias, Velocity.of(weight, bias)


def bits(parameters):
    weight, bias, velocity = parameters
    return [a.tobytes() for a in (weight, bias, velocity.weight, velocity.bias)]


@pytest.mark.parametrize("sgd", SETTINGS, ids=repr)
@pytest.mark.parametrize("shape", SHAPES, ids=shape_id)
def test_as_a_loop_of_steps(backend, shape, sgd, row_type, threads, monkeypatch):
    if backend.name == "numba":  # an epoch is several calls of the driver
        monkeypatch.setattr(backend.kernels, "_CALL", 2 * shape[3] * shape[1] * shape[2])
    *of_problem, batch_size = shape
    problem = make_problem(*of_problem, row_type)
    order = np.random.default_rng(0).permutation(shape[0])
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    lr = np.array(LR[: len(batches)])
    options = {"scale": problem.scale, "num_threads": threads}
    whole, steps = parameters(problem), parameters(problem)
    for _ in range(2):
        weight, bias, velocity = whole
        given = problem.x, problem.target, order, batch_size, weight, bias, sgd, velocity
        backend.train_epoch(*given, lr=lr, **options)
        weight, bias, velocity = steps
        for batch, rate in zip(batches, lr, strict=True):
            now = SGDSettings(
                rate, sgd.momentum, sgd.dampening, sgd.nesterov, sgd.weight_decay, sgd.decay_bias
            )
            given = problem.x[batch], problem.target[batch], weight, bias, now, velocity
            backend.train_step(*given, **options)
    assert bits(whole) == bits(steps)
    assert whole[0].tobytes() != problem.weight.tobytes()


def test_of_any_numbers(backend):
    problem = make_problem(70, 5, 3)
    results = []
    for lr in (np.float32([0.5, 0.25, 1]), [0.5, 0.25, 1], np.array([0.5, 0.25, 1])):
        weight, bias, _ = parameters(problem)
        backend.train_epoch(
            problem.x, problem.target, None, 30, weight, bias, SGDSettings(1), lr=lr
        )
        results.append(weight.tobytes())
    assert len(set(results)) == 1


@pytest.mark.parametrize(
    "lr, error, message",
    [
        ([0.1, 0.2], ValueError, r"lr must be a number, or have shape \(3,\) .*got \(2,\)"),
        ([0.1, -1, 0.2], ValueError, r"lr must be >= 0 and finite, got -1\.0"),
        ([0.1, np.nan, 0.2], ValueError, "lr must be >= 0 and finite, got nan"),
        ([0.1, 1e39, 0.2], ValueError, r"lr must be >= 0 and finite, got 1e\+39"),
        (["a", "b", "c"], TypeError, "lr must be an array of numbers"),
        ("a", TypeError, "lr must be a number, got 'a'"),
    ],
)
def test_refused(backend, lr, error, message):
    problem = make_problem(70, 5, 3)
    weight, bias, _ = parameters(problem)
    given = problem.x, problem.target, None, 30, weight, bias, SGDSettings(1)
    with pytest.raises(error, match=message):
        backend.train_epoch(*given, lr=lr)
    assert weight.tobytes() == problem.weight.tobytes()
