"""Bad arguments of sgd_step and SGD, and states that are none: nothing is changed."""

from __future__ import annotations

import numpy as np
import pytest

import fastsoftmax as fs
from helpers import read_only
from helpers.functions import sgd_of, step_problem

X, TARGET, WEIGHT, BIAS = step_problem()
OTHER = fs.Velocity.of(WEIGHT[:, :-1].copy(), BIAS)

T, V = TypeError, ValueError
BAD_STEPS = {
    "float64 rows": ({"x": X.astype(float)}, T, "x must be float32 or uint8, got float64"),
    "int64 rows": ({"x": X.astype(int)}, T, r"got int64; convert .*array\(x, np\."),
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
    "class_weight short": ({"class_weight": BIAS[1:]}, V, r"class_weight must have shape \(7,\)"),
    "sample_weight short": ({"sample_weight": BIAS}, V, r"sample_weight must have shape \(65,\)"),
    "sample_weight NaN": ({"sample_weight": X[:, 0] * np.nan}, V, "sample_weight must be finite"),
    "smoothing 2": ({"label_smoothing": 2}, V, r"label_smoothing must be in \[0, 1\], got 2"),
    "ignore_index None": ({"ignore_index": None}, T, "ignore_index must be an integer, got None"),
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


def test_the_state_is_what_is_held_or_an_error(tmp_path):
    x, target, weight, bias = step_problem()
    sgd = sgd_of(weight, bias, momentum=0.9)
    sgd.step(x, target)
    sgd.velocity = fs.Velocity(sgd.velocity.weight[::-1].copy(), sgd.velocity.bias, True)
    np.savez(tmp_path / "state.npz", **sgd.state_dict())
    other = sgd_of(sgd.weight, sgd.bias)
    other.load_state_dict(np.load(tmp_path / "state.npz"))
    assert other.velocity.weight.tobytes() == sgd.velocity.weight.tobytes()
    good = sgd.velocity
    for velocity, error, message in (
        (None, TypeError, "momentum=0.9 needs a Velocity"),
        (fs.Velocity(good.weight[:, 1:].copy(), good.bias), ValueError, "must have shape"),
        (fs.Velocity(np.asfortranarray(good.weight), good.bias), ValueError, "C-contiguous"),
        (fs.Velocity(good.weight.astype(float), good.bias), TypeError, "got float64"),
    ):
        sgd.velocity = velocity
        with pytest.raises(error, match=message):
            sgd.state_dict()


def test_what_is_no_state(tmp_path):
    sgd = sgd_of(WEIGHT, BIAS)
    np.savez(tmp_path / "state.npz", momentum=0.0)
    with pytest.raises(ValueError, match=r"^the state has no 'lr'$"):
        sgd.load_state_dict(np.load(tmp_path / "state.npz"))
    with pytest.raises(TypeError, match="state must be what state_dict gives, got int"):
        sgd.load_state_dict(5)


BAD_SGD = {
    "weight a list": ({"weight": WEIGHT.tolist()}, T, "weight must be an array of float32 or fl"),
    "weight read-only": ({"weight": read_only(WEIGHT)}, V, "weight is read-only"),
    "weight float16": ({"weight": WEIGHT.astype(np.float16)}, T, "got float16"),
    "bias float64": ({"bias": BIAS.astype(float)}, T, "bias must be float32 as weight"),
    "lr": ({"lr": -1}, V, "lr must be >= 0, got -1"),
    "momentum": ({"momentum": "a"}, T, "momentum must be a number, got 'a'"),
    "nesterov": ({"nesterov": True}, V, "nesterov needs momentum > 0"),
}


@pytest.mark.parametrize("case", BAD_SGD)
def test_bad_settings(case):
    changed, error, message = BAD_SGD[case]
    with pytest.raises(error, match=message):
        fs.SGD(**{"weight": WEIGHT.copy(), "bias": BIAS.copy(), "lr": 0.1, **changed})


def test_what_is_refused_later_changes_nothing():
    sgd = sgd_of(WEIGHT, BIAS, momentum=0.9)
    other = sgd_of(WEIGHT[:, 1:], BIAS, momentum=0.9).state_dict()
    incomplete = {k: v for k, v in sgd.state_dict().items() if k != "velocity_bias"}
    before = sgd.state_dict()
    for call, message in (
        (lambda: setattr(sgd, "lr", -1), "lr must be >= 0, got -1"),
        (lambda: sgd.update(WEIGHT[1:], BIAS), r"grad_weight must have shape \(7, 20\)"),
        (lambda: sgd.update(WEIGHT, BIAS, 0), "total_weight must be > 0, got 0"),
        (lambda: sgd.step(X, TARGET * 0 + 7), r"target\[0\] is 7, expected"),
        (lambda: sgd.load_state_dict({}), "the state has no 'lr'"),
        (lambda: sgd.load_state_dict({**before, "lr": -1.0}), "lr must be >= 0"),
        (lambda: sgd.load_state_dict(incomplete), "the state has no 'velocity_bias'"),
        (lambda: sgd.load_state_dict(other), r"velocity.weight must have shape \(7, 20\)"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
        assert sgd.weight.tobytes() == WEIGHT.tobytes() and sgd.bias.tobytes() == BIAS.tobytes()
        after = sgd.state_dict()
        assert after.keys() == before.keys()
        assert all(np.array_equal(after[name], before[name]) for name in before)
