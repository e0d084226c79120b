"""The Numba backend's exp, its fast-math, and its kernels run as plain Python."""

import importlib
import os
import pkgutil

import numpy as np
import pytest

from fastsoftmax.backends import get_backend
from fastsoftmax.optim import SGDSettings
from helpers import make_problem

if "numba" not in os.environ.get("FASTSOFTMAX_EXPECT_BACKENDS", "").split(","):
    pytest.importorskip("numba")

import numba

from fastsoftmax.backends.numba import drivers, kernels
from fastsoftmax.backends.numba.kernels.exp import exp

_numpy = get_backend("numpy")

LOWEST = np.float32(-87.33654)


@numba.njit
def _exp(x):
    out = np.empty_like(x)
    for i in range(x.shape[0]):
        out[i] = exp(x[i])
    return out


def test_exp_error():
    """The bound is that of its docstring, and of exp in C."""
    x = np.concatenate([np.linspace(LOWEST, 0, 500_000), np.linspace(0, 88, 250_000)])
    x = np.clip(x.astype(np.float32), LOWEST, 88)
    truth = np.exp(x.astype(np.float64))
    error = np.abs(_exp(x) - truth) / np.spacing(truth.astype(np.float32))
    assert 0.5 < error.max() <= 1.1


def test_exp_of_no_ordinary_numbers():
    below = np.nextafter(LOWEST, np.float32(-np.inf))
    assert _exp(np.array([below, -88, -104, -1e4, -3e38, -np.inf], np.float32)).tolist() == [0] * 6
    assert _exp(np.array([0, -0.0], np.float32)).tolist() == [1, 1]
    assert np.isnan(_exp(np.array([np.nan, -np.nan], np.float32))).all()


def test_fast_math_keeps_nan_and_infinity():
    """No kernel may assume that there are none, or that the sign of 0 does not matter."""
    flags = [
        member.targetoptions.get("fastmath", False)
        for package in (drivers, kernels)
        for _, name, _ in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
        for member in vars(importlib.import_module(name)).values()
        if isinstance(member, numba.core.registry.CPUDispatcher)
    ]
    assert len(flags) > 10 and any(flags)
    for given in flags:
        assert set(given or ()) <= {"reassoc", "contract"}


PLAIN_PYTHON = """
import numpy as np
from fastsoftmax.backends import get_backend
from fastsoftmax.backends.numba.drivers import plan
from fastsoftmax.settings import CrossEntropy
from fastsoftmax.optim import SGDSettings, Velocity

rng = np.random.default_rng(0)
sgd = SGDSettings(lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.01)

def nothing_yet(shape, dtype=float):
    # what is read before it is written shows
    return np.full(shape, np.nan if np.dtype(dtype).kind == "f" else 2**31 - 1, dtype)

np.empty = nothing_yet

def close(ours, truth):
    np.testing.assert_allclose(ours, truth, rtol=1e-5, atol=1e-5)

# by rows; by tiles, of which two, and over two blocks of features
for n, d, k in ((5, 7, 3), (19, 3, 6), (2, 1025, 2)):
    plan.TILES_FROM = 1 if d > 1000 else 1 << 20
    for row_type in (np.float32, np.uint8):
        x = rng.integers(0, 9, (n, d)).astype(row_type)
        target = rng.integers(0, k, n)
        start = 0.1 * rng.standard_normal((k, d)).astype(np.float32), np.zeros(k, np.float32)
        results = []
        for backend in (get_backend(name) for name in ("numba", "numpy")):
            weight, bias = (array.copy() for array in start)
            velocity = Velocity.of(weight, bias)
            keywords = {"scale": 0.1, "num_threads": 2}
            sums = [
                backend.train_epoch(
                    x, target, order, n - 1, weight, bias, sgd, velocity, **keywords)
                for order in (None, np.arange(n)[::-1])
            ]
            loss, *gradients = backend.loss_and_grad(x, target, weight, bias, **keywords)
            backend.sgd_update(weight, bias, *gradients, n, sgd, velocity)
            sums.append(backend.evaluate(x, target, weight, bias, **keywords))
            keywords |= {
                "criterion": CrossEntropy(np.arange(k), 0.1, ignore_index=1),
                "sample_weight": np.arange(n),
            }
            outputs = np.empty((n, d), np.float32), np.empty(n, np.float32)
            for given in (target, np.full((n, k), 1 / k)):
                sums += [
                    backend.train_step(x, given, weight, bias, sgd, velocity, **keywords),
                    backend.evaluate(x, given, weight, bias, **keywords, losses=outputs[1]),
                    backend.loss_and_grad(
                        x, given, weight, bias, **keywords, grad_input=outputs[0])[0],
                    *(output.sum() for output in outputs),
                ]
            keywords = {"scale": 0.1, "num_threads": 2}
            logits = backend.predict_logits(x, weight, bias, **keywords)
            results.append([
                *sums, loss, *gradients, weight, bias, velocity.weight, logits,
                backend.softmax(logits), backend.log_softmax(logits)])
        for ours, truth in zip(*results, strict=True):
            close(ours, truth)
from fastsoftmax.backends.numba.kernels.loss import residuals
assert not hasattr(residuals, "py_func")
print("done")
"""


def test_kernels_are_python(run_python):
    """With the JIT disabled they run as Python: a debugger can step through them."""
    result = run_python(PLAIN_PYTHON, NUMBA_DISABLE_JIT="1")
    assert (result.stdout, result.stderr) == ("done\n", "")


def test_sgd_update_takes_the_settings_as_they_are():
    """Each setting reaches the field of its name."""
    sgd = SGDSettings(0.5, 0.25, 0.125, weight_decay=2.0, decay_bias=False, l1=3.0)
    settings = sgd.of_step(True)._asdict()
    assert len(settings.pop("lr_of_steps")) == 0
    assert settings == {
        "lr": 0.5,
        "momentum": 0.25,
        "dampening": 0.125,
        "nesterov": False,
        "weight_decay": 2.0,
        "bias_weight_decay": 0.0,
        "l1": 3.0,
        "first_step": True,
    }


def test_probabilities_beyond_the_last_row_are_zero():
    """Else they were what lay in memory, which may be NaN, and 0 * NaN is not 0."""
    rng = np.random.default_rng(0)
    for n_rows in (1, 2, 3, 5, 63, 65) * 20:
        problem = make_problem(n_rows, 3, 2)
        probabilities = rng.random((n_rows, 2), np.float32)
        freed = [np.full(2**i, np.nan, np.float32) for i in range(12)]
        del freed
        _, grad_weight, grad_bias = get_backend("numba").loss_and_grad(
            problem.x, probabilities, problem.weight, problem.bias
        )
        assert np.isfinite(grad_weight).all() and np.isfinite(grad_bias).all()
