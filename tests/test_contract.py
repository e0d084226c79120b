"""The contract of backends.py, for every backend: what is equal to what, bit for bit; the same
signatures; the same exceptions."""

import hashlib
import inspect
import operator
import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from threading import Barrier

import numpy as np
import pytest

from fastsoftmax import backends, checks
from fastsoftmax.backends import Backend
from fastsoftmax.backends import numpy as _numpy
from fastsoftmax.optim import SGDSettings, Velocity
from fastsoftmax.settings import CrossEntropy

SETTINGS = {
    "plain": SGDSettings(lr=0.3),
    "weight_decay": SGDSettings(lr=0.3, weight_decay=0.07),
    "decay_bias=False": SGDSettings(lr=0.3, weight_decay=0.07, decay_bias=False),
    "momentum": SGDSettings(lr=0.1, momentum=0.9),
    "dampening": SGDSettings(lr=0.1, momentum=0.9, dampening=0.4),
    "nesterov": SGDSettings(lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.07),
    "momentum, decay_bias=False": SGDSettings(
        lr=0.1, momentum=0.9, dampening=0.4, weight_decay=0.07, decay_bias=False
    ),
}

# (N, D, K, batch_size): chunks of 64 and fewer rows, whole and partial vectors and class blocks;
# the last three have a weight that the C backend takes by tiles, in spans of 1024 rows; a batch of
# the last one has several blocks of rows, of which threads share the classes; before them, batches
# of fewer rows than classes, which it takes by tiles as well, and one of which the last is so
SHAPES = [
    (300, 37, 13, 128),
    (257, 784, 10, 257),
    (130, 16, 2, 65),
    (9, 1, 3, 4),
    (200, 65, 97, 64),
    (150, 37, 40, 60),
    (70, 784, 90, 33),
    (1100, 97, 700, 1060),
    (80, 3300, 20, 40),
]


@pytest.fixture(params=SHAPES, ids=lambda shape: "x".join(str(n) for n in shape))
def shape(request):
    return request.param


@pytest.fixture(params=SETTINGS.values(), ids=SETTINGS)
def sgd(request):
    return request.param


@pytest.fixture
def problem(make_problem, shape, row_type):
    return make_problem(*shape[:3], row_type)


class State:
    """Parameters in training, and their velocity where there is momentum."""

    def __init__(self, problem, sgd):
        self.weight, self.bias = problem.parameters()
        self.velocity = Velocity.of(self.weight, self.bias) if sgd.momentum else None

    def bits(self):
        arrays = [self.weight, self.bias]
        if self.velocity is not None:
            arrays += [self.velocity.weight, self.velocity.bias]
            assert self.velocity.started
        return [array.tobytes() for array in arrays]


# ---- bit for bit ----


def test_train_step_is_loss_and_grad_then_sgd_update(backend, problem, sgd):
    x, target, _, _ = problem
    fused, parts = State(problem, sgd), State(problem, sgd)
    for _ in range(3):
        loss, *_ = backend.train_step(
            x, target, fused.weight, fused.bias, sgd, fused.velocity, scale=problem.scale
        )
        loss_of_parts, *gradients = backend.loss_and_grad(
            x, target, parts.weight, parts.bias, scale=problem.scale
        )
        backend.sgd_update(parts.weight, parts.bias, *gradients, len(x), sgd, parts.velocity)
        assert loss == loss_of_parts
        assert fused.bits() == parts.bits()
    assert fused.weight.tobytes() != problem.weight.tobytes()


