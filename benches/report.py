"""Runs all contenders by turns, prints tables, and writes report.md and its pictures.

Run as ``python -m benches.report`` from the root of the repository.
"""

import argparse
import math
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median

from cpuinfo import get_cpu_info

from benches import beside, evaluation, fit, gradients, grid, heatmap, shapes
from benches.alternate import ROUNDS, WARMUP, Race
from benches.contenders import CONTENDERS, EVALUATION, GRID, THREADS, Spec
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


def machine(load: float) -> str:
    """Where and when the times were measured; `load` is what ran there before."""
    cpu = get_cpu_info()
    return (
        f"{cpu.get('brand_raw', 'unknown CPU')} (family {cpu.get('family')}, "
        f"model {cpu.get('model')}), {os.cpu_count()} cores; {THREADS} threads each unless said "
        f"otherwise. Python {platform.python_version()}. {date.today()}, "
        f"load average before the run {load:.1f}."
    )


def versions(race: Race) -> str:
    about: dict[str, str] = {}
    for child in race.children.values():
        if child.spec.kind != "limit" and not child.spec.env.get("FASTSOFTMAX_ISA"):
            about |= child.about
    return ", ".join(f"{name} {value}" for name, value in sorted(about.items()))


def job_text(job: Job, rounds: int) -> str:
    return (
        f"One epoch of the {job.name}'s job: {job.n_rows:,} rows of {job.n_features} features, "
        f"{job.n_classes} classes, batches of {job.batch_size}, random order. "
        f"{rounds} rounds, the contenders by turns."
    )


def not_run(race: Race) -> list[str]:
    """One paragraph, or none."""
    names = [f"- {child.spec.label}: {child.skip}" for child in race.skipped()]
    return ["Not run:\n\n" + "\n".join(names)] if names else []


def book(rounds: int, load: float, output: Path) -> str:
    """One epoch of the book's job by everyone."""
    with Race(CONTENDERS) as race:
        race.load(BOOK)
        if race.errors():
            sys.exit("\n".join(race.errors()))
        seconds = race.seconds("epoch", rounds, WARMUP)
        times = {race.children[name].spec: values for name, values in seconds.items()}
        absent = not_run(race)
        title, caption = job_text(BOOK, rounds), f"{machine(load)} {versions(race)}."
    draw(times, title, caption, output / "report.png")
    return "\n\n".join([title, caption, table(times), "![](report.png)", *absent])


def table_of_shapes(rounds: int, load: float, output: Path) -> str:
    """Ours against the best peer at every shape."""
    with Race(GRID) as race:
        results = grid.run(shapes.grid(), rounds, race)
        caption = f"{machine(load)} {versions(race)}. {rounds} rounds."
        absent = not_run(race)
    grid.save(results, output / "shapes.csv")
    heatmap.draw(results, output / "shapes.png")
    tables = grid.tables(results)
    return "\n\n".join([grid.summary(results), caption, "![](shapes.png)", tables, *absent])


def evaluations(rounds: int, load: float, output: Path) -> str:
    """Evaluation and small steps of ours."""
    with Race(EVALUATION) as race:
        text = evaluation.write(race, rounds)
        return f"{text}\n\n{machine(load)} {versions(race)}."


def fits(rounds: int, load: float, output: Path) -> str:
    """Ours against scikit-learn, which solves the problem by another method."""
    return f"{fit.write(rounds)}\n\n{machine(load)}"


def calls_beside(rounds: int, load: float, output: Path) -> str:
    """Ours and PyTorch's where others want the cores."""
    return f"{beside.write(rounds)}\n\n{machine(load)}"


def losses_and_gradients(rounds: int, load: float, output: Path) -> str:
    """Ours for other people's loops, against PyTorch's fused loss."""
    text, race = gradients.write(rounds)
    return "\n\n".join([text, f"{machine(load)} {versions(race)}.", *not_run(race)])


@dataclass(frozen=True)
class Section:
    """A part of the report, under a heading of its own."""

    heading: str
    write: Callable[[int, float, Path], str]  # rounds, load before, folder
    rounds: int


SECTIONS = {
    "book": Section("The book's epoch", book, ROUNDS),
    "evaluation": Section("Evaluation and small steps", evaluations, ROUNDS),
    "gradients": Section("Loss and gradients", losses_and_gradients, gradients.ROUNDS),
    "beside": Section("Beside others that want the cores", calls_beside, beside.RUNS),
    "fit": Section("A fit, from start to end", fits, 1),
    "shapes": Section("The table of shapes", table_of_shapes, grid.ROUNDS),
}


def old_sections(path: Path) -> dict[str, str]:
    """Those of the last report, by heading."""
    if not path.exists():
        return {}
    _, *parts = path.read_text().split("\n## ")
    return {heading: body.strip() for heading, _, body in (p.partition("\n") for p in parts)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", choices=SECTIONS, nargs="+", default=[*SECTIONS], help="leave the rest as it is"
    )
    parser.add_argument("--rounds", type=int, help="of each section; each has its own default")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, metavar="FOLDER")
    arguments = parser.parse_args()

    load = os.getloadavg()[0]
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "report.md"
    written = old_sections(path)
    for name in arguments.only:
        section = SECTIONS[name]
        rounds = arguments.rounds or section.rounds
        text = written[section.heading] = section.write(rounds, load, arguments.output)
        print(f"## {section.heading}\n\n{text}\n", flush=True)
        # After each, so that what was measured is kept if a later one fails.
        bodies = (
            f"## {s.heading}\n\n{written[s.heading]}\n"
            for s in SECTIONS.values()
            if s.heading in written
        )
        path.write_text("# Report\n\n" + "\n".join(bodies))


if __name__ == "__main__":
    main()
