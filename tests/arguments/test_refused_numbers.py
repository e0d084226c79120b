"""What is no number, no integer, no switch or no name, wherever one is taken."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import optim
from helpers.arguments import BIAS, NUMBERS, WEIGHT, X, Y, train

NO_NUMBERS = {
    "text": "0.25",
    "bytes": b"0.25",
    "NumPy's text": np.str_("0.25"),
    "an array of text": np.array("0.25"),
    "an array of an object of text": np.array("0.25", object),
    "a list": [0.25],
    "one element": np.array([0.25]),
    "two": np.array([0.1, 0.2]),
    "a complex": 0.25 + 0j,
    "NumPy's complex": np.complex64(0.25),
    "a duration": np.timedelta64(1, "ns"),
    "an object": object(),
}
OF_NUMBERS = {
    **{name: lambda value, name=name: train(**{name: value}) for name in NUMBERS},
    "sgd_step lr": lambda v: fs.sgd_step(X, Y, WEIGHT.copy(), BIAS.copy(), lr=v),
    "sgd_step scale": lambda v: fs.sgd_step(X, Y, WEIGHT.copy(), BIAS.copy(), lr=1, scale=v),
    "SGD lr": lambda v: fs.SGD(WEIGHT.copy(), BIAS.copy(), v),
    "SGD.lr": lambda v: setattr(fs.SGD(WEIGHT.copy(), BIAS.copy(), 1), "lr", v),
    "a schedule's lr": lambda v: train(lr=lambda epoch: v),
    "exponential lr": lambda v: optim.exponential(v, 0.5),
    "exponential gamma": lambda v: optim.exponential(0.5, v),
    "step lr": lambda v: optim.step_decay(v, 2),
    "step gamma": lambda v: optim.step_decay(0.1, 2, v),
    "cosine lr": lambda v: optim.cosine(v, 2),
    "cross_entropy label_smoothing": lambda v: fs.cross_entropy(X, Y, label_smoothing=v),
    "linear label_smoothing": lambda v: fs.linear_cross_entropy(X, WEIGHT, Y, label_smoothing=v),
    "grad_output": lambda v: fs.linear_cross_entropy_grad(X, WEIGHT, Y, grad_output=v),
    "model's scale": lambda v: fs.LinearClassifier(WEIGHT, BIAS, scale=v),
}  # fmt: skip


# ---- numbers ----


# What may also be one number for each epoch or step: training/test_schedules.py refuses those
MAY_BE_ARRAYS = {"lr", "a schedule's lr"}


@pytest.mark.parametrize(
    "where, what",
    [
        (where, what)
        for where in OF_NUMBERS
        for what in NO_NUMBERS
        if where not in MAY_BE_ARRAYS or np.ndim(NO_NUMBERS[what]) == 0
    ],
)
def test_what_is_no_number_is_refused(where, what):
    with pytest.raises(TypeError, match=r"^[\w()]+ must be a number, got "):
        OF_NUMBERS[where](NO_NUMBERS[what])


@pytest.mark.parametrize("value", [10**400, 10**5000, Decimal("1e400"), 1e39], ids="abcd")
@pytest.mark.parametrize("where", OF_NUMBERS)
def test_numbers_out_of_range(where, value):
    with pytest.raises(
        ValueError, match=r" must be (finite in float32|in \[0, 1\]|>= 0), got "
    ) as e:
        OF_NUMBERS[where](value)
    assert len(str(e.value)) < 200


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("sNaN"), np.array(np.inf)], ids=str)
def test_numbers_that_are_not_finite(value):
    with pytest.raises(ValueError, match="lr must be finite in float32, got "):
        optim.SGDSettings(value)


NO_INTEGERS = [
    True,
    np.True_,
    2.0,
    np.float64(2),
    "2",
    [2],
    np.array([2]),
    np.array(2.5),
    Fraction(2),
    2j,
]


@pytest.mark.parametrize("value", NO_INTEGERS, ids=repr)
@pytest.mark.parametrize("name", ["batch_size", "epochs", "seed"])
def test_what_is_no_integer_is_refused(name, value):
    with pytest.raises(TypeError, match=f"^{name} must be an integer, got "):
        train(**{name: value})


@pytest.mark.parametrize("value", [*NO_INTEGERS, None], ids=repr)
def test_what_is_no_index_to_ignore(value):
    for call in (
        lambda: fs.cross_entropy(X, Y, ignore_index=value),
        lambda: fs.cross_entropy(X, np.abs(X), ignore_index=value),
        lambda: fs.nll_loss(X, Y, ignore_index=value),
        lambda: fs.sgd_step(X, Y, WEIGHT.copy(), BIAS.copy(), lr=1, ignore_index=value),
    ):
        with pytest.raises(TypeError, match=r"^ignore_index must be an integer, got "):
            call()
    if value is not None:
        for function in (fs.linear_cross_entropy, fs.linear_cross_entropy_grad):
            with pytest.raises(TypeError, match=r"^ignore_index must be an integer, got "):
                function(X, WEIGHT, Y, ignore_index=value)


SWITCHES = {
    "nesterov": lambda v: train(momentum=0.5, nesterov=v),
    "shuffle": lambda v: train(shuffle=v),
    "progress": lambda v: train(progress=v),
    "decay_bias": lambda v: fs.SGD(WEIGHT.copy(), BIAS.copy(), 1, decay_bias=v),
    "grad_input": lambda v: fs.linear_cross_entropy_grad(X, WEIGHT, Y, grad_input=v),
}


@pytest.mark.parametrize("value", ["no", "", 2, 1.0, [], [True], np.array([True])], ids=repr)
@pytest.mark.parametrize("name", SWITCHES)
def test_what_is_no_switch_is_refused(name, value):
    with pytest.raises(TypeError, match=f"^{name} must be True or False, got "):
        SWITCHES[name](value)


# ---- names ----


@pytest.mark.parametrize("value", [["numpy"], 3, None, b"numpy", np.array(["numpy"])], ids=repr)
def test_a_backend_that_is_no_name(value):
    for call in (fs.get_backend, lambda backend: train(backend=backend)):
        with pytest.raises(TypeError, match=r"^backend must be one of \('auto', .*\), got "):
            call(value)


@pytest.mark.parametrize("value", [["mean"], None, np.array(["mean", "sum"]), 3], ids=repr)
def test_a_reduction_that_is_no_name(value):
    for call in (
        lambda: fs.linear_cross_entropy(X, WEIGHT, Y, reduction=value),
        lambda: fs.linear_cross_entropy_grad(X, WEIGHT, Y, reduction=value),
        lambda: fs.cross_entropy(X, Y, reduction=value),
        lambda: fs.nll_loss(X, Y, reduction=value),
    ):
        with pytest.raises(ValueError, match=r"^reduction must be one of \('mean'"):
            call()
