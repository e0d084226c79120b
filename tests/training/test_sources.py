"""A source hands out any row range of its rows, and a range is trained on as its copy would be."""

from __future__ import annotations

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax.problem import Loss, Params
from fastsoftmax.settings import SGDSettings
from fastsoftmax.sources import source_of

RNG = np.random.default_rng(0)
FLOATS = RNG.standard_normal((50, 3, 4), np.float32)
PIXELS = RNG.integers(0, 256, (50, 3, 4), np.uint8)
RANGES = {
    "all": (0, None),
    "first": (0, 20),
    "middle": (7, 31),
    "last": (49, None),
    "none": (5, 5),
}


@pytest.mark.parametrize("x, scale", [(FLOATS, 1.0), (PIXELS, 1 / 255)], ids=["float32", "uint8"])
@pytest.mark.parametrize("bounds", RANGES.values(), ids=RANGES)
def test_a_range_is_a_view_of_its_rows(x, scale, bounds):
    source = source_of(x)
    assert (source.n_rows, source.n_features) == (50, 12)
    rows = source.rows(*bounds)
    expected = x.reshape(50, 12)[slice(*bounds)]
    assert rows.x.dtype == x.dtype and np.array_equal(rows.x, expected)
    assert rows.n_rows == len(expected)
    assert rows.scale == scale and rows.order is None
    assert len(expected) == 0 or np.shares_memory(rows.x, x)


@pytest.mark.parametrize("backend", fs.available_backends())
@pytest.mark.parametrize("x", [FLOATS, PIXELS], ids=["float32", "uint8"])
def test_a_range_is_trained_on_as_its_copy(x, backend):
    order = RNG.permutation(24)
    target = RNG.integers(0, 3, 24).astype(np.int32)

    def trained(rows):
        params = Params(np.full((3, 12), 0.1, np.float32), np.zeros(3, np.float32))
        settings = SGDSettings(0.1).of_step(first_step=True)
        loss = Loss.of_classes(target)
        kernels = fs.get_backend(backend).kernels
        sums, error = kernels.train(rows._replace(order=order), loss, params, settings, 10, 1)
        assert error is None
        return params.weight.tobytes(), params.bias.tobytes(), sums

    of_range = trained(source_of(x).rows(7, 31))
    assert of_range == trained(source_of(x[7:31].copy()).rows())
    assert of_range != trained(source_of(x).rows(8, 32))


def test_the_features_must_be_those_of_the_model():
    assert source_of(FLOATS, 12).n_features == 12
    with pytest.raises(ValueError, match="x has 12 features, expected 13 as the weight has"):
        source_of(FLOATS, 13)
