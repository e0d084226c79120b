"""Two builds by turns: every kind of call is timed, and a verdict is one of all pairs."""

import pytest

from benches.before_after import CASES
from benches.harness.builds import compared, measure, undisturbed
from benches.harness.process import Build, CallError, Process

SMALL = [
    "epoch 700x20x3 uint8",
    "sgd_step 32x20x3 weighted",
    "linear_cross_entropy_grad 32x20x3 grad_input",
]


@pytest.mark.skipif("not config.getoption('benchmark_disable')", reason="times little")
def test_measure() -> None:
    cases = [*SMALL, "step 32x20x3 backwards"]
    times, failed = measure(Build(), Build(), cases, pairs=1, rounds=2)
    assert list(times) == SMALL
    assert all(before > 0 and after > 0 for ((before, after),) in times.values())
    assert "are no options" in failed["step 32x20x3 backwards"]


def test_every_call_is_timed() -> None:
    with Process() as process:
        calls = process.call("benches.calls:names")
        with pytest.raises(CallError, match="KeyError"):
            process.call("benches.calls:prepare", "no_such_call 1x1x1")
    assert {case.split()[0] for case in CASES} == set(calls)


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([1.03, 1.04, 1.05], "slower"),
        ([0.99, 1.04, 1.05], ""),  # they do not agree
        ([1.01, 1.01, 1.5], ""),  # by less than 2%
        ([0.9, 0.95, 0.97], "faster"),
        ([0.9, 0.95, 1.01], ""),
    ],
)
def test_verdict(ratios: list[float], verdict: str) -> None:
    cells, found = compared([(1.0, ratio) for ratio in ratios])
    assert found == cells[-1] == verdict
    assert cells[2] == f"{sorted(ratios)[1]:.3f}"


def test_disturbed_blocks_count_for_nothing() -> None:
    assert undisturbed([1.0, 30.0, 1.0, 1.0, 5.0]) == undisturbed([1.0]) == 1.0
