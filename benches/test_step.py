"""One step, over a batch that lies ready in the cache: no gathering, no reading from memory."""

import pytest

from benches import replay
from benches.conftest import Bench
from benches.contenders import CONTENDERS, Spec
from benches.shapes import JOBS, Job


@pytest.mark.benchmark(group="step", timer=replay.clock)
@pytest.mark.parametrize("job", JOBS, ids=str)
@pytest.mark.parametrize("contender", [c for c in CONTENDERS if "step" in c.tasks], ids=str)
def test_step(bench: Bench, job: Job, contender: Spec) -> None:
    bench(job, "step", contender)
