"""fastsoftmax.torch: what is not needed is not computed or kept; it runs on PyTorch's threads."""

import gc
import threading
import tracemalloc
import weakref

import pytest

pytest.importorskip("torch")

from fastsoftmax.torch import arrays, linear_cross_entropy
from helpers.pytorch import Case, torch

# ---- memory ----


def test_memory_is_shared(monkeypatch, fused):
    """Contiguous tensors are read where they lie; gradients are handed over without a copy."""
    case = Case((64, 17, 10), "int32", label_smoothing=0.1)
    addresses = []
    call = arrays.Problem.call

    def spied(problem, function, **results):
        rows, loss, params, _ = problem
        read = rows.x, loss.target, params.weight, params.bias
        addresses.append([array.ctypes.data for array in read])
        result = call(problem, function, **results)
        addresses.append([a.ctypes.data for a in (results["grad_input"], *result[1:3])])
        return result

    monkeypatch.setattr(arrays.Problem, "call", spied)
    leaves = case.arguments()
    case.loss(linear_cross_entropy, leaves).backward()
    read, written = addresses
    input, weight, bias = leaves
    assert read == [t.data_ptr() for t in (input, case.target, weight, bias)]
    assert written == [t.grad.data_ptr() for t in leaves]


def test_what_is_not_needed_is_not_computed(monkeypatch, fused):
    asked = []
    call = arrays.Problem.call

    def spied(problem, function, **results):
        asked.append((function, results.get("grad_input") is not None))
        return call(problem, function, **results)

    monkeypatch.setattr(arrays.Problem, "call", spied)
    case = Case((64, 17, 10), label_smoothing=0.1)
    for reduction in ("mean", "none"):
        for needs_input in (False, True):
            tensors = case.arguments(needed=(needs_input, True, True))
            case.loss(linear_cross_entropy, tensors, reduction=reduction).sum().backward()
    case.loss(linear_cross_entropy, case.arguments(needed=(False, False, False)))
    assert asked == [
        ("loss_and_grad", False),
        ("loss_and_grad", True),
        ("evaluate", False),
        ("loss_and_grad", False),
        ("evaluate", False),
        ("loss_and_grad", True),
        ("evaluate", False),
    ]


def test_memory_of_a_graph_is_freed(fused):
    gc.collect()
    gc.disable()  # so that a cycle shows
    try:
        case = Case((64, 17, 10))
        input, weight, bias = case.arguments()
        gone = weakref.ref(input)
        for backward in (True, False):
            loss = case.loss(linear_cross_entropy, (input, weight, bias))
            if backward:
                loss.backward()
            del loss
        del input
        assert gone() is None
    finally:
        gc.enable()


def test_a_frozen_gradient_is_not_kept(fused):
    """Between forward and backward only the gradient of the input is kept."""
    case = Case((2, 1000, 1000), label_smoothing=0.1)
    tensors = case.arguments(needed=(True, False, False))
    tracemalloc.start()
    try:
        loss = case.loss(linear_cross_entropy, tensors)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert loss.requires_grad
    assert kept < 1e5  # the weight's would be 4e6


# ---- threads ----


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_threads_of_torch(n_threads, monkeypatch, fused):
    asked = []
    call = arrays.Problem.call

    def spied(problem, function, **results):
        asked.append(problem.num_threads)
        return call(problem, function, **results)

    monkeypatch.setattr(arrays.Problem, "call", spied)
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        large, small = (Case((n, 784, 10), label_smoothing=0.1) for n in (512, 10))
        with torch.no_grad():
            large.loss(linear_cross_entropy, large.arguments())
        large.loss(linear_cross_entropy, large.arguments())
        small.loss(linear_cross_entropy, small.arguments())
    finally:
        torch.set_num_threads(before)
    assert asked == [n_threads, n_threads, 1]


def test_calls_from_many_threads(fused):
    cases = [Case((256, 100, 10), seed=seed) for seed in range(4)]
    expected = [case.results(linear_cross_entropy) for case in cases]
    results = [None] * 4

    def work(i):
        for _ in range(20):
            results[i] = cases[i].results(linear_cross_entropy)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result, one in zip(results, expected, strict=True):
        assert all(map(torch.equal, result, one))


# ---- imports ----


def test_torch_is_imported_by_this_module_only(run_python):
    code = "import sys, fastsoftmax.torch; print('torch' in sys.modules)"
    assert run_python(code).stdout == "True\n"
    code = "import sys, fastsoftmax; print('torch' in sys.modules)"
    assert run_python(code).stdout == "False\n"
