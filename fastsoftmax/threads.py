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

_WORK = 1 << 17  # multiply-adds: with less of it a thread costs more than it saves
SOFTMAX_WORK = 16  # multiply-adds that take as long as an exp
_MOST = 1024  # threads: no backend uses more, and C has them as an int
_FRESH = 0.01  # seconds for which `threads_for` keeps a default that it looked up
_PROC = Path("/proc/self")
_num_threads: int | None = None
_NEVER = 0, -math.inf, 0
# The default that was looked up last: for which thread, until when it is kept, the number
_lately: tuple[int, float, int] = _NEVER


def get_num_threads() -> int:
    """The number of threads used where ``num_threads`` is None.

    `set_num_threads` sets it. The default is ``OMP_NUM_THREADS``. Where that is empty or not set,
    the default is the number of cores that this thread may run on, or the CPU quota of the
    control group (cgroup), rounded up, if that is less. The cores are looked up anew each time,
    the variable and the quota once. ``threadpoolctl.threadpool_limits`` sets the number for a
    while. Steps too small to share use fewer threads. The number never changes a result, not by
    a bit.

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

    None also reads ``OMP_NUM_THREADS`` and the quota of the control group again.

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

    A `num_threads` that was asked for is taken as it is. The default is cut to as many threads as
    have work worth sharing.
    """
    global _lately
    if num_threads is not None:
        return check_num_threads(num_threads)
    most = _num_threads
    if most is None:
        # To look up many cores takes as long as a small step
        thread, until, most = _lately
        if monotonic() > until or get_ident() != thread:
            most = _default()
            _lately = get_ident(), monotonic() + _FRESH, most
    return min(most, work // _WORK) or 1


def worthwhile(threads: int, work: int) -> int:
    """As many of `threads` as get work worth sharing out of `work` multiply-adds."""
    return min(threads, work // _WORK) or 1


def check_num_threads(num_threads: int | None) -> int:
    """`num_threads` as a positive int; for None that of `get_num_threads`."""
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
    """The first number of ``OMP_NUM_THREADS``; None where it is empty or not set.

    The variable may have a number for each level of nesting.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")
    if not given.strip():
        return None
    first = given.split(",")[0].strip()
    # isdigit alone would accept "²", and int alone "1_0"
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
    """How many cores the control groups of this process grant; `_MOST` without a limit."""
    quota = math.inf
    try:
        for mount, inside in _cpu_groups():
            # A group is limited by those around it, too, as far up as can be seen from here
            for group in (inside, *inside.parents):
                quota = min(quota, _quota_of(mount / group))
    except (OSError, ValueError, ZeroDivisionError):  # not Linux, or files of an unknown form
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
            # A container sees its own group as the root of the mount
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
