"""Equal bit for bit in every backend: a step and its parts, an epoch and its steps, a call by any
number of threads."""

import hashlib
import operator
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from threading import Barrier

import numpy as np
import pytest

from fastsoftmax.optim import SGDSettings, Velocity
from helpers import make_problem, shape_id

SETTINGS = {
    "plain": SGDSettings(lr=0.3),
    "weight_decay": SGDSettings(lr=0.3, weight_decay=0.07),
    "decay_bias=False": SGDSettings(lr=0.3, weight_decay=0.07, decay_bias=False),
    "momentum": SGDSettings(lr=0.1, momentum=0.9),
    "dampening": SGDSettings(lr=0.1, momentum=0.9, dampening=0.4),
    "nesterov": SGDSettings(lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.07),
    "l1": SGDSettings(lr=0.3, weight_decay=0.07, l1=0.05),
    "l1, momentum": SGDSettings(lr=0.1, momentum=0.8, nesterov=True, l1=0.05),
    "momentum, decay_bias=False": SGDSettings(
        lr=0.1, momentum=0.9, dampening=0.4, weight_decay=0.07, decay_bias=False
    ),
}

# (N, D, K, batch_size). By rows: chunks of 64 and of fewer rows; vectors and class blocks that are
# full and that are not. (200, 65, 97, 64) and (150, 37, 40, 60) have batches of fewer rows than
# classes, the latter only its last one; these go by tiles. So do the last three, for the size of
# their weight: (1100, 97, 700, 1060) has two spans of rows, and of a batch of (80, 3300, 20, 40)
# threads share the classes.
SHAPES = [
    (300, 37, 13, 128),
    (257, 784, 10, 257),
    (130, 16, 2, 65),
    (9, 1, 3, 4),
    (200, 65, 97, 64),
    (150, 37, 40, 60),
    (70, 784, 90, 33),
    (1100, 97, 700, 1060),
    (80, 3300, 20, 40),
]


@pytest.fixture(params=SHAPES, ids=shape_id)
def shape(request):
    return request.param


@pytest.fixture(params=SETTINGS.values(), ids=SETTINGS)
def sgd(request):
    return request.param


@pytest.fixture
def problem(shape, row_type):
    return make_problem(*shape[:3], row_type)


class State:
    """Weight and bias in training, and their velocity if there is momentum."""

    def __init__(self, problem, sgd):
        self.weight, self.bias = problem.parameters()
        self.velocity = Velocity.of(self.weight, self.bias) if sgd.momentum else None

    def bits(self):
        arrays = [self.weight, self.bias]
        if self.velocity is not None:
            arrays += [self.velocity.weight, self.velocity.bias]
            assert self.velocity.started
        return [array.tobytes() for array in arrays]


def test_train_step_is_loss_and_grad_then_sgd_update(backend, problem, sgd):
    x, target, _, _ = problem
    fused, parts = State(problem, sgd), State(problem, sgd)
    for _ in range(3):
        loss, *_ = backend.train_step(
            x, target, fused.weight, fused.bias, sgd, fused.velocity, scale=problem.scale
        )
        loss_of_parts, *gradients = backend.loss_and_grad(
            x, target, parts.weight, parts.bias, scale=problem.scale
        )
        backend.sgd_update(parts.weight, parts.bias, *gradients, len(x), sgd, parts.velocity)
        assert loss == loss_of_parts
        assert fused.bits() == parts.bits()
    assert fused.weight.tobytes() != problem.weight.tobytes()


