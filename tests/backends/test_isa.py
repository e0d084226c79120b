"""Which instruction set a process takes, and that their results differ."""

import pytest

from fastsoftmax.backends import cython as _cython
from fastsoftmax.backends import get_backend
from helpers import make_problem

SAY_ISA = "from fastsoftmax.backends import cython as _cython; print(_cython.selected_isa())"


@pytest.mark.parametrize("name", _cython.built_isas())
def test_isa_of_the_environment(name, run_python):
    if name in _cython.supported_isas():
        result = run_python(SAY_ISA, FASTSOFTMAX_ISA=name)
        assert (result.returncode, result.stdout, result.stderr) == (0, name + "\n", "")
    else:
        result = run_python(SAY_ISA, FASTSOFTMAX_ISA=name)
        assert result.returncode == 1
        assert f"ValueError: FASTSOFTMAX_ISA='{name}' is not for this CPU" in result.stderr


def test_fastest_isa_by_default(run_python):
    assert run_python(SAY_ISA, FASTSOFTMAX_ISA="").stdout == _cython.supported_isas()[-1] + "\n"


@pytest.mark.parametrize("name", ["mmx", "x86-64", "X86-64-V3"])
def test_unknown_isa(name, run_python):
    for code in (SAY_ISA, "import fastsoftmax"):
        result = run_python(code, FASTSOFTMAX_ISA=name)
        assert result.returncode == 1
        assert result.stdout == ""
        assert result.stderr.splitlines()[-1] == (
            f"ValueError: FASTSOFTMAX_ISA='{name}' is unknown, "
            f"expected one of {_cython.built_isas()}"
        )


def test_select_isa():
    before = _cython.selected_isa()
    try:
        for name in _cython.supported_isas():
            _cython.select_isa(name)
            assert _cython.selected_isa() == name
            with pytest.raises(ValueError, match="'mmx' is unknown"):
                _cython.select_isa("mmx")
            assert _cython.selected_isa() == name
        _cython.select_isa()
        assert _cython.selected_isa() == _cython.supported_isas()[-1]
    finally:
        _cython.select_isa(before)
    assert set(_cython.supported_isas()) <= set(_cython.built_isas())


def test_results_differ_between_isas():
    """Tests that run over all of them do run different kernels."""
    problem = make_problem(257, 784, 10)
    before = _cython.selected_isa()
    results = set()
    try:
        for name in _cython.supported_isas():
            _cython.select_isa(name)
            results.add(get_backend("cython").loss_and_grad(*problem)[1].tobytes())
    finally:
        _cython.select_isa(before)
    assert len(results) == len(_cython.supported_isas())
