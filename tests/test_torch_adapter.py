"""fastsoftmax.torch against PyTorch's own functions, in float64 where it is about accuracy."""

import copy
import gc
import itertools
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

import fastsoftmax as fs

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # its threads and ours on the same cores slow each other down tenfold

from torch.nn import functional  # noqa: E402

import fastsoftmax.torch  # noqa: E402
from fastsoftmax.torch import (  # noqa: E402
    FusedLinearCrossEntropy,
    autograd,
    from_linear,
    linear_cross_entropy,
    to_linear,
)

TOLERANCE = 1e-6  # 17 roundings of float32, relative to the largest true value

SHAPES = [(7, 1, 2), (5, 3, 4), (64, 17, 10), (257, 33, 3), (3, 97, 65), (100, 784, 10)]
REDUCTIONS = ["mean", "sum", "none"]
OPTIONS = {
    "plain": {},
    "weight": {"weight": True},
    "label_smoothing": {"label_smoothing": 0.1},
    "ignore_index": {"ignore_index": 1},
    "ignore_index of no class": {"ignore_index": -7},
    "all": {"weight": True, "label_smoothing": 0.3, "ignore_index": 0},
}
TARGETS = ["int64", "int32", "uint8", "probabilities"]


class Case:
    """Tensors for one call; `arguments` are fresh leaves of any dtype."""

    def __init__(self, shape, target="int64", bias=True, seed=0, **options):
        n_rows, n_features, n_classes = self.shape = shape
        generator = torch.Generator().manual_seed(seed)
        draw = {"generator": generator, "dtype": torch.float64}
        # numbers of float32, so that float64 is the truth about the same problem
        self.input = torch.randn(n_rows, n_features, **draw).float()
        self.linear_weight = torch.randn(n_classes, n_features, **draw).float()
        self.linear_weight *= 2 / max(n_features, 1) ** 0.5
        self.linear_bias = torch.randn(n_classes, **draw).float() if bias else None
        self.options = dict(options)
        if self.options.get("weight"):
            self.options["weight"] = torch.rand(n_classes, **draw).float() + 0.1
        if target == "probabilities":
            self.options.pop("ignore_index", None)
            self.target = torch.randn(n_rows, n_classes, **draw).softmax(dim=1).float()
        else:
            self.target = torch.randint(0, n_classes, (n_rows,), generator=generator)
            ignored = self.options.get("ignore_index") or 0
            if ignored < 0 and target != "uint8":
                self.target[::3] = ignored
            self.target = self.target.to(getattr(torch, target))

    def arguments(self, dtype=torch.float32, needed=(True, True, True)):
        tensors = self.input, self.linear_weight, self.linear_bias
        return [
            None if t is None else t.to(dtype, copy=True).requires_grad_(need)
            for t, need in zip(tensors, needed, strict=True)
        ]

    def loss(self, function, tensors, **options):
        input, linear_weight, linear_bias = tensors
        options = {**self.options, **options}
        target = self.target
        if options.get("weight") is not None:
            options["weight"] = options["weight"].to(input.dtype)
        if target.is_floating_point():
            target = target.to(input.dtype)
        elif function is not linear_cross_entropy:
            target = target.long()
        return function(input, linear_weight, target, linear_bias=linear_bias, **options)

    def results(self, function, dtype=torch.float32, needed=(True, True, True), **options):
        """The loss, and the gradients of what is needed, by a grad_output that is not 1."""
        tensors = self.arguments(dtype, needed)
        loss = self.loss(function, tensors, **options)
        generator = torch.Generator().manual_seed(1)
        grad_output = torch.rand(loss.shape, generator=generator, dtype=torch.float64).to(dtype)
        loss.backward(grad_output)
        assert all(t is None or (t.grad is not None) == t.requires_grad for t in tensors)
        return [loss.detach(), *(t.grad for t in tensors if t is not None and t.grad is not None)]


def pytorchs(input, linear_weight, target, *, linear_bias=None, ignore_index=None, **options):
    if ignore_index is not None:
        options["ignore_index"] = ignore_index
    logits = functional.linear(input, linear_weight, linear_bias)
    return functional.cross_entropy(logits, target, **options)


@pytest.fixture
def fused(monkeypatch):
    """The kernels only: what would go to PyTorch fails."""

    def refused(*args, **kwargs):
        pytest.fail("handed to PyTorch")

    monkeypatch.setattr(autograd, "_pytorch", refused)