def test_train_epoch_is_a_loop_of_train_step(backend, problem, shape, sgd):
    x, target, _, _ = problem
    n_rows, *_, batch_size = shape
    rng = np.random.default_rng(0)
    whole, steps = State(problem, sgd), State(problem, sgd)
    for order in (rng.permutation(n_rows), rng.integers(0, n_rows, n_rows + batch_size // 2)):
        sums = backend.train_epoch(
            x,
            target,
            order,
            batch_size,
            whole.weight,
            whole.bias,
            sgd,
            whole.velocity,
            scale=problem.scale,
        )
        batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        parts = zip(
            *(
                backend.train_step(
                    x[batch],
                    target[batch],
                    steps.weight,
                    steps.bias,
                    sgd,
                    steps.velocity,
                    scale=problem.scale,
                )
                for batch in batches
            ),
            strict=True,
        )
        assert whole.bits() == steps.bits()
        # sum() rounds otherwise from Python 3.12
        assert sums == tuple(reduce(operator.add, part, 0.0) for part in parts)


def test_train_epoch_without_order(backend, problem, shape):
    x, target, _, _ = problem
    sgd = SETTINGS["momentum"]
    states, sums = [], []
    for order in (None, np.arange(len(x))):
        state = State(problem, sgd)
        arguments = (x, target, order, shape[3], state.weight, state.bias, sgd, state.velocity)
        sums.append(backend.train_epoch(*arguments, scale=problem.scale))
        states.append(state.bits())
    assert sums[0] == sums[1]
    assert states[0] == states[1]


def test_one_step_epoch_is_train_step(backend, problem, sgd):
    x, target, _, _ = problem
    step, epoch = State(problem, sgd), State(problem, sgd)
    assert backend.train_step(
        x, target, step.weight, step.bias, sgd, step.velocity, scale=problem.scale
    ) == backend.train_epoch(
        x,
        target,
        None,
        len(x) + 1,
        epoch.weight,
        epoch.bias,
        sgd,
        epoch.velocity,
        scale=problem.scale,
    )
    assert step.bits() == epoch.bits()


def test_velocity_is_left_alone_without_momentum(backend, make_problem):
    x, target, weight, bias = make_problem(5, 3, 4)
    velocity = Velocity.of(weight, bias)
    velocity.weight[...] = 7
    for start in (False, True):
        velocity.started = start
        results = []
        for given in (None, velocity):
            new_weight, new_bias = weight.copy(), bias.copy()
            backend.train_step(x, target, new_weight, new_bias, SGDSettings(lr=0.1), given)
            results.append(new_weight.tobytes() + new_bias.tobytes())
        assert results[0] == results[1]
        assert velocity.started == start
        assert (velocity.weight == 7).all() and not velocity.bias.any()


def fingerprint(backend, problem, num_threads):
    """sha256 of all that every function of the backend returns or updates."""
    x, target, weight, bias = problem
    keywords = {"scale": problem.scale, "num_threads": num_threads}
    sgd = SETTINGS["nesterov"]
    state = State(problem, sgd)
    order = np.random.default_rng(0).permutation(len(x))
    parts = []
    trained = (state.weight, state.bias, sgd, state.velocity)
    for batch_size in (len(x), 100):
        parts.append(backend.train_epoch(x, target, order, batch_size, *trained, **keywords))
        parts.append(backend.train_step(x, target, *trained, **keywords))
    parts += state.bits()
    loss, *gradients = backend.loss_and_grad(x, target, weight, bias, **keywords)
    logits = backend.predict_logits(x, weight, bias, **keywords)
    probabilities = backend.softmax(logits, num_threads=num_threads)
    log_p = backend.log_softmax(logits, num_threads=num_threads)
    parts += [loss, backend.evaluate(x, target, weight, bias, **keywords)]
    parts += [array.tobytes() for array in (*gradients, logits, probabilities, log_p)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


# (N, D, K): 7 chunks; chunks of several blocks, the last one partial; fewer chunks than threads;
# large weights, over several spans of rows and in fewer rows than threads
@pytest.mark.parametrize(
    "shape",
    [(400, 70, 11), (64 * 64 + 200, 5, 3), (3, 20, 4), (1100, 97, 700), (3, 784, 90)],
    ids=str,
)
def test_same_bits_for_any_number_of_threads(backend, shape, row_type, threads, make_problem):
    problem = make_problem(*shape, row_type)
    expected = fingerprint(backend, problem, 1)
    for _ in range(2):
        assert fingerprint(backend, problem, threads) == expected


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("shape", [(400, 70, 11), (100, 97, 700)], ids=str)
def test_same_bits_from_several_python_threads(
    backend, shape, row_type, num_threads, make_problem
):
    problem = make_problem(*shape, row_type)
    expected = fingerprint(backend, problem, 1)
    n_callers = 4
    together = Barrier(n_callers, timeout=30)

    def call():
        together.wait()
        return [fingerprint(backend, problem, num_threads) for _ in range(3)]

    with ThreadPoolExecutor(n_callers) as pool:
        futures = [pool.submit(call) for _ in range(n_callers)]
        results = [future.result(timeout=60) for future in futures]
    assert results == [[expected] * 3] * n_callers


# ---- the same face ----

FUNCTIONS = [name for name, member in vars(Backend).items() if callable(member) and name[0] != "_"]

# How to choose among instruction sets is the C backend's alone
ONLY_IN_CYTHON = {"borrow_threads", "built_isas", "select_isa", "selected_isa", "supported_isas"}


def test_functions_of_the_protocol():
    assert FUNCTIONS == [
        "loss_and_grad",
        "sgd_update",
        "train_step",
        "train_epoch",
        "evaluate",
        "predict_logits",
        "softmax",
        "log_softmax",
    ]


def parameters_of(function):
    """(name, kind, default) of each."""
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in parameters if p.name != "self"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_signatures(backend, function):
    expected = parameters_of(getattr(Backend, function))
    assert parameters_of(getattr(backend, function)) == expected


@pytest.mark.parametrize("function", FUNCTIONS)
def test_documented_in_one_place(backend, function):
    """The docstring is the contract's: a backend repeats it or has none."""
    contract = getattr(Backend, function).__doc__
    assert contract
    assert getattr(backend, function).__doc__ in (None, contract)


def test_no_further_public_functions(backend):
    public = {
        name
        for name, member in vars(backend).items()
        if not name.startswith("_")
        and callable(member)
        and getattr(member, "__module__", None) == backend.__name__
    }
    assert public - (ONLY_IN_CYTHON if backend.name == "cython" else set()) == set(FUNCTIONS)


def test_names(backend):
    assert backend.name in backends.BACKENDS
    assert backends.get_backend(backend.name) is backend
    assert backend.name in backends.available_backends()


def test_get_backend():
    assert backends.get_backend() is backends.get_backend(backends.available_backends()[0])
    with pytest.raises(ValueError, match=r"backend must be one of .*'numpy'.*, got 'fortran'"):
        backends.get_backend("fortran")


# ---- the same exceptions ----

N, D, K = 6, 3, 4


def arguments(sgd):
    """Good arguments, by name, of every function."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((K, D)).astype(np.float32)
    bias = rng.standard_normal(K).astype(np.float32)
    return {
        "x": rng.standard_normal((N, D)).astype(np.float32),
        "target": np.arange(N) % K,
        "order": np.arange(N),
        "batch_size": 4,
        "total_weight": 4.0,
        "weight": weight,
        "bias": bias,
        "grad_weight": np.ones_like(weight),
        "grad_bias": np.ones_like(bias),
        "sgd": sgd,
        "velocity": Velocity.of(weight, bias) if sgd.momentum else None,
        "logits": rng.standard_normal((N, K)).astype(np.float32),
        "criterion": CrossEntropy(),
        "sample_weight": None,
        "grad_input": None,
        "grad_scale": 1.0,
        "losses": None,
        "scale": 0.5,
        "num_threads": 1,
    }


def call(backend, function, given):
    return getattr(backend, function)(
        **{name: given[name] for name, _, _ in parameters_of(getattr(Backend, function))}
    )


def users(*parameters, but=()):
    """The functions that take all these parameters."""
    return [
        function
        for function in FUNCTIONS
        if function not in but
        and {name for name, _, _ in parameters_of(getattr(Backend, function))} >= set(parameters)
    ]


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def strided(array):
    """A view of the same values that is not C-contiguous."""
    return np.repeat(array, 2, axis=-1)[..., ::2]


UPDATING = ("sgd_update", "train_step", "train_epoch")
MOMENTUM = SGDSettings(lr=0.1, momentum=0.9)

# what is wrong: (parameter, its bad value made from the good arguments, exception, its words)
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
    """Type and message of the exception; the NumPy backend takes one type more, and says so."""
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


@pytest.mark.parametrize("n", [2, 100, 128, 129, 200, 256, 300, 40_000, 70_000, 2**31])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", ">i2", "u2", "i4", ">u4", "i8", "u8", ">i8"])
def test_range_of_indices_of_every_type(dtype, n):
    """Of `checks` alone: what it let through, the C backend would take for an address."""
    limits = np.iinfo(dtype)
    values = {limits.min, -200, -128, -2, -1, 0, 1, n - 1, n, n + 1, limits.max}
    for value in sorted(v for v in values if limits.min <= v <= limits.max):
        indices = np.array([0, value, 1], dtype)
        for check, given in (
            (checks.targets, (indices, 3, n)),
            (checks.row_order, (indices, n)),
        ):
            if 0 <= value < n:
                assert check(*given).tolist() == [0, value, 1]
            else:
                with pytest.raises(ValueError, match=rf"\[1\] is {value}, expected 0 <= "):
                    check(*given)


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


@pytest.mark.parametrize("function", FUNCTIONS)
def test_good_arguments(function, backend):
    """Those that the bad ones are made of."""
    given = arguments(MOMENTUM)
    before = given["weight"].copy()
    call(backend, function, given)
    updated = not np.array_equal(given["weight"], before)
    assert updated == given["velocity"].started == (function in UPDATING)


@pytest.mark.parametrize(
    "function, name, value",
    [("train_epoch", "batch_size", 2**63)]
    + [(function, "num_threads", 2**31) for function in users("num_threads")],
)
def test_large_numbers(function, name, value, backend):
    results = []
    for number in (value, 10):  # of so few rows that 10 is as much
        given = arguments(MOMENTUM) | {name: number}
        returned = call(backend, function, given)
        results.append(pickle.dumps((returned, given["weight"])))
    assert results[0] == results[1]


def test_no_rows(backend):
    given = arguments(SGDSettings(lr=0.1))
    for x in (given["x"][:0], np.zeros((0, D), np.uint8)):
        given |= {"x": x, "target": given["target"][:0], "logits": given["logits"][:0]}
        assert call(backend, "evaluate", given) == (0.0, 0, 0, 0)
        for function in ("predict_logits", "softmax", "log_softmax"):
            empty = call(backend, function, given)
            assert empty.shape == (0, K) and empty.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint16, np.uint32, np.int64, np.uint64])
def test_an_ignored_class_of_any_integer_type(dtype, backend, make_problem):
    problem = make_problem(64, 17, 3)
    criterion = CrossEntropy(ignore_index=1)
    expected = _numpy.evaluate(*problem, criterion=criterion)
    assert expected.counted < 64
    x, target, weight, bias = problem
    sums = backend.evaluate(x, target.astype(dtype), weight, bias, criterion=criterion)
    assert (sums.correct, sums.total_weight, sums.counted) == expected[1:]
    assert sums.loss == pytest.approx(expected.loss)
