"""Bad arguments of fastsoftmax.torch: the errors are PyTorch's."""

import numpy as np
import pytest

pytest.importorskip("torch")

from fastsoftmax.torch import FusedLinearCrossEntropy, from_linear, linear_cross_entropy
from helpers.pytorch import errors, functional, torch

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


# ---- errors ----


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


# ---- the module ----


def test_errors_of_the_module():
    with pytest.raises(RuntimeError, match=r"weight shape to be \(10,\), got \(9,\)"):
        FusedLinearCrossEntropy(17, 10, weight=torch.ones(9))
    with pytest.raises(RuntimeError, match=r"label_smoothing .* \[0, 1\], got 2"):
        FusedLinearCrossEntropy(17, 10, label_smoothing=2)


# ---- models ----


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