@pytest.fixture
def not_fused(monkeypatch):
    """PyTorch only: what would go to the kernels fails."""

    def refused(*args, **kwargs):
        pytest.fail("handed to the kernels")

    monkeypatch.setattr(autograd, "_fused", refused)


def assert_like_pytorch(assert_as_good, case, **options):
    ours = case.results(linear_cross_entropy, **options)
    float32 = case.results(pytorchs, **options)
    truth = case.results(pytorchs, torch.float64, **options)
    for i, (our, plain, true) in enumerate(zip(ours, float32, truth, strict=True)):
        assert our.dtype == torch.float32 and our.shape == true.shape
        # A small loss is a difference of logits, and its error relative to those
        size = max(1.0, true.abs().max().item()) if i == 0 else None
        assert_as_good(our.numpy(), plain.numpy(), true.numpy(), TOLERANCE, size)


# ---- the kernels ----


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_loss_and_gradients(shape, options, reduction, fused, assert_as_good):
    for target, bias in itertools.product(TARGETS, (True, False)):
        case = Case(shape, target, bias, **options)
        if reduction == "mean" and not case.target.is_floating_point():
            kept = case.target != case.options.get("ignore_index", -100)
            if not kept.any():
                continue  # NaN: test_all_ignored
        assert_like_pytorch(assert_as_good, case, reduction=reduction)


@pytest.mark.parametrize("needed", list(itertools.product((True, False), repeat=3))[:-1], ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_only_the_gradients_needed(reduction, needed, fused, assert_as_good):
    case = Case((64, 17, 10))
    assert_like_pytorch(assert_as_good, case, reduction=reduction, needed=needed)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("target", ["int64", "probabilities"])
def test_one_row(target, reduction, fused, assert_as_good):
    case = Case((1, 7, 3), target, label_smoothing=0.1)
    case.input, case.target = case.input[0], case.target[0]
    assert_like_pytorch(assert_as_good, case, reduction=reduction)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_without_gradients(reduction, mode, fused):
    case = Case((64, 17, 10), weight=True, ignore_index=2)
    expected = case.loss(linear_cross_entropy, case.arguments(), reduction=reduction)
    assert expected.requires_grad
    with mode():
        loss = case.loss(linear_cross_entropy, case.arguments(), reduction=reduction)
    assert not loss.requires_grad and loss.grad_fn is None
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-6, atol=0)
    frozen = case.arguments(needed=(False, False, False))
    assert not case.loss(linear_cross_entropy, frozen, reduction=reduction).requires_grad


def test_arguments_are_untouched(fused):
    case = Case((64, 17, 10), weight=True, label_smoothing=0.1, ignore_index=-7)
    before = copy.deepcopy(vars(case))
    tensors = case.arguments()
    for reduction in REDUCTIONS:
        case.loss(linear_cross_entropy, tensors, reduction=reduction).sum().backward()
    for name in ("input", "linear_weight", "linear_bias", "target"):
        assert torch.equal(getattr(case, name), before[name])
    assert torch.equal(case.options["weight"], before["options"]["weight"])
    for tensor, original in zip(
        tensors, (case.input, case.linear_weight, case.linear_bias), strict=True
    ):
        assert torch.equal(tensor, original)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weight", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_all_ignored(smoothing, weight, reduction, fused):
    case = Case((5, 3, 4), weight=weight, label_smoothing=smoothing)
    if not weight:
        del case.options["weight"]
    case.target[:] = -100
    ours = case.results(linear_cross_entropy, reduction=reduction)
    expected = case.results(pytorchs, reduction=reduction)
    for our, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(our, theirs, equal_nan=True)


def test_mean_over_weights_of_zero():
    case = Case((5, 3, 4), weight=True)
    case.options["weight"][:] = 0
    ours, theirs = (case.results(f) for f in (linear_cross_entropy, pytorchs))
    assert ours[0].isnan() and theirs[0].isnan()
    for our, their in zip(ours[1:], theirs[1:], strict=True):
        assert our.isnan().all() and their.isnan().all()


