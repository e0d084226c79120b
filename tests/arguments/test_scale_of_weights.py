"""Only the ratios of class and sample weights matter, from 1e-200 to 3e38."""

from __future__ import annotations

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import optim
from helpers.arguments import BIAS, WEIGHT, N, X, Y, close, train

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
    from fastsoftmax.functional import linear_problem

    monkeypatch.setattr(linear_problem, "backend_for", lambda array: backend)
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
