"""Learning rates by epoch: their values, when they are asked for, and what is said of a wrong
one."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import optim
from helpers.arguments import train


def values(schedule, n):
    return [schedule(epoch) for epoch in range(n)]


# ---- schedules ----


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


# ---- epochs ----


def test_two_thousand_million_epochs(monkeypatch):
    """The rate of an epoch is asked for as the epoch begins, and no list of epochs is made."""
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
