"""SGDSettings: their defaults, what they take and refuse."""

from __future__ import annotations

import dataclasses
import math
import pickle

import numpy as np
import pytest

from fastsoftmax.optim import SGDSettings

NAN, INF = math.nan, math.inf


def test_defaults_are_those_of_torch():
    sgd = SGDSettings(0.1)
    assert dataclasses.asdict(sgd) == {
        "lr": 0.1, "momentum": 0.0, "dampening": 0.0, "nesterov": False, "weight_decay": 0.0,
        "decay_bias": True, "l1": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay", "dampening", "l1"])
@pytest.mark.parametrize("value", ["0.1", None, 1j, [0.1]], ids=repr)
def test_not_a_number(name, value):
    with pytest.raises(TypeError) as error:
        SGDSettings(**{"lr": 0.1, name: value})
    assert str(error.value) == f"{name} must be a number, got {value!r}"


@pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay", "dampening", "l1"])
@pytest.mark.parametrize("value", [NAN, INF, -INF, np.float32("nan")], ids=repr)
def test_not_finite(name, value):
    with pytest.raises(ValueError) as error:
        SGDSettings(**{"lr": 0.1, name: value})
    assert str(error.value) == f"{name} must be finite in float32, got {value!r}"


@pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay", "l1"])
@pytest.mark.parametrize("value", [-1, -0.1, -5e-324], ids=repr)
def test_negative(name, value):
    with pytest.raises(ValueError) as error:
        SGDSettings(**{"lr": 0.1, name: value})
    assert str(error.value) == f"{name} must be >= 0, got {value!r}"


@pytest.mark.parametrize("momentum, dampening", [(0.0, 0.0), (0.9, 0.5), (0.9, -0.5), (0.0, 0.5)])
def test_nesterov_needs_momentum_and_no_dampening(momentum, dampening):
    with pytest.raises(ValueError) as error:
        SGDSettings(0.1, momentum=momentum, dampening=dampening, nesterov=True)
    assert str(error.value) == (
        "nesterov needs momentum > 0 and dampening == 0, "
        f"got momentum={momentum}, dampening={dampening}"
    )


def test_what_is_allowed_as_in_torch():
    for sgd in (
        SGDSettings(0),
        SGDSettings(0.1, momentum=1.5),
        SGDSettings(0.1, momentum=0.9, dampening=-0.5),
        SGDSettings(0.1, momentum=0.9, dampening=2.0),
        SGDSettings(0.1, dampening=0.5),
        SGDSettings(0.1, momentum=0.9, nesterov=True),
        SGDSettings(np.float32(0.1), weight_decay=np.int64(1)),
    ):
        assert sgd == dataclasses.replace(sgd)


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(SGDSettings)])
def test_frozen(field):
    sgd = SGDSettings(0.1, momentum=0.9)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(sgd, field, 0.5)
    assert sgd == SGDSettings(0.1, momentum=0.9)


def test_replace_validates_again():
    with pytest.raises(ValueError, match="lr must be >= 0, got -1"):
        dataclasses.replace(SGDSettings(0.1), lr=-1)


def test_equal_hashable_and_picklable():
    sgd = SGDSettings(0.1, momentum=0.9, weight_decay=1e-4)
    assert sgd == SGDSettings(0.1, momentum=0.9, weight_decay=1e-4) != SGDSettings(0.1)
    assert hash(sgd) == hash(SGDSettings(0.1, momentum=0.9, weight_decay=1e-4))
    assert pickle.loads(pickle.dumps(sgd)) == sgd
