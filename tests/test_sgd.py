"""sgd_step and SGD against float64 by hand, and SGD against torch.optim.SGD."""

from __future__ import annotations

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import checks


def problem(dtype=np.float32, shape=(65, 20), n_classes=7, seed=3):
    """Rows, targets, and float32 parameters to train."""
    rng = np.random.default_rng(seed)
    if dtype == np.uint8:
        x = rng.integers(0, 256, shape, np.uint8)
    else:
        x = rng.standard_normal(shape, np.float32)
    n_features = int(np.prod(shape[1:]))
    weight = rng.standard_normal((n_classes, n_features), np.float32) * np.float32(0.3)
    bias = rng.standard_normal(n_classes, np.float32)
    return x, rng.integers(0, n_classes, shape[0]), weight, bias


def log_softmax(logits):
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


class ByHand:
    """The step as its docstring and that of SGD have it, in float64."""

    def __init__(self, weight, bias):
        self.parameters = [weight.astype(np.float64), bias.astype(np.float64)]
        self.velocities = [None, None]

    def step(
        self, x, target, *, lr, scale=1.0, momentum=0.0, dampening=0.0, nesterov=False,
        weight_decay=0.0,
    ):  # fmt: skip
        x = scale * x.reshape(len(x), -1).astype(np.float64)
        log_p = log_softmax(x @ self.parameters[0].T + self.parameters[1])
        residual = (np.exp(log_p) - np.eye(log_p.shape[1])[target]) / len(x)
        for i, g in enumerate((residual.T @ x, residual.sum(axis=0))):
            g = g + weight_decay * self.parameters[i]
            if momentum:
                v = self.velocities[i]
                v = g if v is None else momentum * v + (1 - dampening) * g
                self.velocities[i] = v
                g = g + momentum * v if nesterov else v
            self.parameters[i] -= lr * g
        return -log_p[np.arange(len(x)), target].mean()