def test_train_epoch_is_a_loop_of_train_step(backend, problem, shape, sgd):
    x, target, _, _ = problem
    n_rows, *_, batch_size = shape
    rng = np.random.default_rng(0)
    whole, steps = State(problem, sgd), State(problem, sgd)
    for order in (rng.permutation(n_rows), rng.integers(0, n_rows, n_rows + batch_size // 2)):
        sums = backend.train_epoch(
            x,
            target,
            order,
            batch_size,
            whole.weight,
            whole.bias,
            sgd,
            whole.velocity,
            scale=problem.scale,
        )
        batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        parts = zip(
            *(
                backend.train_step(
                    x[batch],
                    target[batch],
                    steps.weight,
                    steps.bias,
                    sgd,
                    steps.velocity,
                    scale=problem.scale,
                )
                for batch in batches
            ),
            strict=True,
        )
        assert whole.bits() == steps.bits()
        # sum() rounds otherwise from Python 3.12
        assert sums == tuple(reduce(operator.add, part, 0.0) for part in parts)


def test_train_epoch_without_order(backend, problem, shape):
    x, target, _, _ = problem
    sgd = SETTINGS["momentum"]
    states, sums = [], []
    for order in (None, np.arange(len(x))):
        state = State(problem, sgd)
        arguments = (x, target, order, shape[3], state.weight, state.bias, sgd, state.velocity)
        sums.append(backend.train_epoch(*arguments, scale=problem.scale))
        states.append(state.bits())
    assert sums[0] == sums[1]
    assert states[0] == states[1]


def test_one_step_epoch_is_train_step(backend, problem, sgd):
    x, target, _, _ = problem
    step, epoch = State(problem, sgd), State(problem, sgd)
    assert backend.train_step(
        x, target, step.weight, step.bias, sgd, step.velocity, scale=problem.scale
    ) == backend.train_epoch(
        x,
        target,
        None,
        len(x) + 1,
        epoch.weight,
        epoch.bias,
        sgd,
        epoch.velocity,
        scale=problem.scale,
    )
    assert step.bits() == epoch.bits()


def test_velocity_is_left_alone_without_momentum(backend):
    x, target, weight, bias = make_problem(5, 3, 4)
    velocity = Velocity.of(weight, bias)
    velocity.weight[...] = 7
    for start in (False, True):
        velocity.started = start
        results = []
        for given in (None, velocity):
            new_weight, new_bias = weight.copy(), bias.copy()
            backend.train_step(x, target, new_weight, new_bias, SGDSettings(lr=0.1), given)
            results.append(new_weight.tobytes() + new_bias.tobytes())
        assert results[0] == results[1]
        assert velocity.started == start
        assert (velocity.weight == 7).all() and not velocity.bias.any()


def fingerprint(backend, problem, num_threads):
    """sha256 of all that the functions of the backend return or update."""
    x, target, weight, bias = problem
    keywords = {"scale": problem.scale, "num_threads": num_threads}
    sgd = SETTINGS["nesterov"]
    state = State(problem, sgd)
    order = np.random.default_rng(0).permutation(len(x))
    parts = []
    trained = (state.weight, state.bias, sgd, state.velocity)
    for batch_size in (len(x), 100):
        parts.append(backend.train_epoch(x, target, order, batch_size, *trained, **keywords))
        parts.append(backend.train_step(x, target, *trained, **keywords))
    parts += state.bits()
    loss, *gradients = backend.loss_and_grad(x, target, weight, bias, **keywords)
    logits = backend.predict_logits(x, weight, bias, **keywords)
    probabilities = backend.softmax(logits, num_threads=num_threads)
    log_p = backend.log_softmax(logits, num_threads=num_threads)
    parts += [loss, backend.evaluate(x, target, weight, bias, **keywords)]
    parts += [array.tobytes() for array in (*gradients, logits, probabilities, log_p)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


# (N, D, K): 7 chunks; chunks of several blocks, of which the last is not full; fewer chunks than
# threads; by tiles in two spans of rows, and in fewer rows than threads
@pytest.mark.parametrize(
    "shape",
    [(400, 70, 11), (64 * 64 + 200, 5, 3), (3, 20, 4), (1100, 97, 700), (3, 784, 90)],
    ids=str,
)
def test_same_bits_for_any_number_of_threads(backend, shape, row_type, threads):
    problem = make_problem(*shape, row_type)
    expected = fingerprint(backend, problem, 1)
    for _ in range(2):
        assert fingerprint(backend, problem, threads) == expected


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("shape", [(400, 70, 11), (100, 97, 700)], ids=str)
def test_same_bits_from_several_python_threads(backend, shape, row_type, num_threads):
    problem = make_problem(*shape, row_type)
    expected = fingerprint(backend, problem, 1)
    n_callers = 4
    together = Barrier(n_callers, timeout=30)

    def call():
        together.wait()
        return [fingerprint(backend, problem, num_threads) for _ in range(3)]

    with ThreadPoolExecutor(n_callers) as pool:
        futures = [pool.submit(call) for _ in range(n_callers)]
        results = [future.result(timeout=60) for future in futures]
    assert results == [[expected] * 3] * n_callers
