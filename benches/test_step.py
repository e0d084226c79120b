"""One step, over a batch that lies ready in the cache: no gathering, no reading from memory."""

import pytest

from benches.conftest import Bench
from benches.harness import replay
from benches.harness.jobs import BOOK, Job
from benches.harness.spec import Spec
from benches.sections.race import CONTENDERS


@pytest.mark.benchmark(group="step", timer=replay.clock)
@pytest.mark.parametrize("job", [BOOK], ids=str)
@pytest.mark.parametrize("contender", [c for c in CONTENDERS if "step" in c.tasks], ids=str)
def test_step(bench: Bench, job: Job, contender: Spec) -> None:
    bench(job, "step", contender)
