"""What fastsoftmax.torch leaves to PyTorch: other dtypes, subclasses, transforms, autocast."""

import pytest

pytest.importorskip("torch")

from fastsoftmax.torch import linear_cross_entropy
from helpers.pytorch import REDUCTIONS, Case, functional, pytorchs, torch


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
    """float32 is computed by the kernels; what is of lower precision goes to PyTorch."""
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
