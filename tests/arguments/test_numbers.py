"""Numbers of any kind are taken by their value, wherever a number is taken."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import optim, scalars
from helpers.arguments import BIAS, NUMBERS, WEIGHT, N, X, Y, tensor, train

FORMS = {
    "array": np.array,
    "float32": np.float32,
    "float16 array": lambda value: np.array(value, np.float16),
    "longdouble": np.longdouble,
    "Fraction": Fraction,
    "Decimal": Decimal,
    "array of a Fraction": lambda value: np.array(Fraction(value), object),
    "tensor": lambda value: tensor(float(value)),
    "tensor that requires a gradient": lambda value: tensor(float(value), requires_grad=True),
}
WITH = {"dampening": {"momentum": 0.5}}
INTEGERS = {"batch_size": 7, "epochs": 2, "seed": 5, "ignore_index": 2}
INTEGER_FORMS = {
    "array": np.array, "int8": np.int8, "uint64": np.uint64, "tensor": lambda n: tensor(n),
}  # fmt: skip


def same_model(a, b):
    return a.weight.tobytes() == b.weight.tobytes() and a.bias.tobytes() == b.bias.tobytes()


def assert_on_record(result, expected, path):
    assert same_model(result.model, expected.model)
    result.model.save(path)
    assert fs.LinearClassifier.load(path).settings == expected.model.settings
    history = json.loads(json.dumps(result.history.to_dict()))
    assert history["lr"] == expected.history.lr
    assert repr(result.model.settings) == repr(expected.model.settings)  # no types of NumPy


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_of_any_kind_is_that_number(name, form, tmp_path):
    value, besides = NUMBERS[name], WITH.get(name, {})
    result = train(**{name: FORMS[form](value)}, **besides)
    assert_on_record(result, train(**{name: value}, **besides), tmp_path / "m")


@pytest.mark.parametrize("form", INTEGER_FORMS)
@pytest.mark.parametrize("name", INTEGERS)
def test_an_integer_of_any_kind_is_that_integer(name, form, tmp_path):
    result = train(**{name: INTEGER_FORMS[form](INTEGERS[name])})
    assert_on_record(result, train(**{name: INTEGERS[name]}), tmp_path / "m")


@pytest.mark.parametrize("form", [bool, np.bool_, np.array, int, np.int64, lambda b: tensor(b)])
@pytest.mark.parametrize("name", ["nesterov", "shuffle"])
@pytest.mark.parametrize("value", [False, True])
def test_a_switch_of_any_kind_is_a_bool(name, form, value, tmp_path):
    result = train(momentum=0.5, **{name: form(value)})
    assert_on_record(result, train(momentum=0.5, **{name: value}), tmp_path / "m")


@pytest.mark.parametrize("form", FORMS)
def test_what_a_schedule_returns(form, tmp_path):
    result = train(lr=lambda epoch: FORMS[form](0.25 / (epoch + 1)))
    assert_on_record(result, train(lr=lambda epoch: 0.25 / (epoch + 1)), tmp_path / "m")


@pytest.mark.parametrize("form", FORMS)
def test_of_the_optimizer(form):
    number = FORMS[form]
    sgd = fs.SGD(WEIGHT.copy(), BIAS.copy(), number(0.25), momentum=number(0.5))
    sgd.lr = number(0.125)
    state = sgd.state_dict()
    assert repr([state[name] for name in ("lr", "momentum", "nesterov")]) == "[0.125, 0.5, False]"
    assert repr(sgd) == repr(optim.SGDSettings(0.125, 0.5)).replace("Settings", "")
    others = (
        optim.step_decay(number(0.5), every=np.array(2), gamma=number(0.5)),
        optim.exponential(number(0.5), number(0.5)),
        optim.cosine(number(0.5), epochs=np.int64(4)),
    )
    own = optim.step_decay(0.5, 2, 0.5), optim.exponential(0.5, 0.5), optim.cosine(0.5, 4)
    for other, ours in zip(others, own, strict=True):
        assert repr([other(e) for e in range(4)]) == repr([ours(e) for e in range(4)])


def test_large_integers(tmp_path):
    result = train(batch_size=10**30, seed=10**100, num_threads=10**30)
    result.model.save(tmp_path / "m")
    assert fs.LinearClassifier.load(tmp_path / "m").settings["seed"] == 10**100
    for name in ("batch_size", "epochs", "seed"):
        with pytest.raises(ValueError, match=rf"{name} must be less than 2\*\*1000, got int of"):
            train(**{name: 10**5000})  # which JSON would not write


def test_what_a_message_shows_is_short():
    assert scalars.shown(0.1) == "0.1"
    for value in (np.zeros((50, 50)), "a" * 1000, 10**5000):
        assert len(scalars.shown(value)) < 150 and "\n" not in scalars.shown(value)


def test_fractions_as_weights():
    thirds = [Fraction(1, 3)] * N
    loss = fs.sgd_step(X, Y, WEIGHT.copy(), BIAS.copy(), lr=1, sample_weight=thirds)
    assert loss == fs.sgd_step(
        X, Y, WEIGHT.copy(), BIAS.copy(), lr=1, sample_weight=np.full(N, 1 / 3)
    )
