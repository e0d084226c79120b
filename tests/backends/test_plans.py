"""How a batch is cut into chunks, and whether a step is by rows or by tiles: the same in all
backends, but for what the table in backends/numba/drivers/plan.py names."""

import re
from pathlib import Path

import pytest

from fastsoftmax.backends import chunks
from helpers import need_backend

try:
    from numba import njit
except ImportError:  # tests that need it are skipped
    njit = None
try:
    from fastsoftmax.backends import cython as _cython
except ImportError:  # built without the extension
    _cython = None

N_ROWS = [*range(1, 2_100), 4_000, *range(4_030, 4_200), 5_000, 8_191, 8_193, 60_000, 10**6 + 1]

# What C has for each instruction set: floats of a vector, classes of a group
LANES_AND_CLASSES = {
    "x86-64-v4": (16, 10),
    "x86-64-v3": (8, 5),
    "x86-64-v2": (4, 5),
    "neon": (4, 10),
    "baseline": (4, 5),
}

# (K, D): around 128 KB and 256 KB of parameters, few and many classes, more than 1024 features
SHAPES = [
    *((2, 1), (2, 16), (10, 784), (10, 785), (10, 1024), (10, 1040), (2, 4096), (10, 4096)),
    *((16, 2032), (16, 2048), (16, 4080), (16, 4096), (32, 1008), (32, 1024), (32, 2032)),
    *((64, 784), (64, 1008), (64, 1024), (80, 784), (83, 784), (84, 784), (100, 640)),
    *(
        (5, 7),
        (6, 7),
        (11, 7),
        (48, 320),
        (200, 64),
        (1000, 48),
        (1000, 65),
        (1010, 64),
        (65_536, 1),
    ),
]


@pytest.fixture
def c(isa):
    """The C backend's module, the instruction set in use, and what it has for that."""
    lanes, classes = LANES_AND_CLASSES[isa]
    return _cython, lanes, classes


@pytest.fixture
def numba():
    """The modules of the Numba backend that have chunks and plans."""
    need_backend("numba")
    from fastsoftmax.backends.numba.drivers import plan
    from fastsoftmax.backends.numba.kernels import rows

    return plan, rows


# ---- chunks ----


@pytest.mark.parametrize("n_rows", [1, 16, 17, 64, 65, 256, 257, 4096, 4097, 60_000])
def test_chunks_cover_the_rows(n_rows):
    n, rows = chunks.chunks_of(n_rows)
    assert (n - 1) * rows < n_rows <= n * rows
    assert 1 <= n <= chunks.most_chunks(n_rows) <= chunks.MAX_CHUNKS
    assert rows >= chunks.CHUNK_ROWS and rows % 4 == 0
    assert rows <= chunks.BLOCK_ROWS or rows % chunks.BLOCK_ROWS == 0


def test_chunks_by_hand():
    cut = {1: (1, 16), 33: (3, 16), 64: (4, 16), 100: (4, 28), 256: (4, 64), 257: (5, 52)}
    assert {n_rows: chunks.chunks_of(n_rows) for n_rows in cut} == cut
    assert chunks.chunks_of(4097) == (33, 128)


def test_c_cuts_the_same_chunks(c):
    module, *_ = c
    for n_rows in N_ROWS:
        assert module._chunks_of(n_rows) == chunks.chunks_of(n_rows)


def test_numba_cuts_the_same_chunks(numba):
    _, rows = numba
    # what Python may call: the kernels themselves are for drivers alone
    cut, most = njit(lambda n: rows.chunks_of(n)), njit(lambda n: rows.most_chunks(n))
    for n_rows in N_ROWS:
        assert cut(n_rows) == chunks.chunks_of(n_rows)
        assert most(n_rows) == chunks.most_chunks(n_rows)


# ---- by rows or by tiles ----


