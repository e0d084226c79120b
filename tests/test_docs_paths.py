"""What the documentation names is there: each file, each folder, and each name in the code."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md"))
PAGES.append(ROOT / "benches" / "README.md")
PAGES = [page for page in PAGES if page.name != "CHANGELOG.md"]  # which tells of files that were

# Where every `name` must be one of the code
NAMES = ("architecture.md", "glossary.md", "how-to-change.md", "measurements.md")

FOLDERS = (".ci", "benches", "csrc", "docs", "fastsoftmax", "tests")
FILE = re.compile(
    r"(?<![\w/.$*-])[\w./-]*\w\.(?:pyx|pyi|pxi|py|c|h|md|build|toml|json|csv)\b(?!\.\w)"
)
FOLDER = re.compile(r"(?<![\w/.$*-])(?:[\w-]+/)+(?![\w/*.])")
OF_USERS = {"fashion-mnist/"}  # what users have, not the repository


@cache
def paths():
    """All files of the repository, and as folders what they lie in."""
    files = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in FOLDERS:
        files += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    names = {
        path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts
    }
    return names | {f"{parent.as_posix()}/" for name in names for parent in Path(name).parents}


def prose(page):
    """The text without examples in a language and without addresses."""
    text = re.sub(r"```(?:python|c|bash)\n.*?```", "", page.read_text(), flags=re.DOTALL)
    return re.sub(r"https?://\S+", "", text)


def named_in(page):
    text = prose(page)
    return (set(FILE.findall(text)) | set(FOLDER.findall(text))) - OF_USERS


def is_there(name, page):
    """Beside the page, or as the end of a path: `plan.h`, `driver/plan.h`."""
    beside = (page.parent / name).resolve()
    if beside.exists():
        return True
    return any(f"/{path}".endswith(f"/{name}") for path in paths())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_and_folders_are_there(page):
    named = named_in(page)
    missing = sorted(name for name in named if not is_there(name, page))
    assert not missing


def test_names_are_found():
    """So that the test above looks at something."""
    named = named_in(ROOT / "docs" / "architecture.md")
    assert {"training/train.py", "api.c", "csrc/kernels.h", "backends/"} <= named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        path = page.parent / target if target else page
        assert path.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings]
            assert anchor in anchors, link


@cache
def words():
    """All identifiers of the repository, the documentation apart."""
    found = set()
    for name in paths():
        path = ROOT / name
        if path.suffix in (".pyx", ".pxi", ".py", ".c", ".h", ".build", ".toml") or path.name in (
            "Makefile",
            "run",
        ):
            found |= set(re.findall(r"[A-Za-z_]\w*", path.read_text()))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_names_are_in_the_code(name):
    text = prose(ROOT / "docs" / name)
    named = re.findall(r"`([A-Za-z_][\w.]*)(?:\([^`]*\))?`", text)
    missing = {n for n in named if not FILE.fullmatch(n) and n.rpartition(".")[2] not in words()}
    assert not missing
