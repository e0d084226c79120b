"""Times two builds of fastsoftmax by turns, call by call.

Each build has a process of its own. Both are alive at once and take turns of some 50 ms. Where a
process has its memory may make it faster or slower as long as it lives, so pairs of processes
follow each other.
"""

import sys
from statistics import median

from benches.harness.process import Build, CallError, Process

PAIRS, ROUNDS = 5, 3
TURN_SECONDS = 0.05
TOLERANCE = 0.02
ENV = {"OPENBLAS_NUM_THREADS": "1"}

Rounds = list[tuple[float, float]]  # seconds of a call, before and after


class Pair:
    """Two processes, one of each build."""

    def __init__(self, before: Build, after: Build) -> None:
        self.processes = [Process(ENV, build) for build in (before, after)]
        for process, build in zip(self.processes, (before, after), strict=True):
            where = process.call("benches.calls:folder")
            assert build.packages is None or where == str(build.packages), where

    def times(self, case: str, rounds: int) -> Rounds:
        """Seconds of a call before and after, in each round. Checks the results first."""
        once = [process.call("benches.calls:prepare", case) for process in self.processes]
        count = max(1, round(TURN_SECONDS / max(once)))
        times = []
        for i in range(rounds):
            turns = [0, 1] if i % 2 == 0 else [1, 0]
            seconds = {j: self.processes[j].call("benches.calls:seconds", count) for j in turns}
            times.append((seconds[0], seconds[1]))
        return times

    def close(self) -> None:
        for process in self.processes:
            process.close()


def measure(
    before: Build, after: Build, cases: list[str], pairs: int, rounds: int
) -> tuple[dict[str, list[Rounds]], dict[str, str]]:
    """For each case the times of each pair of processes; and of those that failed, how."""
    times: dict[str, list[Rounds]] = {case: [] for case in cases}
    failed: dict[str, str] = {}
    for i in range(pairs):
        print(f"pair {i + 1} of {pairs}", file=sys.stderr)
        pair = Pair(before, after)
        for case in cases:
            if case in failed:
                continue
            try:
                times[case].append(pair.times(case, rounds))
            except CallError as error:
                failed[case] = str(error)
                print(f"{case}: {error}", file=sys.stderr)
        pair.close()
    return {case: of for case, of in times.items() if case not in failed}, failed


def compared(pairs: list[Rounds]) -> tuple[list[str], str]:
    """Cells of a table, and what they say of the build after: "slower", "faster" or nothing.

    They are the times before and after, their ratio, and how far it goes from pair to pair. The
    ratio is the median of the pairs, each of which has the median of its rounds. All pairs have
    to agree on who is slower.
    """
    ratios = [median(after / before for before, after in rounds) for rounds in pairs]
    ratio, least, largest = median(ratios), min(ratios), max(ratios)
    verdict = ""
    if ratio > 1 + TOLERANCE and least > 1:
        verdict = "slower"
    elif ratio < 1 - TOLERANCE and largest < 1:
        verdict = "faster"
    before, after = (
        median(seconds[i] for rounds in pairs for seconds in rounds) for i in range(2)
    )
    cells = [_duration(before), _duration(after), f"{ratio:.3f}", f"{least:.3f} to {largest:.3f}"]
    return [*cells, verdict], verdict


def _duration(seconds: float) -> str:
    return f"{1e6 * seconds:.1f} µs" if seconds < 1e-3 else f"{1e3 * seconds:.2f} ms"
