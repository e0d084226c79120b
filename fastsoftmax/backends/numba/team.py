"""Numba's threads: how many of them a call may use, and what a fork waits for.

One caller has them at a time, as not every threading layer stands two; another one works alone
meanwhile, to the same bits. So does a forked child whose parent had threads of OpenMP: GNU's ends
a child that asks for its own. A fork while another thread compiles waits for that, some 20 s the
first time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numba
from numba import config
from numba.core.compiler_lock import global_compiler_lock
from numba.np.ufunc import parallel

from ...forks import wait_for

_SAFE_TO_FORK = ("tbb", "workqueue")

_lock = threading.Lock()
_home = os.getpid()  # the process that has, or may start, the threads


wait_for(global_compiler_lock, parallel._backend_init_thread_lock)


def layer() -> str:
    """Name of Numba's threading layer, whose threads it starts if need be."""
    numba.get_num_threads()
    return str(numba.threading_layer())


def _at_home() -> bool:
    """Whether this process may use the threads, and is not the fork of one that had them."""
    global _home, _lock
    if _home == os.getpid():
        return True
    try:
        if numba.threading_layer() not in _SAFE_TO_FORK:
            return False
    except ValueError:  # no thread has been started yet
        pass
    _home, _lock = os.getpid(), threading.Lock()  # the old one may have been taken meanwhile
    return True


@contextmanager
def threads(wanted: int) -> Iterator[int]:
    """How many of Numba's threads the caller may use in this context, at most `wanted`."""
    n = min(wanted, config.NUMBA_NUM_THREADS)
    if n == 1 or config.DISABLE_JIT or not _at_home() or not _lock.acquire(blocking=False):
        yield 1
        return
    lock = _lock
    try:
        before = numba.get_num_threads()
        numba.set_num_threads(n)
        try:
            yield n
        finally:
            numba.set_num_threads(before)
    finally:
        lock.release()
