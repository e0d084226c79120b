"""What all tests share: the backends and instruction sets to run over, problems to solve, and how
wrong plain float32 is on them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pytest

from fastsoftmax import backends
from fastsoftmax.backends import numpy as _numpy

try:
    from fastsoftmax.backends import cython as _cython
except ImportError:  # built without the extension
    _cython = None

BUILT_ISAS = _cython.built_isas() if _cython else []


def _need_backend(name):
    """Skips the test without this backend, or fails it if FASTSOFTMAX_EXPECT_BACKENDS has it."""
    if name in backends.available_backends():
        return
    message = f"backend {name} is not available here"
    if name in os.environ.get("FASTSOFTMAX_EXPECT_BACKENDS", "").split(","):
        pytest.fail(f"{message}, and is expected")
    pytest.skip(message)


@contextmanager
def _selected(isa):
    if isa not in _cython.supported_isas():
        pytest.skip(f"this CPU cannot run {isa}")
    before = _cython.selected_isa()
    _cython.select_isa(isa)
    try:
        yield isa
    finally:
        _cython.select_isa(before)


@pytest.fixture(params=BUILT_ISAS)
def isa(request):
    """Each instruction set that kernels were built for, in use during the test."""
    with _selected(request.param) as name:
        yield name


def _implementations():
    for name in backends.BACKENDS:
        if name == "cython" and BUILT_ISAS:
            for isa in BUILT_ISAS:
                yield pytest.param((name, isa), id=f"cython-{isa}")
        else:
            yield pytest.param((name, None), id=name)


@pytest.fixture(params=list(_implementations()))
def backend(request):
    """Each backend, the C one once for each instruction set."""
    name, isa = request.param
    _need_backend(name)
    if isa is None:
        yield backends.get_backend(name)
    else:
        with _selected(isa):
            yield _cython


@pytest.fixture
def need_backend():
    """``need_backend(name)`` for a test that is skipped, or fails, where there is none."""
    return _need_backend


@pytest.fixture(scope="session", autouse=True)
def threads_beyond_cores():
    """Calls have as many threads as they ask for: a machine of 2 cores would never try 3, 4, 5."""
    if _cython:
        _cython._allow_threads_beyond_cores(True)


@pytest.fixture(params=[np.float32, np.uint8], ids=["float32", "uint8"])
def row_type(request):
    return request.param


@pytest.fixture(params=[1, 2, 3, 4, 5], ids=lambda n: f"{n}-threads")
def threads(request):
    return request.param


@dataclass(frozen=True, eq=False)
class Problem:
    """Rows, labels and a model, all read-only; as a tuple the first arguments of a backend."""

    x: np.ndarray  # (N, D)
    target: np.ndarray  # (N,)
    weight: np.ndarray  # (K, D)
    bias: np.ndarray  # (K,)
    scale: float

    def __post_init__(self):
        for array in (self.x, self.target, self.weight, self.bias):
            array.flags.writeable = False

    def __iter__(self):
        return iter((self.x, self.target, self.weight, self.bias))

    def parameters(self, dtype=np.float32):
        """Weight and bias to train."""
        return self.weight.astype(dtype), self.bias.astype(dtype)


def _make_problem(n_rows, n_features, n_classes, row_type=np.float32, seed=0):
    """Logits have a standard deviation of about 2, whatever the shape."""
    rng = np.random.default_rng([seed, n_rows, n_features, n_classes])
    if row_type == np.uint8:
        x, scale = rng.integers(0, 256, (n_rows, n_features), np.uint8), 1 / 255
    else:
        x, scale = rng.standard_normal((n_rows, n_features), np.float32), 1.0
    weight = rng.normal(0, 2 / np.sqrt(n_features), (n_classes, n_features)).astype(np.float32)
    bias = rng.normal(0, 0.5, n_classes).astype(np.float32)
    return Problem(x, rng.integers(0, n_classes, n_rows), weight, bias, scale)


@pytest.fixture(scope="session")
def make_problem():
    """``make_problem(n_rows, n_features, n_classes, row_type=np.float32, seed=0)``."""
    return lru_cache(maxsize=64)(_make_problem)


def _exact(problem):
    weight, bias = problem.parameters(np.float64)
    loss, grad_weight, grad_bias = _numpy.loss_and_grad(
        problem.x, problem.target, weight, bias, scale=problem.scale
    )
    logits = _numpy.predict_logits(problem.x, weight, bias, scale=problem.scale)
    return {"loss": loss, "grad_weight": grad_weight, "grad_bias": grad_bias, "logits": logits}


def _plain_float32(problem):
    if importlib.util.find_spec("torch") is None:
        loss, grad_weight, grad_bias = _numpy.loss_and_grad(*problem, scale=problem.scale)
        logits = _numpy.predict_logits(
            problem.x, problem.weight, problem.bias, scale=problem.scale
        )
        return {"loss": loss, "grad_weight": grad_weight, "grad_bias": grad_bias, "logits": logits}
    import torch

    torch.set_num_threads(1)  # its threads and ours on the same cores slow each other down
    weight = torch.tensor(problem.weight, requires_grad=True)
    bias = torch.tensor(problem.bias, requires_grad=True)
    logits = torch.nn.functional.linear(torch.tensor(problem.x) * problem.scale, weight, bias)
    losses = torch.nn.functional.cross_entropy(
        logits, torch.tensor(problem.target), reduction="none"
    )
    losses.sum().backward()
    return {
        "loss": losses.double().sum().item(),
        "grad_weight": weight.grad.numpy(),
        "grad_bias": bias.grad.numpy(),
        "logits": logits.detach().numpy(),
    }


@pytest.fixture(scope="session")
def exact():
    """``exact(problem)``: loss, grad_weight, grad_bias and logits in float64."""
    return lru_cache(maxsize=64)(_exact)


@pytest.fixture(scope="session")
def plain_float32():
    """The same by PyTorch in float32, or where it is not installed by NumPy."""
    return lru_cache(maxsize=64)(_plain_float32)


def _assert_as_good(ours, float32, truth, tolerance, size=None):
    """Our largest error exceeds that of `float32` by at most `tolerance`, both being relative to
    `size`, by default that of the largest true value."""
    ours, float32, truth = (np.asarray(a, np.float64) for a in (ours, float32, truth))
    assert ours.shape == truth.shape == float32.shape
    if size is None:
        size = np.abs(truth).max() or 1.0
    error = np.abs(ours - truth).max() / size
    float32_error = np.abs(float32 - truth).max() / size
    assert error <= float32_error + tolerance


@pytest.fixture(scope="session")
def assert_as_good():
    """``assert_as_good(ours, float32, truth, tolerance, size=None)``: the rule for all results."""
    return _assert_as_good


@pytest.fixture
def run_python(tmp_path):
    """``run_python(code, **environment)`` runs `code` in a Python of its own."""

    def run(code, timeout=60, **environment):
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,  # not the source folder, from which fastsoftmax cannot be imported
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run
