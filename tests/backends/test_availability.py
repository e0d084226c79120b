"""Which backend "auto" is, and what is said where one is not available."""

import pytest

from fastsoftmax.backends import BACKENDS, available_backends
from helpers import need_backend

SAY = "import fastsoftmax as fs; print(fs.get_backend().name, *fs.available_backends())"
# A line of Python that makes these modules as if they were not there
HIDE = "import sys; sys.modules.update(dict.fromkeys({!r})); "


def test_order():
    assert BACKENDS == ("cython", "numba", "numpy")
    assert available_backends()[-1] == "numpy"


@pytest.mark.parametrize(
    "hidden, expected",
    [
        (["numba"], "cython cython numpy"),
        (["numba", "fastsoftmax.backends.cython"], "numpy numpy"),
        (["fastsoftmax.backends.cython"], "numba numba numpy"),
    ],
)
def test_the_best_available(hidden, expected, run_python):
    need_backend(expected.split()[0])
    result = run_python(HIDE.format(hidden) + SAY, FASTSOFTMAX_BACKEND="")
    assert (result.stdout, result.stderr) == (expected + "\n", "")


@pytest.mark.parametrize("name", available_backends())
def test_forced(name, run_python):
    result = run_python(SAY, FASTSOFTMAX_BACKEND=name)
    assert result.stdout.split()[0] == name
    explicit = SAY.replace("get_backend()", "get_backend('numpy')")
    assert run_python(explicit, FASTSOFTMAX_BACKEND=name).stdout.split()[0] == "numpy"


def test_forced_to_what_there_is_not(run_python):
    result = run_python(SAY, FASTSOFTMAX_BACKEND="gpu")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        f"ValueError: FASTSOFTMAX_BACKEND must be one of {BACKENDS}, got 'gpu'"
    )


@pytest.mark.parametrize(
    "name, hidden, message",
    [
        (
            "numba",
            "numba",
            "backend 'numba' needs numba, which `pip install fastsoftmax[numba]` installs",
        ),
        (
            "cython",
            "fastsoftmax.backends.cython",
            "backend 'cython' needs fastsoftmax.backends.cython, which this build is without",
        ),
    ],
)
def test_not_available(name, hidden, message, run_python):
    for variables in ({}, {"FASTSOFTMAX_BACKEND": name}):
        code = HIDE.format([hidden]) + "import fastsoftmax; fastsoftmax.get_backend("
        code += ")" if variables else f"{name!r})"
        result = run_python(code, **{"FASTSOFTMAX_BACKEND": "", **variables})
        assert result.returncode == 1
        assert result.stderr.splitlines()[-1] == f"ImportError: {message}"


def test_it_is_logged_once(run_python):
    code = "import logging; logging.basicConfig(level='DEBUG', format='%(name)s %(message)s'); "
    result = run_python(
        code + SAY + "; fs.get_backend(); fs.get_backend()", FASTSOFTMAX_BACKEND=""
    )
    ours = [line for line in result.stderr.splitlines() if line.startswith("fastsoftmax ")]
    names = available_backends()
    assert ours == [
        f"fastsoftmax the backend is {names[0]}, the best available of {', '.join(names)}"
    ]
