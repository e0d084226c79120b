"""Every contender of the sections does each of its tasks, on a small job."""

import pytest

from benches.harness.alternate import Race
from benches.harness.jobs import SMOKE, Job
from benches.harness.process import call
from benches.harness.spec import Spec
from benches.sections import beside, evaluation, gradients

ONE_BATCH = Job("one batch", 200, 64, 3, 200, lr=0.1, tasks=("step",))

pytestmark = pytest.mark.skipif("not config.getoption('benchmark_disable')", reason="times little")


@pytest.mark.parametrize(
    ("job", "contenders"),
    [(SMOKE, evaluation.CONTENDERS), (ONE_BATCH, gradients.CONTENDERS)],
    ids=["evaluation", "gradients"],
)
def test_tasks(job: Job, contenders: list[Spec]) -> None:
    with Race(contenders) as race:
        race.load(job)
        race.raise_errors()
        for task in {task for spec in contenders for task in spec.tasks}:
            times = race.seconds(task, 1, 0, count=1)
            assert all(seconds > 0 for (seconds,) in times.values())


def test_memory() -> None:
    if not gradients.MEMORY_MEASURED:
        pytest.skip("only Linux tells the peak of a process")
    function = "benches.sections.gradients_memory:peak_megabytes"
    assert call(function, "function", 1, (256, 784, 10), env=beside.ENV) >= 0


def test_beside() -> None:
    summary = call("benches.sections.beside_work:gradients", (32, 784, 10), env=beside.ENV)
    assert set(summary) == {"function", "adapter", "fused"}
