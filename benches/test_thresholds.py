"""Every threshold of the C layer can be tried with other values."""

import re

import pytest

from benches.harness.source_copy import ROOT
from benches.thresholds import TRIALS, changes

WITHOUT = {"REDUCE_UNIT", "ASK_MS"}  # whole cache lines; how soon Ctrl-C is heard


def test_every_threshold_has_a_trial() -> None:
    names = set()
    for folder in ("driver", "kernels"):
        text = (ROOT / "csrc" / folder / "thresholds.h").read_text()
        names |= set(re.findall(r"^ +([A-Z][A-Z0-9_]+) = ", text, re.MULTILINE))
    assert len(names) > 10
    assert names - WITHOUT <= set(TRIALS)


@pytest.mark.parametrize("name", TRIALS)
def test_what_is_changed_is_there(name: str) -> None:
    for _, file, there, instead in changes(name, []):
        assert (ROOT / file).read_text().count(there) == 1
        assert instead != there