def test_not_contiguous(fused, assert_as_good):
    case = Case((64, 17, 10), weight=True)
    wide = torch.zeros(17, 128)
    wide[:, ::2] = case.input.T
    case.input = wide[:, ::2].T
    case.linear_weight = case.linear_weight.T.contiguous().T
    case.linear_bias = torch.stack([case.linear_bias] * 2, dim=1)[:, 0]
    case.target = torch.stack([case.target] * 2, dim=1)[:, 1]
    case.options["weight"] = case.options["weight"].repeat_interleave(2)[::2]
    tensors = case.input, case.linear_weight, case.linear_bias, case.target
    assert not any(t.is_contiguous() for t in (*tensors, case.options["weight"]))
    contiguous = Case((64, 17, 10), weight=True)
    for reduction in REDUCTIONS:
        leaves = [t.requires_grad_() for t in tensors[:3]]
        losses = case.loss(linear_cross_entropy, leaves, reduction=reduction)
        ours = torch.autograd.grad(losses.sum(), leaves)
        leaves = contiguous.arguments()
        expected = contiguous.loss(linear_cross_entropy, leaves, reduction=reduction)
        assert torch.equal(losses, expected)
        for our, their in zip(ours, torch.autograd.grad(expected.sum(), leaves), strict=True):
            assert torch.equal(our, their)


def test_expanded_grad_output_and_negated_views(fused, assert_as_good):
    case = Case((64, 17, 10))
    input = torch.complex(case.input, -case.input).conj().imag  # a view with the bit of negation
    assert input.is_neg()
    _, weight, bias = leaves = case.arguments()
    ours = linear_cross_entropy(input, weight, case.target, linear_bias=bias, reduction="none")
    ours.sum().backward()  # an expanded grad_output of stride 0
    expected = case.results(pytorchs, reduction="sum")
    torch.testing.assert_close(ours.sum(), expected[0])
    assert leaves[1].grad.isfinite().all()


def test_memory_is_shared(monkeypatch, fused):
    """Contiguous tensors are read, and gradients handed over, where they lie."""
    case = Case((64, 17, 10))
    addresses = []
    call = autograd._Arguments.call

    def spied(arguments, function, **results):
        arrays = arguments.input, arguments.target, arguments.weight, arguments.bias
        addresses.append([array.ctypes.data for array in arrays])
        result = call(arguments, function, **results)
        addresses.append([a.ctypes.data for a in (results["grad_input"], *result[1:])])
        return result

    monkeypatch.setattr(autograd._Arguments, "call", spied)
    leaves = case.arguments()
    case.loss(linear_cross_entropy, leaves).backward()
    read, written = addresses
    input, weight, bias = leaves
    assert read == [t.data_ptr() for t in (input, case.target, weight, bias)]
    assert written == [t.grad.data_ptr() for t in leaves]


def test_what_is_not_needed_is_not_computed(monkeypatch, fused):
    asked = []
    call = autograd._Arguments.call

    def spied(arguments, function, **results):
        asked.append((function, results.get("grad_input") is not None))
        return call(arguments, function, **results)

    monkeypatch.setattr(autograd._Arguments, "call", spied)
    case = Case((64, 17, 10))
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
    """Between forward and backward there is the gradient of the input alone."""
    case = Case((2, 1000, 1000))
    tensors = case.arguments(needed=(True, False, False))
    tracemalloc.start()
    try:
        loss = case.loss(linear_cross_entropy, tensors)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert loss.requires_grad
    assert kept < 1e5  # the weight's would be 4e6


# ---- backward ----


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_backward_twice(reduction, fused):
    case = Case((64, 17, 10), weight=True, ignore_index=0)
    leaves = case.arguments()
    loss = case.loss(linear_cross_entropy, leaves, reduction=reduction).sum()
    first = torch.autograd.grad(3 * loss, leaves, retain_graph=True)
    kept = [grad.clone() for grad in first]
    second = torch.autograd.grad(loss, leaves, retain_graph=True)
    third = torch.autograd.grad(loss, leaves)
    for one, before, two, three in zip(first, kept, second, third, strict=True):
        assert torch.equal(one, before)  # the later ones have buffers of their own
        assert torch.equal(two, three)
        torch.testing.assert_close(one, 3 * two)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


