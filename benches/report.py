"""Runs the sections of the report, prints them, and writes report.md and its pictures.

Run as ``python -m benches.report`` from the root of the repository.
"""

import argparse
import os
from pathlib import Path
from typing import Protocol

from benches.harness.text import Run
from benches.sections import beside, evaluation, fit, gradients, race, shapes


class Section(Protocol):
    """A module of sections/."""

    HEADING: str
    ROUNDS: int  # unless --rounds says otherwise

    @staticmethod
    def write(run: Run) -> str:
        """Its text, in Markdown."""


# In the order of the report; the names are for --only.
SECTIONS: dict[str, Section] = {
    "book": race,
    "evaluation": evaluation,
    "gradients": gradients,
    "beside": beside,
    "fit": fit,
    "shapes": shapes,
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
        run = Run(arguments.rounds or section.ROUNDS, load, arguments.output)
        text = written[section.HEADING] = section.write(run)
        print(f"## {section.HEADING}\n\n{text}\n", flush=True)
        # After each, so that what was measured is kept if a later one fails.
        bodies = (
            f"## {s.HEADING}\n\n{written[s.HEADING]}\n"
            for s in SECTIONS.values()
            if s.HEADING in written
        )
        path.write_text("# Report\n\n" + "\n".join(bodies))


if __name__ == "__main__":
    main()
