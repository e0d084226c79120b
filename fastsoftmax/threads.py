"""How many threads the kernels use."""

from __future__ import annotations

import operator
import os
from functools import cache

__all__ = ["get_num_threads", "set_num_threads"]

_WORK = 1 << 17  # multiply-adds, 2 us of one core
_MOST = 1024  # as many as any backend would use, and an int in C
_num_threads: int | None = None


@cache
def _default() -> int:
    """``OMP_NUM_THREADS``, or else the cores that this process may run on."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if first.isdigit() and int(first) > 0:
        return int(first)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def get_num_threads() -> int:
    """The number of threads used where ``num_threads`` is None.

    Until `set_num_threads` is called it is ``OMP_NUM_THREADS`` or, where that is not set, the
    number of cores that this process may run on. Steps too small to share use fewer. It never
    changes a result, not by a bit.

    Examples
    --------
    >>> get_num_threads() >= 1
    True
    """
    return _default() if _num_threads is None else _num_threads


def set_num_threads(n: int | None) -> None:
    """Sets the number of threads used where ``num_threads`` is None; None restores the default.

    Raises
    ------
    TypeError, ValueError
        `n` is not an integer, or less than 1.
    """
    global _num_threads
    _num_threads = None if n is None else check_num_threads(n)


def threads_for(num_threads: int | None, work: int) -> int:
    """How many threads to use for `work` multiply-adds between two barriers.

    As many as are asked for; where that is left to us, no more than have a few microseconds of
    work each: less is not worth a barrier.
    """
    if num_threads is None:
        return worthwhile(get_num_threads(), work)
    return check_num_threads(num_threads)


def worthwhile(threads: int, work: int) -> int:
    """As many of `threads` as have a few microseconds each of `work` multiply-adds."""
    return min(threads, work // _WORK) or 1


def check_num_threads(num_threads: int | None) -> int:
    """`num_threads` as a positive int, None meaning `get_num_threads`."""
    if num_threads is None:
        return get_num_threads()
    try:
        n = operator.index(num_threads)
    except TypeError:
        raise TypeError(f"num_threads must be an integer or None, got {num_threads!r}") from None
    if n < 1:
        raise ValueError(f"num_threads must be >= 1, got {n}")
    return min(n, _MOST)
