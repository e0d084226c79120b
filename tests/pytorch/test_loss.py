"""fastsoftmax.torch: the loss and its gradients against PyTorch's own; float64 is the truth."""

import copy
import itertools

import pytest

pytest.importorskip("torch")

from fastsoftmax.torch import linear_cross_entropy
from helpers.pytorch import (
    OPTIONS,
    REDUCTIONS,
    SHAPES,
    TARGETS,
    Case,
    assert_like_pytorch,
    pytorchs,
    torch,
)

# ---- values ----


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_loss_and_gradients(shape, options, reduction, fused):
    for target, bias in itertools.product(TARGETS, (True, False)):
        case = Case(shape, target, bias, **options)
        if reduction == "mean" and not case.target.is_floating_point():
            kept = case.target != case.options.get("ignore_index", -100)
            if not kept.any():
                continue  # NaN: test_all_ignored
        assert_like_pytorch(case, reduction=reduction)


@pytest.mark.parametrize("needed", list(itertools.product((True, False), repeat=3))[:-1], ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_only_the_gradients_needed(reduction, needed, fused):
    case = Case((64, 17, 10))
    assert_like_pytorch(case, reduction=reduction, needed=needed)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("target", ["int64", "probabilities"])
def test_one_row(target, reduction, fused):
    case = Case((1, 7, 3), target, label_smoothing=0.1)
    case.input, case.target = case.input[0], case.target[0]
    assert_like_pytorch(case, reduction=reduction)


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


def test_not_contiguous(fused):
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


def test_expanded_grad_output_and_negated_views(fused):
    case = Case((64, 17, 10))
    input = torch.complex(case.input, -case.input).conj().imag  # a view with the bit of negation
    assert input.is_neg()
    _, weight, bias = leaves = case.arguments()
    ours = linear_cross_entropy(input, weight, case.target, linear_bias=bias, reduction="none")
    ours.sum().backward()  # an expanded grad_output of stride 0
    expected = case.results(pytorchs, reduction="sum")
    torch.testing.assert_close(ours.sum(), expected[0])
    assert leaves[1].grad.isfinite().all()


# ---- rows that count for nothing, and infinity ----


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_ignored_rows_may_be_nan(fused, reduction):
    """They are as if they were not there; PyTorch's gradients would be NaN."""
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


# ---- NaN and infinite weights ----


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
