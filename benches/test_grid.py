"""The table of shapes: children take job after job, and a wrong result is an error, not a time."""

import numpy as np
import pytest

from benches import data, grid, shapes
from benches.alternate import Race
from benches.contenders import GRID
from benches.peers import numpy_blas

# Small, and both of the grid's tasks; the first has the larger arrays.
SMALL = [shapes.shape(64, 10, 256), shapes.shape(64, 3, shapes.ALL_ROWS)]


@pytest.mark.skipif("not config.getoption('benchmark_disable')", reason="times small shapes only")
def test_grid() -> None:
    with Race([GRID[0], GRID[-1]]) as race:  # test_epoch.py runs the others, which start slowly
        results = grid.run(SMALL, 1, race)
        assert [list(r.peers) for r in results] == [["numpy-blas"]] * 2
    text = grid.tables(results)
    assert "B = 256" in text and "B = all" in text
    for result in results:
        assert result.ratio == min(result.peers.values()) / result.ours


def test_bounds_of_the_shapes() -> None:
    jobs = list(shapes.grid())
    assert len(set(jobs)) == 150
    for job in jobs:
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


@pytest.mark.parametrize("job", [*SMALL[:1], shapes.SMOKE], ids=str)
def test_a_wrong_result_is_refused(job: shapes.Job) -> None:
    made = data.make(job)
    numpy_blas.Contender(made).check()
    with pytest.raises(AssertionError, match="weight is off"):
        Wrong(made).check()


def test_each_shape_has_a_place_of_its_own() -> None:
    places = {(grid.batch_name(job), job.n_classes, job.n_features) for job in shapes.grid()}
    assert len(places) == len(list(shapes.grid())) == 150
