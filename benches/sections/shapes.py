"""The table of shapes: ours against the best peer at each, in report.md and shapes.csv."""

import csv
from pathlib import Path
from statistics import geometric_mean

from benches.harness.alternate import Race
from benches.harness.text import Run, machine, not_run, table, versions
from benches.sections.shapes_jobs import CLASSES, FEATURES, batch_name, jobs
from benches.sections.shapes_picture import draw
from benches.sections.shapes_race import AIM, AIM_CLASSES, CONTENDERS, OURS, Result, measure

HEADING = "The table of shapes"
ROUNDS = 5


def write(run: Run) -> str:
    with Race(CONTENDERS) as race:
        results = measure(jobs(), run.rounds, race)
        caption = f"{machine(run)} {versions(race)} {run.rounds} rounds."
        absent = not_run(race)
    save(results, run.folder / "shapes.csv")
    draw(results, run.folder / "shapes.png")
    return "\n\n".join([summary(results), caption, "![](shapes.png)", tables(results), *absent])


def save(results: list[Result], path: Path) -> None:
    peers = list(results[0].peers)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        head = ["classes", "features", "batch", "rows", f"{OURS}, ms"]
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
    """For each batch the ratios, a row for each K."""
    at = {(batch_name(r.job), r.job.n_classes, r.job.n_features): r for r in results}
    parts = []
    for batch in dict.fromkeys(batch for batch, _, _ in at):
        head = [f"B = {batch}", *(f"D = {d}" for d in FEATURES)]
        rows = []
        for k in CLASSES:
            found = [at.get((batch, k, d)) for d in FEATURES]
            rows.append([f"K = {k}", *(_cell(r) if r else "" for r in found)])
        parts.append(table(head, rows))
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
        "(`sections/shapes_jobs.py`); B = all is a step over all rows as they lie. The times are "
        "in `shapes.csv`."
    )
