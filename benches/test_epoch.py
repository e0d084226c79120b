"""One epoch: every step of a pass over the rows, which lie in memory, in random order."""

import pytest

from benches.conftest import Bench
from benches.harness import replay
from benches.harness.jobs import BOOK, Job
from benches.harness.spec import Spec
from benches.sections.race import CONTENDERS


@pytest.mark.benchmark(group="epoch", timer=replay.clock)
@pytest.mark.parametrize("job", [BOOK], ids=str)
@pytest.mark.parametrize("contender", CONTENDERS, ids=str)
def test_epoch(bench: Bench, job: Job, contender: Spec) -> None:
    bench(job, "epoch", contender)
