"""sgd_step against float64 by hand."""

from __future__ import annotations

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import checks
from helpers import log_softmax
from helpers.functions import SETTINGS, step_problem


class ByHand:
    """The step in float64, as the docstrings of sgd_step and SGD say it."""

    def __init__(self, weight, bias):
        self.parameters = [weight.astype(np.float64), bias.astype(np.float64)]
        self.velocities = [None, None]

    def step(
        self, x, target, *, lr, scale=1.0, momentum=0.0, dampening=0.0, nesterov=False,
        weight_decay=0.0, l1=0.0,
    ):  # fmt: skip
        x = scale * x.reshape(len(x), -1).astype(np.float64)
        log_p = log_softmax(x @ self.parameters[0].T + self.parameters[1])
        residual = (np.exp(log_p) - np.eye(log_p.shape[1])[target]) / len(x)
        for i, g in enumerate((residual.T @ x, residual.sum(axis=0))):
            g = g + weight_decay * self.parameters[i]
            if momentum:
                v = self.velocities[i]
                v = g if v is None else momentum * v + (1 - dampening) * g
                self.velocities[i] = v
                g = g + momentum * v if nesterov else v
            self.parameters[i] -= lr * g
        w = self.parameters[0]
        w[...] = np.sign(w) * np.maximum(np.abs(w) - lr * l1, 0)
        return -log_p[np.arange(len(x)), target].mean()


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("shape", [(65, 20), (33, 4, 5), (1, 7), (257, 28, 28)], ids=str)
def test_three_steps_by_hand(shape, dtype, settings):
    x, target, weight, bias = step_problem(dtype, shape)
    velocity = fs.Velocity.of(weight, bias) if "momentum" in settings else None
    hand = ByHand(weight, bias)
    for _ in range(3):
        loss = fs.sgd_step(x, target, weight, bias, velocity=velocity, **settings)
        scale = 1 / 255 if dtype == np.uint8 else 1.0
        assert isinstance(loss, float)
        expected = hand.step(x, target, scale=scale, **settings)
        # absolute if it is small: the loss is then a difference of logits of about 1
        assert loss == pytest.approx(expected, rel=5e-7, abs=5e-7)
    np.testing.assert_allclose(weight, hand.parameters[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(bias, hand.parameters[1], rtol=0, atol=1e-6)


def test_the_loss_is_that_before_the_update():
    x = np.eye(2, dtype=np.float32)
    weight, bias = np.zeros((2, 2), np.float32), np.zeros(2, np.float32)
    assert fs.sgd_step(x, [0, 1], weight, bias, lr=4.0) == pytest.approx(np.log(2), rel=1e-7)
    np.testing.assert_array_equal(weight, [[1, -1], [-1, 1]])
    np.testing.assert_array_equal(bias, [0, 0])
    assert fs.sgd_step(x, [0, 1], weight, bias, lr=4.0) == pytest.approx(
        np.log1p(np.exp(-2)), rel=3e-7
    )


def test_uint8_rows_are_pixels_unless_a_scale_is_given():
    x, target, weight, bias = step_problem(np.uint8)
    results = {}
    for name, kwargs in {
        "default": {},
        "1/255": {"scale": 1 / 255},
        "1": {"scale": 1.0},
    }.items():
        w, b = weight.copy(), bias.copy()
        loss = fs.sgd_step(x, target, w, b, lr=0.1, **kwargs)
        results[name] = (loss, w.tobytes(), b.tobytes())
    assert results["default"] == results["1/255"]
    hand = ByHand(weight, bias)
    assert results["1"][0] == pytest.approx(hand.step(x, target, lr=0.1), rel=1e-6)


def test_scale_of_float32_rows():
    x, target, weight, bias = step_problem()
    hand = ByHand(weight, bias)
    loss = fs.sgd_step(x, target, weight, bias, lr=0.5, scale=0.25)
    assert loss == pytest.approx(hand.step(x, target, lr=0.5, scale=0.25), rel=1e-6)
    np.testing.assert_allclose(weight, hand.parameters[0], rtol=0, atol=1e-6)


def test_the_velocity_remembers():
    x, target, weight, bias = step_problem()
    velocity, hand = fs.Velocity.of(weight, bias), ByHand(weight, bias)
    for _ in range(2):
        fs.sgd_step(x, target, weight, bias, lr=0.5, momentum=0.9, velocity=velocity)
        hand.step(x, target, lr=0.5, momentum=0.9)
        assert velocity.started
    np.testing.assert_allclose(velocity.weight, hand.velocities[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(velocity.bias, hand.velocities[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("target_dtype", [np.uint8, np.int32, np.int64, np.uint64])
def test_targets_of_any_integer_type_and_as_a_list(target_dtype):
    x, target, weight, bias = step_problem()
    expected, w = weight.copy(), weight.copy()
    fs.sgd_step(x, target.tolist(), expected, bias.copy(), lr=0.5)
    fs.sgd_step(x, target.astype(target_dtype), w, bias.copy(), lr=0.5)
    assert w.tobytes() == expected.tobytes() != weight.tobytes()


def test_the_rows_may_be_read_only_and_stay_as_they_were():
    x, target, weight, bias = step_problem()
    before = x.copy()
    x.flags.writeable = target.flags.writeable = False
    fs.sgd_step(x, target, weight, bias, lr=0.5)
    assert x.tobytes() == before.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_same_bits_for_any_number_of_threads(dtype):
    x, target, weight, bias = step_problem(dtype, (257, 784))
    bits = set()
    for n in (None, 1, 2, 3, 5):
        w, b = weight.copy(), bias.copy()
        loss = fs.sgd_step(x, target, w, b, lr=0.5, num_threads=n)
        bits.add((loss, w.tobytes(), b.tobytes()))
    assert len(bits) == 1


def test_default_scale():
    assert checks.default_scale(np.dtype(np.uint8)) == 1 / 255
    assert checks.default_scale(np.dtype(np.float32)) == 1.0


OPTIONS = [
    {"class_weight": np.linspace(0.5, 2, 7)},
    {"sample_weight": np.linspace(0, 3, 65)},
    {"label_smoothing": 0.1},
    {"ignore_index": 3},
    {
        "class_weight": np.linspace(0.5, 2, 7), "sample_weight": np.linspace(0, 3, 65),
        "label_smoothing": 0.1, "ignore_index": 3,
    },
]  # fmt: skip


def loss_by_hand(parameters, x, target, options):
    """The mean loss and its gradients in float64, of integer targets."""
    logits = x.astype(np.float64) @ parameters[0].T + parameters[1]
    log_p, n_classes = log_softmax(logits), logits.shape[1]
    e = options.get("label_smoothing", 0.0)
    c = (1 - e) * np.eye(n_classes)[target] + e / n_classes
    c *= options.get("class_weight", np.ones(n_classes))
    each = options.get("class_weight", np.ones(n_classes))[target]
    counts = options.get("sample_weight", np.ones(len(x))) * (
        target != options.get("ignore_index", -100)
    )
    c, total = c * counts[:, None], (each * counts).sum()
    residual = (c.sum(axis=1, keepdims=True) * np.exp(log_p) - c) / total
    return -(c * log_p).sum() / total, residual.T @ x, residual.sum(axis=0)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: " ".join(options))
def test_options_by_hand(options):
    x, target, weight, bias = step_problem()
    hand = [weight.astype(np.float64), bias.astype(np.float64)]
    sgd = fs.SGD(weight.copy(), bias.copy(), lr=0.5)
    for _ in range(3):
        expected, *gradients = loss_by_hand(hand, x, target, options)
        for parameter, gradient in zip(hand, gradients, strict=True):
            parameter -= 0.5 * gradient
        loss = fs.sgd_step(x, target, weight, bias, lr=0.5, **options)
        assert loss == pytest.approx(expected, rel=1e-6)
        assert sgd.step(x, target, **options) == loss
    np.testing.assert_allclose(weight, hand[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(bias, hand[1], rtol=0, atol=1e-6)
    assert sgd.weight.tobytes() == weight.tobytes() and sgd.bias.tobytes() == bias.tobytes()


def test_probabilities():
    x, target, weight, bias = step_problem()
    one_hot = np.eye(7, dtype=np.float32)[target]
    w, b = weight.copy(), bias.copy()
    expected = fs.sgd_step(x, target, weight, bias, lr=0.5)
    assert fs.sgd_step(x, one_hot, w, b, lr=0.5) == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(w, weight, rtol=0, atol=1e-6)


def test_a_step_on_nothing_only_decays():
    x, target, weight, bias = step_problem()
    target[:] = -100
    before = weight.copy()
    assert np.isnan(fs.sgd_step(x, target, weight, bias, lr=0.5))
    assert weight.tobytes() == before.tobytes()
    assert np.isnan(fs.sgd_step(x, target, weight, bias, lr=0.5, weight_decay=0.1))
    np.testing.assert_allclose(weight, before * np.float32(0.95), rtol=1e-6)
