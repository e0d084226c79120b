"""How long a call takes in this process, and when its threads have come to rest."""

import time
from collections.abc import Callable

# A turn begins with untimed work, for this long: the threads were asleep, and Linux may let those
# that wake share a core for a while.
WARM_SECONDS = 0.05


def seconds_of(work: Callable[[], object], count: int) -> float:
    """Seconds that `work` takes when warm, over `count` times in a row."""
    start = time.perf_counter()
    while time.perf_counter() - start < WARM_SECONDS:
        work()
    start = time.perf_counter()
    for _ in range(count):
        work()
    return (time.perf_counter() - start) / count


def turn(work: Callable[[], object], seconds: float, blocks: int) -> list[float]:
    """Seconds that `work` takes when warm, over each of some blocks in a row.

    A block is as many calls as fit into its part of `seconds`, at least one.
    """
    once = seconds_of(work, 1)
    count = max(1, round(seconds / blocks / once))
    blocks = max(1, min(blocks, round(seconds / once)))
    times = []
    for _ in range(blocks):
        start = time.perf_counter()
        for _ in range(count):
            work()
        times.append((time.perf_counter() - start) / count)
    return times


def settle() -> None:
    """Waits until no thread of this process runs.

    The pools of OpenMP and OpenBLAS spin for a while after their last work. They would do so
    beside whoever is timed next.
    """
    while True:
        before = time.process_time()
        time.sleep(0.005)
        if time.process_time() - before < 0.0005:
            return
