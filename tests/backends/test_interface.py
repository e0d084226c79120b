"""Every backend has the functions of the contract: the same names, signatures and docstrings."""

import pytest

from fastsoftmax import backends
from fastsoftmax.backends import Backend, Kernels
from helpers.backends import FUNCTIONS, parameters_of

# What a backend computes, of checked nouns
KERNELS = [name for name, member in vars(Kernels).items() if callable(member) and name[0] != "_"]

# How to choose among instruction sets is the C backend's alone
ONLY_IN_CYTHON = {
    "TensorKernels",
    "borrow_threads",
    "built_isas",
    "select_isa",
    "selected_isa",
    "supported_isas",
}


def test_functions_of_the_protocol():
    assert FUNCTIONS == [
        "loss_and_grad",
        "sgd_update",
        "train_step",
        "train_epoch",
        "evaluate",
        "predict_logits",
        "softmax",
        "log_softmax",
    ]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_function_is_documented(function):
    assert getattr(Backend, function).__doc__


def test_functions_of_the_kernels():
    assert KERNELS == [
        "loss_and_grad",
        "chunk_partials",
        "sgd_update",
        "train",
        "evaluate",
        "predict_logits",
        "softmax",
    ]


@pytest.mark.parametrize("function", KERNELS)
def test_signatures(backend, function):
    expected = parameters_of(getattr(Kernels, function))
    assert parameters_of(getattr(backend.kernels, function)) == expected


@pytest.mark.parametrize("function", KERNELS)
def test_documented_in_one_place(backend, function):
    """The docstring is the contract's: a backend has none."""
    assert getattr(Kernels, function).__doc__
    assert getattr(backend.kernels, function).__doc__ is None


def test_no_further_public_functions(backend):
    public = {
        name
        for name, member in vars(backend.kernels).items()
        if not name.startswith("_")
        and callable(member)
        and getattr(member, "__module__", None) == backend.kernels.__name__
    }
    assert public - (ONLY_IN_CYTHON if backend.name == "cython" else set()) == set(KERNELS)


def test_names(backend):
    assert backend.name in backends.BACKENDS
    assert backends.get_backend(backend.name) is backend
    assert backend.name in backends.available_backends()


def test_get_backend():
    assert backends.get_backend() is backends.get_backend(backends.available_backends()[0])
    with pytest.raises(ValueError, match=r"backend must be one of .*'numpy'.*, got 'fortran'"):
        backends.get_backend("fortran")
