"""Two builds of fastsoftmax by turns, call by call: which one is slower, and by how much.

    python -m benches.before_after PYTHON [CASE ...]

PYTHON runs the build that was before, in an environment of its own; the Python that runs this
command has the build after. A case is a call, its shape B x D x K, and options, in one argument:
"step 64x784x90", "epoch 60000x784x10 uint8 numba". Without any, a list of all kinds of calls is
timed, in some three minutes.

Each build has a process of its own. Both are alive at once and take turns of some 50 ms. Where a
process has its memory may make it faster or slower as long as it lives, so pairs of processes
follow each other.
"""

import argparse
import sys
from statistics import median

from benches.harness.process import CallError, Process
from benches.harness.text import table

PAIRS, ROUNDS = 5, 3
TURN_SECONDS = 0.05
TOLERANCE = 0.02
ENV = {"OPENBLAS_NUM_THREADS": "1"}

CASES = [
    "epoch 60000x784x10",
    "epoch 60000x784x10 uint8",
    "epoch 60000x784x10 1-thread",
    "epoch 60000x784x10 uint8 1-thread",
    "epoch 60000x784x10 momentum",
    "step 256x784x10",
    "step 256x784x10 uint8",
    "step 32x64x3",
    "step 32x784x100",
    "step 1024x768x100",
    "step 256x4096x1000",
    "step 8192x64x16",
    "sgd_step 32x784x10",
    "sgd_step 32x784x10 momentum",
    "sgd_step 32x784x10 weighted",
    "sgd_step 256x784x10",
    "loss_and_grad 256x784x10",
    "loss_and_grad 256x784x10 grad_input",
    "loss_and_grad 20000x784x10",
    "evaluate 10000x784x10",
    "evaluate 10000x784x10 uint8",
    "predict_logits 10000x784x10",
    "softmax 512x16x100",
    "log_softmax 512x16x100",
    "cross_entropy 512x16x100",
    "cross_entropy 512x16x100 weighted",
    "linear_cross_entropy 256x784x10",
    "linear_cross_entropy_grad 32x784x10",
    "linear_cross_entropy_grad 256x784x10",
    "linear_cross_entropy_grad 256x784x10 grad_input",
    "train 70000x784x10 uint8",
    "train 1000x20x3",
    "epoch 60000x784x10 numba",
    "epoch 60000x784x10 uint8 numba",
    "step 256x784x10 numba",
    "epoch 6000x784x10 numpy",
    "fastsoftmax.torch 256x784x10",
    "F.linear_cross_entropy 256x784x10",
]


class Pair:
    """Two processes, one of each build."""

    def __init__(self, before: str, after: str) -> None:
        self.processes = [Process(ENV, python) for python in (before, after)]

    def times(self, case: str, rounds: int) -> list[tuple[float, float]]:
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
    before: str, after: str, cases: list[str], pairs: int, rounds: int
) -> tuple[dict[str, list[list[tuple[float, float]]]], dict[str, str]]:
    """For each case the times of each pair of processes; and of those that failed, how."""
    times: dict[str, list[list[tuple[float, float]]]] = {case: [] for case in cases}
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


def row_of(case: str, pairs: list[list[tuple[float, float]]]) -> tuple[list[str], str]:
    """A line of the table, and what it says: "slower", "faster" or nothing.

    The ratio is the median of the pairs, each of which has the median of its rounds. All pairs
    have to agree on who is slower.
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
    return [case, *cells, verdict], verdict


def _duration(seconds: float) -> str:
    return f"{1e6 * seconds:.1f} µs" if seconds < 1e-3 else f"{1e3 * seconds:.2f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", metavar="PYTHON", help="of the build before")
    parser.add_argument("cases", metavar="CASE", nargs="*", default=CASES)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each pair of processes")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    arguments = parser.parse_args()

    times, failed = measure(
        arguments.before, sys.executable, arguments.cases, arguments.pairs, arguments.rounds
    )
    rows, slower = [], []
    for case, pairs in times.items():
        row, verdict = row_of(case, pairs)
        rows.append(row)
        if verdict == "slower":
            slower.append(case)
    print(table(["call", "before", "after", "after ÷ before", "of the pairs", ""], rows))
    print(f"\nslower by more than {TOLERANCE:.0%}: {', '.join(slower) or 'none'}")
    if failed:
        sys.exit(f"failed, in one of the builds: {', '.join(failed)}")


if __name__ == "__main__":
    main()
