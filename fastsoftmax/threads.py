"""How many threads the kernels use."""

from __future__ import annotations

import math
import operator
import os
from functools import cache
from pathlib import Path, PurePosixPath
from threading import get_ident
from time import monotonic

__all__ = ["get_num_threads", "set_num_threads"]

_WORK = 1 << 17  # multiply-adds, 2 us of one core
SOFTMAX_WORK = 16  # multiply-adds that take as long as an exp
_MOST = 1024  # as many as any backend would use, and an int in C
_FRESH = 0.01  # seconds for which `threads_for` believes the default that it read
_PROC = Path("/proc/self")
_num_threads: int | None = None
_NEVER = 0, -math.inf, 0
_lately: tuple[int, float, int] = _NEVER  # a thread, until when it holds, its default


def get_num_threads() -> int:
    """The number of threads used where ``num_threads`` is None.

    Until `set_num_threads` is called it is ``OMP_NUM_THREADS`` or, where that is empty or not set,
    the number of cores that this thread may run on, and no more than the CPU quota of the control
    group (cgroup) grants, rounded up. The cores are looked up anew each time, the variable and the
    quota once. ``threadpoolctl.threadpool_limits`` sets it for a while. Steps too small to share
    use fewer threads. It never changes a result, not by a bit.

    Raises
    ------
    ValueError
        ``OMP_NUM_THREADS`` is no number of threads.

    Examples
    --------
    >>> get_num_threads() >= 1
    True
    """
    return _num_threads or _default()


def set_num_threads(n: int | None) -> None:
    """Sets the number of threads used where ``num_threads`` is None; None restores the default.

    With None ``OMP_NUM_THREADS`` and the quota of the control group are read again.

    Raises
    ------
    TypeError, ValueError
        `n` is not an integer, or less than 1.
    """
    global _num_threads, _lately
    if n is None:
        _from_environment.cache_clear()
        _quota.cache_clear()
        _num_threads, _lately = None, _NEVER
    else:
        _num_threads = check_num_threads(n)


def _default() -> int:
    return _from_environment() or min(_cores(), _quota())


def threads_for(num_threads: int | None, work: int) -> int:
    """How many threads to use for `work` multiply-adds in a phase of a call.

    As many as are asked for; where that is left to us, no more than have a few microseconds of
    work each: less is not worth sharing.
    """
    global _lately
    if num_threads is not None:
        return check_num_threads(num_threads)
    most = _num_threads
    if most is None:
        # To look up 100 cores takes some microseconds, and so does a step
        thread, until, most = _lately
        if monotonic() > until or get_ident() != thread:
            most = _default()
            _lately = get_ident(), monotonic() + _FRESH, most
    return min(most, work // _WORK) or 1


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


@cache
def _from_environment() -> int | None:
    """The first number of ``OMP_NUM_THREADS``, which may have one for each level of nesting."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if not given.strip():
        return None
    first = given.split(",")[0].strip()
    # isdigit alone would take "²", and int alone "1_0"
    if first.isascii() and first.isdigit() and len(first) < 10 and int(first) > 0:
        return min(int(first), _MOST)
    raise ValueError(
        f"OMP_NUM_THREADS must be a number of threads, an integer >= 1, got {given!r}: correct it "
        "or unset it"
    )


def _cores() -> int:
    """How many cores the calling thread may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# ---- control groups ----


@cache
def _quota() -> int:
    """How many cores the control groups of this process grant, `_MOST` where they set no limit."""
    quota = math.inf
    try:
        for mount, inside in _cpu_groups():
            # A group has no more than any that it is in, as far up as can be seen from here
            for group in (inside, *inside.parents):
                quota = min(quota, _quota_of(mount / group))
    except (OSError, ValueError, ZeroDivisionError):  # no Linux, or files of an unknown form
        pass
    return max(1, math.ceil(min(quota, _MOST)))


def _cpu_groups() -> list[tuple[Path, PurePosixPath]]:
    """Where the hierarchies with CPU quotas are mounted, and this process's group in each."""
    groups = {}
    for line in (_PROC / "cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        groups.update(dict.fromkeys(controllers.split(","), group))  # "" is version 2
    found = []
    for line in (_PROC / "mountinfo").read_text().splitlines():
        mounted, _, filesystem = line.partition(" - ")
        root, mount = mounted.split()[3:5]
        kind, _, options = filesystem.split(" ", 2)
        controller = {"cgroup": "cpu", "cgroup2": ""}.get(kind)
        if controller == "cpu" and "cpu" not in options.split(","):
            continue
        if controller in groups:
            inside = PurePosixPath(groups[controller])
            # In a container its own group is all that is mounted
            inside = inside.relative_to(root) if inside.is_relative_to(root) else PurePosixPath()
            found.append((Path(mount), inside))
    return found


def _quota_of(folder: Path) -> float:
    """Cores that the group of this folder grants; infinity without a limit."""
    try:
        try:
            quota, period = (folder / "cpu.max").read_text().split()
        except FileNotFoundError:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text()
    except OSError:
        return math.inf
    return math.inf if quota in ("max", "-1") else int(quota) / int(period)
