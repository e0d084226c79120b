"""Python threads beside a call, and callers beside callers."""

import threading
import time
import weakref

import numpy as np
import pytest

from fastsoftmax.backends import BACKENDS, available_backends, get_backend
from fastsoftmax.optim import SGDSettings, Velocity
from helpers import make_problem
from helpers.threads import train


@pytest.mark.parametrize("num_threads", [1, 2, 4])
def test_concurrent_python_threads(backend, num_threads):
    """Each has a problem of its own, and gets its own result."""
    problems = [make_problem(700, 20 + seed, 10, seed=seed) for seed in range(4)]
    expected = [train(backend, problem) for problem in problems]
    results = [[] for _ in problems]
    together = threading.Barrier(len(problems), timeout=30)

    def work(problem, result):
        together.wait()
        for _ in range(5):
            result.append(train(backend, problem, num_threads))

    pool = [
        threading.Thread(target=work, args=pair, daemon=True)
        for pair in zip(problems, results, strict=True)
    ]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join(60)
    assert results == [[bits] * 5 for bits in expected]


CALLS = {
    "train_epoch": lambda b, x, y, w, c: b.train_epoch(
        x, y, None, 256, w.copy(), c.copy(), SGDSettings(lr=0.1), num_threads=1
    ),
    "loss_and_grad": lambda b, x, y, w, c: b.loss_and_grad(x, y, w, c, num_threads=1),
    "evaluate": lambda b, x, y, w, c: b.evaluate(x, y, w, c, num_threads=1),
    "predict_logits": lambda b, x, y, w, c: b.predict_logits(x, w, c, num_threads=1),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("name", BACKENDS)
def test_other_python_threads_run_during_a_call(name, call):
    """This thread wakes every millisecond while another is in a call of 0.1 s or more.

    If the call held the GIL, this one would sleep until the call is over.
    """
    if name not in available_backends():
        pytest.skip(f"backend {name} is not available here")
    backend = get_backend(name)
    _, _, weight, bias = make_problem(1, 784, 200)
    rows = np.zeros((1, 784), np.uint8)
    call(backend, rows, np.zeros(1, np.int32), weight, bias)  # compiles, the first time
    n_rows, seconds = 500, 0.0
    while seconds < 0.1:
        n_rows *= 2
        x = np.zeros((n_rows, 784), np.uint8)
        target = np.zeros(n_rows, np.int32)
        begin = time.perf_counter()
        call(backend, x, target, weight, bias)
        seconds = time.perf_counter() - begin

    entered, left = threading.Event(), threading.Event()

    def work():
        entered.set()
        call(backend, x, target, weight, bias)
        left.set()

    worker = threading.Thread(target=work)
    ticks = 0
    worker.start()
    entered.wait(30)
    while not left.is_set():
        time.sleep(0.001)
        ticks += 1
    worker.join(30)
    assert ticks > 8  # with the GIL held: 1 or 2, before the call and after it


def test_a_velocity_that_is_replaced_meanwhile_stays_alive():
    x, target = np.zeros((20_000, 784), np.uint8), np.zeros(20_000, np.int32)
    weight, bias = np.zeros((10, 784), np.float32), np.zeros(10, np.float32)
    velocity = Velocity.of(weight, bias)
    sgd, stop = SGDSettings(lr=0.1, momentum=0.9), threading.Event()

    def train():
        while not stop.is_set():
            get_backend("cython").train_epoch(x, target, None, 256, weight, bias, sgd, velocity)

    thread = threading.Thread(target=train)
    thread.start()
    alive = False
    for _ in range(200):  # now and then no call may be running
        time.sleep(0.002)
        old = weakref.ref(velocity.weight)
        velocity.weight = np.zeros((10, 784), np.float32)
        alive = old() is not None
        if alive:
            break
    stop.set()
    thread.join()
    assert alive
    assert old() is None