SETTINGS = [
    {"lr": 0.5},
    {"lr": 0.0},
    {"lr": 0.5, "weight_decay": 0.1},
    {"lr": 0.5, "momentum": 0.9},
    {"lr": 0.5, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
    {"lr": 0.5, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("shape", [(65, 20), (33, 4, 5), (1, 7), (257, 28, 28)], ids=str)
def test_three_steps_by_hand(shape, dtype, settings):
    x, target, weight, bias = problem(dtype, shape)
    velocity = fs.Velocity.of(weight, bias) if "momentum" in settings else None
    hand = ByHand(weight, bias)
    for _ in range(3):
        loss = fs.sgd_step(x, target, weight, bias, velocity=velocity, **settings)
        scale = 1 / 255 if dtype == np.uint8 else 1.0
        assert isinstance(loss, float)
        expected = hand.step(x, target, scale=scale, **settings)
        # absolute where it is small, as the loss is then a difference of logits of about 1
        assert loss == pytest.approx(expected, rel=5e-7, abs=5e-7)
    np.testing.assert_allclose(weight, hand.parameters[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(bias, hand.parameters[1], rtol=0, atol=1e-6)


def test_the_loss_is_that_before_the_update():
    x = np.eye(2, dtype=np.float32)
    weight, bias = np.zeros((2, 2), np.float32), np.zeros(2, np.float32)
    assert fs.sgd_step(x, [0, 1], weight, bias, lr=4.0) == pytest.approx(np.log(2), rel=1e-7)
    np.testing.assert_array_equal(weight, [[1, -1], [-1, 1]])
    np.testing.assert_array_equal(bias, [0, 0])
    assert fs.sgd_step(x, [0, 1], weight, bias, lr=4.0) == pytest.approx(
        np.log1p(np.exp(-2)), rel=3e-7
    )


def test_uint8_rows_are_pixels_unless_a_scale_is_given():
    x, target, weight, bias = problem(np.uint8)
    results = {}
    for name, kwargs in {
        "default": {},
        "1/255": {"scale": 1 / 255},
        "1": {"scale": 1.0},
    }.items():
        w, b = weight.copy(), bias.copy()
        loss = fs.sgd_step(x, target, w, b, lr=0.1, **kwargs)
        results[name] = (loss, w.tobytes(), b.tobytes())
    assert results["default"] == results["1/255"]
    hand = ByHand(weight, bias)
    assert results["1"][0] == pytest.approx(hand.step(x, target, lr=0.1), rel=1e-6)


def test_scale_of_float32_rows():
    x, target, weight, bias = problem()
    hand = ByHand(weight, bias)
    loss = fs.sgd_step(x, target, weight, bias, lr=0.5, scale=0.25)
    assert loss == pytest.approx(hand.step(x, target, lr=0.5, scale=0.25), rel=1e-6)
    np.testing.assert_allclose(weight, hand.parameters[0], rtol=0, atol=1e-6)


def test_the_velocity_remembers():
    x, target, weight, bias = problem()
    velocity, hand = fs.Velocity.of(weight, bias), ByHand(weight, bias)
    for _ in range(2):
        fs.sgd_step(x, target, weight, bias, lr=0.5, momentum=0.9, velocity=velocity)
        hand.step(x, target, lr=0.5, momentum=0.9)
        assert velocity.started
    np.testing.assert_allclose(velocity.weight, hand.velocities[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(velocity.bias, hand.velocities[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("target_dtype", [np.uint8, np.int32, np.int64, np.uint64])
def test_targets_of_any_integer_type_and_as_a_list(target_dtype):
    x, target, weight, bias = problem()
    expected, w = weight.copy(), weight.copy()
    fs.sgd_step(x, target.tolist(), expected, bias.copy(), lr=0.5)
    fs.sgd_step(x, target.astype(target_dtype), w, bias.copy(), lr=0.5)
    assert w.tobytes() == expected.tobytes() != weight.tobytes()


def test_the_rows_may_be_read_only_and_stay_as_they_were():
    x, target, weight, bias = problem()
    before = x.copy()
    x.flags.writeable = target.flags.writeable = False
    fs.sgd_step(x, target, weight, bias, lr=0.5)
    assert x.tobytes() == before.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_same_bits_for_any_number_of_threads(dtype):
    x, target, weight, bias = problem(dtype, (257, 784))
    bits = set()
    for n in (None, 1, 2, 3, 5):
        w, b = weight.copy(), bias.copy()
        loss = fs.sgd_step(x, target, w, b, lr=0.5, num_threads=n)
        bits.add((loss, w.tobytes(), b.tobytes()))
    assert len(bits) == 1


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


X, TARGET, WEIGHT, BIAS = problem()
OTHER = fs.Velocity.of(WEIGHT[:, :-1].copy(), BIAS)

T, V = TypeError, ValueError
BAD_STEPS = {
    "float64 rows": ({"x": X.astype(float)}, T, "x must be float32 or uint8, got float64"),
    "int64 rows": ({"x": X.astype(int)}, T, r"got int64; convert .*array\(x, np\."),
    "rows as a list": ({"x": X.tolist()}, T, "x must be float32 or uint8, got float64"),
    "strided rows": ({"x": X.repeat(2, 1)[:, ::2]}, V, "C-contiguous.* np.ascontiguousarray"),
    "few features": ({"x": X[:, 1:].copy()}, V, "x has 19 features, expected 20"),
    "one flat row": ({"x": X[0]}, V, r"x must be \(N, D\) or .*got shape \(20,\)"),
    "no rows": ({"x": X[:0], "target": TARGET[:0]}, V, "x has no rows, expected at least 1"),
    "target high": ({"target": TARGET * 0 + 7}, V, r"target\[0\] is 7, expected 0 <= target < 7"),
    "target negative": ({"target": TARGET - 7}, V, r"is -\d, expected 0 <= target < 7"),
    "target of floats": ({"target": TARGET * 1.0}, T, "array of integers, got float64"),
    "target short": ({"target": TARGET[1:]}, V, r"target must have shape \(65,\) .*got \(64,\)"),
    "target (B, 1)": ({"target": TARGET[:, None]}, V, r"target must have shape .*got \(65, 1\)"),
    "weight a list": ({"weight": WEIGHT.tolist()}, T, "weight must be .*float32, got list"),
    "weight float64": ({"weight": WEIGHT.astype(float)}, T, "bias must be float64 as weight"),
    "weight strided": ({"weight": WEIGHT.repeat(2, 1)[:, ::2]}, V, "weight must be C-contiguous"),
    "weight flat": ({"weight": WEIGHT.ravel()}, V, r"weight must be \(K, D\), got shape \(140,\)"),
    "weight read-only": ({"weight": read_only(WEIGHT)}, V, "weight is read-only, and would"),
    "one class": ({"weight": WEIGHT[:1], "bias": BIAS[:1]}, V, r"K >= 2, .*got shape \(1, 20\)"),
    "bias read-only": ({"bias": read_only(BIAS)}, V, "bias is read-only, and would be updated"),
    "bias short": ({"bias": BIAS[1:]}, V, r"bias must have shape \(7,\), got \(6,\)"),
    "bias float64": ({"bias": BIAS.astype(float)}, T, "bias must be .*float32, got float64"),
    "lr negative": ({"lr": -0.1}, V, r"lr must be >= 0, got -0\.1"),
    "lr NaN": ({"lr": float("nan")}, V, "lr must be finite in float32, got nan"),
    "lr a word": ({"lr": "fast"}, T, "lr must be a number, got 'fast'"),
    "momentum negative": ({"momentum": -1}, V, "momentum must be >= 0, got -1"),
    "momentum alone": ({"velocity": None}, T, r"momentum=0\.9 needs a Velocity .*got NoneType"),
    "velocity an array": ({"velocity": WEIGHT}, T, "needs a Velocity .*got ndarray"),
    "velocity of another": ({"velocity": OTHER}, V, r"velocity\.weight must have shape \(7, 20\)"),
    "nesterov damped": ({"nesterov": True, "dampening": 0.5}, V, "nesterov needs .*dampening=0.5"),
    "decay infinite": ({"weight_decay": np.inf}, V, "weight_decay must be finite in float32"),
    "scale infinite": ({"scale": np.inf}, V, "scale must be finite in float32, got inf"),
    "scale a word": ({"scale": "big"}, T, "scale must be a number, got 'big'"),
    "class_weight short": ({"class_weight": BIAS[1:]}, V, r"class_weight must have shape \(7,\)"),
    "sample_weight short": ({"sample_weight": BIAS}, V, r"sample_weight must have shape \(65,\)"),
    "sample_weight NaN": ({"sample_weight": X[:, 0] * np.nan}, V, "sample_weight must be finite"),
    "smoothing 2": ({"label_smoothing": 2}, V, r"label_smoothing must be in \[0, 1\], got 2"),
    "ignore_index None": ({"ignore_index": None}, T, "ignore_index must be an integer, got None"),
    "no threads": ({"num_threads": 0}, V, "num_threads must be >= 1, got 0"),
    "half a thread": ({"num_threads": 0.5}, T, "num_threads must be an integer or None"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_STEPS)
def test_bad_arguments_change_nothing(case):
    changed, error, message = BAD_STEPS[case]
    arguments = {
        "x": X, "target": TARGET, "weight": WEIGHT.copy(), "bias": BIAS.copy(), "lr": 0.1,
        "momentum": 0.9, "velocity": fs.Velocity.of(WEIGHT, BIAS), **changed,
    }  # fmt: skip
    state = [a for a in (arguments["weight"], arguments["bias"]) if isinstance(a, np.ndarray)]
    if isinstance(arguments["velocity"], fs.Velocity):
        state += [arguments["velocity"].weight, arguments["velocity"].bias]
    before = [array.tobytes() for array in state]
    with pytest.raises(error, match=message):
        fs.sgd_step(**arguments)
    assert [array.tobytes() for array in state] == before
    assert not getattr(arguments["velocity"], "started", False)


def test_the_arguments_of_the_bad_steps_are_otherwise_good():
    weight, bias = WEIGHT.copy(), BIAS.copy()
    velocity = fs.Velocity.of(weight, bias)
    fs.sgd_step(X, TARGET, weight, bias, lr=0.1, momentum=0.9, velocity=velocity)
    assert weight.tobytes() != WEIGHT.tobytes() and velocity.started


def test_default_scale():
    assert checks.default_scale(np.dtype(np.uint8)) == 1 / 255
    assert checks.default_scale(np.dtype(np.float32)) == 1.0


# ---- options of the loss ----


OPTIONS = [
    {"class_weight": np.linspace(0.5, 2, 7)},
    {"sample_weight": np.linspace(0, 3, 65)},
    {"label_smoothing": 0.1},
    {"ignore_index": 3},
    {
        "class_weight": np.linspace(0.5, 2, 7), "sample_weight": np.linspace(0, 3, 65),
        "label_smoothing": 0.1, "ignore_index": 3,
    },
]  # fmt: skip


def loss_by_hand(parameters, x, target, options):
    """The mean loss and its gradients in float64, of integer targets."""
    logits = x.astype(np.float64) @ parameters[0].T + parameters[1]
    log_p, n_classes = log_softmax(logits), logits.shape[1]
    e = options.get("label_smoothing", 0.0)
    c = (1 - e) * np.eye(n_classes)[target] + e / n_classes
    c *= options.get("class_weight", np.ones(n_classes))
    each = options.get("class_weight", np.ones(n_classes))[target]
    counts = options.get("sample_weight", np.ones(len(x))) * (
        target != options.get("ignore_index", -100)
    )
    c, total = c * counts[:, None], (each * counts).sum()
    residual = (c.sum(axis=1, keepdims=True) * np.exp(log_p) - c) / total
    return -(c * log_p).sum() / total, residual.T @ x, residual.sum(axis=0)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: " ".join(options))
def test_options_by_hand(options):
    x, target, weight, bias = problem()
    hand = [weight.astype(np.float64), bias.astype(np.float64)]
    sgd = fs.SGD(weight.copy(), bias.copy(), lr=0.5)
    for _ in range(3):
        expected, *gradients = loss_by_hand(hand, x, target, options)
        for parameter, gradient in zip(hand, gradients, strict=True):
            parameter -= 0.5 * gradient
        loss = fs.sgd_step(x, target, weight, bias, lr=0.5, **options)
        assert loss == pytest.approx(expected, rel=1e-6)
        assert sgd.step(x, target, **options) == loss
    np.testing.assert_allclose(weight, hand[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(bias, hand[1], rtol=0, atol=1e-6)
    assert sgd.weight.tobytes() == weight.tobytes() and sgd.bias.tobytes() == bias.tobytes()


def test_probabilities():
    x, target, weight, bias = problem()
    one_hot = np.eye(7, dtype=np.float32)[target]
    w, b = weight.copy(), bias.copy()
    expected = fs.sgd_step(x, target, weight, bias, lr=0.5)
    assert fs.sgd_step(x, one_hot, w, b, lr=0.5) == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(w, weight, rtol=0, atol=1e-6)


def test_a_step_on_nothing_only_decays():
    x, target, weight, bias = problem()
    target[:] = -100
    before = weight.copy()
    assert np.isnan(fs.sgd_step(x, target, weight, bias, lr=0.5))
    assert weight.tobytes() == before.tobytes()
    assert np.isnan(fs.sgd_step(x, target, weight, bias, lr=0.5, weight_decay=0.1))
    np.testing.assert_allclose(weight, before * np.float32(0.95), rtol=1e-6)


# ---- SGD ----


def sgd_of(weight, bias, lr=0.5, **settings):
    return fs.SGD(weight.copy(), bias.copy(), lr, **settings)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_step_is_sgd_step(settings):
    x, target, weight, bias = problem()
    sgd = sgd_of(weight, bias, **settings)
    velocity = fs.Velocity.of(weight, bias) if "momentum" in settings else None
    for _ in range(3):
        loss = fs.sgd_step(x, target, weight, bias, velocity=velocity, **settings)
        assert sgd.step(x, target) == loss
    assert sgd.weight.tobytes() == weight.tobytes() and sgd.bias.tobytes() == bias.tobytes()
    if velocity is None:
        assert sgd.velocity is None
    else:
        assert sgd.velocity.weight.tobytes() == velocity.weight.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_step_is_an_update_by_the_gradient(dtype, settings):
    x, target, weight, bias = (a.astype(dtype) if a.dtype == np.float32 else a for a in problem())
    one, two, three = (sgd_of(weight, bias, **settings) for _ in range(3))
    for _ in range(3):
        loss = one.step(x, target)
        mean, total = (
            fs.linear_cross_entropy_grad(
                x, sgd.weight, target, linear_bias=sgd.bias, reduction=reduction
            )
            for sgd, reduction in ((two, "mean"), (three, "sum"))
        )
        two.update(mean.grad_weight, mean.grad_bias)
        three.update(total.grad_weight, total.grad_bias, len(x))
        assert loss == pytest.approx(mean.loss, rel=1e-6)
    assert one.weight.dtype == dtype and one.weight.tobytes() == three.weight.tobytes()
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(two.weight, one.weight, rtol=0, atol=tolerance)
    np.testing.assert_allclose(two.bias, one.bias, rtol=0, atol=tolerance)


@pytest.mark.parametrize("decay_bias", [True, False])
def test_the_lr_may_change_as_in_pytorch(decay_bias):
    torch = pytest.importorskip("torch")
    x, target, weight, bias = problem()
    settings = {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}
    sgd = sgd_of(weight, bias, 1.0, **settings, decay_bias=decay_bias)
    parameters = [torch.tensor(a.astype(np.float64), requires_grad=True) for a in (weight, bias)]
    groups = [
        {"params": [parameters[0]]},
        {"params": [parameters[1]], "weight_decay": 0.1 if decay_bias else 0.0},
    ]
    peer = torch.optim.SGD(groups, lr=1.0, **settings)
    schedule = torch.optim.lr_scheduler.StepLR(peer, 1, gamma=0.5)
    rows, labels = torch.tensor(x).double(), torch.tensor(target)
    for epoch in range(3):
        sgd.lr = 0.5**epoch
        assert sgd.lr == peer.param_groups[0]["lr"]
        peer.zero_grad()
        expected = torch.nn.functional.cross_entropy(
            rows @ parameters[0].T + parameters[1], labels
        )
        expected.backward()
        peer.step()
        schedule.step()
        assert sgd.step(x, target) == pytest.approx(expected.item(), rel=1e-6)
    for ours, truth in zip((sgd.weight, sgd.bias), parameters, strict=True):
        np.testing.assert_allclose(ours, truth.detach().numpy(), rtol=0, atol=2e-6)


def test_it_updates_the_arrays_that_it_was_given():
    x, target, weight, bias = problem()
    sgd = fs.SGD(weight, bias, lr=0.5)
    before = weight.copy()
    sgd.step(x, target)
    assert sgd.weight is weight and sgd.bias is bias and (weight != before).any()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_state_goes_on_where_it_was(momentum, tmp_path):
    x, target, weight, bias = problem()
    sgd = sgd_of(weight, bias, 0.5, momentum=momentum, weight_decay=0.1)
    sgd.step(x, target)
    sgd.lr = 0.25
    state = sgd.state_dict()
    np.savez(tmp_path / "state.npz", **state)
    with np.load(tmp_path / "state.npz") as saved:
        others = [sgd_of(sgd.weight, sgd.bias, 7.0) for _ in range(2)]
        for other, its in zip(others, (state, saved), strict=True):
            other.load_state_dict(its)
            assert repr(other) == repr(sgd)
    losses = [one.step(x, target) for one in (sgd, *others)]
    assert losses == losses[:1] * 3
    for other in others:
        assert other.lr == 0.25
        assert other.weight.tobytes() == sgd.weight.tobytes()


def test_the_state_is_a_copy():
    x, target, weight, bias = problem()
    sgd = sgd_of(weight, bias, momentum=0.9)
    state = sgd.state_dict()
    assert not state["velocity_started"]
    sgd.step(x, target)
    assert not state["velocity_weight"].any()
    sgd.load_state_dict(state)
    sgd.step(x, target)
    assert not state["velocity_weight"].any() and sgd.velocity.started


def test_the_state_is_what_is_held_or_an_error(tmp_path):
    x, target, weight, bias = problem()
    sgd = sgd_of(weight, bias, momentum=0.9)
    sgd.step(x, target)
    sgd.velocity = fs.Velocity(sgd.velocity.weight[::-1].copy(), sgd.velocity.bias, True)
    np.savez(tmp_path / "state.npz", **sgd.state_dict())
    other = sgd_of(sgd.weight, sgd.bias)
    other.load_state_dict(np.load(tmp_path / "state.npz"))
    assert other.velocity.weight.tobytes() == sgd.velocity.weight.tobytes()
    good = sgd.velocity
    for velocity, error, message in (
        (None, TypeError, "momentum=0.9 needs a Velocity"),
        (fs.Velocity(good.weight[:, 1:].copy(), good.bias), ValueError, "must have shape"),
        (fs.Velocity(np.asfortranarray(good.weight), good.bias), ValueError, "C-contiguous"),
        (fs.Velocity(good.weight.astype(float), good.bias), TypeError, "got float64"),
    ):
        sgd.velocity = velocity
        with pytest.raises(error, match=message):
            sgd.state_dict()


def test_what_is_no_state(tmp_path):
    sgd = sgd_of(WEIGHT, BIAS)
    np.savez(tmp_path / "state.npz", momentum=0.0)
    with pytest.raises(ValueError, match=r"^the state has no 'lr'$"):
        sgd.load_state_dict(np.load(tmp_path / "state.npz"))
    with pytest.raises(TypeError, match="state must be what state_dict gives, got int"):
        sgd.load_state_dict(5)


def test_it_shows_its_settings():
    assert repr(fs.SGD(WEIGHT.copy(), BIAS.copy(), lr=0.5)) == (
        "SGD(lr=0.5, momentum=0.0, dampening=0.0, nesterov=False, weight_decay=0.0, "
        "decay_bias=True)"
    )


BAD_SGD = {
    "weight a list": ({"weight": WEIGHT.tolist()}, T, "weight must be an array of float32 or fl"),
    "weight read-only": ({"weight": read_only(WEIGHT)}, V, "weight is read-only"),
    "weight float16": ({"weight": WEIGHT.astype(np.float16)}, T, "got float16"),
    "bias float64": ({"bias": BIAS.astype(float)}, T, "bias must be float32 as weight"),
    "lr": ({"lr": -1}, V, "lr must be >= 0, got -1"),
    "momentum": ({"momentum": "a"}, T, "momentum must be a number, got 'a'"),
    "nesterov": ({"nesterov": True}, V, "nesterov needs momentum > 0"),
}


@pytest.mark.parametrize("case", BAD_SGD)
def test_bad_settings(case):
    changed, error, message = BAD_SGD[case]
    with pytest.raises(error, match=message):
        fs.SGD(**{"weight": WEIGHT.copy(), "bias": BIAS.copy(), "lr": 0.1, **changed})


def test_what_is_refused_later_changes_nothing():
    sgd = sgd_of(WEIGHT, BIAS, momentum=0.9)
    other = sgd_of(WEIGHT[:, 1:], BIAS, momentum=0.9).state_dict()
    incomplete = {k: v for k, v in sgd.state_dict().items() if k != "velocity_bias"}
    before = sgd.state_dict()
    for call, message in (
        (lambda: setattr(sgd, "lr", -1), "lr must be >= 0, got -1"),
        (lambda: sgd.update(WEIGHT[1:], BIAS), r"grad_weight must have shape \(7, 20\)"),
        (lambda: sgd.update(WEIGHT, BIAS, 0), "total_weight must be > 0, got 0"),
        (lambda: sgd.step(X, TARGET * 0 + 7), r"target\[0\] is 7, expected"),
        (lambda: sgd.load_state_dict({}), "the state has no 'lr'"),
        (lambda: sgd.load_state_dict({**before, "lr": -1.0}), "lr must be >= 0"),
        (lambda: sgd.load_state_dict(incomplete), "the state has no 'velocity_bias'"),
        (lambda: sgd.load_state_dict(other), r"velocity.weight must have shape \(7, 20\)"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
        assert sgd.weight.tobytes() == WEIGHT.tobytes() and sgd.bias.tobytes() == BIAS.tobytes()
        after = sgd.state_dict()
        assert after.keys() == before.keys()
        assert all(np.array_equal(after[name], before[name]) for name in before)
