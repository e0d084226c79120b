"""The excerpts in docs/ are what the source says."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {
    "python": [
        "fastsoftmax/backends/numpy.py",
        *(
            f"fastsoftmax/backends/numba/kernels/{name}.py"
            for name in ("gradient", "logits", "loss", "update")
        ),
    ],
    "c": [f"csrc/kernels/{name}.h" for name in ("logits_rows", "softmax", "gradient", "update")],
}


def excerpts():
    text = (ROOT / "docs" / "three-backends.md").read_text()
    return re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL)


def test_there_are_excerpts_of_each_backend():
    assert [language for language, _ in excerpts()].count("c") == 4
    assert len(excerpts()) == 12


@pytest.mark.parametrize("language, excerpt", excerpts())
def test_excerpt(language, excerpt):
    assert any(excerpt in (ROOT / path).read_text() for path in SOURCES[language]), excerpt


def test_the_loop_of_the_readme_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (loop,) = [block for block in blocks if "fs.SGD(" in block]
    exec(loop, {})
    loss, *shapes = capsys.readouterr().out.split(" ", 1)
    assert float(loss) < 0.5
    assert shapes == ["(10, 64) (10,) (1024, 64)\n"]
