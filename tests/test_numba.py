"""What is the Numba backend's alone: its exp, its threads, its compilation. That it keeps the
contract, and computes what it should, is tested with the others."""

import inspect
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from fastsoftmax.optim import SGD

if "numba" not in os.environ.get("FASTSOFTMAX_EXPECT_BACKENDS", "").split(","):
    pytest.importorskip("numba")

import numba

from fastsoftmax import _numba, _numba_kernels, _numba_team

LOWEST = np.float32(-87.33654)


@numba.njit
def _exp(x):
    out = np.empty_like(x)
    for i in range(x.shape[0]):
        out[i] = _numba_kernels.exp(x[i])
    return out


def test_exp_error():
    """The bound that its docstring states, as of csrc/exp.h."""
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
        for member in vars(_numba_kernels).values()
        if isinstance(member, numba.core.registry.CPUDispatcher)
    ]
    assert len(flags) > 10 and any(flags)
    for given in flags:
        assert set(given or ()) <= {"reassoc", "contract"}


def test_arguments_of_the_drivers_are_those_compiled_for():
    for driver in (
        _numba_kernels.train_by_rows,
        _numba_kernels.train_by_tiles,
        _numba_kernels.score,
        _numba_kernels.softmax,
    ):
        assert len(inspect.signature(driver(range)).parameters) == len(
            _numba._signature(driver, "float32")
        )


# ---- without compilation ----

PLAIN_PYTHON = """
import numpy as np
from fastsoftmax import _numba, _numpy
from fastsoftmax.optim import SGD, Velocity

rng = np.random.default_rng(0)
sgd = SGD(lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.01)

def close(ours, truth):
    np.testing.assert_allclose(ours, truth, rtol=1e-5, atol=1e-5)

# by rows; by tiles, of which two, and over two blocks of features
for n, d, k in ((5, 7, 3), (19, 3, 6), (2, 1025, 2)):
    for row_type in (np.float32, np.uint8):
        x = rng.integers(0, 9, (n, d)).astype(row_type)
        target = rng.integers(0, k, n)
        start = 0.1 * rng.standard_normal((k, d)).astype(np.float32), np.zeros(k, np.float32)
        results = []
        for backend in (_numba, _numpy):
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
            logits = backend.predict_logits(x, weight, bias, **keywords)
            results.append([
                sums, loss, *gradients, weight, bias, velocity.weight, logits,
                backend.softmax(logits), backend.log_softmax(logits)])
        for ours, truth in zip(*results, strict=True):
            close(ours, truth)
assert not hasattr(_numba.kernels.residuals, "py_func")
print("done")
"""


def test_kernels_are_python(run_python):
    """With the JIT disabled they run as they are written: a debugger can step through them."""
    result = run_python(PLAIN_PYTHON, NUMBA_DISABLE_JIT="1")
    assert (result.stdout, result.stderr) == ("done\n", "")


# ---- compilation ----

COMPILE_THE_SMALLEST = """
import numpy as np
from fastsoftmax import _numba
from fastsoftmax.optim import SGD
w, b = np.ones((2, 3), np.float32), np.ones(2, np.float32)
for _ in range(2):
    _numba.sgd_update(w, b, w.copy(), b.copy(), 1, SGD(lr=0.25))
assert w[0, 0] == 0.5625
"""
NOTICE = "fastsoftmax: compiling the Numba kernels, once"


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there is no terminal here")
def test_compilation_is_told_once_on_a_terminal(tmp_path):
    told = []
    for _ in range(2):  # the second time from the cache
        ours, theirs = os.openpty()
        subprocess.run(
            [sys.executable, "-c", COMPILE_THE_SMALLEST],
            cwd=tmp_path,
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            stderr=theirs,
            check=True,
            timeout=60,
        )
        os.write(theirs, b"end\n")
        text = b""
        while not text.endswith(b"end\r\n"):  # a terminal may hand it over in pieces
            text += os.read(ours, 1000)
        told.append(text.decode().split("\r\n")[:-1])
        os.close(ours)
        os.close(theirs)
    assert told == [[NOTICE, "end"], ["end"]]


def test_compilation_is_silent_elsewhere(run_python, tmp_path):
    result = run_python(COMPILE_THE_SMALLEST, NUMBA_CACHE_DIR=str(tmp_path))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert list(tmp_path.rglob("*.nbi"))


# ---- threads ----


def test_numbas_number_of_threads_is_restored(make_problem):
    problem = make_problem(200, 9, 4)
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        for num_threads in (1, 2, 1000):
            _numba.loss_and_grad(*problem, num_threads=num_threads)
            assert numba.get_num_threads() == 1
    finally:
        numba.set_num_threads(before)


def test_threads_of_a_context():
    most = numba.config.NUMBA_NUM_THREADS
    with _numba_team.threads(1) as n:
        assert n == 1
    with _numba_team.threads(10**6) as n:
        assert n == numba.get_num_threads() == most
        other = []
        thread = threading.Thread(target=lambda: other.append(_numba_team.threads(2).__enter__()))
        thread.start()
        thread.join(30)
        assert other == [1]  # the team is taken: alone, and at once
    with _numba_team.threads(10**6) as n:
        assert n == most


def test_the_team_is_given_back_after_an_error():
    with pytest.raises(ZeroDivisionError), _numba_team.threads(2):
        1 / 0  # noqa: B018
    with _numba_team.threads(2) as n:
        assert n == min(2, numba.config.NUMBA_NUM_THREADS)


SAY_LAYER_AND_BITS = """
import hashlib
import numpy as np
from fastsoftmax import _numba, _numba_team
rng = np.random.default_rng(0)
x = rng.standard_normal((300, 65), np.float32)
w = rng.standard_normal((10, 65), np.float32)
grad = _numba.loss_and_grad(x, np.zeros(300, int), w, w[:, 0].copy(), num_threads=2)[1]
print(_numba_team.layer(), hashlib.sha256(grad.tobytes()).hexdigest())
"""


def test_same_bits_by_every_threading_layer(run_python):
    said = {}
    for layer in ("omp", "tbb", "workqueue"):
        result = run_python(SAY_LAYER_AND_BITS, NUMBA_THREADING_LAYER=layer)
        if result.returncode == 0:
            name, said[layer] = result.stdout.split()
            assert name == layer
        else:
            assert "No threading layer could be loaded" in result.stderr
    assert "workqueue" in said and len(set(said.values())) == 1


def test_sgd_update_takes_the_settings_as_they_are():
    """Each setting reaches the field of its name."""
    sgd = SGD(0.5, momentum=0.25, dampening=0.125, weight_decay=2.0, decay_bias=False)
    assert _numba._settings(sgd)._asdict() == {
        "lr": 0.5,
        "momentum": 0.25,
        "dampening": 0.125,
        "nesterov": False,
        "weight_decay": 2.0,
        "bias_weight_decay": 0.0,
    }
