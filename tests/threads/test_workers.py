"""The C backend's workers: how many are started, and how they round."""

import sys

import numpy as np
import pytest

from fastsoftmax.backends import get_backend
from helpers import make_problem
from helpers.threads import train

COUNT_THREADS = """
import os
import numpy as np
import fastsoftmax as fs
from fastsoftmax.backends import cython as _cython
from fastsoftmax.optim import SGDSettings

_cython._allow_threads_beyond_cores(True)
step = fs.get_backend("cython").train_step

def started(**keywords):
    before = len(os.listdir("/proc/self/task"))
    for _ in range(3):
        weight, bias = np.zeros((10, 784), np.float32), np.zeros(10, np.float32)
        step(x, np.zeros(len(x), int), weight, bias, SGDSettings(lr=1), **keywords)
    return len(os.listdir("/proc/self/task")) - before

x = np.zeros((1000, 784), np.float32)
counts = [started(num_threads=1)]
fs.set_num_threads(3)
x, large = x[:32].copy(), x
counts.append(started())
x = large
counts.append(started())
counts.append(started(num_threads=2))
counts.append(started(num_threads=5))
counts.append(started(num_threads=10**6))
print(*counts)
"""


# ---- how many ----


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_threads_that_are_started(run_python):
    """None for one thread or 32 rows; two for three; the same again; two more; 63 at most."""
    result = run_python(COUNT_THREADS)
    assert result.stderr == ""
    *few, many = map(int, result.stdout.split())
    assert few == [0, 0, 2, 0, 2]
    assert 0 < many <= 63 - sum(few)


@pytest.mark.parametrize("n_rows", [1, 2, 63, 200, 5000])
def test_more_threads_than_cores_or_chunks(n_rows, backend):
    problem = make_problem(n_rows, 9, 4)
    expected = train(backend, problem, 1)
    for num_threads in (n_rows + 1, 40, 64, 65, 1000):
        assert train(backend, problem, num_threads) == expected


# ---- how they round ----


@pytest.mark.parametrize("flush", [True, False])
def test_workers_round_as_the_caller_does(flush):
    """Workers that kept the floating-point mode they were born with would give other bits."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, target = 0.01 * rng.standard_normal((256, 64), np.float32), np.zeros(256, np.int32)
    weight, bias = np.zeros((10, 64), np.float32), np.full(10, -86, np.float32)
    bias[0] = 0  # so certain that the gradients of the others are subnormal

    def gradient(num_threads):
        return get_backend("cython").loss_and_grad(
            x, target, weight, bias, num_threads=num_threads
        )[1]

    gradient(2)
    if flush and not torch.set_flush_denormal(True):
        pytest.skip("this CPU does not flush subnormals")
    try:
        one, two = gradient(1), gradient(2)
    finally:
        torch.set_flush_denormal(False)
    subnormal = np.finfo(np.float32).tiny
    assert ((0 < abs(one)) & (abs(one) < subnormal)).any() != flush
    assert one.tobytes() == two.tobytes()
