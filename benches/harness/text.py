"""What the sections have in common: tables, and where and when they were measured."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from cpuinfo import get_cpu_info

from benches.harness.alternate import Race
from benches.harness.spec import THREADS


@dataclass(frozen=True)
class Run:
    """How a section is to be measured, and where its pictures go."""

    rounds: int
    load: float  # the load average of the machine, before anything was measured
    folder: Path


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown. The first column is of words, the others are of numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(run: Run) -> str:
    """One paragraph."""
    cpu = get_cpu_info()
    return (
        f"{cpu.get('brand_raw', 'unknown CPU')} (family {cpu.get('family')}, "
        f"model {cpu.get('model')}), {os.cpu_count()} cores; {THREADS} threads each unless said "
        f"otherwise. Python {platform.python_version()}. {date.today()}, "
        f"load average before the run {run.load:.1f}."
    )


def versions(race: Race) -> str:
    """Of all that did the work."""
    about: dict[str, str] = {}
    for child in race.children.values():
        if child.spec.kind != "limit" and not child.spec.env.get("FASTSOFTMAX_ISA"):
            about |= child.about
    return ", ".join(f"{name} {value}" for name, value in sorted(about.items())) + "."


def not_run(race: Race) -> list[str]:
    """One paragraph, or none."""
    names = [f"- {child.spec.label}: {child.skip}" for child in race.skipped()]
    return ["Not run:\n\n" + "\n".join(names)] if names else []
