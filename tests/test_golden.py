"""The C kernels give the bits of golden.json, which golden.py makes and explains."""

import itertools

import pytest

import golden
from fastsoftmax.backends import get_backend
from helpers import shape_id


@pytest.mark.parametrize("shape", golden.SHAPES, ids=shape_id)
def test_bits(isa, shape):
    traces = golden.recorded().get(isa)
    if traces is None:
        pytest.skip(f"golden.json has no traces of {isa}")
    found = golden.digests(get_backend("cython"), shape)
    assert found == {name: traces[name] for name in found}


def test_each_run_has_a_trace():
    names = {
        f"{shape_id(shape)} {row_type} {loss}"
        for shape, row_type, loss in itertools.product(
            golden.SHAPES, golden.ROW_TYPES, golden.LOSSES
        )
    }
    for isa, traces in golden.recorded().items():
        assert traces.keys() == names, isa
        assert {len(row.split()) for row in traces.values()} == {1 + len(golden.BATCH_SIZES)}
