"""Times two builds of fastsoftmax by turns, call by call.

Each build has a process of its own. Both are alive at once, and take turns of some 50 ms, each of
ten blocks. What disturbs a block makes it longer, never shorter, so the time of a build is the
lower quartile of its blocks. Where a process has its memory may make it faster or slower as long
as it lives, so pairs of processes follow each other.
"""

import sys
from statistics import median, quantiles

from benches.harness.process import Build, CallError, Process

PAIRS, ROUNDS = 5, 3
TURN_SECONDS, BLOCKS = 0.05, 10
TOLERANCE = 0.02
ENV = {"OPENBLAS_NUM_THREADS": "1"}

Times = tuple[float, float]  # seconds of a call, before and after


class Pair:
    """Two processes, one of each build."""

    def __init__(self, builds: tuple[Build, Build], first: int) -> None:
        """`first` is whose process begins, in its life and in each round: 0 or 1."""
        self.order = (first, 1 - first)
        started = {i: Process(ENV, builds[i]) for i in self.order}
        self.processes = (started[0], started[1])
        for process, build in zip(self.processes, builds, strict=True):
            where = process.call("benches.calls:folder")
            assert build.packages is None or where == str(build.packages), where

    def times(self, case: str, rounds: int) -> Times:
        """Before and after. Checks the results first."""
        self._prepare(case)
        blocks: tuple[list[float], list[float]] = [], []
        for _ in range(rounds):
            for i in self.order:
                blocks[i].extend(
                    self.processes[i].call("benches.calls:times", TURN_SECONDS, BLOCKS)
                )
        return undisturbed(blocks[0]), undisturbed(blocks[1])

    def _prepare(self, case: str) -> None:
        """In both at once: it is not timed."""
        errors = []
        for process in self.processes:
            process.send("benches.calls:prepare", case)
        for process in self.processes:
            try:
                process.receive()
            except CallError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def close(self) -> None:
        for process in self.processes:
            process.close()


def undisturbed(blocks: list[float]) -> float:
    """The lower quartile."""
    return quantiles(blocks, n=4, method="inclusive")[0] if len(blocks) > 1 else blocks[0]


def measure(
    before: Build, after: Build, cases: list[str], pairs: int, rounds: int
) -> tuple[dict[str, list[Times]], dict[str, str]]:
    """For each case the times of each pair of processes; and of those that failed, how."""
    times: dict[str, list[Times]] = {case: [] for case in cases}
    failed: dict[str, str] = {}
    for i in range(pairs):
        print(f"pair {i + 1} of {pairs}", file=sys.stderr)
        pair = Pair((before, after), first=i % 2)
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


def compared(pairs: list[Times]) -> tuple[list[str], str]:
    """Cells of a table, and what they say of the build after: "slower", "faster" or nothing.

    They are the times before and after, their ratio, and how far it goes from pair to pair. The
    ratio is the median of the pairs. All of them have to agree on who is slower.
    """
    ratios = [after / before for before, after in pairs]
    ratio, least, largest = median(ratios), min(ratios), max(ratios)
    verdict = ""
    if ratio > 1 + TOLERANCE and least > 1:
        verdict = "slower"
    elif ratio < 1 - TOLERANCE and largest < 1:
        verdict = "faster"
    before, after = (median(times[i] for times in pairs) for i in range(2))
    cells = [_duration(before), _duration(after), f"{ratio:.3f}", f"{least:.3f} to {largest:.3f}"]
    return [*cells, verdict], verdict


def _duration(seconds: float) -> str:
    return f"{1e6 * seconds:.1f} µs" if seconds < 1e-3 else f"{1e3 * seconds:.2f} ms"
