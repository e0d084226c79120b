"""Evaluation against its limits, what it adds to an epoch, and one small step."""

import math
from statistics import median

from benches.alternate import WARMUP, Race
from benches.peers.limits import PASSES
from benches.shapes import SMALL_STEP, TEST_ROWS, TRAIN_ROWS, Job

AIM, AIM_ADDED, AIM_MICROSECONDS = 1.5, 0.15, 15


def medians(race: Race, job: Job, task: str, rounds: int) -> dict[str, float]:
    if race.errors():
        raise RuntimeError(f"{job}: " + "\n".join(race.errors()))
    return {name: median(s) for name, s in race.seconds(task, rounds, WARMUP).items()}


def by_turns(race: Race, tasks: tuple[str, ...], rounds: int) -> dict[tuple[str, str], float]:
    """Medians of (task, contender), the tasks taking turns too: their difference is small."""
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for task in tasks:
            for name, (seconds,) in race.seconds(task, 1, 0, count=4).items():
                times.setdefault((task, name), []).append(seconds)
    return {key: median(seconds) for key, seconds in times.items()}


def write(race: Race, rounds: int) -> str:
    """Markdown: a table, and a sentence for each of the others."""
    lines = [
        "| | rows | ms | reading them, ms | ÷ reading | the multiply-adds, ms | ÷ those |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    added = []
    for job in (TEST_ROWS, TRAIN_ROWS):
        race.load(job)
        times = {task: medians(race, job, task, rounds) for task in ("evaluate", "predict")}
        for task, function in (("evaluate", "`evaluate`"), ("predict", "`predict_logits`")):
            for rows in ("float32", "uint8"):
                seconds = times[task][f"ours-{rows}"]
                row = [f"{function}, {rows} rows", f"{job.n_rows:,}", f"{1e3 * seconds:.2f}"]
                for name in (f"limit-{rows}", "limit-fma"):
                    limit = times["evaluate"].get(name, math.nan) / PASSES  # NaN: no compiler
                    row += [f"{1e3 * limit:.2f}", f"{seconds / limit:.2f}"]
                lines.append(f"| {' | '.join(row)} |")
    epochs = by_turns(race, ("epoch", "epoch_evaluate"), rounds)
    for rows in ("float32", "uint8"):
        alone, with_test = (epochs[task, f"ours-{rows}"] for task in ("epoch", "epoch_evaluate"))
        added.append(
            f"{rows} rows {1e3 * alone:.2f} ms alone, {1e3 * with_test:.2f} ms with it "
            f"({100 * (with_test / alone - 1):+.0f}%)"
        )
    race.load(SMALL_STEP)
    step = medians(race, SMALL_STEP, "sgd_step", rounds)["ours-float32"]
    return "\n\n".join(
        [
            f"784 features, 10 classes. {rounds} rounds, medians. Aimed at: {AIM} times the limit "
            "of reading; from uint8 rows the multiply-adds, which take longer, are the limit.",
            "\n".join(lines),
            f"An epoch of the book's job and an evaluation of {TEST_ROWS.n_rows:,} test rows: "
            + "; ".join(added)
            + f". Aimed at: less than +{100 * AIM_ADDED:.0f}%.",
            f"`fs.sgd_step` on {SMALL_STEP.batch_size} float32 rows, from Python with all checks, "
            f"which takes one thread where it is left the choice: {1e6 * step:.1f} µs. "
            f"Aimed at: {AIM_MICROSECONDS} µs.",
        ]
    )
