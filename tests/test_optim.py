"""Settings of SGD, schedules, and what momentum remembers."""

from __future__ import annotations

import dataclasses
import math
import pickle

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import Velocity, optim
from fastsoftmax.optim import SGDSettings

NAN, INF = math.nan, math.inf


def test_defaults_are_those_of_torch():
    sgd = SGDSettings(0.1)
    assert dataclasses.asdict(sgd) == {
        "lr": 0.1, "momentum": 0.0, "dampening": 0.0, "nesterov": False, "weight_decay": 0.0,
        "decay_bias": True,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay", "dampening"])
@pytest.mark.parametrize("value", ["0.1", None, 1j, [0.1]], ids=repr)
def test_not_a_number(name, value):
    with pytest.raises(TypeError) as error:
        SGDSettings(**{"lr": 0.1, name: value})
    assert str(error.value) == f"{name} must be a number, got {value!r}"


@pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay", "dampening"])
@pytest.mark.parametrize("value", [NAN, INF, -INF, np.float32("nan")], ids=repr)
def test_not_finite(name, value):
    with pytest.raises(ValueError) as error:
        SGDSettings(**{"lr": 0.1, name: value})
    assert str(error.value) == f"{name} must be finite in float32, got {value!r}"


@pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay"])
@pytest.mark.parametrize("value", [-1, -0.1, -5e-324], ids=repr)
def test_negative(name, value):
    with pytest.raises(ValueError) as error:
        SGDSettings(**{"lr": 0.1, name: value})
    assert str(error.value) == f"{name} must be >= 0, got {value!r}"


@pytest.mark.parametrize("momentum, dampening", [(0.0, 0.0), (0.9, 0.5), (0.9, -0.5), (0.0, 0.5)])
def test_nesterov_needs_momentum_and_no_dampening(momentum, dampening):
    with pytest.raises(ValueError) as error:
        SGDSettings(0.1, momentum=momentum, dampening=dampening, nesterov=True)
    assert str(error.value) == (
        "nesterov needs momentum > 0 and dampening == 0, "
        f"got momentum={momentum}, dampening={dampening}"
    )


def test_what_is_allowed_as_in_torch():
    for sgd in (
        SGDSettings(0),
        SGDSettings(0.1, momentum=1.5),
        SGDSettings(0.1, momentum=0.9, dampening=-0.5),
        SGDSettings(0.1, momentum=0.9, dampening=2.0),
        SGDSettings(0.1, dampening=0.5),
        SGDSettings(0.1, momentum=0.9, nesterov=True),
        SGDSettings(np.float32(0.1), weight_decay=np.int64(1)),
    ):
        assert sgd == dataclasses.replace(sgd)


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(SGDSettings)])
def test_frozen(field):
    sgd = SGDSettings(0.1, momentum=0.9)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(sgd, field, 0.5)
    assert sgd == SGDSettings(0.1, momentum=0.9)


def test_replace_validates_again():
    with pytest.raises(ValueError, match="lr must be >= 0, got -1"):
        dataclasses.replace(SGDSettings(0.1), lr=-1)


def test_equal_hashable_and_picklable():
    sgd = SGDSettings(0.1, momentum=0.9, weight_decay=1e-4)
    assert sgd == SGDSettings(0.1, momentum=0.9, weight_decay=1e-4) != SGDSettings(0.1)
    assert hash(sgd) == hash(SGDSettings(0.1, momentum=0.9, weight_decay=1e-4))
    assert pickle.loads(pickle.dumps(sgd)) == sgd


# ---- schedules ----


def values(schedule, n):
    return [schedule(epoch) for epoch in range(n)]


def test_step():
    expected = [0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2]
    assert values(optim.step_decay(0.8, every=3, gamma=0.5), 7) == expected
    assert values(optim.step_decay(0.1, every=1), 3) == pytest.approx(
        [0.1, 0.01, 0.001], rel=1e-15
    )


def test_exponential():
    assert values(optim.exponential(0.8, 0.5), 4) == [0.8, 0.4, 0.2, 0.1]
    assert values(optim.exponential(0.8, 1.0), 3) == [0.8] * 3


def test_cosine():
    half = math.sqrt(0.5)
    expected = [0.1, 0.05 * (1 + half), 0.05, 0.05 * (1 - half), 0.0]
    assert values(optim.cosine(0.1, epochs=4), 5) == pytest.approx(expected, rel=1e-15, abs=1e-18)
    assert optim.cosine(0.1, epochs=4)(0) == 0.1
    assert values(optim.cosine(0.1, epochs=4), 9)[4:] == [0.0] * 5


@pytest.mark.parametrize(
    "ours, theirs, options",
    [
        (optim.step_decay(0.1, every=3, gamma=0.5), "StepLR", {"step_size": 3, "gamma": 0.5}),
        (optim.exponential(0.1, 0.9), "ExponentialLR", {"gamma": 0.9}),
        (optim.cosine(0.1, epochs=10), "CosineAnnealingLR", {"T_max": 10}),
    ],
    ids=["step", "exponential", "cosine"],
)
def test_schedules_are_those_of_torch(ours, theirs, options):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    scheduler = getattr(torch.optim.lr_scheduler, theirs)(optimizer, **options)
    expected = []
    for _ in range(10):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    # PyTorch computes each rate from the one before
    assert values(ours, 10) == pytest.approx(expected, rel=1e-13)


# ---- Velocity ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_velocity_of_parameters_is_zero(dtype):
    weight, bias = np.ones((3, 5), dtype), np.ones(3, dtype)
    velocity = Velocity.of(weight, bias)
    for array, parameter in ((velocity.weight, weight), (velocity.bias, bias)):
        assert array.shape == parameter.shape and array.dtype == dtype
        assert not array.any() and not np.shares_memory(array, parameter)
    assert velocity.started is False


@pytest.mark.parametrize("name", fs.available_backends())
def test_the_first_step_is_undamped_and_later_ones_are_damped(name):
    x = np.eye(2, dtype=np.float32)
    weight, bias = np.zeros((2, 2), np.float32), np.zeros(2, np.float32)
    velocity = Velocity.of(weight, bias)
    sgd = SGDSettings(lr=4.0, momentum=0.5, dampening=0.75)
    backend = fs.get_backend(name)
    backend.train_step(x, np.array([0, 1]), weight, bias, sgd, velocity)
    assert velocity.started
    np.testing.assert_array_equal(velocity.weight, [[-0.25, 0.25], [0.25, -0.25]])
    np.testing.assert_array_equal(weight, [[1, -1], [-1, 1]])
    backend.train_step(x, np.array([0, 1]), weight, bias, sgd, velocity)
    # the gradient at logits of 1 and -1 is (sigmoid(2) - 1) / 2
    v = 0.5 * -0.25 + 0.25 * (1 / (1 + math.exp(-2)) - 1) / 2
    np.testing.assert_allclose(velocity.weight, [[v, -v], [-v, v]], rtol=2e-7)
    np.testing.assert_allclose(weight[0, 0], 1 - 4 * v, rtol=2e-7)


def test_velocities_do_not_share():
    a, b = (Velocity.of(np.zeros((2, 3), np.float32), np.zeros(2, np.float32)) for _ in range(2))
    a.weight += 1
    a.started = True
    assert not b.weight.any() and not b.started
