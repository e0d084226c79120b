"""A call beside others that want the cores: nobody waits for a thread that has not begun."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from fastsoftmax.backends import get_backend
from fastsoftmax.optim import SGDSettings, Velocity
from helpers import make_problem, need_backend

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="this is not Linux")


# Stops by ptrace the threads whose numbers it reads, says so, and lets them go when stdin ends
STOPPER = """
import ctypes, os, sys
SEIZE, INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
for tid in map(int, sys.stdin.readline().split()):
    if libc.ptrace(SEIZE, tid, None, None) != 0:
        print(os.strerror(ctypes.get_errno()), flush=True)
        sys.exit()
    libc.ptrace(INTERRUPT, tid, None, None)
    os.waitpid(tid, WALL)
print("stopped", flush=True)
sys.stdin.read()
"""


def other_threads():
    return {int(tid) for tid in os.listdir("/proc/self/task")} - {threading.get_native_id()}


@contextmanager
def stopped(tids):
    """In this context these threads of ours do not run, as if they had no core."""
    set_ptracer, anyone = 0x59616D61, -1
    import ctypes

    ctypes.CDLL(None).prctl(set_ptracer, ctypes.c_long(anyone), 0, 0, 0)
    with subprocess.Popen(
        [sys.executable, "-c", STOPPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as stopper:
        print(*tids, file=stopper.stdin, flush=True)
        answer = stopper.stdout.readline().strip()
        if answer != "stopped":
            pytest.skip(f"no thread can be stopped here: {answer}")
        yield
        stopper.stdin.close()


def calls(backend, problem, num_threads):
    """The bits of one call of each kind."""
    n = len(problem.x)
    weight, bias = problem.parameters()
    velocity = Velocity.of(weight, bias)
    common = {"scale": problem.scale, "num_threads": num_threads}
    sums = [
        backend.train_epoch(
            *(problem.x, problem.target, np.arange(n)[::-1], 200),
            *(weight, bias, SGDSettings(0.1, momentum=0.9), velocity),
            **common,
        )
    ]
    grad_input, losses = np.empty(problem.x.shape, np.float32), np.empty(n, np.float32)
    loss, *grads = backend.loss_and_grad(*problem, grad_input=grad_input, **common)
    sums += [loss, backend.evaluate(*problem, losses=losses, **common)]
    logits = backend.predict_logits(problem.x, problem.weight, problem.bias, **common)
    softmax = backend.softmax(logits, num_threads=num_threads)
    arrays = (weight, bias, velocity.weight, velocity.bias, grad_input, losses, *grads)
    return repr(sums), [array.tobytes() for array in (*arrays, logits, softmax)]


# ---- a worker that never comes ----


# by rows; by tiles; by tiles, where threads share the classes
@pytest.mark.parametrize("shape", [(700, 50, 10), (1300, 784, 100), (60, 300, 200)])
@pytest.mark.parametrize("asleep", [False, True], ids=["spinning", "asleep"])
@linux
def test_a_call_ends_without_its_workers(shape, asleep):
    problem = make_problem(*shape)
    expected = calls(get_backend("cython"), problem, num_threads=1)
    before = other_threads()
    for _ in range(3):
        assert calls(get_backend("cython"), problem, num_threads=4) == expected
    workers = other_threads() - before or other_threads()
    if asleep:
        time.sleep(0.05)
    with stopped(workers):
        for _ in range(3):
            assert calls(get_backend("cython"), problem, num_threads=4) == expected
    for _ in range(3):  # they come back, and find no call that is over
        assert calls(get_backend("cython"), problem, num_threads=4) == expected


@linux
def test_one_of_three_workers_is_missing():
    problem = make_problem(700, 50, 10)
    expected = calls(get_backend("cython"), problem, num_threads=1)
    for _ in range(3):
        calls(get_backend("cython"), problem, num_threads=4)
    for worker in sorted(other_threads())[-3:]:
        with stopped([worker]):
            for _ in range(20):
                assert calls(get_backend("cython"), problem, num_threads=4) == expected


@pytest.fixture
def two_cores():
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < 2:
        pytest.skip("this machine has one core")
    return cores


LOOK_SECONDS = 0.05  # a call looks at the mask again after 10 ms


# ---- which cores ----


@linux
def test_workers_follow_the_mask_of_the_process(run_python, two_cores):
    code = f"""
import os, time
import numpy as np
import fastsoftmax as fs
from fastsoftmax.backends import cython as _cython
_cython._allow_threads_beyond_cores(True)
x, y = np.ones((256, 100), np.float32), np.zeros(256, int)
w, b = np.zeros((3, 100), np.float32), np.zeros(3, np.float32)
def masks():
    time.sleep({LOOK_SECONDS})
    fs.sgd_step(x, y, w, b, lr=0.1, num_threads=3)
    masks = [os.sched_getaffinity(int(tid)) for tid in os.listdir("/proc/self/task")]
    assert len(masks) == 3, masks
    return masks
masks()
for cores in ({{{two_cores[0]}}}, {set(two_cores)!r}, {{{two_cores[1]}}}):
    os.sched_setaffinity(0, cores)
    assert all(mask <= cores for mask in masks()), cores
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr


@linux
def test_no_more_threads_than_cores(run_python, two_cores):
    code = f"""
import os
import numpy as np
import fastsoftmax as fs
from fastsoftmax.backends import cython as _cython
os.sched_setaffinity(0, {{{two_cores[0]}, {two_cores[1]}}})
x, y = np.ones((256, 100), np.float32), np.zeros(256, int)
w, b = np.zeros((3, 100), np.float32), np.zeros(3, np.float32)
for allowed, threads in ((False, 2), (True, 4)):
    _cython._allow_threads_beyond_cores(allowed)
    fs.sgd_step(x, y, w, b, lr=0.1, num_threads=4)
    assert len(os.listdir("/proc/self/task")) == threads
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr


@linux
def test_a_worker_leaves_the_callers_core(run_python, two_cores):
    code = f"""
import os, threading, time
import numpy as np
import fastsoftmax as fs
x, y = np.ones((256, 100), np.float32), np.zeros(256, int)
w, b = np.zeros((3, 100), np.float32), np.zeros(3, np.float32)
def call():
    fs.sgd_step(x, y, w, b, lr=0.1, num_threads=2)
def main():
    core, before = {two_cores[0]}, os.listdir("/proc/self/task")
    os.sched_setaffinity(0, {{core}})  # this thread, not the process
    call()
    [worker] = set(os.listdir("/proc/self/task")) - set(before)
    os.sched_setaffinity(int(worker), {{core}})
    for _ in range(3000):
        call()
        if core not in os.sched_getaffinity(int(worker)):
            print("left")
            return
        time.sleep(0.01)
thread = threading.Thread(target=main)
thread.start()
thread.join()
"""
    result = run_python(code)
    assert result.stdout == "left\n", result.stderr


# ---- Ctrl-C ----


@pytest.mark.parametrize("name", ["cython", "numba"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_an_epoch_ends_between_steps(name, momentum):
    need_backend(name)
    backend, problem, batch_size = get_backend(name), make_problem(700, 784, 40), 64
    settings = SGDSettings(0.01, momentum=momentum)

    def train(order):
        weight, bias = problem.parameters()
        velocity = Velocity.of(weight, bias)
        try:
            backend.train_epoch(
                *(problem.x, problem.target, order, batch_size, weight, bias, settings, velocity)
            )
        except KeyboardInterrupt:
            return True, (weight, bias, velocity)
        return False, (weight, bias, velocity)

    train(np.arange(64))  # compiled, threads there
    n_steps = 40_000  # of 0.1 ms and more
    order = np.random.default_rng(0).integers(0, 700, n_steps * batch_size)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    begin = time.monotonic()
    timer.start()
    interrupted, (weight, bias, velocity) = train(order)
    seconds = time.monotonic() - begin
    timer.join()
    assert interrupted

    # so many whole steps were done by then
    expected_weight, expected_bias = problem.parameters()
    expected = Velocity.of(expected_weight, expected_bias)
    for begin in range(0, n_steps * batch_size, batch_size):
        rows = order[begin : begin + batch_size]
        backend.train_step(
            *(problem.x[rows], problem.target[rows], expected_weight, expected_bias),
            *(settings, expected),
        )
        if (expected_weight == weight).all():
            break
    else:
        pytest.fail(f"the weight is that of no whole number of steps, after {seconds:.1f} s")
    assert begin > 0
    np.testing.assert_array_equal(bias, expected_bias)
    np.testing.assert_array_equal(velocity.weight, expected.weight)
    np.testing.assert_array_equal(velocity.bias, expected.bias)
    assert velocity.started == expected.started


BORROWS = """
import os
import torch
from fastsoftmax.torch import linear_cross_entropy
import fastsoftmax as fs
torch.set_num_threads(2)
torch.manual_seed(0)
x, y = torch.randn(300, 784), torch.randint(0, 100, (300,))
weight, bias = torch.nn.Parameter(torch.randn(100, 784) / 100), torch.zeros(100)
def gradient():
    weight.grad = None
    linear_cross_entropy(x, weight, y, linear_bias=bias).backward()
    return weight.grad.numpy()
def tasks():
    return len(os.listdir("/proc/self/task"))
x @ x.T  # PyTorch's threads are there
before = tasks()
for _ in range(20):
    lent = gradient()
assert tasks() == before, "threads of our own beside PyTorch's"
own = fs.linear_cross_entropy_grad(
    x.numpy(), weight.detach().numpy(), y.numpy(), linear_bias=bias.numpy(), num_threads=2
).grad_weight
assert tasks() == before + 1, "no thread of our own"
assert (lent == own).all()
child = os.fork()
if child == 0:
    os._exit(0 if (gradient() == own).all() else 3)
assert os.waitpid(child, 0)[1] == 0
print("done")
"""


# ---- PyTorch's threads ----


@linux
def test_the_adapter_runs_on_pytorchs_threads(run_python):
    torch = pytest.importorskip("torch")
    if "parallel backend: OpenMP" not in torch.__config__.parallel_info():
        pytest.skip("this PyTorch has no threads of OpenMP")
    result = run_python(BORROWS)
    assert result.stdout == "done\n", result.stderr
