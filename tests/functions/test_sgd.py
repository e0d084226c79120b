"""SGD: its steps are those of sgd_step and torch.optim.SGD, its state goes on where it was."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import Velocity
from fastsoftmax.optim import SGDSettings
from helpers.functions import SETTINGS, sgd_of, step_problem

X, TARGET, WEIGHT, BIAS = step_problem()


# ---- SGD ----


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_step_is_sgd_step(settings):
    x, target, weight, bias = step_problem()
    sgd = sgd_of(weight, bias, **settings)
    velocity = fs.Velocity.of(weight, bias) if "momentum" in settings else None
    for _ in range(3):
        loss = fs.sgd_step(x, target, weight, bias, velocity=velocity, **settings)
        assert sgd.step(x, target) == loss
    assert sgd.weight.tobytes() == weight.tobytes() and sgd.bias.tobytes() == bias.tobytes()
    if velocity is None:
        assert sgd.velocity is None
    else:
        assert sgd.velocity.weight.tobytes() == velocity.weight.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_step_is_an_update_by_the_gradient(dtype, settings):
    x, target, weight, bias = (
        a.astype(dtype) if a.dtype == np.float32 else a for a in step_problem()
    )
    one, two, three = (sgd_of(weight, bias, **settings) for _ in range(3))
    for _ in range(3):
        loss = one.step(x, target)
        mean, total = (
            fs.linear_cross_entropy_grad(
                x, sgd.weight, target, linear_bias=sgd.bias, reduction=reduction
            )
            for sgd, reduction in ((two, "mean"), (three, "sum"))
        )
        two.update(mean.grad_weight, mean.grad_bias)
        three.update(total.grad_weight, total.grad_bias, len(x))
        assert loss == pytest.approx(mean.loss, rel=1e-6)
    assert one.weight.dtype == dtype and one.weight.tobytes() == three.weight.tobytes()
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(two.weight, one.weight, rtol=0, atol=tolerance)
    np.testing.assert_allclose(two.bias, one.bias, rtol=0, atol=tolerance)


@pytest.mark.parametrize("decay_bias", [True, False])
def test_the_lr_may_change_as_in_pytorch(decay_bias):
    torch = pytest.importorskip("torch")
    x, target, weight, bias = step_problem()
    settings = {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}
    sgd = sgd_of(weight, bias, 1.0, **settings, decay_bias=decay_bias)
    parameters = [torch.tensor(a.astype(np.float64), requires_grad=True) for a in (weight, bias)]
    groups = [
        {"params": [parameters[0]]},
        {"params": [parameters[1]], "weight_decay": 0.1 if decay_bias else 0.0},
    ]
    peer = torch.optim.SGD(groups, lr=1.0, **settings)
    schedule = torch.optim.lr_scheduler.StepLR(peer, 1, gamma=0.5)
    rows, labels = torch.tensor(x).double(), torch.tensor(target)
    for epoch in range(3):
        sgd.lr = 0.5**epoch
        assert sgd.lr == peer.param_groups[0]["lr"]
        peer.zero_grad()
        expected = torch.nn.functional.cross_entropy(
            rows @ parameters[0].T + parameters[1], labels
        )
        expected.backward()
        peer.step()
        schedule.step()
        assert sgd.step(x, target) == pytest.approx(expected.item(), rel=1e-6)
    for ours, truth in zip((sgd.weight, sgd.bias), parameters, strict=True):
        np.testing.assert_allclose(ours, truth.detach().numpy(), rtol=0, atol=2e-6)


def test_it_updates_the_arrays_that_it_was_given():
    x, target, weight, bias = step_problem()
    sgd = fs.SGD(weight, bias, lr=0.5)
    before = weight.copy()
    sgd.step(x, target)
    assert sgd.weight is weight and sgd.bias is bias and (weight != before).any()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_state_goes_on_where_it_was(momentum, tmp_path):
    x, target, weight, bias = step_problem()
    sgd = sgd_of(weight, bias, 0.5, momentum=momentum, weight_decay=0.1)
    sgd.step(x, target)
    sgd.lr = 0.25
    state = sgd.state_dict()
    np.savez(tmp_path / "state.npz", **state)
    with np.load(tmp_path / "state.npz") as saved:
        others = [sgd_of(sgd.weight, sgd.bias, 7.0) for _ in range(2)]
        for other, its in zip(others, (state, saved), strict=True):
            other.load_state_dict(its)
            assert repr(other) == repr(sgd)
    losses = [one.step(x, target) for one in (sgd, *others)]
    assert losses == losses[:1] * 3
    for other in others:
        assert other.lr == 0.25
        assert other.weight.tobytes() == sgd.weight.tobytes()


def test_the_state_is_a_copy():
    x, target, weight, bias = step_problem()
    sgd = sgd_of(weight, bias, momentum=0.9)
    state = sgd.state_dict()
    assert not state["velocity_started"]
    sgd.step(x, target)
    assert not state["velocity_weight"].any()
    sgd.load_state_dict(state)
    sgd.step(x, target)
    assert not state["velocity_weight"].any() and sgd.velocity.started


def test_it_shows_its_settings():
    assert repr(fs.SGD(WEIGHT.copy(), BIAS.copy(), lr=0.5)) == (
        "SGD(lr=0.5, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0, "
        "decay_bias=True, l1=0.0)"
    )


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


def test_a_state_without_l1():
    """As it was saved before there was l1."""
    sgd = fs.SGD(WEIGHT.copy(), BIAS.copy(), lr=0.5, l1=0.25)
    state = sgd.state_dict()
    assert state["l1"] == 0.25
    del state["l1"]
    sgd.load_state_dict(state)
    assert sgd.state_dict()["l1"] == 0.0
