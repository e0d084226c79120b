"""fastsoftmax.torch has no forward-mode derivative: it says so, and never leaves one out."""

import pytest

pytest.importorskip("torch")

from fastsoftmax.torch import linear_cross_entropy
from helpers.pytorch import REDUCTIONS, Case, pytorchs, torch

forward_ad = torch.autograd.forward_ad


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("grad_mode", [True, False])
@pytest.mark.parametrize("needed", [True, False])
@pytest.mark.parametrize("dual", range(3))
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_tangent_is_refused(smoothing, dual, needed, grad_mode, reduction, fused):
    case = Case((5, 3, 4), label_smoothing=smoothing)
    tensors = case.arguments(needed=(needed,) * 3)
    with forward_ad.dual_level(), torch.set_grad_enabled(grad_mode):
        tensors[dual] = forward_ad.make_dual(tensors[dual], torch.ones_like(tensors[dual]))
        with pytest.raises(RuntimeError, match="forward"):
            case.loss(linear_cross_entropy, tensors, reduction=reduction)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_level_without_tangents(reduction, fused):
    case = Case((5, 3, 4))
    tensors = case.arguments(needed=(False,) * 3)
    expected = case.loss(linear_cross_entropy, tensors, reduction=reduction)
    with forward_ad.dual_level():
        loss = case.loss(linear_cross_entropy, tensors, reduction=reduction)
    assert torch.equal(loss, expected) and not loss.requires_grad


@pytest.mark.parametrize("of_target", [True, False])
def test_tangents_of_targets_and_class_weights_are_pytorchs(of_target, not_fused):
    case = Case((5, 3, 4), "probabilities", weight=True)
    tensors = case.arguments(needed=(False,) * 3)
    tangents = []
    for function in (linear_cross_entropy, pytorchs):
        with forward_ad.dual_level():
            target, weight = case.target, case.options["weight"]
            if of_target:
                target = forward_ad.make_dual(target, torch.ones_like(target))
            else:
                weight = forward_ad.make_dual(weight, torch.ones_like(weight))
            input, linear_weight, linear_bias = tensors
            loss = function(input, linear_weight, target, linear_bias=linear_bias, weight=weight)
            tangents.append(forward_ad.unpack_dual(loss).tangent)
    torch.testing.assert_close(*tangents)
