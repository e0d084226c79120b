"""When and how the Numba kernels are compiled: told once, silent elsewhere, safe beside a fork."""

import inspect
import os
import subprocess
import sys
import threading

import pytest

from helpers.backends import COMPILE_THE_SMALLEST

if "numba" not in os.environ.get("FASTSOFTMAX_EXPECT_BACKENDS", "").split(","):
    pytest.importorskip("numba")

from numba.core.compiler_lock import global_compiler_lock

from fastsoftmax.backends.numba import compile
from fastsoftmax.backends.numba.drivers.by_rows import by_rows
from fastsoftmax.backends.numba.drivers.by_tiles import by_tiles
from fastsoftmax.backends.numba.drivers.forward import score, softmax
from fastsoftmax.backends.numba.drivers.sgd import sgd
from fastsoftmax.forks import import_lock


def test_arguments_of_the_drivers_are_those_compiled_for():
    for driver in (by_rows, by_tiles, score, softmax, sgd):
        given = (range, True) if driver is by_rows else (range,)
        names = inspect.signature(driver(*given)).parameters
        assert len(names) == len(compile.signature(driver, "float32"))


NOTICE = "fastsoftmax: compiling the Numba kernels, once"


# ---- compilation ----


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


FORK = """
import os, signal, sys, threading, time
import numpy as np
import fastsoftmax as fs
from fastsoftmax import get_backend

def update():
    w, b = np.ones((2, 3), np.float32), np.ones(2, np.float32)
    get_backend("numba").sgd_update(w, b, w.copy(), b.copy(), 1, fs.optim.SGDSettings(lr=0.25))
    assert w[0, 0] == 0.75

def fork():
    child = os.fork()
    if child == 0:
        try:
            update()
        finally:
            os._exit(sys.exc_info()[0] is not None)
    deadline = time.monotonic() + 120  # it may compile
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            print("hung")
            break
        time.sleep(0.01)
    else:
        print("exit code", os.waitstatus_to_exitcode(ended[1]))

begun = threading.Event()
"""
WHILE_COMPILING = """
from numba.core import event

class Begun(event.Listener):
    def on_start(self, event):
        begun.set()

    def on_end(self, event):
        pass

event.register("numba:compile", Begun())
fs.get_backend("numba")
thread = threading.Thread(target=lambda: get_backend("numba").softmax(np.ones((2, 3), np.float32)))
thread.start()
begun.wait()
assert thread.is_alive()
fork()
thread.join()
"""
WHILE_IMPORTING = """
class Begun:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("numba."):
            begun.set()

sys.meta_path.insert(0, Begun())
thread = threading.Thread(target=lambda: fs.get_backend("numba"))
thread.start()
begun.wait()
assert thread.is_alive()
fork()
thread.join()
"""


# ---- forks while another thread is at what a child needs ----


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no os.fork here")
@pytest.mark.parametrize("while_", [WHILE_COMPILING, WHILE_IMPORTING], ids=["compile", "import"])
def test_fork_while_another_thread_gets_ready(while_, run_python, tmp_path):
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "FASTSOFTMAX_BACKEND": "numpy"}
    result = run_python(FORK + while_, timeout=300, **environment)
    assert (result.stdout, result.stderr) == ("exit code 0\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no os.fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_locks_are_given_back_after_a_fork():
    child = os.fork()
    if child == 0:
        os._exit(_locks_are_free())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert _locks_are_free()


def _locks_are_free():
    taken = []

    def take():
        for lock in (import_lock, global_compiler_lock._lock):
            taken.append(lock.acquire(timeout=5))
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return taken == [True, True]


def test_compilation_needs_no_standard_error(monkeypatch):
    """Programs in windows have none."""
    closed = open(os.devnull)
    closed.close()
    for stream in (None, object(), closed):
        monkeypatch.setattr(compile.Notice, "said", False)
        monkeypatch.setattr(sys, "stderr", stream)
        compile.Notice().on_start(None)
        assert compile.Notice.said
