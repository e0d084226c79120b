"""fastsoftmax.torch: the usual call reads tensors, and writes gradients, where they lie."""

import ctypes
import itertools
import threading

import pytest

pytest.importorskip("torch")

import fastsoftmax as fs
from fastsoftmax.torch import autograd, direct, linear_cross_entropy
from helpers.pytorch import Case, assert_like_pytorch, errors, functional, pytorchs, torch

SHAPES = [(1, 1, 2), (7, 1, 2), (64, 17, 10), (257, 33, 3), (3, 97, 65), (256, 784, 10)]
SOME_NEEDED = [flags for flags in itertools.product((False, True), repeat=3) if any(flags)]

if fs.get_backend().name != "cython" or not hasattr(torch.Tensor, "__dlpack_c_exchange_api__"):
    pytest.skip("no kernels for tensors", allow_module_level=True)


@pytest.fixture
def usual(monkeypatch, fused):
    """The usual call only: what would go another way fails."""

    def refused(*args, **kwargs):
        pytest.fail("not by the usual call")

    monkeypatch.setattr(autograd, "_by_arrays", refused)


# ---- results ----


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("target", ["int64", "int32"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_as_good_as_pytorch(shape, target, reduction, usual):
    assert_like_pytorch(Case(shape, target), reduction=reduction)


def results_of(case, needed, **options):
    """Loss and gradients, or the loss alone where none is needed."""
    if any(needed):
        return case.results(linear_cross_entropy, needed=needed, **options)
    loss = case.loss(linear_cross_entropy, case.arguments(needed=needed), **options)
    assert not loss.requires_grad
    return [loss]


@pytest.mark.parametrize("needed", [*SOME_NEEDED, (False,) * 3], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_bits_of_a_call_by_arrays(shape, reduction, needed, monkeypatch, fused):
    cases = [
        Case(shape, target, bias, ignore_index=ignore_index)
        for target, bias, ignore_index in itertools.product(
            ("int64", "int32"), (True, False), (None, -100, -7, 1)
        )
        if bias or needed != (False, False, True)
    ]
    with monkeypatch.context() as patch:
        patch.setattr(autograd, "_by_arrays", lambda *args: pytest.fail("not by the usual call"))
        ours = [results_of(case, needed, reduction=reduction) for case in cases]
    monkeypatch.setattr(direct, "_kernels", lambda: None)
    for case, our in zip(cases, ours, strict=True):
        for one, other in zip(our, results_of(case, needed, reduction=reduction), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("grad_mode", [torch.no_grad, torch.inference_mode])
def test_without_grad_mode(grad_mode, usual):
    case = Case((64, 17, 10))
    expected = case.loss(linear_cross_entropy, case.arguments()).detach()
    with grad_mode():
        loss = case.loss(linear_cross_entropy, case.arguments())
    assert not loss.requires_grad and torch.equal(loss, expected)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_all_rows_are_ignored(reduction, usual):
    case = Case((5, 3, 4))
    case.target[:] = -100
    ours, theirs = (case.results(f, reduction=reduction) for f in (linear_cross_entropy, pytorchs))
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, equal_nan=True)


def test_ignored_rows_may_hold_nan(usual):
    case = Case((6, 3, 4))
    case.target[::2] = -100
    expected = case.results(linear_cross_entropy)
    case.input[::2] = torch.nan
    ours = case.results(linear_cross_entropy)
    assert all(map(torch.equal, ours, expected))


@pytest.mark.parametrize("value", [torch.inf, torch.nan, 3e38])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_losses_beyond_float32(reduction, value, usual):
    case = Case((5, 3, 4))
    case.linear_bias = torch.tensor([value, -value, 0.0, 0.0])
    case.target[:] = 1
    ours, theirs = (
        case.loss(f, case.arguments(), reduction=reduction)
        for f in (linear_cross_entropy, pytorchs)
    )
    torch.testing.assert_close(ours, theirs, equal_nan=True)


def test_any_number_of_threads_gives_the_same_bits(monkeypatch, usual):
    counts = []
    of_work = fs.backends.cython.worthwhile
    monkeypatch.setattr(
        fs.backends.cython,
        "worthwhile",
        lambda threads, work: counts.append(of_work(threads, work)) or counts[-1],
    )
    large, small = Case((512, 784, 10)), Case((10, 784, 10))
    before = torch.get_num_threads()
    try:
        results = []
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            results.append(large.results(linear_cross_entropy))
            small.results(linear_cross_entropy)
    finally:
        torch.set_num_threads(before)
    assert counts == [1, 1, 2, 1, 3, 1]
    for other in results[1:]:
        assert all(map(torch.equal, other, results[0]))


def test_calls_from_many_threads(usual):
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


# ---- the graph ----


@pytest.mark.parametrize("needed", SOME_NEEDED)
def test_only_what_is_needed_is_kept_and_it_is_handed_over(needed, usual):
    case = Case((64, 17, 10))
    leaves = case.arguments(needed=needed)
    loss = case.loss(linear_cross_entropy, leaves)
    kept = loss.grad_fn.grads
    assert [grad is not None for grad in kept] == list(needed)
    addresses = [None if grad is None else grad.data_ptr() for grad in kept]
    del kept
    loss.backward()
    assert loss.grad_fn.grads is None
    assert addresses == [None if t.grad is None else t.grad.data_ptr() for t in leaves]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_backward_twice(reduction, usual):
    case = Case((64, 17, 10))
    leaves = case.arguments()
    loss = case.loss(linear_cross_entropy, leaves, reduction=reduction)
    first = torch.autograd.grad(3 * loss, leaves, retain_graph=True)
    kept = [grad.clone() for grad in first]
    second = torch.autograd.grad(loss, leaves)
    for one, before, two in zip(first, kept, second, strict=True):
        assert torch.equal(one, before)
        torch.testing.assert_close(one, 3 * two)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("target", ["int64", "int32"])
def test_double_backward(target, reduction):
    case = Case((5, 3, 4), target)
    results = []
    for function in (linear_cross_entropy, pytorchs):
        leaves = case.arguments()
        loss = case.loss(function, leaves, reduction=reduction)
        grads = torch.autograd.grad(loss, leaves, create_graph=True)
        penalty = sum((grad**2).sum() for grad in grads)
        results.append([*grads, *torch.autograd.grad(penalty, leaves)])
    for our, theirs in zip(*results, strict=True):
        torch.testing.assert_close(our, theirs)


@pytest.mark.parametrize("needed", SOME_NEEDED)
@pytest.mark.parametrize("changed", range(4))
def test_a_tensor_changed_before_backward_is_refused_where_pytorch_refuses_it(
    changed, needed, usual
):
    refused = []
    for function in (linear_cross_entropy, pytorchs):
        case = Case((6, 4, 3))
        leaves = case.arguments(needed=needed)
        loss = case.loss(function, leaves)
        with torch.no_grad():
            [*leaves, case.target][changed].fill_(1)
        try:
            loss.backward()
        except RuntimeError as error:
            assert "modified by an inplace operation" in str(error)
            refused.append(True)
        else:
            refused.append(False)
    assert refused[0] == refused[1]


@pytest.mark.parametrize("needed", SOME_NEEDED)
@pytest.mark.parametrize("changed", range(4))
def test_a_tensor_changed_before_a_second_backward_is_refused(changed, needed, usual):
    case = Case((64, 17, 10))
    leaves = case.arguments(needed=needed)
    loss = case.loss(linear_cross_entropy, leaves)
    loss.backward(retain_graph=True)
    with torch.no_grad():
        [*leaves, case.target][changed].zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_hooks_see_gradients(usual):
    case = Case((64, 17, 10))
    seen = {}
    for function in (linear_cross_entropy, pytorchs):
        leaves = case.arguments()
        seen[function] = []
        for leaf in leaves:
            leaf.register_hook(lambda grad, of=seen[function]: of.append(grad) or 2 * grad)
        loss = case.loss(function, leaves)
        loss.register_hook(lambda grad: 3 * grad)
        loss.backward()
        seen[function] = sorted(seen[function], key=lambda t: t.shape) + [t.grad for t in leaves]
    for our, theirs in zip(*seen.values(), strict=True):
        torch.testing.assert_close(our, theirs)


def test_inside_a_larger_graph(usual):
    case = Case((64, 17, 10))
    results = []
    for function in (linear_cross_entropy, pytorchs):
        input, weight, bias = case.arguments()
        loss = case.loss(function, ((2 * input).tanh(), weight.exp(), bias))
        (loss**2).backward()
        results.append([input.grad, weight.grad, bias.grad])
    for our, theirs in zip(*results, strict=True):
        torch.testing.assert_close(our, theirs)


# ---- what is not usual goes another way, with the same result ----


def _escaped(tensor):
    """A wrapper of torch.func that has outlived its transform."""
    escaped = []
    torch.func.grad(lambda t: (escaped.append(t), t.sum())[1])(tensor)
    return escaped[0]


UNUSUAL = {
    "a transposed input": lambda c: {"input": c.input.T.contiguous().T},
    "a transposed weight": lambda c: {"linear_weight": c.linear_weight.T.contiguous().T},
    "every other bias": lambda c: {"linear_bias": c.linear_bias.repeat_interleave(2)[::2]},
    "every other target": lambda c: {"target": c.target.repeat_interleave(2)[::2]},
    "a negated view": lambda c: {"input": torch._neg_view(-c.input)},
    "a negated weight": lambda c: {"linear_weight": torch._neg_view(-c.linear_weight)},
    "a negated bias": lambda c: {"linear_bias": torch._neg_view(-c.linear_bias)},
    "zeros without memory": lambda c: {"input": torch._efficientzerotensor(*c.input.shape)},
    "an escaped wrapper": lambda c: {"input": _escaped(c.input)},
    "bytes": lambda c: {"target": c.target.to(torch.uint8)},
    "shorts": lambda c: {"target": c.target.to(torch.int16)},
    "probabilities": lambda c: {"target": functional.one_hot(c.target, 4).float()},
    "class weights": lambda c: {"weight": torch.arange(1.0, 5.0)},
    "smoothing": lambda c: {"label_smoothing": 0.1},
    "each loss": lambda c: {"reduction": "none"},
    "one row": lambda c: {"input": c.input[0], "target": c.target[0]},
    "doubles": lambda c: {
        name: getattr(c, name).double() for name in ("input", "linear_weight", "linear_bias")
    },
    "sparse": lambda c: {"input": c.input.to_sparse()},
}


@pytest.mark.parametrize("unusual", UNUSUAL.values(), ids=UNUSUAL)
@pytest.mark.filterwarnings("ignore")
def test_what_is_not_usual(unusual, monkeypatch):
    case = Case((5, 3, 4))
    arguments = {name: getattr(case, name) for name in ("input", "target")}
    arguments["linear_weight"] = case.linear_weight.clone()
    arguments["linear_bias"] = case.linear_bias
    arguments |= unusual(case)
    monkeypatch.setattr(autograd, "_join", lambda *args: pytest.fail("taken for usual"))
    results = []
    for function in (linear_cross_entropy, pytorchs):
        leaf = arguments["linear_weight"].detach().requires_grad_()
        given = {**arguments, "linear_weight": leaf}
        if function is pytorchs and not given["target"].is_floating_point():
            given["target"] = given["target"].long()
        loss = function(**given)
        results.append([loss.detach(), torch.autograd.grad(loss.sum(), leaf)[0]])
    for our, theirs in zip(*results, strict=True):
        torch.testing.assert_close(our, theirs)


WRONG = {
    "a target too large": {"target": torch.tensor([0, 4])},
    "a target too large of int32": {"target": torch.tensor([0, 4], dtype=torch.int32)},
    "a target beyond int32": {"target": torch.tensor([0, 1 << 32])},
    "a negative target": {"target": torch.tensor([0, -1])},
    "too few targets": {"target": torch.tensor([0])},
    "features": {"linear_weight": torch.zeros(4, 2)},
    "a bias too long": {"linear_bias": torch.zeros(5)},
    "dtypes": {"linear_bias": torch.zeros(4, dtype=torch.float64)},
    "a reduction": {"reduction": "average"},
    "reductions": {"reduction": ["mean"]},
    "smoothing": {"label_smoothing": 1.5},
    "an index beyond int64": {"ignore_index": 1 << 63, "target": torch.tensor([0, 4])},
    "no tensor": {"input": [[0.0] * 3] * 2},
}


@pytest.mark.skipif(not hasattr(functional, "linear_cross_entropy"), reason="PyTorch < 2.13")
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_errors_are_those_of_pytorch(wrong):
    arguments = {
        "input": torch.zeros(2, 3, requires_grad=True),
        "linear_weight": torch.zeros(4, 3, requires_grad=True),
        "linear_bias": torch.zeros(4, requires_grad=True),
        "target": torch.tensor([0, 1]),
        **wrong,
    }
    ours = errors(linear_cross_entropy, **arguments)
    arguments["target"] = arguments["target"].long()
    assert ours == errors(functional.linear_cross_entropy, **arguments)


@pytest.mark.parametrize("ignore_index", [1.5, "1", True, torch.tensor(1)], ids=repr)
def test_an_index_of_another_type(ignore_index, monkeypatch):
    case = Case((5, 3, 4))
    arguments = {"input": case.input, "linear_weight": case.linear_weight, "target": case.target}

    def outcome():
        try:
            return linear_cross_entropy(**arguments, ignore_index=ignore_index)
        except Exception as error:
            return type(error), str(error)

    ours = outcome()
    monkeypatch.setattr(direct, "_kernels", lambda: None)
    assert ours == outcome()


@pytest.mark.parametrize("backend", [name for name in fs.available_backends() if name != "cython"])
def test_another_backend(backend, run_python):
    code = (
        "import torch, fastsoftmax.torch as ft; from fastsoftmax.torch import direct; "
        "w = torch.zeros(2, 2, requires_grad=True); "
        "ft.linear_cross_entropy(torch.eye(2), w, torch.tensor([0, 1]), "
        "linear_bias=torch.zeros(2)).backward(); "
        "print(w.grad.tolist(), direct._kernels())"
    )
    result = run_python(code, FASTSOFTMAX_BACKEND=backend)
    assert result.stdout == "[[-0.25, 0.25], [0.25, -0.25]] None\n", result.stderr


@pytest.mark.parametrize("major, functions", [(2, 1), (1, 0)])
def test_another_dlpack(major, functions):
    """A table of another major version is not used, nor one without the function."""
    table = (ctypes.c_uint32 * 16)(major, *[functions] * 15)
    arguments = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
    new = ctypes.PYFUNCTYPE(ctypes.py_object, *arguments)(("PyCapsule_New", ctypes.pythonapi))
    capsule = new(ctypes.addressof(table), b"dlpack_exchange_api", None)
    with pytest.raises(ValueError, match=r"expected DLPack 1\.3"):
        fs.backends.cython.TensorKernels(
            capsule, (torch.Tensor, torch.nn.Parameter), torch.empty_like, torch.zeros(()), 0, 0
        )
