"""The book's epoch by every contender in turn: prints a table, writes report.md and report.png.

Run as ``python -m benches.report`` from the root of the repository.
"""

import argparse
import math
import os
import platform
import sys
from datetime import date
from pathlib import Path
from statistics import median

from cpuinfo import get_cpu_info

from benches.alternate import ROUNDS, WARMUP, Race
from benches.contenders import CONTENDERS, THREADS, Spec
from benches.picture import draw
from benches.shapes import BOOK, Job

Times = dict[Spec, list[float]]  # seconds


def table(times: Times) -> str:
    """Markdown, fastest first. The best peer is the one with the smallest median.

    Peers are compared by medians; limits by minima, for a limit is what the machine can do at
    its best.
    """
    medians = {spec: median(seconds) for spec, seconds in times.items()}
    best_peer = min((m for spec, m in medians.items() if spec.kind == "peer"), default=math.nan)
    limits = {spec.name: min(times[spec]) for spec in times if spec.kind == "limit"}
    head = ["contender", "median, ms", "min, ms", "best peer ÷ this"]
    head += [f"this ÷ {name}" for name in limits]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for spec, middle in sorted(medians.items(), key=lambda item: item[1]):
        least = min(times[spec])
        rows.append(
            [
                f"**{spec.label}**" if spec.kind == "ours" else spec.label,
                f"{1e3 * middle:.2f}",
                f"{1e3 * least:.2f}",
                f"{best_peer / middle:.2f}",
                *(f"{least / limit:.2f}" for limit in limits.values()),
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def machine(race: Race, load: float) -> str:
    """Where, when and with what the times were measured; `load` is what ran there before."""
    cpu = get_cpu_info()
    about: dict[str, str] = {}
    for child in race.children.values():
        if child.spec.kind != "limit" and not child.spec.env.get("FASTSOFTMAX_ISA"):
            about |= child.about
    versions = ", ".join(f"{name} {value}" for name, value in sorted(about.items()))
    return (
        f"{cpu.get('brand_raw', 'unknown CPU')} (family {cpu.get('family')}, "
        f"model {cpu.get('model')}), {os.cpu_count()} cores; {THREADS} threads each unless said "
        f"otherwise. Python {platform.python_version()}, {versions}. {date.today()}, "
        f"load average before the run {load:.1f}."
    )


def job_text(job: Job, rounds: int) -> str:
    return (
        f"One epoch of the {job.name}'s job: {job.n_rows:,} rows of {job.n_features} features, "
        f"{job.n_classes} classes, batches of {job.batch_size}, random order. "
        f"{rounds} rounds, the contenders by turns."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--warmup", type=int, default=WARMUP)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, metavar="FOLDER")
    arguments = parser.parse_args()

    load = os.getloadavg()[0]
    with Race(BOOK, CONTENDERS) as race:
        for child in race.children.values():
            if child.error:
                sys.exit(f"{child.spec.name}: {child.error}")
        seconds = race.seconds("epoch", arguments.rounds, arguments.warmup)
        times = {race.children[name].spec: values for name, values in seconds.items()}
        skipped = [f"- {c.spec.label}: {c.skip}" for c in race.children.values() if c.skip]
        parts = [job_text(BOOK, arguments.rounds), machine(race, load), table(times)]
    if skipped:
        parts.append("Not run:\n\n" + "\n".join(skipped))
    report = "\n\n".join(parts) + "\n"
    print(report)
    arguments.output.mkdir(parents=True, exist_ok=True)
    arguments.output.joinpath("report.md").write_text(f"# Report\n\n{report}")
    draw(times, parts[0], parts[1], arguments.output / "report.png")


if __name__ == "__main__":
    main()
