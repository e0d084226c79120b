"""The table of shapes: ours against the best peer at each, in report.md and shapes.csv."""

import csv
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean, median

from benches import shapes
from benches.alternate import Race
from benches.contenders import GRID
from benches.shapes import Job

ROUNDS = 5

# What is promised of float32 rows: never slower than the best peer, and this where K <= 100.
AIM, AIM_CLASSES = 1.3, 100


@dataclass(frozen=True)
class Result:
    """The median seconds of each contender at one shape, over an epoch of `job.n_rows` rows."""

    job: Job
    ours: float
    peers: dict[str, float]

    @property
    def best_peer(self) -> str:
        return min(self.peers, key=self.peers.__getitem__)

    @property
    def ratio(self) -> float:
        """Above 1 where ours is faster than the best peer."""
        return self.peers[self.best_peer] / self.ours

    @property
    def aim(self) -> float:
        return AIM if self.job.n_classes <= AIM_CLASSES else 1.0


def batch_name(job: Job) -> str:
    """As the job's name has it: an epoch may be one batch, and still not mean all rows."""
    return job.name.rpartition("B=")[2]


def run(jobs: Iterable[Job], rounds: int, race: Race) -> list[Result]:
    """Each job by all contenders in turn; stops where a result is wrong."""
    results = []
    for job in jobs:
        race.load(job)
        if race.errors():
            raise RuntimeError(f"{job}: " + "\n".join(race.errors()))
        # No round to warm up: a turn begins with untimed work.
        (seconds,) = (race.seconds(task, rounds, 0, count=1) for task in job.tasks)
        medians = {name: median(values) for name, values in seconds.items()}
        result = Result(job, medians.pop(GRID[0].name), medians)
        results.append(result)
        print(
            f"{job.name}: {1e3 * result.ours:.2f} ms, {result.ratio:.2f} times as fast as "
            f"{result.best_peer}",
            file=sys.stderr,
        )
    return results


def save(results: list[Result], path: Path) -> None:
    peers = list(results[0].peers)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        head = ["classes", "features", "batch", "rows", f"{GRID[0].name}, ms"]
        writer.writerow(head + [f"{name}, ms" for name in peers] + ["best peer", "ratio"])
        for r in results:
            job = r.job
            seconds = [r.ours, *(r.peers[name] for name in peers)]
            writer.writerow(
                [job.n_classes, job.n_features, batch_name(job), job.n_rows]
                + [f"{1e3 * s:.4g}" for s in seconds]
                + [r.best_peer, f"{r.ratio:.3f}"]
            )


def tables(results: list[Result]) -> str:
    """Markdown: for each batch the ratios, a row for each K."""
    at = {(batch_name(r.job), r.job.n_classes, r.job.n_features): r for r in results}
    parts = []
    for batch in dict.fromkeys(batch for batch, _, _ in at):
        head = [f"B = {batch}", *(f"D = {d}" for d in shapes.FEATURES)]
        rows = [head, ["---", *["---:"] * len(shapes.FEATURES)]]
        for k in shapes.CLASSES:
            found = [at.get((batch, k, d)) for d in shapes.FEATURES]
            rows.append([f"K = {k}", *(_cell(r) if r else "" for r in found)])
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    return "\n\n".join(parts)


def _cell(result: Result) -> str:
    mark = "**" if result.ratio < 1 else "*" if result.ratio < result.aim else ""
    return f"{mark}{result.ratio:.2f}{mark}"


def summary(results: list[Result]) -> str:
    ratios = [r.ratio for r in results]
    slower = sum(ratio < 1 for ratio in ratios)
    short = sum(1 <= r.ratio < r.aim for r in results)
    wins = {name: sum(r.best_peer == name for r in results) for name in results[0].peers}
    return (
        f"Best peer ÷ fastsoftmax, float32 rows, at {len(results)} shapes: geometric mean "
        f"{geometric_mean(ratios):.2f}, least {min(ratios):.2f}. At {slower} fastsoftmax is "
        f"slower (**bold**); at {short} more it is less than {AIM} times as fast with "
        f"K <= {AIM_CLASSES} (*italic*). The best peer was "
        + ", ".join(f"{name} at {count}" for name, count in wins.items())
        + ". An epoch in random order over as many rows as bounds on memory and time allow "
        "(`shapes.py`); B = all is a step over all rows as they lie. The times are in "
        "`shapes.csv`."
    )
