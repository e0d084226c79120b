"""FusedLinearCrossEntropy is a linear layer; from_linear and to_linear."""

import copy

import numpy as np
import pytest

import fastsoftmax as fs

pytest.importorskip("torch")

from fastsoftmax.torch import FusedLinearCrossEntropy, from_linear, to_linear
from helpers import make_problem
from helpers.pytorch import OPTIONS, REDUCTIONS, Case, functional, pytorchs, torch

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


@pytest.fixture
def model():
    problem = make_problem(64, 17, 3)
    return fs.LinearClassifier(
        problem.weight, problem.bias, ["a", "b", "c"], class_names=("A", "B", "C"), scale=0.5
    )


# ---- models ----


def test_a_model_as_a_linear_layer_and_back(model):
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
