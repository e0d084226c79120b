"""Schedules: their values, when train() asks for them, and what it says of a wrong rate."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import optim
from helpers.arguments import train


def values(schedule, n):
    return [schedule(epoch) for epoch in range(n)]


# ---- values ----


def test_step():
    expected = [0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2]
    assert values(optim.step_decay(0.8, every=3, gamma=0.5), 7) == expected
    assert values(optim.step_decay(0.1, every=1), 3) == pytest.approx(
        [0.1, 0.01, 0.001], rel=1e-15
    )


def test_exponential():
    assert values(optim.exponential(0.8, 0.5), 4) == [0.8, 0.4, 0.2, 0.1]
    assert values(optim.exponential(0.8, 1.0), 3) == [0.8] * 3


def test_cosine():
    half = math.sqrt(0.5)
    expected = [0.1, 0.05 * (1 + half), 0.05, 0.05 * (1 - half), 0.0]
    assert values(optim.cosine(0.1, epochs=4), 5) == pytest.approx(expected, rel=1e-15, abs=1e-18)
    assert optim.cosine(0.1, epochs=4)(0) == 0.1
    assert values(optim.cosine(0.1, epochs=4), 9)[4:] == [0.0] * 5


@pytest.mark.parametrize(
    "ours, theirs, options",
    [
        (optim.step_decay(0.1, every=3, gamma=0.5), "StepLR", {"step_size": 3, "gamma": 0.5}),
        (optim.exponential(0.1, 0.9), "ExponentialLR", {"gamma": 0.9}),
        (optim.cosine(0.1, epochs=10), "CosineAnnealingLR", {"T_max": 10}),
    ],
    ids=["step", "exponential", "cosine"],
)
def test_schedules_are_those_of_torch(ours, theirs, options):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    scheduler = getattr(torch.optim.lr_scheduler, theirs)(optimizer, **options)
    expected = []
    for _ in range(10):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    # PyTorch computes each rate from the one before
    assert values(ours, 10) == pytest.approx(expected, rel=1e-13)


T, V = TypeError, ValueError


class Stop(Exception):
    pass


# ---- when they are asked for ----


def test_two_thousand_million_epochs(monkeypatch):
    """The schedule is asked as an epoch begins, so no list of all rates is made."""
    asked, trained = [], []

    def schedule(epoch):
        assert epoch < 5
        asked.append(epoch)
        return 0.1

    def train_epoch(*args, **kwargs):
        trained.append(list(asked))
        if len(trained) == 3:
            raise Stop
        return of_numpy(*args, **kwargs)

    kernels = fs.get_backend("numpy").kernels
    of_numpy = kernels.train
    monkeypatch.setattr(kernels, "train", train_epoch)
    with pytest.raises(Stop):
        train(epochs=2_000_000_000, lr=schedule, backend="numpy")
    assert trained == [[0], [0, 1], [0, 1, 2]]


def test_the_first_rate_is_checked_before_anything():
    with pytest.raises(ValueError, match=r"^lr\(0\) must be >= 0, got -1"):
        fs.train("no such data", lr=lambda epoch: -1)
    with pytest.raises(ValueError, match=r"^lr must be >= 0, got -1"):
        fs.train("no such data", lr=-1)


@pytest.mark.parametrize(
    "schedule, error, message",
    [
        (lambda epoch: 1 - epoch, V, r"^lr\(2\) must be >= 0, got -1"),
        (lambda epoch: "ab"[epoch - 1] if epoch else 1, T, r"^lr\(1\) must be a number, got 'a'"),
        (lambda epoch: 10.0 ** (epoch * 200), V, r"^lr\(1\) must be finite in float32"),
        (lambda epoch: 1e200**epoch, V, r"^lr\(1\) must be finite in float32"),
        (lambda epoch: 10.0 ** (400 * (epoch == 2)), V, r"^lr\(2\) is too large a number"),
        (optim.exponential(1.0, 1e30), V, r"^lr\(2\) must be finite in float32, got 1.*e\+60"),
    ],
)
def test_a_wrong_rate_names_its_epoch(schedule, error, message):
    with pytest.raises(error, match=message):
        train(epochs=20, lr=schedule)


def test_schedules_far_out():
    assert optim.exponential(1.0, 10.0)(400) == optim.step_decay(1.0, 1, 10.0)(400) == np.inf
    assert optim.exponential(1.0, 0.5)(10**9) == 0
    assert optim.cosine(1.0, 10**200)(5) == 1.0


def test_the_record_has_the_rates_that_were_used():
    result = train(epochs=3, lr=optim.exponential(0.5, 0.5))
    assert result.model.settings["lr"] == result.history.lr == [0.5, 0.25, 0.125]


# ---- one for each epoch, one for each step ----

X = np.random.default_rng(0).standard_normal((100, 7), np.float32)
Y = np.arange(100) % 3
STEPS = np.linspace(0.5, 0.1, 2 * 4)  # of 2 epochs in batches of 30 rows


def weight_after(lr, **options):
    result = fs.train((X, Y), epochs=2, batch_size=30, lr=lr, **options)
    return result.model.weight.tobytes(), result.history.lr, result.model.settings["lr"]


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "nesterov": True}])
def test_an_array_of_epochs(options):
    expected = weight_after(lambda epoch: [0.5, 0.25][epoch], **options)
    assert expected[1:] == ([0.5, 0.25], [0.5, 0.25])
    assert weight_after([0.5, 0.25], **options) == expected
    assert weight_after(np.float32([0.5, 0.25]), **options) == expected


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "nesterov": True}])
def test_an_array_of_steps(options):
    by_epoch = STEPS.reshape(2, 4)
    expected = weight_after(by_epoch.__getitem__, **options)
    assert expected[1] == [STEPS[3], STEPS[7]]
    assert expected[2] == by_epoch.tolist()
    assert weight_after(STEPS, **options) == expected
    assert expected[0] != weight_after(STEPS[[0, 4]], **options)[0]
    # the same steps by hand
    weight = np.random.default_rng(0).standard_normal((3, 7), np.float32) * np.float32(0.01)
    sgd = fs.SGD(weight, np.zeros(3, np.float32), 1.0, **options)
    for i, lr in enumerate(np.tile(STEPS, 1)):
        sgd.lr = lr
        rows = slice(i % 4 * 30, i % 4 * 30 + 30)
        sgd.step(X[rows], Y[rows])
    assert sgd.weight.tobytes() == weight_after(STEPS, shuffle=False, **options)[0]


@pytest.mark.parametrize(
    "lr, message",
    [
        ([0.1] * 3, r"lr must be a number, or have shape \(2,\) .*\(8,\) .*got \(3,\)"),
        ([0.1, -1], r"lr\[1\] must be >= 0, got "),
        ([0.1] * 7 + [np.inf], "lr must be >= 0 and finite, got inf"),
        (lambda epoch: [0.1] * 5, r"lr\(0\) must be a number, or have shape \(4,\) .*got \(5,\)"),
    ],
)
def test_refused_arrays(lr, message):
    with pytest.raises(ValueError, match=message):
        weight_after(lr)
