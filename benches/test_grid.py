"""The table of shapes: children take job after job, and a wrong result is an error, not a time."""

import numpy as np
import pytest

from benches.harness import data
from benches.harness.alternate import Race
from benches.harness.jobs import SMOKE, Job
from benches.peers import numpy_blas
from benches.sections import shapes
from benches.sections.shapes_jobs import ALL_ROWS, batch_name, job_of, jobs
from benches.sections.shapes_race import CONTENDERS, measure

# Small, and both of the table's tasks; the first has the larger arrays.
SMALL = [job_of(64, 10, 256), job_of(64, 3, ALL_ROWS)]


@pytest.mark.skipif("not config.getoption('benchmark_disable')", reason="times small shapes only")
def test_grid() -> None:
    # test_epoch.py runs the others, which start slowly
    with Race([CONTENDERS[0], CONTENDERS[-1]]) as race:
        results = measure(SMALL, 1, race)
        assert [list(r.peers) for r in results] == [["numpy-blas"]] * 2
    text = shapes.tables(results)
    assert "B = 256" in text and "B = all" in text
    for result in results:
        assert result.ratio == min(result.peers.values()) / result.ours


def test_bounds_of_the_shapes() -> None:
    all_jobs = list(jobs())
    assert len(set(all_jobs)) == 150
    for job in all_jobs:
        assert job.n_rows % job.batch_size == 0
        assert job.n_rows * job.n_features * 4 <= 250e6
        if job.tasks == ("step",):
            assert job.batch_size == job.n_rows > 4096


class Wrong(numpy_blas.Contender):
    """Averages over one row too many."""

    def step(self, batch: numpy_blas.Batch) -> None:
        before = self.weight.copy()
        super().step(batch)
        n = len(batch[0])
        self.weight[...] = before + (self.weight - before) * np.float32(n / (n + 1))


@pytest.mark.parametrize("job", [*SMALL[:1], SMOKE], ids=str)
def test_a_wrong_result_is_refused(job: Job) -> None:
    made = data.make(job)
    numpy_blas.Contender(made).check()
    with pytest.raises(AssertionError, match="weight is off"):
        Wrong(made).check()


def test_each_shape_has_a_place_of_its_own() -> None:
    places = {(batch_name(job), job.n_classes, job.n_features) for job in jobs()}
    assert len(places) == len(list(jobs())) == 150
