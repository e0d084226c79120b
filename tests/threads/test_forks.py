"""A fork can train, whenever it was made."""

import os
import signal
import sys
import threading
import time

import pytest

from fastsoftmax.backends import get_backend
from helpers.threads import train

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no os.fork here")


def in_child(function, seconds=30):
    """The bytes that `function` returns in a fork of this process; the fork must exit with 0."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(write_end, function())  # less than a pipe holds
            status = 0
        finally:
            os._exit(status)  # and not on into pytest
    os.close(write_end)
    deadline = time.monotonic() + seconds
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail(f"the child hung for {seconds} s")
        time.sleep(0.002)
    with os.fdopen(read_end, "rb") as pipe:
        written = pipe.read()
    assert os.waitstatus_to_exitcode(ended[1]) == 0
    return written


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_fork_after_use(backend, problem):
    expected = train(backend, problem)
    for _ in range(3):
        assert in_child(lambda: train(backend, problem)) == expected
        assert train(backend, problem) == expected  # the parent has kept its own


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_fork_of_a_fork(problem):
    expected = train(get_backend("cython"), problem)

    def child():
        assert train(get_backend("cython"), problem) == expected
        return in_child(lambda: train(get_backend("cython"), problem))

    assert in_child(child) == expected


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_fork_while_another_thread_trains(problem):
    expected = train(get_backend("cython"), problem)
    stop = threading.Event()

    def keep_training():
        while not stop.is_set():
            train(get_backend("cython"), problem)

    def child():
        bits = train(get_backend("cython"), problem)
        if sys.platform.startswith("linux"):  # a team of its own, whoever had the parent's
            assert len(os.listdir("/proc/self/task")) == 3
        return bits

    busy = threading.Thread(target=keep_training)
    busy.start()
    try:
        for _ in range(20):
            assert in_child(child) == expected
    finally:
        stop.set()
        busy.join(30)
    assert not busy.is_alive()
