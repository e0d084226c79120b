"""sgd_step and SGD as functions of arrays, against float64 by hand."""

from __future__ import annotations

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import checks


def problem(dtype=np.float32, shape=(65, 20), n_classes=7, seed=3):
    """Rows, targets, and float32 parameters to train."""
    rng = np.random.default_rng(seed)
    if dtype == np.uint8:
        x = rng.integers(0, 256, shape, np.uint8)
    else:
        x = rng.standard_normal(shape, np.float32)
    n_features = int(np.prod(shape[1:]))
    weight = rng.standard_normal((n_classes, n_features), np.float32) * np.float32(0.3)
    bias = rng.standard_normal(n_classes, np.float32)
    return x, rng.integers(0, n_classes, shape[0]), weight, bias


def log_softmax(logits):
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


class ByHand:
    """The step as its docstring and that of SGD have it, in float64."""

    def __init__(self, weight, bias):
        self.parameters = [weight.astype(np.float64), bias.astype(np.float64)]
        self.velocities = [None, None]

    def step(
        self, x, target, *, lr, scale=1.0, momentum=0.0, dampening=0.0, nesterov=False,
        weight_decay=0.0,
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
        return -log_p[np.arange(len(x)), target].mean()


SETTINGS = [
    {"lr": 0.5},
    {"lr": 0.0},
    {"lr": 0.5, "weight_decay": 0.1},
    {"lr": 0.5, "momentum": 0.9},
    {"lr": 0.5, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
    {"lr": 0.5, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("shape", [(65, 20), (33, 4, 5), (1, 7), (257, 28, 28)], ids=str)
def test_three_steps_by_hand(shape, dtype, settings):
    x, target, weight, bias = problem(dtype, shape)
    velocity = fs.Velocity.of(weight, bias) if "momentum" in settings else None
    hand = ByHand(weight, bias)
    for _ in range(3):
        loss = fs.sgd_step(x, target, weight, bias, velocity=velocity, **settings)
        scale = 1 / 255 if dtype == np.uint8 else 1.0
        assert isinstance(loss, float)
        expected = hand.step(x, target, scale=scale, **settings)
        # absolute where it is small, as the loss is then a difference of logits of about 1
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
    x, target, weight, bias = problem(np.uint8)
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
    x, target, weight, bias = problem()
    hand = ByHand(weight, bias)
    loss = fs.sgd_step(x, target, weight, bias, lr=0.5, scale=0.25)
    assert loss == pytest.approx(hand.step(x, target, lr=0.5, scale=0.25), rel=1e-6)
    np.testing.assert_allclose(weight, hand.parameters[0], rtol=0, atol=1e-6)


def test_the_velocity_remembers():
    x, target, weight, bias = problem()
    velocity, hand = fs.Velocity.of(weight, bias), ByHand(weight, bias)
    for _ in range(2):
        fs.sgd_step(x, target, weight, bias, lr=0.5, momentum=0.9, velocity=velocity)
        hand.step(x, target, lr=0.5, momentum=0.9)
        assert velocity.started
    np.testing.assert_allclose(velocity.weight, hand.velocities[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(velocity.bias, hand.velocities[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("target_dtype", [np.uint8, np.int32, np.int64, np.uint64])
def test_targets_of_any_integer_type_and_as_a_list(target_dtype):
    x, target, weight, bias = problem()
    expected, w = weight.copy(), weight.copy()
    fs.sgd_step(x, target.tolist(), expected, bias.copy(), lr=0.5)
    fs.sgd_step(x, target.astype(target_dtype), w, bias.copy(), lr=0.5)
    assert w.tobytes() == expected.tobytes() != weight.tobytes()


def test_the_rows_may_be_read_only_and_stay_as_they_were():
    x, target, weight, bias = problem()
    before = x.copy()
    x.flags.writeable = target.flags.writeable = False
    fs.sgd_step(x, target, weight, bias, lr=0.5)
    assert x.tobytes() == before.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_same_bits_for_any_number_of_threads(dtype):
    x, target, weight, bias = problem(dtype, (257, 784))
    bits = set()
    for n in (None, 1, 2, 3, 5):
        w, b = weight.copy(), bias.copy()
        loss = fs.sgd_step(x, target, w, b, lr=0.5, num_threads=n)
        bits.add((loss, w.tobytes(), b.tobytes()))
    assert len(bits) == 1


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


X, TARGET, WEIGHT, BIAS = problem()
OTHER = fs.Velocity.of(WEIGHT[:, :-1].copy(), BIAS)

T, V = TypeError, ValueError
BAD_STEPS = {
    "float64 rows": ({"x": X.astype(float)}, T, "x must be float32 or uint8, got float64"),
    "int64 rows": ({"x": X.astype(int)}, T, r"got int64; convert .* x\.astype\(np"),
    "rows as a list": ({"x": X.tolist()}, T, "x must be float32 or uint8, got float64"),
    "strided rows": ({"x": X.repeat(2, 1)[:, ::2]}, V, "C-contiguous.* np.ascontiguousarray"),
    "few features": ({"x": X[:, 1:].copy()}, V, "x has 19 features, expected 20"),
    "one flat row": ({"x": X[0]}, V, r"x must be \(N, D\) or .*got shape \(20,\)"),
    "no rows": ({"x": X[:0], "target": TARGET[:0]}, V, "x has no rows, expected at least 1"),
    "target high": ({"target": TARGET * 0 + 7}, V, r"target\[0\] is 7, expected 0 <= target < 7"),
    "target negative": ({"target": TARGET - 7}, V, r"is -\d, expected 0 <= target < 7"),
    "target of floats": ({"target": TARGET * 1.0}, T, "array of integers, got float64"),
    "target short": ({"target": TARGET[1:]}, V, r"target must have shape \(65,\) .*got \(64,\)"),
    "target (B, 1)": ({"target": TARGET[:, None]}, V, r"target must have shape .*got \(65, 1\)"),
    "weight a list": ({"weight": WEIGHT.tolist()}, T, "weight must be .*float32, got list"),
    "weight float64": ({"weight": WEIGHT.astype(float)}, T, "bias must be float64 as weight"),
    "weight strided": ({"weight": WEIGHT.repeat(2, 1)[:, ::2]}, V, "weight must be C-contiguous"),
    "weight flat": ({"weight": WEIGHT.ravel()}, V, r"weight must be \(K, D\), got shape \(140,\)"),
    "weight read-only": ({"weight": read_only(WEIGHT)}, V, "weight is read-only, and would"),
    "one class": ({"weight": WEIGHT[:1], "bias": BIAS[:1]}, V, r"K >= 2, .*got shape \(1, 20\)"),
    "bias read-only": ({"bias": read_only(BIAS)}, V, "bias is read-only, and would be updated"),
    "bias short": ({"bias": BIAS[1:]}, V, r"bias must have shape \(7,\), got \(6,\)"),
    "bias float64": ({"bias": BIAS.astype(float)}, T, "bias must be .*float32, got float64"),
    "lr negative": ({"lr": -0.1}, V, r"lr must be >= 0, got -0\.1"),
    "lr NaN": ({"lr": float("nan")}, V, "lr must be finite in float32, got nan"),
    "lr a word": ({"lr": "fast"}, T, "lr must be a number, got 'fast'"),
    "momentum negative": ({"momentum": -1}, V, "momentum must be >= 0, got -1"),
    "momentum alone": ({"velocity": None}, T, r"momentum=0\.9 needs a Velocity .*got NoneType"),
    "velocity an array": ({"velocity": WEIGHT}, T, "needs a Velocity .*got ndarray"),
    "velocity of another": ({"velocity": OTHER}, V, r"velocity\.weight must have shape \(7, 20\)"),
    "nesterov damped": ({"nesterov": True, "dampening": 0.5}, V, "nesterov needs .*dampening=0.5"),
    "decay infinite": ({"weight_decay": np.inf}, V, "weight_decay must be finite in float32"),
    "scale infinite": ({"scale": np.inf}, V, "scale must be finite in float32, got inf"),
    "scale a word": ({"scale": "big"}, T, "scale must be a number, got 'big'"),
    "no threads": ({"num_threads": 0}, V, "num_threads must be >= 1, got 0"),
    "half a thread": ({"num_threads": 0.5}, T, "num_threads must be an integer or None"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_STEPS)
def test_bad_arguments_change_nothing(case):
    changed, error, message = BAD_STEPS[case]
    arguments = {
        "x": X, "target": TARGET, "weight": WEIGHT.copy(), "bias": BIAS.copy(), "lr": 0.1,
        "momentum": 0.9, "velocity": fs.Velocity.of(WEIGHT, BIAS), **changed,
    }  # fmt: skip
    state = [a for a in (arguments["weight"], arguments["bias"]) if isinstance(a, np.ndarray)]
    if isinstance(arguments["velocity"], fs.Velocity):
        state += [arguments["velocity"].weight, arguments["velocity"].bias]
    before = [array.tobytes() for array in state]
    with pytest.raises(error, match=message):
        fs.sgd_step(**arguments)
    assert [array.tobytes() for array in state] == before
    assert not getattr(arguments["velocity"], "started", False)


def test_the_arguments_of_the_bad_steps_are_otherwise_good():
    weight, bias = WEIGHT.copy(), BIAS.copy()
    velocity = fs.Velocity.of(weight, bias)
    fs.sgd_step(X, TARGET, weight, bias, lr=0.1, momentum=0.9, velocity=velocity)
    assert weight.tobytes() != WEIGHT.tobytes() and velocity.started


def test_default_scale():
    assert checks.default_scale(np.dtype(np.uint8)) == 1 / 255
    assert checks.default_scale(np.dtype(np.float32)) == 1.0
