"""Numbers and arrays at the door of every public function: taken as values, or refused."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import optim, scalars
from fastsoftmax.settings import CrossEntropy

N, D, K = 60, 4, 3
X = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)
Y = np.arange(N) % K
WEIGHT = np.random.default_rng(1).standard_normal((K, D)).astype(np.float32)
BIAS = np.zeros(K, np.float32)

T, V = TypeError, ValueError


def tensor(value, **options):
    return pytest.importorskip("torch").tensor(value, **options)


# ---- numbers ----

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
NUMBERS = {
    "lr": 0.25,
    "momentum": 0.5,
    "dampening": 0.5,
    "weight_decay": 0.125,
    "init_std": 0.5,
    "label_smoothing": 0.25,
}
WITH = {"dampening": {"momentum": 0.5}}
INTEGERS = {"batch_size": 7, "epochs": 2, "seed": 5, "ignore_index": 2}
INTEGER_FORMS = {
    "array": np.array, "int8": np.int8, "uint64": np.uint64, "tensor": lambda n: tensor(n),
}  # fmt: skip


def train(**settings):
    return fs.train((X, Y), **{"epochs": 2, **settings})


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


@pytest.mark.parametrize("what", NO_NUMBERS)
@pytest.mark.parametrize("where", OF_NUMBERS)
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


def test_large_integers(tmp_path):
    result = train(batch_size=10**30, seed=10**100, num_threads=10**30)
    result.model.save(tmp_path / "m")
    assert fs.LinearClassifier.load(tmp_path / "m").settings["seed"] == 10**100
    for name in ("batch_size", "epochs", "seed"):
        with pytest.raises(ValueError, match=rf"{name} must be less than 2\*\*1000, got int of"):
            train(**{name: 10**5000})  # which JSON would not write


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


def test_what_a_message_shows_is_short():
    assert scalars.shown(0.1) == "0.1"
    for value in (np.zeros((50, 50)), "a" * 1000, 10**5000):
        assert len(scalars.shown(value)) < 150 and "\n" not in scalars.shown(value)


# ---- settings are values ----


def test_a_learning_rate_that_changes_later():
    rate, momentum = np.array(0.1), np.array(0.5)
    sgd = fs.SGD(WEIGHT.copy(), BIAS.copy(), lr=rate, momentum=momentum)
    other = fs.SGD(WEIGHT.copy(), BIAS.copy(), lr=0.1, momentum=0.5)
    rate[...] = momentum[...] = np.nan
    for _ in range(2):
        assert sgd.step(X, Y) == other.step(X, Y)
    assert sgd.weight.tobytes() == other.weight.tobytes()


@pytest.mark.parametrize("make", [np.array, lambda v: tensor(v)], ids=["array", "tensor"])
def test_a_step_takes_the_value_of_now(make):
    """What the settings of the last steps are kept by must not change under them."""
    rate, each = make(0.5), make([1.0, 2.0, 3.0])
    weight, bias, w, b = WEIGHT.copy(), BIAS.copy(), WEIGHT.copy(), BIAS.copy()
    for lr, heavy in ((0.5, 1.0), (0.25, 7.0), (0.125, 5.0)):
        rate[...] = lr
        each[0] = heavy
        loss = fs.sgd_step(X, Y, weight, bias, lr=rate, class_weight=each)
        assert loss == fs.sgd_step(X, Y, w, b, lr=lr, class_weight=[heavy, 2.0, 3.0])
    assert weight.tobytes() == w.tobytes()


def test_class_weights_that_change_later():
    each = np.array([1.0, 2.0, 3.0], np.float32)
    criterion = CrossEntropy(each)
    each[...] = np.nan
    assert criterion.class_weight.tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="read-only"):
        criterion.class_weight[0] = 5


# ---- epochs ----


class Stop(Exception):
    pass


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

    steps = fs.get_backend("numpy")
    of_numpy = steps.train_epoch
    monkeypatch.setattr(steps, "train_epoch", train_epoch)
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


# ---- arrays that share memory ----


def memory(*shapes, at):
    """Arrays in one buffer, each where `at` says, in floats."""
    buffer = np.random.default_rng(2).standard_normal(2000).astype(np.float32)
    return [
        buffer[place : place + int(np.prod(shape))].reshape(shape)
        for shape, place in zip(shapes, at, strict=True)
    ]


READ = {
    "x": ((N, D), np.float32),
    "x of uint8": ((N, D), np.uint8),
    "target": ((N,), np.int32),
    "probabilities": ((N, K), np.float32),
    "order": ((N,), np.int64),
    "sample_weight": ((N,), np.float32),
}
WRITTEN = {
    "weight": (K, D), "bias": (K,), "velocity.weight": (K, D), "velocity.bias": (K,),
}  # fmt: skip
SGD = optim.SGDSettings(0.1, momentum=0.5)


def good():
    return {
        "x": X.copy(), "target": Y.astype(np.int32), "order": np.arange(N),
        "sample_weight": np.ones(N, np.float32), "weight": WEIGHT.copy(), "bias": BIAS.copy(),
        "velocity.weight": np.zeros_like(WEIGHT), "velocity.bias": np.zeros_like(BIAS),
    }  # fmt: skip


def overlapping(first, second):
    """Good arguments but for these two, of which the second begins in the last element of the
    first."""
    (shape, dtype), given = READ[second] if second in READ else (WRITTEN[second], "f4"), good()
    n = int(np.prod(WRITTEN[first]))
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    begin = 8 * n - 8 if dtype == np.int64 else 4 * n - 4
    buffer = np.zeros(begin + size + 8, np.uint8)
    start = begin - (4 * n - 4)
    given[first] = buffer[start : start + 4 * n].view(np.float32).reshape(WRITTEN[first])
    name = {"x of uint8": "x", "probabilities": "target"}.get(second, second)
    given[name] = buffer[begin : begin + size].view(dtype).reshape(shape)
    assert np.shares_memory(given[first], given[name])
    return name, given


def train_epoch(backend, given):
    velocity = fs.Velocity(given["velocity.weight"], given["velocity.bias"])
    return backend.train_epoch(
        given["x"], given["target"], given["order"], 16, given["weight"], given["bias"], SGD,
        velocity, sample_weight=given["sample_weight"],
    )  # fmt: skip


PAIRS = [
    (first, second)
    for first in WRITTEN
    for second in [*READ, *[name for name in WRITTEN if name > first]]
]


@pytest.mark.parametrize("first, second", PAIRS)
def test_training_refuses_what_shares_memory(backend, first, second):
    name, given = overlapping(first, second)
    before = {key: array.copy() for key, array in given.items()}
    message = r"^(\S+) shares memory with (\S+), and is written to; give a copy of one$"
    with pytest.raises(ValueError, match=message) as error:
        train_epoch(backend, given)
    assert set(re.match(message, str(error.value)).groups()) == {first, name}
    assert all(np.array_equal(given[key], before[key]) for key in given)


def test_neighbours_do_not_share(backend):
    """Arrays that touch in one buffer."""
    weight, bias, v_weight, v_bias, x, each = memory(
        (K, D), (K,), (K, D), (K,), (N, D), (N,), at=(0, 12, 15, 27, 30, 30 + N * D)
    )
    given = good() | {
        "weight": weight, "bias": bias, "velocity.weight": v_weight, "velocity.bias": v_bias,
        "x": x, "sample_weight": each,
    }  # fmt: skip
    apart = {key: array.copy() for key, array in given.items()}
    assert train_epoch(backend, given) == train_epoch(backend, apart)
    assert given["weight"].tobytes() == apart["weight"].tobytes()


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_the_optimizers_refuse_what_shares_memory(momentum):
    weight, bias = memory((K, D), (K,), at=(0, 11))
    with pytest.raises(ValueError, match="weight shares memory with bias, and is written to"):
        fs.SGD(weight, bias, 0.1, momentum=momentum)
    with pytest.raises(ValueError, match="weight shares memory with bias, and is written to"):
        fs.sgd_step(X, Y, weight, bias, lr=0.1)
    x, weight = memory((N, D), (K, D), at=(0, 100))
    with pytest.raises(ValueError, match="weight shares memory with x, and is written to"):
        fs.SGD(weight, BIAS.copy(), 0.1, momentum=momentum).step(x, Y)
    sgd = fs.SGD(WEIGHT.copy(), BIAS.copy(), 0.1, momentum=momentum)
    with pytest.raises(ValueError, match="weight shares memory with grad_weight"):
        sgd.update(sgd.weight, BIAS)


@pytest.mark.parametrize("place", [0, 1, 3])
def test_an_update_by_what_shares_memory(backend, place):
    weight, grad = memory((K, D), (K, D), at=(3, place))
    before = weight.copy()
    with pytest.raises(ValueError, match="weight shares memory with grad_weight"):
        backend.sgd_update(weight, BIAS.copy(), grad, BIAS.copy(), 1.0, optim.SGDSettings(0.1))
    assert np.array_equal(weight, before)


@pytest.mark.parametrize("other", ["x", "weight", "bias", "target", "sample_weight"])
def test_results_over_what_is_read(backend, other):
    at = {"x": 5, "weight": 10, "bias": 10, "target": 10, "sample_weight": 10}
    buffer = np.zeros(2000, np.float32)
    given = {"x": X, "target": Y.astype(np.int32), "weight": WEIGHT, "bias": BIAS,
             "sample_weight": np.ones(N, np.float32)}  # fmt: skip
    array = given[other]
    place = buffer[at[other] : at[other] + array.size].view(array.dtype).reshape(array.shape)
    place[...] = array
    given[other] = place
    before = buffer.copy()
    each = given.pop("sample_weight")
    for function, name, result in (
        (backend.evaluate, "losses", buffer[:N]),
        (backend.loss_and_grad, "grad_input", buffer[: N * D].reshape(N, D)),
    ):
        with pytest.raises(ValueError, match=f"^{name} shares memory with {other}, and is wr"):
            function(*given.values(), sample_weight=each, **{name: result})
        assert np.array_equal(buffer, before)


@pytest.mark.parametrize("place", [0, 1, 7, N, N * D - N])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_over_the_input(place, dtype):
    x, w = X.astype(dtype), WEIGHT.astype(dtype)
    expected = fs.linear_cross_entropy(x, w, Y, reduction="none")
    out = x.reshape(-1)[place : place + N]
    assert fs.linear_cross_entropy(x, w, Y, reduction="none", out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_losses_over_anything():
    target = Y.astype(np.int32)
    w = np.random.default_rng(3).standard_normal((N, D)).astype(np.float32)
    bias = np.random.default_rng(3).standard_normal(N).astype(np.float32)
    given = {"linear_bias": bias, "weight": np.abs(bias)}
    expected = fs.linear_cross_entropy(X, w, target, reduction="none", **given)
    for out in (w.reshape(-1)[:N], bias, given["weight"], target.view(np.float32)):
        kept = out.copy()
        fs.linear_cross_entropy(X, w, target, reduction="none", out=out, **given)
        np.testing.assert_array_equal(out, expected)
        out[...] = kept


def test_losses_of_logits_over_them():
    logits, target = X @ WEIGHT.T, Y.astype(np.int32)
    for function, given in ((fs.cross_entropy, logits), (fs.nll_loss, fs.log_softmax(logits))):
        expected = function(given, target, reduction="none")
        for place in (0, 1, K * N - N):
            z = given.copy()
            out = z.reshape(-1)[place : place + N]
            function(z, target, reduction="none", out=out)
            np.testing.assert_array_equal(out, expected)
        t = target.copy()
        out = t.view(np.float32)
        function(given, t, reduction="none", out=out)
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("function", [fs.softmax, fs.log_softmax])
@pytest.mark.parametrize("place", [0, 1, K])
def test_softmax_over_the_logits(function, place):
    buffer = np.random.default_rng(0).standard_normal(N * K + K).astype(np.float32)
    z, out = buffer[: N * K].reshape(N, K), buffer[place : place + N * K].reshape(N, K)
    expected = function(z.copy())
    assert function(z, out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_k_dimensional_losses_over_the_input():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((8, 5)), rng.standard_normal((K, 2, 5))
    target = rng.integers(0, K, (8, 2))
    expected = fs.linear_cross_entropy(x, w, target, reduction="none")
    out = x.reshape(-1)[3 : 3 + 16].reshape(8, 2)
    fs.linear_cross_entropy(x, w, target, reduction="none", out=out)
    np.testing.assert_array_equal(out, expected)


# ---- the scale of weights ----

SCALES = [1e-200, 1e-60, 1e-44, 1e-38, 1e-30, 1e-20, 1e20, 1e30, 1e38, 3e38]
OPTIONS = [
    {},
    {"label_smoothing": 0.1},
    {"class_weight": [1.0, 0.5, 0.0]},
    {"class_weight": [1.0, 0.5, 0.0], "label_smoothing": 0.1},
    {"class_weight": [1e30, 3e29, 1e29]},
    {"class_weight": [1e-30, 3e-30, 1e-29]},
]
EACH = np.random.default_rng(4).choice([0.0, 0.25, 0.5, 1.0], N)


def ids(options):
    return " ".join(f"{name}={value}" for name, value in options.items()) or "plain"


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7)


def normal(options):
    """The same with class weights about 1: in a mean only ratios matter."""
    if "class_weight" not in options:
        return options
    each = np.array(options["class_weight"])
    return {**options, "class_weight": each / each.max()}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("options", OPTIONS, ids=ids)
def test_training_does_not_feel_the_scale_of_weights(options, scale, backend):
    plain = train(sample_weight=EACH, backend=backend.name, **normal(options))
    scaled = train(sample_weight=EACH * scale, backend=backend.name, **options)
    close(scaled.model.weight, plain.model.weight)
    close(scaled.history.train_loss, plain.history.train_loss)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("options", OPTIONS, ids=ids)
def test_a_step_does_not_feel_the_scale_of_weights(options, scale):
    target = np.where(np.arange(N) % 5 == 0, -100, Y)
    each = np.where(target < 0, 1e38, EACH * scale)  # what is ignored has no say
    w, b, v, c = WEIGHT.copy(), BIAS.copy(), WEIGHT.copy(), BIAS.copy()
    for x in (X, X.astype(np.float64)):
        plain = fs.sgd_step(x, target, w, b, lr=0.5, sample_weight=EACH, **normal(options))
        scaled = fs.sgd_step(x, target, v, c, lr=0.5, sample_weight=each, **options)
        close(scaled, plain)
        close(v, w)
        close(c, b)
        w, b, v, c = (a.astype(np.float64) for a in (w, b, v, c))


@pytest.mark.parametrize("scale", SCALES)
def test_evaluation_does_not_feel_the_scale_of_weights(scale, backend):
    model = fs.LinearClassifier(WEIGHT, BIAS)
    close(model.evaluate(X, Y, EACH * scale), model.evaluate(X, Y, EACH))
    assert model.score(X, Y, EACH * scale) == pytest.approx(model.score(X, Y, EACH), rel=1e-12)
    sums = backend.evaluate(X, Y, WEIGHT, BIAS, sample_weight=EACH * scale)
    plain = backend.evaluate(X, Y, WEIGHT, BIAS, sample_weight=EACH)
    assert sums.total_weight == pytest.approx(plain.total_weight * scale, rel=1e-6)
    assert sums.loss == pytest.approx(plain.loss * scale, rel=1e-6)


@pytest.mark.parametrize("scale", [2.0**-140, 2.0**-30, 2.0**30, 2.0**100])
def test_powers_of_two_change_no_bits(scale, backend):
    results = []
    for by in (1.0, scale):
        w, b = WEIGHT.copy(), BIAS.copy()
        sums = backend.train_step(X, Y, w, b, optim.SGDSettings(0.5), sample_weight=EACH * by)
        loss, *gradients = backend.loss_and_grad(X, Y, WEIGHT, BIAS, sample_weight=EACH * by)
        assert loss / by == sums.loss / by
        results.append((w.tobytes(), b.tobytes(), sums.loss / by, sums.total_weight / by))
        if scale > 1e-9:
            results[-1] += tuple((g / np.float32(by)).tobytes() for g in gradients)
    assert results[0] == results[1]


@pytest.mark.parametrize("factor", [1e-38, 1e-20, 1e25, 1e36])
def test_upstream_gradients_of_any_scale(factor, backend, monkeypatch):
    from fastsoftmax.functional import fused

    monkeypatch.setattr(fused, "backend_for", lambda array: backend)
    plain = fs.linear_cross_entropy_grad(X, WEIGHT, Y, reduction="none", grad_output=EACH)
    large = fs.linear_cross_entropy_grad(X, WEIGHT, Y, reduction="none", grad_output=EACH * factor)
    expected = plain.grad_weight.astype(np.float64) * factor
    np.testing.assert_allclose(large.grad_weight, expected, rtol=1e-5, atol=1e-44)
    mean = fs.linear_cross_entropy_grad(
        X, WEIGHT, Y, weight=[1e-30] * 3, grad_output=factor, grad_input=True
    )
    expected = fs.linear_cross_entropy_grad(X, WEIGHT, Y, grad_input=True)
    for ours, its in ((mean.grad_weight, expected.grad_weight), (mean[3], expected[3])):
        np.testing.assert_allclose(ours, its.astype(np.float64) * factor, rtol=1e-5, atol=1e-43)


@pytest.mark.parametrize("factor", [1e-40, 1e25, 1e38])
def test_upstream_gradients_in_pytorch(factor):
    torch = pytest.importorskip("torch")
    import fastsoftmax.torch as ft

    target, factors = torch.tensor(Y), torch.tensor(EACH * factor, dtype=torch.float32)
    grads = []
    for function in (ft.linear_cross_entropy, torch.nn.functional.linear_cross_entropy):
        w = torch.tensor(WEIGHT / 100, requires_grad=True)
        function(torch.tensor(X), w, target, reduction="none").backward(factors / 60)
        grads.append(w.grad)
    torch.testing.assert_close(*grads, rtol=1e-4 if factor < 1 else 1e-5, atol=1e-43)


@pytest.mark.parametrize("heavy", [1e35, 1e-35])
def test_class_weights_that_only_pytorch_takes(heavy):
    torch = pytest.importorskip("torch")
    import fastsoftmax.torch as ft

    args = torch.tensor(X), torch.tensor(WEIGHT), torch.tensor(Y)
    options = {"weight": torch.tensor([heavy, 2 * heavy, heavy])}
    expected = torch.nn.functional.linear_cross_entropy(*args, **options)
    assert ft.linear_cross_entropy(*args, **options) == expected


BAD_CLASS_WEIGHTS = {
    "too small": ([1.0, 1e-31, 1.0], V, "must be 0 or from 1e-30 to 1e30 in magnitude, got 1e-31"),
    "too large": (
        [1.0, 1e31, 1.0],
        V,
        r"0 or from 1e-30 to 1e30 in magnitude, got 1e\+31",
    ),
    "beyond float32": ([1, 1, 1e39], V, r"from 1e-30 to 1e30 in magnitude, got 1e\+39"),
    "of 400 digits": ([1, 1, 10**400], V, r"class_weight\[2\] must be finite in float32, got 10"),
    "NaN": ([1, np.nan, 1], V, "must be finite in float32, got nan"),
    "text": (["1", "2", "3"], T, "must be an array of numbers, got <U1"),
    "text of objects": (np.array(["1", "2", "3"], object), T, r"\[0\] must be a number, got '1'"),
    "a number": (2.0, V, r"must be one-dimensional, \(K,\), got shape \(\)"),
    "jagged": ([[1], [1, 2]], V, "must be an array, got list that NumPy cannot read as one"),
    "a set": ({1, 2, 3}, T, "must be an array of numbers, got set"),
    "masked": (np.ma.array([1, 2, 3], mask=[0, 0, 1]), T, r"class_weight\.filled\(\.\.\.\)"),
    "a mapping": ({0: 1.0, 1: 2.0}, T, r"got dict; \[class_weight\.get\(k, 1\) for k in range\(K"),
}


@pytest.mark.parametrize("case", BAD_CLASS_WEIGHTS)
def test_bad_class_weights(case):
    value, error, message = BAD_CLASS_WEIGHTS[case]
    sgd = fs.SGD(WEIGHT.copy(), BIAS.copy(), 1)
    named = message.replace("class_weight", "weight")
    for call, its in (
        (lambda: CrossEntropy(value), message),
        (lambda: fs.sgd_step(X, Y, sgd.weight, sgd.bias, lr=1, class_weight=value), message),
        (lambda: sgd.step(X, Y, class_weight=value), message),
        (lambda: fs.linear_cross_entropy(X, WEIGHT, Y, weight=value), named),
        (lambda: fs.linear_cross_entropy_grad(X, WEIGHT, Y, weight=value), named),
        (lambda: fs.cross_entropy(X[:, :K], Y, weight=value), named),
        (lambda: fs.nll_loss(X[:, :K], Y, weight=value), named),
    ):
        with pytest.raises(error, match=its):
            call()
    assert sgd.weight.tobytes() == WEIGHT.tobytes()


def test_a_series_is_not_taken_by_position():
    pandas = pytest.importorskip("pandas")
    series = pandas.Series([1.0, 2.0, 3.0], index=[2, 0, 1])
    with pytest.raises(TypeError, match=r"weight\.loc\[classes\]\.to_numpy\(\) is one"):
        fs.linear_cross_entropy(X, WEIGHT, Y, weight=series)
    in_order = series.loc[[0, 1, 2]]
    assert fs.linear_cross_entropy(X, WEIGHT, Y, weight=in_order) == fs.linear_cross_entropy(
        X, WEIGHT, Y, weight=[2.0, 3.0, 1.0]
    )


def test_weights_too_far_apart_for_batches():
    each = np.where(np.arange(N) < 30, 1e20, 1e-20)
    with pytest.raises(ValueError, match=r"a factor of 1e\+30 of the largest, got one 1e\+40"):
        train(sample_weight=each)
    with pytest.raises(ValueError, match=r"a factor of 1e\+30 of the largest, got one 1e\+60"):
        train(sample_weight=np.where(np.arange(N) < 30, 1, 1e-60))
    with pytest.raises(ValueError, match="no row counts for anything"):
        train(sample_weight=np.zeros(N))
    # in one batch the light rows are beside the heavy ones
    assert np.isfinite(fs.sgd_step(X, Y, WEIGHT.copy(), BIAS.copy(), lr=1, sample_weight=each))


def test_weights_below_all():
    with pytest.raises(ValueError, match="must be 0 or from 1e-270 on in some row; multiply it"):
        train(sample_weight=np.full(N, 1e-300))
    sums = fs.get_backend("numpy").evaluate(X, Y, WEIGHT, BIAS, sample_weight=np.zeros(N))
    assert sums == (0, 0, 0, 0)


def test_a_batch_of_next_to_nothing_changes_nothing(backend):
    w, b = WEIGHT.copy(), BIAS.copy()
    each = np.where(np.arange(N) < 30, 1.0, 1e-42)
    backend.train_epoch(X, Y, None, 30, w, b, optim.SGDSettings(0.5), sample_weight=each)
    first = WEIGHT.copy(), BIAS.copy()
    backend.train_step(X[:30], Y[:30], *first, optim.SGDSettings(0.5))
    close(w, first[0])
    with pytest.raises(ValueError, match=r"total_weight must be 1\.18e-38 or more, got 1e"):
        backend.sgd_update(w, b, WEIGHT, BIAS, 1e-40, optim.SGDSettings(0.5))


# ---- arrays of other kinds ----


def sparse(array):
    return pytest.importorskip("scipy.sparse").csr_matrix(array)


def frame(array):
    return pytest.importorskip("pandas").DataFrame(array)


def masked(array):
    return np.ma.array(array, mask=np.arange(np.size(array)).reshape(np.shape(array)) == 0)


ROWS = {
    "sparse": (lambda: sparse(X), T, r"is sparse, csr_matrix; \w+\.toarray\(\)"),
    "masked": (lambda: masked(X), T, r"is a masked array, .* \w+\.filled\(\.\.\.\)"),
    "bfloat16": (
        lambda: tensor(X, dtype=pytest.importorskip("torch").bfloat16), T,
        r"got Tensor that NumPy cannot read .*; \w+\.float\(\)\.numpy\(\) is one",
    ),
    "requires_grad": (
        lambda: tensor(X, requires_grad=True), T, r"; \w+\.detach\(\)\.numpy\(\) is one"
    ),
    "sparse tensor": (
        lambda: tensor(X).to_sparse(), T, r"; \w+\.to_dense\(\)\.numpy\(\) is one"
    ),
    "jagged": (lambda: [[1.0], [1.0, 2.0]], V, "must be an array, got list that NumPy cannot "),
}  # fmt: skip
NOT_FLOAT32 = {
    "object frame": (
        lambda: frame({"a": [1.0], "b": ["c"]}), T,
        r"and its columns \['b'\] are no numbers; .*np\.ascontiguousarray\(\w+, np\.float32\)",
    ),
    "float16": (
        lambda: X.astype(np.float16), T,
        r"got float16; convert it once with np\.ascontiguousarray\(\w+, np\.float32\)",
    ),
    "list of text": (lambda: [["a", "b"]], T, "got <U1"),
    "None": (lambda: None, T, "got NoneType"),
    "a set": (lambda: {1}, T, "got set"),
}  # fmt: skip
NOT_FLOAT32_OR_64 = {
    "float64 frame": (
        lambda: frame(X.astype(float)), T,
        r"got float64; convert it once with np\.ascontiguousarray\(\w+, np\.float32\)",
    ),
    "list of lists": (
        lambda: X.tolist(), T,
        r"got float64; convert it once with np\.ascontiguousarray\(\w+, np\.float32\)",
    ),
    "frame": (
        lambda: frame(X.astype(np.float32)).astype(np.float32), V,
        r"must be C-contiguous, .*; np\.ascontiguousarray\(\w+\) makes",
    ),
    "a number": (lambda: np.float32(3), V, r"got shape \(\)"),
}  # fmt: skip


def model():
    return fs.LinearClassifier(WEIGHT, BIAS)


OF_ROWS = {
    "train": lambda x: fs.train((x, Y)),
    "validation": lambda x: fs.train((X, Y), validation_data=(x, Y)),
    "sgd_step": lambda x: fs.sgd_step(x, Y, WEIGHT.copy(), BIAS.copy(), lr=1),
    "SGD.step": lambda x: fs.SGD(WEIGHT.copy(), BIAS.copy(), lr=1).step(x, Y),
    "predict": lambda x: model().predict(x),
    "predict_proba": lambda x: model().predict_proba(x),
    "evaluate": lambda x: model().evaluate(x, Y),
    "score": lambda x: model().score(x, Y, np.ones(N)),
}
OF_INPUT = {
    "linear_cross_entropy": lambda x: fs.linear_cross_entropy(x, WEIGHT, Y),
    "linear_cross_entropy_grad": lambda x: fs.linear_cross_entropy_grad(x, WEIGHT, Y),
}
OF_LOGITS = {
    "softmax": fs.softmax,
    "log_softmax": fs.log_softmax,
    "cross_entropy": lambda z: fs.cross_entropy(z, Y),
    "nll_loss": lambda z: fs.nll_loss(z, Y),
}


@pytest.mark.parametrize("case", {**ROWS, **NOT_FLOAT32, **NOT_FLOAT32_OR_64})
@pytest.mark.parametrize("where", OF_ROWS)
def test_rows_of_other_kinds(where, case):
    make, error, message = {**ROWS, **NOT_FLOAT32, **NOT_FLOAT32_OR_64}[case]
    with pytest.raises(error, match=f"^x .*{message}"):
        OF_ROWS[where](make())


@pytest.mark.parametrize("case", {**ROWS, **NOT_FLOAT32})
@pytest.mark.parametrize("where", OF_INPUT)
def test_input_of_other_kinds(where, case):
    make, error, message = {**ROWS, **NOT_FLOAT32}[case]
    with pytest.raises(error, match=f"^input .*{message}"):
        OF_INPUT[where](make())


@pytest.mark.parametrize("case", ROWS)
@pytest.mark.parametrize("where", OF_LOGITS)
def test_logits_of_other_kinds(where, case):
    make, error, message = ROWS[case]
    with pytest.raises(error, match=f"^log(its|_probs) .*{message}"):
        OF_LOGITS[where](make())


@pytest.mark.parametrize("value", [None, "a", ["a"], [None], np.array([1], "M8[s]")], ids=repr)
@pytest.mark.parametrize("where", OF_LOGITS)
def test_logits_that_are_no_numbers(where, value):
    with pytest.raises(TypeError, match=r"must be numbers, got .*np\.asarray\(\w+, np\.float64\)"):
        OF_LOGITS[where](value)


def test_arrays_that_are_as_good():
    """Of what is no ndarray, but lies in memory as one."""
    expected = model().decision_function(X)
    for x in (np.ma.array(X), X.view(np.matrix), tensor(X), memoryview(X)):
        np.testing.assert_array_equal(model().decision_function(x), expected)
        assert fs.linear_cross_entropy(x, WEIGHT, Y) == fs.linear_cross_entropy(X, WEIGHT, Y)


TARGETS = {
    "masked": (lambda: masked(Y), T, r"target is a masked array, .*; target\.filled\(\.\.\.\)"),
    "whole floats": (lambda: Y.astype(float), T, r"got float64; target\.astype\(int\) makes one"),
    "bools": (lambda: Y == 1, T, r"got bool; target\.astype\(int\) makes one of whole"),
    "sparse": (lambda: sparse(np.eye(K)[Y]), T, r"target is sparse, csr_matrix; target\.toarray"),
    "jagged": (lambda: [[1], [1, 2]], V, "target must be an array, got list that NumPy cannot"),
    "text": (lambda: Y.astype(str), T, "target must be an array of integers, got <U"),
}
OF_TARGETS = {
    "sgd_step": lambda t: fs.sgd_step(X, t, WEIGHT.copy(), BIAS.copy(), lr=1),
    "linear_cross_entropy": lambda t: fs.linear_cross_entropy(X, WEIGHT, t),
    "linear_cross_entropy_grad": lambda t: fs.linear_cross_entropy_grad(X, WEIGHT, t),
    "cross_entropy": lambda t: fs.cross_entropy(X, t),
    "nll_loss": lambda t: fs.nll_loss(X, t),
}


@pytest.mark.parametrize("case", TARGETS)
@pytest.mark.parametrize("where", OF_TARGETS)
def test_targets_of_other_kinds(where, case):
    make, error, message = TARGETS[case]
    with pytest.raises(error, match=message):
        OF_TARGETS[where](make())


SAMPLE_WEIGHTS = {
    "masked": (lambda: masked(np.ones(N)), T, r"sample_weight is a masked array"),
    "sparse": (lambda: sparse(np.ones((1, N))), T, r"sample_weight\.toarray\(\)"),
    "bfloat16": (
        lambda: tensor(np.ones(N), dtype=pytest.importorskip("torch").bfloat16), T,
        r"sample_weight\.float\(\)\.numpy\(\)",
    ),
    "text": (lambda: ["1"] * N, T, "sample_weight must be an array of numbers, got <U1"),
    "of 400 digits": (lambda: [1] * (N - 1) + [10**400], V, r"sample_weight\[59\] must be finite"),
    "beyond float32": (lambda: np.full(N, 1e39), V, r"sample_weight must be finite in float32"),
    "None among them": (lambda: [None] * N, T, r"sample_weight\[0\] must be a number, got None"),
}  # fmt: skip


@pytest.mark.parametrize("case", SAMPLE_WEIGHTS)
def test_sample_weights_of_other_kinds(case):
    make, error, message = SAMPLE_WEIGHTS[case]
    for call in (
        lambda each: fs.train((X, Y), sample_weight=each),
        lambda each: fs.sgd_step(X, Y, WEIGHT.copy(), BIAS.copy(), lr=1, sample_weight=each),
        lambda each: model().evaluate(X, Y, each),
    ):
        with pytest.raises(error, match=message):
            call(make())


def test_fractions_as_weights():
    thirds = [Fraction(1, 3)] * N
    loss = fs.sgd_step(X, Y, WEIGHT.copy(), BIAS.copy(), lr=1, sample_weight=thirds)
    assert loss == fs.sgd_step(
        X, Y, WEIGHT.copy(), BIAS.copy(), lr=1, sample_weight=np.full(N, 1 / 3)
    )


def test_results_go_to_arrays_alone():
    for out in (np.ma.array(np.zeros(N, np.float32)), tensor(np.zeros(N, np.float32)), [0.0] * N):
        for call in (
            lambda out=out: fs.linear_cross_entropy(X, WEIGHT, Y, reduction="none", out=out),
            lambda out=out: fs.cross_entropy(X, Y, reduction="none", out=out),
        ):
            with pytest.raises(TypeError, match=r"^out must be an array "):
                call()
    with pytest.raises(TypeError, match=r"weight must be an array without a mask; weight\.data"):
        fs.sgd_step(X, Y, np.ma.array(WEIGHT), BIAS.copy(), lr=1)


def test_how_to_make_parameters():
    given = {
        "np.array(weight, np.float32)": WEIGHT.tolist(),
        "weight.astype(np.float32)": WEIGHT.astype(np.float16),
        "weight.numpy()": tensor(WEIGHT),
        "weight.detach().numpy()": tensor(WEIGHT, requires_grad=True),
    }
    for how, weight in given.items():
        for call in (
            lambda weight=weight: fs.sgd_step(X, Y, weight, BIAS.copy(), lr=1),
            lambda weight=weight: fs.SGD(weight, BIAS.copy(), lr=1),
            lambda weight=weight: fs.LinearClassifier(weight, BIAS),
        ):
            with pytest.raises(TypeError, match=re.escape(f"; {how} is one")):
                call()
        fs.LinearClassifier(eval(how, {"np": np, "weight": weight}), BIAS)


def test_a_matrix_is_updated_as_an_array(backend):
    matrix = WEIGHT.copy().view(np.matrix)
    weight, bias, b = WEIGHT.copy(), BIAS.copy(), BIAS.copy()
    for w, its in ((matrix, bias), (weight, b)):
        velocity = fs.Velocity.of(w, its)
        backend.train_step(X, Y, w, its, SGD, velocity)
        gradients = backend.loss_and_grad(X, Y, w, its)[1:]
        backend.sgd_update(w, its, *gradients, 1.0, SGD, velocity)
    close(matrix, weight)


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


# ---- history ----


@pytest.mark.parametrize("validation", [None, (X, Y)], ids=["without", "with"])
def test_a_history_makes_a_frame(validation):
    pandas = pytest.importorskip("pandas")
    history = train(epochs=3, validation_data=validation).history
    made = pandas.DataFrame(history.to_dict())
    assert len(made) == 3 and made["lr"].tolist() == history.lr
    assert ("test_loss" in made) == ("eval_seconds" in made) == (validation is not None)