def test_gradients_accumulate(fused, assert_as_good):
    case = Case((64, 17, 10))
    leaves = case.arguments()
    for scale in (0.25, 0.75):
        (scale * case.loss(linear_cross_entropy, leaves)).backward()
    once = case.arguments()
    case.loss(linear_cross_entropy, once).backward()
    for one, other in zip(leaves, once, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_changed_in_place_before_a_second_backward(fused):
    case = Case((64, 17, 10))
    leaves = case.arguments()
    loss = case.loss(linear_cross_entropy, leaves)
    loss.backward(retain_graph=True)
    with torch.no_grad():
        leaves[1] += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


SOME_NEEDED = [flags for flags in itertools.product((False, True), repeat=3) if any(flags)]


@pytest.mark.parametrize("needed", SOME_NEEDED)
@pytest.mark.parametrize("target", ["int64", "probabilities"])
@pytest.mark.parametrize("rank", [1, 2])
def test_changed_in_place_before_backward(fused, needed, target, rank):
    """It is refused where PyTorch's own refuses it: where that reads what has changed."""
    for changed, reduction in itertools.product(range(5), ("mean", "sum")):
        refused = []
        for function in (linear_cross_entropy, pytorchs):
            case = Case((1 if rank == 1 else 6, 4, 3), target, weight=True)
            leaves = case.arguments(needed=needed)
            tensors = [*leaves, case.target, case.options["weight"]]
            if rank == 1:
                leaves[0], case.target = leaves[0][0], case.target[0]
            loss = case.loss(function, leaves, reduction=reduction)
            with torch.no_grad():
                tensors[changed].fill_(1)
            try:
                loss.backward()
            except RuntimeError as error:
                assert "modified by an inplace operation" in str(error)
                refused.append(True)
            else:
                refused.append(False)
        assert refused[0] == refused[1], (changed, reduction)


@pytest.mark.parametrize("needed", SOME_NEEDED)
@pytest.mark.parametrize("changed", range(3))
def test_changed_in_place_and_computed_again(fused, needed, changed):
    case = Case((64, 17, 10))
    leaves = case.arguments(needed=needed)
    loss = case.loss(linear_cross_entropy, leaves)
    loss.backward(retain_graph=True)
    with torch.no_grad():
        leaves[changed] += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_ignored_rows_may_be_nan(fused, reduction):
    """As if they were not there; by PyTorch the gradients would be NaN."""
    results = []
    ignored = torch.arange(64) % 3 == 0
    for rows in (slice(None), ~ignored):
        case = Case((64, 17, 10), ignore_index=-7)
        case.input[ignored] = torch.nan
        case.input, case.target = case.input[rows], case.target[rows]
        leaves = case.arguments()
        loss = case.loss(linear_cross_entropy, leaves, reduction=reduction)
        loss.sum().backward()
        results.append([loss.detach(), *(leaf.grad for leaf in leaves)])
    for ours, true in zip(*results, strict=True):
        if ours.shape != true.shape:
            assert not ours[ignored].any()
            ours = ours[~ignored]
        torch.testing.assert_close(ours, true)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_double_backward(reduction):
    case = Case((5, 3, 4), weight=True, label_smoothing=0.1)
    results = []
    for function in (linear_cross_entropy, pytorchs):
        leaves = case.arguments()
        loss = case.loss(function, leaves, reduction=reduction).sum()
        grads = torch.autograd.grad(loss, leaves, create_graph=True)
        penalty = sum((grad**2).sum() for grad in grads)
        results.append([*grads, *torch.autograd.grad(penalty, leaves)])
    for our, theirs in zip(*results, strict=True):
        torch.testing.assert_close(our, theirs)


def test_rows_of_infinite_gradient():
    case = Case((5, 3, 4))
    results = []
    for function in (linear_cross_entropy, pytorchs):
        leaves = case.arguments()
        losses = case.loss(function, leaves, reduction="none")
        losses.backward(torch.tensor([1, torch.inf, 0, torch.nan, 1.0]))
        results.append([leaf.grad for leaf in leaves])
    for our, theirs in zip(*results, strict=True):
        torch.testing.assert_close(our, theirs, equal_nan=True)


@pytest.mark.filterwarnings("error")
def test_an_infinite_gradient_is_silent(fused):
    case = Case((2, 3, 4))
    case.input[:] = 0  # of which the gradient for the weight is 0
    leaves = case.arguments()
    case.loss(linear_cross_entropy, leaves).backward(torch.tensor(torch.inf))
    assert leaves[1].grad.isnan().all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("needed", [True, False])
def test_a_loss_too_large_for_float32_is_infinite(needed, fused):
    input, weight = torch.full((100, 1), 1e18), torch.tensor([[1e19], [0.0]])
    weight.requires_grad_(needed)
    loss = linear_cross_entropy(input, weight, torch.ones(100, dtype=torch.int64), reduction="sum")
    assert loss.item() == torch.inf


@pytest.fixture
def in_float64(monkeypatch, fused):
    """The Function itself in float64, over the NumPy oracle."""
    monkeypatch.setattr(autograd, "_DTYPE", torch.float64)
    monkeypatch.setattr(autograd, "get_backend", lambda: fs.get_backend("numpy"))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("target", ["int64", "probabilities"])
def test_gradcheck_of_the_function(target, options, reduction, in_float64):
    case = Case((5, 3, 4), target, **options)
    assert torch.autograd.gradcheck(
        lambda *tensors: case.loss(linear_cross_entropy, tensors, reduction=reduction),
        case.arguments(torch.float64),
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradcheck(reduction, not_fused):
    case = Case((5, 3, 4), weight=True, label_smoothing=0.1)

    def loss(*tensors):
        return case.loss(linear_cross_entropy, tensors, reduction=reduction)

    assert torch.autograd.gradcheck(loss, case.arguments(torch.float64), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(loss, case.arguments(torch.float64))


# ---- what goes to PyTorch ----


class Subclass(torch.Tensor):
    pass


def test_other_dtypes_and_subclasses(not_fused):
    for dtype in (torch.float64, torch.bfloat16):
        case = Case((64, 17, 10), weight=True)
        for our, theirs in zip(
            case.results(linear_cross_entropy, dtype), case.results(pytorchs, dtype), strict=True
        ):
            assert our.dtype == dtype
            torch.testing.assert_close(our, theirs)
    input, weight, bias = case.arguments()
    loss = case.loss(linear_cross_entropy, (input.detach().as_subclass(Subclass), weight, bias))
    assert type(loss) is Subclass
    meta = [t.detach().to("meta") for t in (input, weight, case.target)]
    assert linear_cross_entropy(*meta).device.type == "meta"


def test_targets_and_class_weights_that_need_a_gradient(not_fused):
    case = Case((5, 3, 4), "probabilities", weight=True)
    input, linear_weight, linear_bias = case.arguments()
    target, weight = case.target.requires_grad_(), case.options["weight"].requires_grad_()
    for target_needs, weight_needs in ((True, False), (False, True)):
        results = []
        for function in (linear_cross_entropy, pytorchs):
            loss = function(
                input,
                linear_weight,
                target if target_needs else target.detach(),
                linear_bias=linear_bias,
                weight=weight if weight_needs else weight.detach(),
            )
            results.append(torch.autograd.grad(loss, target if target_needs else weight)[0])
        torch.testing.assert_close(*results)


@pytest.mark.parametrize("shape", [(0, 3, 4), (5, 3, 1), (5, 0, 4)], ids=str)
def test_shapes_of_nothing(shape, not_fused):
    case = Case(shape)
    for reduction in REDUCTIONS:
        for our, theirs in zip(
            case.results(linear_cross_entropy, reduction=reduction),
            case.results(pytorchs, reduction=reduction),
            strict=True,
        ):
            torch.testing.assert_close(our, theirs, equal_nan=True)


@pytest.mark.skipif(not hasattr(functional, "linear_cross_entropy"), reason="PyTorch < 2.13")
def test_weights_of_more_dimensions(not_fused):
    input, weight = torch.randn(5, 3), torch.randn(4, 2, 3)
    target = torch.randint(0, 4, (5, 2))
    expected = functional.linear_cross_entropy(input, weight, target)
    assert torch.equal(linear_cross_entropy(input, weight, target), expected)


def test_an_older_pytorch(monkeypatch, not_fused):
    monkeypatch.delattr(functional, "linear_cross_entropy", raising=False)
    for ignore_index in (None, 1):
        case = Case((64, 17, 10), "int32", weight=True, ignore_index=ignore_index)
        tensors = case.arguments(torch.float64)
        ours, theirs = (case.loss(f, tensors) for f in (linear_cross_entropy, pytorchs))
        torch.testing.assert_close(ours, theirs)


def test_transforms_of_torch_func(not_fused):
    case = Case((5, 3, 4))
    input, weight, bias = (t.detach() for t in case.arguments())

    def loss(function):
        return lambda w: function(input, w, case.target, linear_bias=bias)

    for transform in (torch.func.grad, torch.func.hessian, torch.func.jacfwd):
        ours, theirs = (transform(loss(f))(weight) for f in (linear_cross_entropy, pytorchs))
        torch.testing.assert_close(ours, theirs)
    each = torch.func.vmap(lambda x, y: linear_cross_entropy(x, weight, y, linear_bias=bias))
    expected = pytorchs(input, weight, case.target, linear_bias=bias, reduction="none")
    torch.testing.assert_close(each(input, case.target), expected)


def test_compiled_and_traced(not_fused):
    case = Case((5, 3, 4))
    input, weight, bias = (t.detach() for t in case.arguments())

    def loss(input, weight, bias):
        return linear_cross_entropy(input, weight, case.target, linear_bias=bias)

    expected = pytorchs(input, weight, case.target, linear_bias=bias)
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(input, weight, bias), expected)
    traced = torch.jit.trace(loss, (input, weight, bias), check_trace=False)
    other = pytorchs(2 * input, weight, case.target, linear_bias=bias)
    torch.testing.assert_close(traced(2 * input, weight, bias), other)


def test_dispatch_modes_see_everything(not_fused):
    from torch.utils.flop_counter import FlopCounterMode

    case = Case((5, 3, 4))
    with FlopCounterMode(display=False) as counter:
        case.loss(linear_cross_entropy, case.arguments())
    assert counter.get_total_flops() == 2 * 5 * 3 * 4


def test_forward_mode_says_so(fused):
    from torch.autograd import forward_ad

    case = Case((5, 3, 4))
    input, weight, bias = case.arguments()
    with forward_ad.dual_level(), pytest.raises(RuntimeError, match="forward"):
        dual = forward_ad.make_dual(input, torch.ones_like(input))
        case.loss(linear_cross_entropy, (dual, weight, bias))


def test_autocast(not_fused):
    """float32 stays so; what an earlier layer made of lower precision goes to PyTorch."""
    case = Case((64, 17, 10))
    tensors = case.arguments()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = functional.linear(case.input, torch.eye(17))
        assert hidden.dtype == torch.bfloat16
        ours = case.loss(linear_cross_entropy, (hidden, *tensors[1:]))
        theirs = case.loss(pytorchs, (hidden, *tensors[1:]))
    torch.testing.assert_close(ours, theirs)


def test_autocast_of_float32(fused):
    case = Case((64, 17, 10))
    expected = case.results(linear_cross_entropy)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for our, theirs in zip(case.results(linear_cross_entropy), expected, strict=True):
            assert torch.equal(our, theirs)


# ---- errors ----


def errors(function, *args, **kwargs):
    with pytest.raises(Exception) as raised:
        function(*args, **kwargs)
    return raised.type, str(raised.value)


WRONG = {
    "a target too large": {"target": torch.tensor([0, 4])},
    "a weighted target too large": {"target": torch.tensor([0, 4]), "weight": torch.ones(4)},
    "a negative target": {"target": torch.tensor([0, -1])},
    "a target of int32 too large": {"target": torch.tensor([0, 4], dtype=torch.int32)},
    "too few targets": {"target": torch.tensor([0])},
    "a boolean target": {"target": torch.tensor([True, False])},
    "classes of floats": {"target": torch.tensor([0.0, 1.0])},
    "integers for probabilities": {"target": torch.zeros(2, 4, dtype=torch.int64)},
    "ignored probabilities": {"target": torch.full((2, 4), 0.25), "ignore_index": 1},
    "features": {"linear_weight": torch.zeros(4, 2)},
    "a weight of one dimension": {"linear_weight": torch.zeros(3)},
    "an input of three dimensions": {"input": torch.zeros(2, 1, 3)},
    "a bias too long": {"linear_bias": torch.zeros(5)},
    "dtypes": {"linear_weight": torch.zeros(4, 3, dtype=torch.float64)},
    "class weights too long": {"weight": torch.ones(5)},
    "a reduction": {"reduction": "average"},
    "smoothing": {"label_smoothing": 1.5},
}


@pytest.mark.skipif(not hasattr(functional, "linear_cross_entropy"), reason="PyTorch < 2.13")
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_errors_are_those_of_pytorch(wrong):
    arguments = {
        "input": torch.zeros(2, 3),
        "linear_weight": torch.zeros(4, 3, requires_grad=True),
        "target": torch.tensor([0, 1]),
        **wrong,
    }
    ours = errors(linear_cross_entropy, **arguments)
    if arguments["target"].dtype == torch.int32:
        arguments["target"] = arguments["target"].long()
    assert ours == errors(functional.linear_cross_entropy, **arguments)


def test_a_target_out_of_range_is_an_index_error():
    weight = torch.zeros(4, 3, requires_grad=True)
    with pytest.raises(IndexError, match="Target 4 is out of bounds") as raised:
        linear_cross_entropy(torch.zeros(2, 3), weight, torch.tensor([0, 4]))
    assert raised.value.__context__ is None
    assert weight.grad is None


def test_nan_shows(fused):
    case = Case((5, 3, 4))
    case.input[2, 1] = torch.nan
    loss, *grads = case.results(linear_cross_entropy, reduction="none")
    assert loss.isnan().tolist() == [False, False, True, False, False]
    assert grads[1].isnan().any()


def test_an_infinite_class_weight():
    case = Case((5, 3, 4), weight=True)
    case.options["weight"][2] = torch.inf
    ours, theirs = (case.results(f) for f in (linear_cross_entropy, pytorchs))
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, equal_nan=True)


# ---- threads ----


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_threads_of_torch(n_threads, monkeypatch, fused):
    asked = []
    backend = fs.get_backend()

    class Spy:
        def __getattr__(self, name):
            def call(*args, **options):
                asked.append(options["num_threads"])
                return getattr(backend, name)(*args, **options)

            return call

    monkeypatch.setattr(autograd, "get_backend", Spy)
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        large, small = Case((512, 784, 10)), Case((10, 784, 10))
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


# ---- the module ----


def test_the_module_is_a_linear_layer():
    torch.manual_seed(0)
    head = FusedLinearCrossEntropy(17, 10)
    torch.manual_seed(0)
    linear = torch.nn.Linear(17, 10)
    assert list(head.state_dict()) == list(linear.state_dict()) == ["weight", "bias"]
    assert torch.equal(head.weight, linear.weight) and torch.equal(head.bias, linear.bias)
    input, target = torch.randn(5, 17), torch.randint(0, 10, (5,))
    assert torch.equal(head.logits(input), linear(input))
    loss = functional.cross_entropy(linear(input), target)
    torch.testing.assert_close(head(input, target), loss)
    assert (head.in_features, head.num_classes, head.out_features) == (17, 10, 10)


def test_state_dict_to_and_fro():
    head = FusedLinearCrossEntropy(17, 10, weight=torch.ones(10))
    linear, other = torch.nn.Linear(17, 10), FusedLinearCrossEntropy(17, 10)
    linear.load_state_dict(head.state_dict())
    other.load_state_dict(linear.state_dict())
    assert torch.equal(other.weight, head.weight) and torch.equal(other.bias, head.bias)
    bare = FusedLinearCrossEntropy(17, 10, bias=False)
    bare.load_state_dict(torch.nn.Linear(17, 10, bias=False).state_dict())
    assert bare.bias is None


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_options_of_the_module(reduction, options):
    case = Case((64, 17, 10), **options)
    head = FusedLinearCrossEntropy(17, 10, reduction=reduction, **case.options)
    expected = pytorchs(
        case.input,
        head.weight,
        case.target,
        linear_bias=head.bias,
        reduction=reduction,
        **case.options,
    )
    torch.testing.assert_close(head(case.input, case.target), expected)


def test_the_module_moves_and_copies():
    head = FusedLinearCrossEntropy(17, 10, weight=torch.ones(10), dtype=torch.float64)
    assert head.weight.dtype == torch.float64
    head.to(torch.float32)
    assert head.class_weight.dtype == head.weight.dtype == torch.float32
    other = copy.deepcopy(head)
    assert torch.equal(other.weight, head.weight)
    assert FusedLinearCrossEntropy(17, 10, device="meta").weight.device.type == "meta"


def test_the_module_shows_its_settings():
    assert repr(FusedLinearCrossEntropy(17, 10, bias=False, label_smoothing=0.1)) == (
        "FusedLinearCrossEntropy(in_features=17, num_classes=10, bias=False, reduction='mean', "
        "ignore_index=None, label_smoothing=0.1)"
    )


def test_errors_of_the_module():
    with pytest.raises(RuntimeError, match=r"weight shape to be \(10,\), got \(9,\)"):
        FusedLinearCrossEntropy(17, 10, weight=torch.ones(9))
    with pytest.raises(RuntimeError, match=r"label_smoothing .* \[0, 1\], got 2"):
        FusedLinearCrossEntropy(17, 10, label_smoothing=2)


class Net(torch.nn.Module):
    def __init__(self, head):
        super().__init__()
        self.hidden = torch.nn.Linear(17, 32)
        self.head = head

    def loss(self, x, y):
        hidden = torch.relu(self.hidden(x))
        if isinstance(self.head, FusedLinearCrossEntropy):
            return self.head(hidden, y)
        return functional.cross_entropy(self.head(hidden), y)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_training_a_network(checkpointed):
    from torch.utils.checkpoint import checkpoint

    case = Case((256, 17, 10))
    losses = []
    for head in (torch.nn.Linear(32, 10), FusedLinearCrossEntropy(32, 10)):
        torch.manual_seed(0)
        net = Net(head)
        head.reset_parameters()
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        losses.append([])
        for begin in range(0, 256, 32):
            x, y = case.input[begin : begin + 32], case.target[begin : begin + 32]
            optimizer.zero_grad()
            if checkpointed:
                loss = checkpoint(net.loss, x, y, use_reentrant=False)
            else:
                loss = net.loss(x, y)
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    plain, ours = losses
    assert plain[0] != plain[-1]
    np.testing.assert_allclose(ours, plain, rtol=1e-5)


# ---- models ----


@pytest.fixture
def model(make_problem):
    problem = make_problem(64, 17, 3)
    return fs.LinearClassifier(
        problem.weight, problem.bias, ["a", "b", "c"], class_names=("A", "B", "C"), scale=0.5
    )


def test_a_model_as_a_linear_layer_and_back(model, make_problem):
    linear = to_linear(model)
    assert type(linear) is torch.nn.Linear and linear.weight.requires_grad
    x = make_problem(64, 17, 3).x
    with torch.no_grad():
        logits = linear(torch.tensor(x)).numpy()
        np.testing.assert_allclose(logits, model.decision_function(x), rtol=1e-4, atol=1e-5)
        settings = {"class_names": model.class_names, "scale": model.scale}
        for source in (linear, linear.state_dict()):
            back = from_linear(source, model.classes, **settings)
            np.testing.assert_array_equal(back.weight, model.weight)
            np.testing.assert_array_equal(back.bias, model.bias)
            np.testing.assert_array_equal(back.classes, model.classes)
            assert (back.class_names, back.scale) == (model.class_names, model.scale)
            linear.weight.add_(1)  # a copy does not follow
            np.testing.assert_array_equal(back.weight, model.weight)
            linear.weight.copy_(torch.tensor(model.weight))


def test_a_model_of_other_layers():
    head = FusedLinearCrossEntropy(17, 10, bias=False, weight=torch.ones(10))
    model = from_linear(head)
    np.testing.assert_array_equal(model.weight, head.weight.detach())
    np.testing.assert_array_equal(model.bias, np.zeros(10))
    np.testing.assert_array_equal(model.classes, range(10))
    half = torch.nn.Linear(4, 3, dtype=torch.bfloat16)
    half.weight.data = half.weight.data.T.contiguous().T
    np.testing.assert_array_equal(from_linear(half).weight, half.weight.detach().float())


def test_errors_of_from_linear():
    with pytest.raises(TypeError, match=r"must be a torch.nn.Linear or its state_dict, got Conv"):
        from_linear(torch.nn.Conv2d(1, 1, 1))
    with pytest.raises(ValueError, match=r"must have weight and bias, got \['0.bias', '0.weight"):
        from_linear(torch.nn.Sequential(torch.nn.Linear(2, 3)).state_dict())
    with pytest.raises(TypeError, match=r"weight must be a tensor of floats, got torch\.int64"):
        from_linear({"weight": torch.zeros(3, 2, dtype=torch.int64)})
    with pytest.raises(TypeError, match="weight must be a tensor of floats, got ndarray"):
        from_linear({"weight": np.zeros((3, 2))})
    with pytest.raises(ValueError, match=r"classes must have shape \(3,\), got \(2,\)"):
        from_linear(torch.nn.Linear(2, 3), classes=["a", "b"])
    with pytest.raises(ValueError, match=r"weight must be \(K, D\), got shape \(\)"):
        from_linear({"weight": torch.tensor(1.0)})
    large = torch.tensor([[1.0, torch.inf], [2.0, -1e300]], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"weight must fit into float32, got -1e\+300"):
        from_linear({"weight": large})
    with pytest.raises(ValueError, match=r"bias must fit into float32, got 1e\+39"):
        bias = torch.tensor([0, 1e39], dtype=torch.float64)
        from_linear({"weight": torch.ones(2, 2), "bias": bias})


def test_torch_is_imported_by_this_module_only(run_python):
    code = "import sys, fastsoftmax.torch; print('torch' in sys.modules)"
    assert run_python(code).stdout == "True\n"
    code = "import sys, fastsoftmax; print('torch' in sys.modules)"
    assert run_python(code).stdout == "False\n"
