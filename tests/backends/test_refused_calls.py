"""Bad arguments of a backend: the same exception and message from each, and nothing written."""

import numpy as np
import pytest

from fastsoftmax.backends import get_backend
from fastsoftmax.optim import SGDSettings, Velocity
from fastsoftmax.settings import CrossEntropy
from helpers import read_only
from helpers.backends import MOMENTUM, UPDATING, D, N, arguments, call, users

_numpy = get_backend("numpy")


def strided(array):
    """A view of the same values that is not C-contiguous."""
    return np.repeat(array, 2, axis=-1)[..., ::2]


# what is wrong: (parameter, its bad value made of the good arguments, exception, its words)
BAD = {
    "x of float16": ("x", lambda a: a["x"].astype(np.float16), TypeError, "got float16"),
    "x of int64": ("x", lambda a: a["x"].astype(np.int64), TypeError, "x must be float32"),
    "x of swapped bytes": ("x", lambda a: a["x"].astype(">f4"), TypeError, "x must be float32"),
    "x of one dimension": ("x", lambda a: a["x"][0], ValueError, "got shape (3,)"),
    "x with too few features": (
        "x",
        lambda a: a["x"][:, :2].copy(),
        ValueError,
        "x has 2 features, expected 3 as the weight has",
    ),
    "x with no features": ("x", lambda a: a["x"][:, :0], ValueError, "x has 0 features"),
    "x of pictures of another size": (
        "x",
        lambda a: np.zeros((N, 2, 2), np.uint8),
        ValueError,
        "x has 4 features",
    ),
    "x strided": ("x", lambda a: strided(a["x"]), ValueError, "x must be C-contiguous"),
    "x in Fortran order": (
        "x",
        lambda a: np.asfortranarray(a["x"]),
        ValueError,
        "np.ascontiguousarray",
    ),
    "target of floats": ("target", lambda a: a["target"] / 1, TypeError, "got float64"),
    "target of booleans": ("target", lambda a: a["target"] > 0, TypeError, "got bool"),
    "target too short": ("target", lambda a: a["target"][1:], ValueError, "shape (6,)"),
    "target of two dimensions": ("target", lambda a: a["target"][:, None], ValueError, "(6, 1)"),
    "target -1": (
        "target",
        lambda a: np.array([0, 1, 2, 3, -1, 0]),
        ValueError,
        "target[4] is -1",
    ),
    "target negative": (
        "target",
        lambda a: np.array([0, 1, -1, 0, -2, 0]),
        ValueError,
        "target[2] is -1, expected 0 <= target < 4",
    ),
    "target of K": (
        "target",
        lambda a: np.array([0, 1, 2, 3, 4, 0]),
        ValueError,
        "target[4] is 4",
    ),
    "target of K, int32": (
        "target",
        lambda a: np.array([0, 1, 2, 3, 4, 0], np.int32),
        ValueError,
        "target[4] is 4",
    ),
    "target negative, int32": (
        "target",
        lambda a: np.array([0, 1, -1, 0, -2, 0], np.int32),
        ValueError,
        "target[2] is -1, expected 0 <= target < 4",
    ),
    "target beyond int32": (
        "target",
        lambda a: np.array([0, 1, 2**32, 3, 4, 0]),
        ValueError,
        "target[2] is 4294967296",
    ),
    "target beyond int64": (
        "target",
        lambda a: np.array([0, 1, 2, 2**64 - 1, 0, 0], np.uint64),
        ValueError,
        "target[3] is 18446744073709551615",
    ),
    "order of floats": ("order", lambda a: a["order"] / 1, TypeError, "got float64"),
    "order of two dimensions": ("order", lambda a: a["order"][None], ValueError, "(1, 6)"),
    "order negative": ("order", lambda a: np.array([0, -1]), ValueError, "order[1] is -1"),
    "order of N": ("order", lambda a: np.array([5, 6]), ValueError, "order[1] is 6"),
    "order beyond int64": (
        "order",
        lambda a: np.array([2**64 - 1], np.uint64),
        ValueError,
        "order[0] is 18446744073709551615",
    ),
    "order empty": ("order", lambda a: np.array([], np.int64), ValueError, "no rows"),
    "batch_size 0": ("batch_size", lambda a: 0, ValueError, "batch_size must be >= 1, got 0"),
    "batch_size -1": ("batch_size", lambda a: -1, ValueError, "batch_size must be >= 1, got -1"),
    "batch_size 2.0": ("batch_size", lambda a: 2.0, TypeError, "must be an integer, got 2.0"),
    "batch_size None": ("batch_size", lambda a: None, TypeError, "must be an integer, got None"),
    "grad_scale NaN": ("grad_scale", lambda a: np.nan, ValueError, "grad_scale must be finite"),
    "total_weight 0": ("total_weight", lambda a: 0, ValueError, "total_weight must be > 0, got 0"),
    "total_weight NaN": ("total_weight", lambda a: np.nan, ValueError, "total_weight must be fin"),
    "total_weight None": ("total_weight", lambda a: None, TypeError, "must be a number, got None"),
    "weight of float16": ("weight", lambda a: a["weight"].astype("f2"), TypeError, "got float16"),
    "weight a list": ("weight", lambda a: a["weight"].tolist(), TypeError, "got list"),
    "weight of one dimension": ("weight", lambda a: a["weight"][0], ValueError, "(3,)"),
    "weight transposed": (
        "weight",
        lambda a: np.asfortranarray(a["weight"]),
        ValueError,
        "weight must be C-contiguous",
    ),
    "weight of one class": ("weight", lambda a: a["weight"][:1], ValueError, None),
    "weight with no features": ("weight", lambda a: a["weight"][:, :0].copy(), ValueError, None),
    "bias of int32": ("bias", lambda a: a["bias"].astype("i4"), TypeError, "got int32"),
    "bias None": ("bias", lambda a: None, TypeError, "got NoneType"),
    "bias of two dimensions": ("bias", lambda a: a["bias"][:, None], ValueError, "(4, 1)"),
    "bias too long": ("bias", lambda a: np.ones(5, "f4"), ValueError, "bias must have shape (4,)"),
    "bias strided": (
        "bias",
        lambda a: strided(a["bias"]),
        ValueError,
        "bias must be C-contiguous",
    ),
    "grad_weight of another shape": (
        "grad_weight",
        lambda a: np.ones((4, 4), np.float32),
        ValueError,
        "grad_weight must have shape (4, 3)",
    ),
    "grad_weight of float16": ("grad_weight", lambda a: np.ones((4, 3), "f2"), TypeError, None),
    "grad_bias of another shape": (
        "grad_bias",
        lambda a: np.ones(3, np.float32),
        ValueError,
        "grad_bias must have shape (4,)",
    ),
    "scale beyond float32": (
        "scale",
        lambda a: 1e39,
        ValueError,
        "scale must be finite in float32, got 1e+39",
    ),
    "scale NaN": (
        "scale",
        lambda a: np.nan,
        ValueError,
        "scale must be finite in float32, got nan",
    ),
    "scale infinite": (
        "scale",
        lambda a: -np.inf,
        ValueError,
        "scale must be finite in float32, got -inf",
    ),
    "scale None": ("scale", lambda a: None, TypeError, "scale must be a number, got None"),
    "target of probabilities of another K": (
        "target",
        lambda a: np.ones((6, 3), np.float32),
        ValueError,
        "target must have shape (6, 4) where it is probabilities, got (6, 3)",
    ),
    "target of probabilities of another N": (
        "target",
        lambda a: np.ones((5, 4)),
        ValueError,
        "target must have shape (6, 4) where it is probabilities, got (5, 4)",
    ),
    "target -1 that another index does not ignore": (
        "target",
        lambda a: np.array([-100, 0, 1, 2, -1, 4]),
        ValueError,
        "target[4] is -1, expected 0 <= target < 4 (n_classes), or ignore_index=-100",
    ),
    "criterion a dict": (
        "criterion",
        lambda a: {"label_smoothing": 0.1},
        TypeError,
        "criterion must be a CrossEntropy, got dict",
    ),
    "class_weight of another K": (
        "criterion",
        lambda a: CrossEntropy(np.ones(3)),
        ValueError,
        "class_weight must have shape (4,) as there are classes, got (3,)",
    ),
    "sample_weight of another N": (
        "sample_weight",
        lambda a: np.ones(5),
        ValueError,
        "sample_weight must have shape (6,) as there are rows, got (5,)",
    ),
    "sample_weight of two dimensions": (
        "sample_weight",
        lambda a: np.ones((6, 1)),
        ValueError,
        "got (6, 1)",
    ),
    "sample_weight of complex numbers": (
        "sample_weight",
        lambda a: np.ones(6, complex),
        TypeError,
        "sample_weight must be an array of numbers, got complex128",
    ),
    "sample_weight infinite": (
        "sample_weight",
        lambda a: np.array([1, 1, 1, -np.inf, 1, 1]),
        ValueError,
        "sample_weight must be finite in float32, got -inf",
    ),
    "grad_input a list": (
        "grad_input",
        lambda a: a["x"].tolist(),
        TypeError,
        "grad_input must be an array of float32, got list",
    ),
    "grad_input of float64": (
        "grad_input",
        lambda a: np.zeros((N, D)),
        TypeError,
        "grad_input must be an array of float32, got float64",
    ),
    "grad_input of another shape": (
        "grad_input",
        lambda a: np.zeros((D, N), np.float32),
        ValueError,
        "grad_input must have shape (6, 3), got (3, 6)",
    ),
    "grad_input in Fortran order": (
        "grad_input",
        lambda a: np.asfortranarray(np.zeros((N, D), np.float32)),
        ValueError,
        "grad_input must be C-contiguous",
    ),
    "grad_input read-only": (
        "grad_input",
        lambda a: read_only(a["x"]),
        ValueError,
        "grad_input is read-only, and would be written to",
    ),
    "losses of float16": (
        "losses",
        lambda a: np.zeros(N, np.float16),
        TypeError,
        "losses must be an array of float32, got float16",
    ),
    "losses of another shape": (
        "losses",
        lambda a: np.zeros((N, 1), np.float32),
        ValueError,
        "losses must have shape (6,), got (6, 1)",
    ),
    "losses strided": (
        "losses",
        lambda a: strided(np.zeros(N, np.float32)),
        ValueError,
        "losses must be C-contiguous",
    ),
    "losses read-only": (
        "losses",
        lambda a: read_only(np.zeros(N, np.float32)),
        ValueError,
        "losses is read-only",
    ),
    "num_threads 0": ("num_threads", lambda a: 0, ValueError, "must be >= 1, got 0"),
    "num_threads -1": ("num_threads", lambda a: -1, ValueError, "must be >= 1, got -1"),
    "num_threads 1.5": ("num_threads", lambda a: 1.5, TypeError, "got 1.5"),
    "sgd a dict": (
        "sgd",
        lambda a: {"lr": 0.1},
        TypeError,
        "sgd must be an SGDSettings, got dict",
    ),
    "logits a list": ("logits", lambda a: [[1.0, 2.0]], TypeError, "got list"),
    "logits of int64": ("logits", lambda a: np.ones((2, 2), int), TypeError, "got int64"),
    "logits of one dimension": ("logits", lambda a: a["logits"][0], ValueError, "(B, K)"),
    "logits of no classes": ("logits", lambda a: a["logits"][:, :0], ValueError, "K >= 1"),
    "logits strided": ("logits", lambda a: strided(a["logits"]), ValueError, "C-contiguous"),
}
BAD_WHERE_UPDATED = {
    "weight read-only": (
        "weight",
        lambda a: read_only(a["weight"]),
        ValueError,
        "weight is read-only",
    ),
    "bias read-only": ("bias", lambda a: read_only(a["bias"]), ValueError, "bias is read-only"),
    "momentum without velocity": (
        "velocity",
        lambda a: None,
        TypeError,
        "momentum=0.9 needs a Velocity",
    ),
    "a dict for a velocity": ("velocity", lambda a: {}, TypeError, "got dict"),
    "velocity of another shape": (
        "velocity",
        lambda a: Velocity(np.zeros((3, 4), "f4"), np.zeros(3, "f4")),
        ValueError,
        "velocity.weight must have shape (4, 3)",
    ),
    "velocity of float64": (
        "velocity",
        lambda a: Velocity(np.zeros((4, 3)), np.zeros(4)),
        TypeError,
        "velocity.weight must be an array of float32, got float64",
    ),
    "velocity read-only": (
        "velocity",
        lambda a: Velocity(a["velocity"].weight, read_only(a["bias"])),
        ValueError,
        "velocity.bias is read-only",
    ),
    "velocity strided": (
        "velocity",
        lambda a: Velocity(strided(a["weight"]), a["bias"].copy()),
        ValueError,
        "velocity.weight must be C-contiguous",
    ),
}
BAD_WHERE_A_MEAN_IS_TAKEN = {"no rows": ("x", lambda a: a["x"][:0], ValueError, "x has no rows")}


