"""The figures of docs/measurements.md are those of the report and of the instruction counts."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "measurements.md").read_text()
ROWS = re.findall(r"^\| ([a-z-]+) \| (.+) \| (.+) \| `(.+)` \|$", PAGE, re.MULTILINE)
REPORT = re.split(r"\n(?=## )", (ROOT / "benches" / "report.md").read_text())
HEADINGS = {
    "book": "## The book's epoch",
    "evaluation": "## Evaluation and small steps",
    "gradients": "## Loss and gradients",
    "beside": "## Beside others that want the cores",
    "fit": "## A fit, from start to end",
    "shapes": "## The table of shapes",
}


def printed(command):
    if command == "make instructions":
        return (ROOT / "benches" / "instructions.json").read_text()
    (section,) = [part for part in REPORT if part.startswith(HEADINGS[command])]
    return section


def test_each_short_name_is_there_once():
    names = [name for name, *_ in ROWS]
    assert len(names) == len(set(names)) >= 20
    assert {command for *_, command in ROWS} == {*HEADINGS, "make instructions"}


@pytest.mark.parametrize("name, what, figures, command", ROWS, ids=[row[0] for row in ROWS])
def test_its_figures_are_printed(name, what, figures, command):
    numbers = re.findall(r"\d+(?:\.\d+)?", figures)
    assert numbers
    for number in numbers:
        assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.]*\d)", printed(command)), number


def sources(*folders):
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".c", ".h", ".py", ".pxi", ".pyx"):
                yield path, path.read_text()


def test_comments_point_at_what_is_there():
    names = {name for name, *_ in ROWS}
    for path, text in sources("benches", "csrc", "fastsoftmax", "tests"):
        pointers = re.findall(r"\(measurements:[\s*#]+([a-z-]+)\)", text)
        assert set(pointers) <= names, path


def test_comments_have_no_figures_that_age():
    """A CPU, what a run took on it, or by how much that was more or less."""
    cpu = r"\b(?:Zen \d|EPYC|Xeon|Rapids|Ryzen|Graviton)\b"
    share = r"\d ?% (?:less|more|longer|shorter|faster|slower)"
    took = r"(?:\btook|\btakes?|\bwhere it is) [\d.]+ ?(?:us|µs|ns|ms)\b"
    for path, text in sources("benches", "csrc", "fastsoftmax"):
        assert not re.findall(f"{cpu}|{share}|{took}", re.sub(r"\s+[*#]?\s*", " ", text)), path
