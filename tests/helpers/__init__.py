"""What the tests of several folders share.

What the files of one folder share stands in the module that is named as the folder.
"""

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

from fastsoftmax.backends import BACKENDS, available_backends, get_backend

_numpy = get_backend("numpy")

try:
    from fastsoftmax.backends import cython as _cython
except ImportError:  # built without the extension
    _cython = None

BUILT_ISAS = _cython.built_isas() if _cython else []


# ---- backends and instruction sets ----


def need_backend(name):
    """Skips the test without this backend; fails it if FASTSOFTMAX_EXPECT_BACKENDS names it."""
    if name in available_backends():
        return
    message = f"backend {name} is not available here"
    if name in os.environ.get("FASTSOFTMAX_EXPECT_BACKENDS", "").split(","):
        pytest.fail(f"{message}, and is expected")
    pytest.skip(message)


@contextmanager
def selected(isa):
    """In this context the C backend uses that instruction set."""
    if isa not in _cython.supported_isas():
        pytest.skip(f"this CPU cannot run {isa}")
    before = _cython.selected_isa()
    _cython.select_isa(isa)
    try:
        yield isa
    finally:
        _cython.select_isa(before)


def implementations():
    """Parameters (name, ISA): one of each backend, of the C backend one for each ISA."""
    for name in BACKENDS:
        if name == "cython" and BUILT_ISAS:
            for isa in BUILT_ISAS:
                yield pytest.param((name, isa), id=f"cython-{isa}")
        else:
            yield pytest.param((name, None), id=name)


# ---- problems, and how wrong plain float32 is on them ----


@dataclass(frozen=True, eq=False)
class Problem:
    """Rows, labels and a model, all read-only.

    It unpacks into the first four arguments of a backend.
    """

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
        """Copies of weight and bias, to train."""
        return self.weight.astype(dtype), self.bias.astype(dtype)


@lru_cache(maxsize=64)
def make_problem(n_rows, n_features, n_classes, row_type=np.float32, seed=0):
    """A problem whose logits have a standard deviation of about 2, whatever its shape."""
    rng = np.random.default_rng([seed, n_rows, n_features, n_classes])
    if row_type == np.uint8:
        x, scale = rng.integers(0, 256, (n_rows, n_features), np.uint8), 1 / 255
    else:
        x, scale = rng.standard_normal((n_rows, n_features), np.float32), 1.0
    weight = rng.normal(0, 2 / np.sqrt(n_features), (n_classes, n_features)).astype(np.float32)
    bias = rng.normal(0, 0.5, n_classes).astype(np.float32)
    return Problem(x, rng.integers(0, n_classes, n_rows), weight, bias, scale)


@lru_cache(maxsize=64)
def exact(problem):
    """Loss, grad_weight, grad_bias and logits in float64."""
    weight, bias = problem.parameters(np.float64)
    loss, grad_weight, grad_bias = _numpy.loss_and_grad(
        problem.x, problem.target, weight, bias, scale=problem.scale
    )
    logits = _numpy.predict_logits(problem.x, weight, bias, scale=problem.scale)
    return {"loss": loss, "grad_weight": grad_weight, "grad_bias": grad_bias, "logits": logits}


@lru_cache(maxsize=64)
def plain_float32(problem):
    """The same in float32, by PyTorch, or by NumPy where PyTorch is not installed."""
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


def assert_as_good(ours, float32, truth, tolerance, size=None):
    """The rule for all results: our largest error may exceed that of `float32` by `tolerance`.

    Both are relative to `size`, by default the largest true value.
    """
    ours, float32, truth = (np.asarray(a, np.float64) for a in (ours, float32, truth))
    assert ours.shape == truth.shape == float32.shape
    if size is None:
        size = np.abs(truth).max() or 1.0
    error = np.abs(ours - truth).max() / size
    float32_error = np.abs(float32 - truth).max() / size
    assert error <= float32_error + tolerance


def log_softmax(logits):
    """By its formula, in the dtype of the logits."""
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


# ---- small things ----


def shape_id(shape):
    """The name of a parameter that is a shape."""
    return "x".join(map(str, shape))


def read_only(array):
    """A copy that cannot be written to."""
    array = array.copy()
    array.flags.writeable = False
    return array


def run_python(code, cwd, timeout=60, **environment):
    """Runs `code` in a Python of its own, with that environment added to ours.

    `cwd` must not be the source folder, from which fastsoftmax cannot be imported.
    """
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