def test_plans_by_hand(numba):
    plan, _ = numba
    assert not plan.is_by_tiles(784, 10)
    assert not plan.is_by_tiles(4096, 10)
    assert not plan.is_by_tiles(4080, 16)
    assert plan.is_by_tiles(4081, 16)  # a vector more, and the bias
    assert plan.is_by_tiles(64, 1010) and not plan.is_by_tiles(64, 1008)  # with the bias
    assert plan.is_by_tiles(1, 4096)


def test_the_plans_of_c(c, numba):
    """Those of Numba, but where threads share the classes of fewer rows than there are classes.

    Where a vector has another length, only shapes that need no padding are compared.
    """
    (module, lanes, classes), (plan, _) = c, numba
    seen = set()
    for n_classes, n_features in SHAPES:
        padded = n_classes % plan.VECTOR or n_features % plan.VECTOR
        if lanes != plan.VECTOR and padded:
            continue
        ours = plan.is_by_tiles(n_features, n_classes)
        for n_rows in (1, 2, 9, 10, 11, 32, 63, 64, 65, 100, 256, 999, 1000, 1001, 60_000):
            shared = n_rows < n_classes and n_classes > classes
            theirs = module._is_by_tiles(n_rows, n_features, n_classes)
            assert theirs == (ours or shared), (n_rows, n_features, n_classes)
            seen.add((ours, shared))
    assert len(seen) == 4


@pytest.mark.parametrize(
    "row_bytes, n_classes, expected",
    [
        (784 * 4, 10, 1024),
        (4096 * 4, 16, 512),  # rows of 8 MB
        (4096, 16, 1024),
        (100_000 * 4, 2, 256),  # at least
        (400, 20_000, 832),  # 16 million logits, in whole blocks
        (4, 10**6, 256),
    ],
)
def test_rows_of_a_span(row_bytes, n_classes, expected, numba):
    plan, _ = numba
    span_rows_of = njit(lambda n_bytes, n_classes: plan.span_rows_of(n_bytes, n_classes))
    assert span_rows_of(row_bytes, n_classes) == expected


# ---- the thresholds, number by number ----


def numbers_of_c():
    """Names and values of the enums of C that have thresholds of the driver."""
    csrc = Path(__file__).parents[2] / "csrc"
    if not csrc.is_dir():
        pytest.skip("the sources are not here")
    text = "\n".join((csrc / name).read_text() for name in ("driver/thresholds.h", "kernels.h"))
    found = re.findall(r"^    ([A-Z_]+) = ([\d <]+),", text, re.MULTILINE)
    return {name.removeprefix("FS_"): eval(value) for name, value in found}


@pytest.mark.parametrize("name", ["BLOCK_ROWS", "CHUNK_ROWS", "LEAST_CHUNKS", "MAX_CHUNKS"])
def test_numbers_of_chunks(name):
    assert numbers_of_c()[name] == getattr(chunks, name)


@pytest.mark.parametrize(
    "name", ["TILES_FROM", "SPAN_ROWS", "SPAN_LOGITS", "SPAN_BYTES", "LEAST_SPAN_ROWS"]
)
def test_numbers_of_plans(name, numba):
    plan, _ = numba
    assert numbers_of_c()[name] == getattr(plan, name)


def test_no_number_is_left_out():
    """Of those that C marks as part of the result, with a *."""
    csrc = Path(__file__).parents[2] / "csrc"
    if not csrc.is_dir():
        pytest.skip("the sources are not here")
    text = (csrc / "driver" / "thresholds.h").read_text()
    marked = set(re.findall(r"^    (?:FS_)?([A-Z_]+) = [^/]*/\* \* ", text, re.MULTILINE))
    tested = {"CHUNK_ROWS", "LEAST_CHUNKS", "MAX_CHUNKS", "TILES_FROM", "SPAN_ROWS"}
    assert marked == tested | {"SPAN_LOGITS", "SPAN_BYTES", "LEAST_SPAN_ROWS"}
