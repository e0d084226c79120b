"""Orders that an epoch takes its rows in, and batches of every size."""

import numpy as np
import pytest

from fastsoftmax.backends import get_backend
from fastsoftmax.optim import SGDSettings
from helpers import assert_as_good, make_problem

_numpy = get_backend("numpy")


def orders(n_rows):
    rng = np.random.default_rng(1)
    return {
        "none": None,
        "shuffled": rng.permutation(n_rows),
        "repeated": rng.integers(0, n_rows, 3 * n_rows),
        "partial": np.arange(1, n_rows, 3),
        "one row": np.full(5, n_rows - 1),
        "single": np.array([0]),
        "int32": rng.permutation(n_rows).astype(np.int32),
        "strided": np.arange(n_rows)[::-1],
        "a list": [3, 1, 2],
    }


N_ORDERED = 130


@pytest.mark.parametrize("batch_size", [1, 32, 100, 130, 1000, 2**40])
@pytest.mark.parametrize("order", orders(N_ORDERED).values(), ids=orders(N_ORDERED))
def test_train_epoch_over_orders(order, batch_size, backend, row_type):
    problem = make_problem(N_ORDERED, 19, 6, row_type)
    sgd = SGDSettings(lr=0.2)
    results = {}
    for name, module, dtype in (
        ("ours", backend, np.float32),
        ("float32", _numpy, np.float32),
        ("truth", _numpy, np.float64),
    ):
        weight, bias = problem.parameters(dtype)
        loss, correct, *_ = module.train_epoch(
            problem.x, problem.target, order, batch_size, weight, bias, sgd, scale=problem.scale
        )
        results[name] = weight, bias, loss, correct
    n = N_ORDERED if order is None else len(order)
    for which, size in ((0, None), (1, None), (2, n)):
        ours, float32, truth = (results[name][which] for name in ("ours", "float32", "truth"))
        assert_as_good(ours, float32, truth, 2e-6, size)  # errors of up to 390 steps add up
    assert results["ours"][3] == results["truth"][3]


# The last batch is smaller than the others, and yet is cut into more chunks. This runs in a
# process of its own, because to write past the workspace might end it.
MORE_CHUNKS_IN_THE_LAST_BATCH = """
import numpy as np
from fastsoftmax import backends
from fastsoftmax.optim import SGDSettings

def check(n_rows, batch_size, n_features, n_classes):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n_rows, n_features), np.float32)
    target = rng.integers(0, n_classes, n_rows)
    results = []
    for name in backends.available_backends():
        backend = backends.get_backend(name)
        weight = np.zeros((n_classes, n_features), np.float32)
        bias = np.zeros(n_classes, np.float32)
        backend.train_epoch(x, target, None, batch_size, weight, bias, SGDSettings(lr=1))
        results.append(weight)
    for weight in results:
        assert np.abs(weight - results[-1]).max() <= 1e-5 * np.abs(results[-1]).max()

check(4097 + 4096, 4097, 200, 10)
check(129 + 128, 129, 784, 90)
print("done")
"""


def test_more_chunks_in_the_last_batch(run_python):
    result = run_python(MORE_CHUNKS_IN_THE_LAST_BATCH)
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")


def test_spans_of_fewer_rows(backend):
    """The classes are so many that residuals of 500 rows at once would take over 64 MB."""
    problem = make_problem(500, 3, 40_000)
    weight, bias = problem.parameters(np.float64)
    truth = _numpy.loss_and_grad(problem.x, problem.target, weight, bias)
    results = [backend.loss_and_grad(*problem, num_threads=threads) for threads in (1, 2)]
    for ours, other, expected in zip(*results, truth, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
        if backend is not _numpy:  # whose threads are those of its BLAS
            assert np.array_equal(ours, other)
