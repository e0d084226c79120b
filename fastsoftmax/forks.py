"""Locks that a fork waits for.

A child process has only the thread that forked. A lock that another thread held at that moment is
never released in the child, and whoever asks for it there waits forever.
"""

from __future__ import annotations

import os
import threading
from typing import Protocol


class Lock(Protocol):
    def acquire(self) -> object: ...
    def release(self) -> object: ...


# Held while a module of ours is imported at its first use; the one of Numba takes seconds
import_lock = threading.RLock()

_locks: list[Lock] = [import_lock]
_held: list[Lock] = []


def wait_for(*locks: Lock) -> None:
    """Makes each later fork acquire these locks, in this order, after those named before."""
    _locks.extend(locks)


def _hold() -> None:
    for lock in _locks:  # grows in this loop: an import that held the first lock may add some
        lock.acquire()
        _held.append(lock)


def _release() -> None:
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_release)
