"""Ten losses of ten steps, frozen: the comparison with PyTorch where it is not installed.

`by_torch` made the numbers, with PyTorch 2.13.0 in float64.
"""

import numpy as np
import pytest

from fastsoftmax.backends import get_backend
from fastsoftmax.optim import SGDSettings, Velocity

_numpy = get_backend("numpy")

# name: ((type of rows, options of torch.optim.SGD), losses)
TRACES = {
    "plain": (
        ("float32", {"lr": 0.5}),
        [
            1.95851417571327,
            1.7001575160277962,
            1.3199059083688645,
            1.323942567032413,
            1.1273360541871063,
            1.1234801793442628,
            0.9840612999122418,
            0.910813082025017,
            0.759128398252027,
            0.758997766033675,
        ],
    ),
    "momentum, dampening and weight_decay": (
        ("float32", {"lr": 0.3, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
        [
            1.95851417571327,
            1.7886624237438742,
            1.407068448123988,
            1.3153656166581922,
            1.0232770709513346,
            0.914268860868716,
            0.8133674785206306,
            0.6114506032260826,
            0.6066445944168573,
            0.5024213416088201,
        ],
    ),
    "nesterov": (
        ("float32", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        [
            1.95851417571327,
            1.843641655398517,
            1.5315862532056532,
            1.5630497059091253,
            1.2876700617589931,
            1.3009603273118413,
            1.0926981934053348,
            0.9656248686278575,
            0.7713317453847605,
            0.7064985434827681,
        ],
    ),
    "plain, uint8": (
        ("uint8", {"lr": 0.5}),
        [
            1.6170165972430965,
            1.6728292058096437,
            1.598061392275079,
            1.642248486756247,
            1.5524738022982292,
            1.6462101174810988,
            1.5537000455101007,
            1.5182735582289013,
            1.5448039247927803,
            1.5324132774770525,
        ],
    ),
    "nesterov and weight_decay, uint8": (
        ("uint8", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.05}),
        [
            1.6170165972430965,
            1.6861665201900013,
            1.6010415354917735,
            1.6636491047714688,
            1.5765555941004177,
            1.6167429240677613,
            1.5652156838778504,
            1.5438107163981558,
            1.5841213337213937,
            1.5388037465982425,
        ],
    ),
}


@pytest.fixture(params=TRACES.items(), ids=TRACES)
def trace(request):
    (row_type, options), losses = request.param[1]
    return row_type, options, losses


def inputs(row_type):
    """Ten batches of 64 rows with 20 features and labels of 5 classes; parameters; scale.

    They come from functions of RandomState that do not round: these numbers never change.
    """
    random = np.random.RandomState(20)
    if row_type == "uint8":
        x, scale = random.randint(0, 256, (10, 64, 20)).astype(np.uint8), 1 / 255
    else:
        x, scale = (random.randint(-512, 513, (10, 64, 20)) / 256).astype(np.float32), 1.0
    target = x[:, :, :5].argmax(axis=2)
    weight = (random.randint(-64, 65, (5, 20)) / 256).astype(np.float32)
    bias = (random.randint(-64, 65, 5) / 256).astype(np.float32)
    return x, target, weight, bias, scale


def by_torch(row_type, options):
    """Mean losses before each of the ten steps."""
    import torch

    x, target, weight, bias, scale = inputs(row_type)
    weight, bias = (
        torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in (weight, bias)
    )
    sgd = torch.optim.SGD([weight, bias], **options)
    losses = []
    for batch, labels in zip(torch.tensor(x).double() * scale, torch.tensor(target), strict=True):
        logits = torch.nn.functional.linear(batch, weight, bias)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        losses.append(loss.item())
    return losses


def by_backend(backend, row_type, options, dtype=np.float32):
    x, target, weight, bias, scale = inputs(row_type)
    weight, bias = weight.astype(dtype), bias.astype(dtype)
    velocity = Velocity.of(weight, bias)
    losses = [
        backend.train_step(*batch, weight, bias, SGDSettings(**options), velocity, scale=scale)[0]
        / 64
        for batch in zip(x, target, strict=True)
    ]
    return losses


def test_every_backend(trace, backend):
    row_type, options, losses = trace
    # 17 roundings of a loss of about 1
    np.testing.assert_allclose(by_backend(backend, row_type, options), losses, rtol=0, atol=1e-6)


def test_oracle_in_float64(trace):
    row_type, options, losses = trace
    ours = by_backend(_numpy, row_type, options, np.float64)
    np.testing.assert_allclose(ours, losses, rtol=1e-13)


def test_torch_still_says_so(trace):
    pytest.importorskip("torch")
    row_type, options, losses = trace
    np.testing.assert_allclose(by_torch(row_type, options), losses, rtol=1e-13)
