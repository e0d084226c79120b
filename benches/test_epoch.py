"""One epoch: every step of a pass over the rows, which lie in memory, in random order."""

import pytest

from benches import replay
from benches.conftest import Bench
from benches.contenders import CONTENDERS, Spec
from benches.shapes import JOBS, Job


@pytest.mark.benchmark(group="epoch", timer=replay.clock)
@pytest.mark.parametrize("job", JOBS, ids=str)
@pytest.mark.parametrize("contender", CONTENDERS, ids=str)
def test_epoch(bench: Bench, job: Job, contender: Spec) -> None:
    bench(job, "epoch", contender)
