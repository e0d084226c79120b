"""The fixtures of all tests: the backends, instruction sets, row types and threads to run over."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

pytest.register_assert_rewrite("helpers")

import helpers  # noqa: E402
from fastsoftmax import backends  # noqa: E402

try:
    from fastsoftmax.backends import cython as _cython
except ImportError:  # built without the extension
    _cython = None


@pytest.fixture(scope="session", autouse=True)
def threads_beyond_cores():
    """Calls have as many threads as they ask for: a machine of 2 cores would never try 3, 4, 5."""
    if _cython:
        _cython._allow_threads_beyond_cores(True)


@pytest.fixture(params=helpers.BUILT_ISAS)
def isa(request):
    """Each instruction set that kernels were built for, in use during the test."""
    with helpers.selected(request.param) as name:
        yield name


@pytest.fixture(params=list(helpers.implementations()))
def backend(request):
    """Each backend; the C backend once for each instruction set, which is then in use."""
    name, isa = request.param
    helpers.need_backend(name)
    if isa is None:
        yield backends.get_backend(name)
    else:
        with helpers.selected(isa):
            yield backends.get_backend(name)


@pytest.fixture(params=[np.float32, np.uint8], ids=["float32", "uint8"])
def row_type(request):
    return request.param


@pytest.fixture(params=[1, 2, 3, 4, 5], ids=lambda n: f"{n}-threads")
def threads(request):
    return request.param


@pytest.fixture
def run_python(tmp_path):
    """``run_python(code, timeout=60, **environment)`` runs `code` in a Python of its own."""
    return partial(helpers.run_python, cwd=tmp_path)
