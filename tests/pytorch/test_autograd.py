"""fastsoftmax.torch and autograd: backward twice, changes in place, double backward, gradcheck."""

import itertools

import pytest

import fastsoftmax as fs

pytest.importorskip("torch")

from fastsoftmax.torch import arrays, fits, linear_cross_entropy
from helpers.pytorch import OPTIONS, REDUCTIONS, Case, pytorchs, torch


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


def test_gradients_accumulate(fused):
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
    """It is refused where PyTorch refuses it: where backward reads what has changed."""
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


@pytest.fixture
def in_float64(monkeypatch, fused):
    """The autograd Function in float64, by the NumPy backend."""
    monkeypatch.setattr(fits, "DTYPE", torch.float64)
    monkeypatch.setattr(arrays, "get_backend", lambda: fs.get_backend("numpy"))


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
