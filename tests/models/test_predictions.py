"""LinearClassifier: prediction and evaluation, against float64."""

from __future__ import annotations

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import LinearClassifier
from helpers.models import BIAS, WEIGHT, K, N, make_model, rows


def exact_logits(model, features):
    return features @ model.weight.astype(np.float64).T + model.bias.astype(np.float64)


def exact_log_softmax(logits):
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


KINDS = pytest.mark.parametrize("kind", ["float32", "uint8", "pictures"])


@KINDS
def test_decision_function(kind):
    x, features = rows(kind)
    model = make_model()
    logits = model.decision_function(x)
    assert logits.shape == (N, K) and logits.dtype == np.float32
    # 784 roundings of 2**-24 could add up; in lanes they come to about one
    size = np.abs(features) @ np.abs(model.weight).T + np.abs(model.bias)
    assert (np.abs(logits - exact_logits(model, features)) <= 4 * 2**-24 * size).all()


@KINDS
def test_predict_proba(kind):
    x, features = rows(kind)
    model = make_model()
    probability = model.predict_proba(x)
    expected = np.exp(exact_log_softmax(exact_logits(model, features)))
    assert probability.shape == (N, K) and probability.dtype == np.float32
    np.testing.assert_allclose(probability, expected, rtol=6e-6, atol=0)
    np.testing.assert_allclose(probability.sum(axis=1, dtype=np.float64), 1, rtol=3e-7)


@KINDS
@pytest.mark.parametrize(
    "classes",
    [None, [3, -1, 40, 7, 2, 1 << 40, 0], list("gfedcba"), ["ä", "bb", "", "d", "e", "f", "⊕"]],
    ids=["default", "integers", "letters", "words"],
)
def test_predict_gives_labels(kind, classes):
    x, features = rows(kind)
    model = make_model(classes)
    best = exact_logits(model, features).argmax(axis=1)
    assert len(set(best)) > 3
    predicted = model.predict(x)
    assert predicted.shape == (N,) and predicted.dtype == model.classes.dtype
    assert predicted.tolist() == [(classes or list(range(K)))[k] for k in best]


@KINDS
def test_evaluate_and_score(kind):
    x, features = rows(kind)
    model = make_model(list("gfedcba"))
    logits = exact_logits(model, features)
    target = np.random.default_rng(7).integers(0, K, N)
    target[:20] = logits[:20].argmax(axis=1)
    y = model.classes[target]
    evaluation = model.evaluate(x, y)
    assert isinstance(evaluation, fs.Evaluation)
    expected = -exact_log_softmax(logits)[np.arange(N), target].mean()
    assert evaluation.loss == pytest.approx(expected, rel=3e-7)
    assert evaluation.accuracy == (logits.argmax(axis=1) == target).mean() >= 0.4
    assert model.score(x, y) == evaluation.accuracy == evaluation[1]
    assert model.evaluate(x, y.tolist()) == evaluation


def test_pictures_are_rows():
    x, _ = rows("pictures")
    model = make_model()
    flat = x.reshape(N, 784)
    for method in (model.decision_function, model.predict, model.predict_proba):
        assert method(x).tobytes() == method(flat).tobytes()
    y = model.predict(x)
    assert model.evaluate(x, y) == model.evaluate(flat, y)


def test_the_first_of_classes_that_tie():
    model = LinearClassifier(WEIGHT, BIAS, ["z", "m", "a"])
    assert model.predict(np.ones((2, 4), np.float32)).tolist() == ["z", "z"]
    assert model.score(np.ones((4, 4), np.float32), ["z", "m", "a", "z"]) == 0.5


def test_two_classes_have_two_logits():
    model = make_model(n_features=3, n_classes=2)
    x = np.ones((4, 3), np.float32)
    assert model.decision_function(x).shape == model.predict_proba(x).shape == (4, 2)


def test_scale_is_for_uint8_alone():
    x, features = rows("uint8")
    model, whole = make_model(), make_model(scale=1.0)
    np.testing.assert_allclose(
        whole.decision_function(x), exact_logits(model, 255 * features), rtol=0, atol=1e-3
    )
    floats = x.astype(np.float32)
    assert model.decision_function(floats).tobytes() == whole.decision_function(floats).tobytes()
    assert model.scale == 1 / 255


def test_no_rows():
    model, x = make_model(), np.empty((0, 784), np.float32)
    assert model.predict(x).shape == (0,)
    assert model.predict_proba(x).shape == model.decision_function(x).shape == (0, K)
    with pytest.raises(ValueError, match="x has no rows, expected at least 1"):
        model.evaluate(x, [])


@pytest.mark.parametrize("backend", fs.available_backends())
@pytest.mark.parametrize("n_classes", [2, 3, 40])
def test_a_row_of_nan_is_never_right(monkeypatch, backend, n_classes):
    """Neither in an evaluation, weighted or not, nor in training."""
    monkeypatch.setattr("fastsoftmax.model.get_backend", lambda: fs.get_backend(backend))
    x = np.random.default_rng(0).standard_normal((300, 5), np.float32)
    weight = np.random.default_rng(1).standard_normal((n_classes, 5), np.float32)
    model = LinearClassifier(weight, np.zeros(n_classes, np.float32))
    y = model.predict(x)  # all right, were there no NaN
    x[::3, 1], x[1::6, 2] = np.nan, np.inf
    y[::3] = model.predict(x)[::3]  # whatever argmax makes of NaN
    with np.errstate(all="ignore"):  # of the NumPy backend
        wrong = np.isnan(model.predict_proba(x)).any(axis=1)
        right = (model.predict(x) == y) & ~wrong
        assert 100 <= wrong.sum() < 200 and right.sum() >= 100
        plain, weighted = model.evaluate(x, y), model.evaluate(x, y, np.ones(300))
        assert plain.accuracy == right.mean() and np.isnan(plain.loss) and np.isnan(weighted.loss)
        assert weighted.accuracy == pytest.approx(right.mean(), abs=1e-12)
        weights = np.arange(300) % 7
        expected = np.average(right, weights=weights)
        assert model.score(x, y, weights) == pytest.approx(expected, abs=1e-12)
        kept = np.where(wrong, 0, 1)
        clean = model.evaluate(np.ascontiguousarray(x[~wrong]), y[~wrong])
        assert model.evaluate(x, y, kept) == pytest.approx(clean, rel=1e-6)

        options = {"epochs": 1, "batch_size": 300, "init_std": 0.1, "backend": backend}
        classes = np.unique(y)
        start = np.random.default_rng(0).standard_normal((len(classes), 5), np.float32)
        start = LinearClassifier(start * np.float32(0.1), np.zeros_like(start[:, 0]), classes)
        accuracy = start.score(x, y)
        assert 0 < accuracy < ((start.predict(x) == y).mean())
        for more in ({}, {"sample_weight": np.ones(300)}):
            assert fs.train((x, y), **options, **more).history.train_accuracy == [accuracy]
        numbers = np.nan_to_num(x, posinf=0)
        test = fs.train((numbers, y), **options, validation_data=(x, y))
        assert test.history.test_accuracy == [test.model.score(x, y)]
