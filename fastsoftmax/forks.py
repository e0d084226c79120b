"""Locks that a fork waits for.

A child has only the thread that forked. Where another one held a lock at that moment, nobody gives
it back in the child, and who asks for it there waits forever.
"""

from __future__ import annotations

import os
import threading
from typing import Protocol


class Lock(Protocol):
    def acquire(self) -> object: ...
    def release(self) -> object: ...


# Held while a module of ours is imported at its first use: Numba's takes seconds
import_lock = threading.RLock()

_locks: list[Lock] = [import_lock]
_held: list[Lock] = []


def wait_for(*locks: Lock) -> None:
    """Lets each fork from now on wait until it has these, in this order, after those before."""
    _locks.extend(locks)


def _hold() -> None:
    for lock in _locks:  # the first may be held by an import that adds some
        lock.acquire()
        _held.append(lock)


def _release() -> None:
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_release)
