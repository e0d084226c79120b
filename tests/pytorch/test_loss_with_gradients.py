"""fastsoftmax.torch.linear_cross_entropy_grad: the loss and gradients of autograd, without it."""

import itertools

import pytest

pytest.importorskip("torch")

from fastsoftmax.torch import (
    arrays,
    direct,
    linear_cross_entropy,
    linear_cross_entropy_grad,
)
from helpers.pytorch import OPTIONS, TARGETS, Case, errors, pytorchs, torch

SHAPES = [(7, 1, 2), (64, 17, 10), (257, 33, 3), (256, 784, 10)]


def by_autograd(case, function=linear_cross_entropy, dtype=torch.float32, **options):
    leaves = case.arguments(dtype)
    loss = case.loss(function, leaves, **options)
    loss.backward()
    return [loss.detach(), *(None if leaf is None else leaf.grad for leaf in leaves)]


def at_once(case, dtype=torch.float32, needed=(True, True, True), **options):
    leaves = case.arguments(dtype, needed)
    result = case.loss(linear_cross_entropy_grad, leaves, grad_input=True, **options)
    assert all(leaf is None or leaf.grad is None for leaf in leaves)
    assert all(t is None or (t.grad_fn is None and not t.requires_grad) for t in result)
    return [result.loss, result.grad_input, result.grad_weight, result.grad_bias]


def assert_equal(ours, theirs):
    for our, their in zip(ours, theirs, strict=True):
        assert (our is None and their is None) or torch.equal(our, their)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_bits_of_autograd(shape, options, reduction, fused):
    for target, bias in itertools.product(TARGETS, (True, False)):
        case = Case(shape, target, bias, **options)
        assert_equal(at_once(case, reduction=reduction), by_autograd(case, reduction=reduction))


@pytest.mark.parametrize("target", ["int64", "probabilities"])
def test_one_row(target, fused):
    case = Case((1, 7, 3), target)
    case.input, case.target = case.input[0], case.target[0]
    assert_equal(at_once(case), by_autograd(case))


def test_the_usual_call(monkeypatch, fused):
    """It goes the shortest way, whatever requires a gradient, and in any grad mode."""
    if direct._kernels() is None:
        pytest.skip("no kernels for tensors")
    case = Case((64, 17, 10))
    loss, _, *grads = by_autograd(case)
    monkeypatch.setattr(arrays.Problem, "of", lambda *args: pytest.fail("by arrays"))
    for needed, grad_mode in itertools.product((True, False), repeat=2):
        leaves = case.arguments(needed=(needed,) * 3)
        with torch.set_grad_enabled(grad_mode):
            result = case.loss(linear_cross_entropy_grad, leaves)
        assert result.grad_input is None
        assert_equal([result.loss, result.grad_weight, result.grad_bias], [loss, *grads])
    with torch.inference_mode():
        assert torch.equal(case.loss(linear_cross_entropy_grad, case.arguments()).loss, loss)


@pytest.mark.parametrize("needed", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_are_pytorchs(dtype, needed):
    case = Case((64, 17, 10), weight=True)
    ours, theirs = at_once(case, dtype, (needed,) * 3), by_autograd(case, pytorchs, dtype)
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their)


def test_all_ignored(fused):
    case = Case((5, 3, 4))
    case.target[:] = -100
    loss, *grads = at_once(case)
    assert loss.isnan() and all(grad.eq(0).all() for grad in grads)


def test_a_step_of_training_as_by_autograd(fused):
    case = Case((64, 17, 10))
    trained = []
    for by_hand in (True, False):
        torch.manual_seed(0)
        first, last = torch.nn.Linear(17, 32), torch.nn.Linear(32, 10)
        parameters = [*first.parameters(), *last.parameters()]
        optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            hidden = first(case.input).relu()
            arguments = hidden, last.weight, case.target
            if by_hand:
                grad = linear_cross_entropy_grad(
                    *arguments, linear_bias=last.bias, grad_input=True
                )
                last.weight.grad, last.bias.grad = grad.grad_weight, grad.grad_bias
                hidden.backward(grad.grad_input)
            else:
                linear_cross_entropy(*arguments, linear_bias=last.bias).backward()
            optimizer.step()
        trained.append([p.detach() for p in parameters])
    assert_equal(*trained)


@pytest.mark.parametrize("reduction", ["none", "average", None])
def test_losses_of_rows_have_no_gradient(reduction):
    case = Case((5, 3, 4))
    with pytest.raises(ValueError, match="reduction must be 'mean' or 'sum', got"):
        case.loss(linear_cross_entropy_grad, case.arguments(), reduction=reduction)


@pytest.mark.parametrize(
    "wrong",
    [
        {"target": torch.tensor([0, 4])},
        {"target": torch.tensor([0])},
        {"linear_bias": torch.zeros(5)},
        {"weight": torch.ones(5)},
        {"label_smoothing": 1.5},
    ],
    ids=str,
)
def test_errors_are_those_of_the_loss(wrong):
    arguments = {
        "input": torch.zeros(2, 3),
        "linear_weight": torch.zeros(4, 3),
        "target": torch.tensor([0, 1]),
        **wrong,
    }
    assert errors(linear_cross_entropy_grad, **arguments) == errors(
        linear_cross_entropy, **arguments
    )