def bad_cases():
    for what, case in BAD.items():
        for function in users(case[0]):
            yield pytest.param(function, *case, id=f"{function}-{what}")
    for what, case in BAD_WHERE_UPDATED.items():
        for function in UPDATING:
            yield pytest.param(function, *case, id=f"{function}-{what}")
    for what, case in BAD_WHERE_A_MEAN_IS_TAKEN.items():
        for function in ("loss_and_grad", "train_step", "train_epoch"):
            yield pytest.param(function, *case, id=f"{function}-{what}")


def complaint(backend, function, given):
    """Type and message of the exception, without the type that only the NumPy backend takes."""
    with pytest.raises((TypeError, ValueError)) as raised:
        call(backend, function, given)
    return raised.type, str(raised.value).replace(" or float64", "")


@pytest.mark.parametrize("function, parameter, bad, exception, words", list(bad_cases()))
def test_bad_arguments(function, parameter, bad, exception, words, backend):
    given = arguments(MOMENTUM)
    given["grad_input"] = np.zeros((N, D), np.float32)
    given["losses"] = np.zeros(N, np.float32)
    given[parameter] = bad(given)
    if len(given["x"]) == 0:
        given |= {"target": given["target"][:0], "order": None}
    watched = [given["weight"], given["bias"], given["grad_input"], given["losses"]]
    if isinstance(given["velocity"], Velocity):
        watched += [given["velocity"].weight, given["velocity"].bias]
    before = [np.array(array, copy=True) for array in watched]

    kind, message = complaint(backend, function, given)
    assert kind is exception
    if words is not None:
        assert words in message
    assert (kind, message) == complaint(_numpy, function, given)

    for array, kept in zip(watched, before, strict=True):
        assert np.array_equal(array, kept)
    assert not getattr(given["velocity"], "started", False)


@pytest.mark.parametrize("function", users("weight"))
def test_float64_parameters_are_the_oracles(function, backend):
    given = arguments(SGDSettings(lr=0.1))
    for name in ("weight", "bias", "grad_weight", "grad_bias"):
        given[name] = given[name].astype(np.float64)
    if backend is _numpy:
        call(backend, function, given)
    else:
        with pytest.raises(TypeError, match="weight must be an array of float32, got float64"):
            call(backend, function, given)
