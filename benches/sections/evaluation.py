"""Evaluation against its limits, what it adds to an epoch, and one small step."""

import math
from statistics import median

from benches.harness.alternate import ROUNDS, WARMUP, Race
from benches.harness.jobs import Job
from benches.harness.spec import OURS_ENV, THREADS, Spec, limit
from benches.harness.text import Run, machine, table, versions
from benches.peers.limits import PASSES

HEADING = "Evaluation and small steps"

__all__ = ["HEADING", "ROUNDS", "write"]

AIM, AIM_ADDED, AIM_MICROSECONDS = 1.5, 0.15, 15

# What is evaluated: the book's test rows, and its training rows. And the smallest usual batch.
TEST_ROWS = Job("10,000 rows", 10_000, 784, 10, 256, lr=0.1, tasks=("epoch",))
TRAIN_ROWS = Job("60,000 rows", 60_000, 784, 10, 256, lr=0.1, tasks=("epoch",))
SMALL_STEP = Job("small step", 32, 784, 10, 32, lr=0.1, tasks=("step",))

ROWS = ("float32", "uint8")


def _ours(rows: str) -> Spec:
    tasks = "epoch", "epoch_evaluate", "evaluate", "predict", "sgd_step"
    options = {"rows": rows, "threads": THREADS}
    label = f"fastsoftmax, {rows} rows"
    return Spec(f"ours-{rows}", "ours", "evaluation", label, options, OURS_ENV, tasks)


def _read_in_order(rows: str) -> Spec:
    options = {"limit": "read-in-order", "threads": THREADS, "rows": rows}
    label = f"limit: reading the {rows} rows in order"
    return Spec(f"limit-{rows}", "limit", "limits", label, options, OURS_ENV, ("evaluate",))


CONTENDERS = [
    *(_ours(rows) for rows in ROWS),
    *(_read_in_order(rows) for rows in ROWS),
    limit("fma", "limit: the multiply-adds", "evaluate"),
]


def write(run: Run) -> str:
    with Race(CONTENDERS) as race:
        rows = [*_evaluations(race, TEST_ROWS, run.rounds)]
        rows += _evaluations(race, TRAIN_ROWS, run.rounds)
        added = _added_to_an_epoch(race, run.rounds)
        race.load(SMALL_STEP)
        step = _medians(race, "sgd_step", run.rounds)["ours-float32"]
        head = ["", "rows", "ms", "reading them, ms", "÷ reading"]
        parts = [
            f"784 features, 10 classes. {run.rounds} rounds, medians. Aimed at: {AIM} times the "
            "limit of reading; from uint8 rows the multiply-adds, which take longer, are the "
            "limit.",
            table([*head, "the multiply-adds, ms", "÷ those"], rows),
            f"An epoch of the book's job and an evaluation of {TEST_ROWS.n_rows:,} test rows: "
            f"{added}. Aimed at: less than +{100 * AIM_ADDED:.0f}%.",
            f"`fs.sgd_step` on {SMALL_STEP.batch_size} float32 rows, from Python with all checks, "
            f"which takes one thread where it is left the choice: {1e6 * step:.1f} µs. "
            f"Aimed at: {AIM_MICROSECONDS} µs.",
            f"{machine(run)} {versions(race)}",
        ]
    return "\n\n".join(parts)


def _medians(race: Race, task: str, rounds: int) -> dict[str, float]:
    race.raise_errors()
    return {name: median(s) for name, s in race.seconds(task, rounds, WARMUP).items()}


def _evaluations(race: Race, job: Job, rounds: int) -> list[list[str]]:
    """Lines of the table, for evaluation and prediction of these rows."""
    race.load(job)
    times = {task: _medians(race, task, rounds) for task in ("evaluate", "predict")}
    lines = []
    for task, function in (("evaluate", "`evaluate`"), ("predict", "`predict_logits`")):
        for rows in ROWS:
            seconds = times[task][f"ours-{rows}"]
            line = [f"{function}, {rows} rows", f"{job.n_rows:,}", f"{1e3 * seconds:.2f}"]
            for name in (f"limit-{rows}", "limit-fma"):
                least = times["evaluate"].get(name, math.nan) / PASSES  # NaN: no compiler
                line += [f"{1e3 * least:.2f}", f"{seconds / least:.2f}"]
            lines.append(line)
    return lines


def _added_to_an_epoch(race: Race, rounds: int) -> str:
    """An epoch alone and one with an evaluation take turns too, as their difference is small."""
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for task in ("epoch", "epoch_evaluate"):
            for name, (seconds,) in race.seconds(task, 1, 0, count=4).items():
                times.setdefault((task, name), []).append(seconds)
    added = []
    for rows in ROWS:
        alone = median(times["epoch", f"ours-{rows}"])
        with_test = median(times["epoch_evaluate", f"ours-{rows}"])
        added.append(
            f"{rows} rows {1e3 * alone:.2f} ms alone, {1e3 * with_test:.2f} ms with it "
            f"({100 * (with_test / alone - 1):+.0f}%)"
        )
    return "; ".join(added)
