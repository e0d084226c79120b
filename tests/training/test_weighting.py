"""train() with weights of classes and rows, smoothing, and labels to ignore: the loop by hand."""

from __future__ import annotations

import numpy as np
import pytest

import fastsoftmax as fs

N, D, K = 300, 12, 4
RNG = np.random.default_rng(0)
Y = RNG.choice(K, N, p=[0.55, 0.25, 0.15, 0.05])
X = (RNG.standard_normal((K, D))[Y] + RNG.standard_normal((N, D))).astype(np.float32)
SAMPLE_WEIGHT = RNG.choice([0, 0.5, 1, 3], N)
CLASS_WEIGHT = np.array([0.5, 1, 2, 4])
BALANCED = N / (K * np.bincount(Y))


def by_hand(*, class_weight=None, sample_weight=None, label_smoothing=0.0, ignored=None, epochs=3):
    """The same training in float64: weight, bias, and the loss and accuracy of each epoch."""
    rng = np.random.default_rng(0)
    weight = (rng.standard_normal((K, D), np.float32) * np.float32(0.01)).astype(np.float64)
    bias, x = np.zeros(K), X.astype(np.float64)
    class_weight = np.ones(K) if class_weight is None else class_weight
    sample_weight = np.ones(N) if sample_weight is None else sample_weight
    kept = sample_weight != 0  # rows that count
    if ignored is not None:
        kept &= Y != ignored
    losses, accuracies = [], []
    for _ in range(epochs):
        order = rng.permutation(N)
        loss = total = correct = 0.0
        for begin in range(0, N, 64):
            batch = order[begin : begin + 64]
            logits = x[batch] @ weight.T + bias
            log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
            c = (1 - label_smoothing) * np.eye(K)[Y[batch]] + label_smoothing / K
            c *= class_weight * (sample_weight * kept)[batch, None]
            weights = class_weight[Y[batch]] * (sample_weight * kept)[batch]
            residual = (c.sum(axis=1, keepdims=True) * np.exp(log_p) - c) / weights.sum()
            weight -= 0.1 * residual.T @ x[batch]
            bias -= 0.1 * residual.sum(axis=0)
            loss, total = loss - (c * log_p).sum(), total + weights.sum()
            correct += ((logits.argmax(axis=1) == Y[batch]) * kept[batch]).sum()
        losses.append(loss / total)
        accuracies.append(correct / kept.sum())
    return weight, bias, losses, accuracies


def train(y=Y, **options):
    return fs.train((X, y), batch_size=64, epochs=3, lr=0.1, **options)


CASES = {
    "nothing": ({}, {}),
    "class weights": ({"class_weight": CLASS_WEIGHT}, {"class_weight": CLASS_WEIGHT}),
    "a list": ({"class_weight": CLASS_WEIGHT.tolist()}, {"class_weight": CLASS_WEIGHT}),
    "a dict": ({"class_weight": {3: 4, 0: 0.5, 2: 2}}, {"class_weight": CLASS_WEIGHT}),
    "balanced": ({"class_weight": "balanced"}, {"class_weight": BALANCED}),
    "sample weights": ({"sample_weight": SAMPLE_WEIGHT}, {"sample_weight": SAMPLE_WEIGHT}),
    "smoothing": ({"label_smoothing": 0.2}, {"label_smoothing": 0.2}),
    "all": (
        {"class_weight": "balanced", "sample_weight": SAMPLE_WEIGHT, "label_smoothing": 0.2},
        {"class_weight": BALANCED, "sample_weight": SAMPLE_WEIGHT, "label_smoothing": 0.2},
    ),
}


@pytest.mark.parametrize("backend", fs.available_backends())
@pytest.mark.parametrize("case", CASES)
def test_by_hand(case, backend):
    options, hand = CASES[case]
    result = train(**options, backend=backend)
    assert_same(result, by_hand(**hand))


def assert_same(result, hand):
    weight, bias, losses, accuracies = hand
    np.testing.assert_allclose(result.model.weight, weight, rtol=0, atol=1e-6)
    np.testing.assert_allclose(result.model.bias, bias, rtol=0, atol=1e-6)
    assert result.history.train_loss == pytest.approx(losses, rel=1e-6)
    assert result.history.train_accuracy == pytest.approx(accuracies, rel=1e-12)


def test_what_the_cases_above_change_is_felt():
    plain = by_hand()[0]
    for _, hand in list(CASES.values())[1:]:
        assert np.abs(by_hand(**hand)[0] - plain).max() > 1e-3


@pytest.mark.parametrize("backend", fs.available_backends())
def test_a_label_to_ignore(backend):
    """Its rows stay in the batches, and count for nothing."""
    dataset = fs.Dataset(X, Y, X[:50], Y[:50], ("a", "b", "c", "d"), "mine")
    result = fs.train(dataset, batch_size=64, epochs=3, lr=0.1, ignore_index=1, backend=backend)
    assert_same(result, by_hand(ignored=1))
    kept = Y[:50] != 1
    evaluation = result.model.evaluate(X[:50][kept], Y[:50][kept])
    assert result.history.test_loss[-1] == pytest.approx(evaluation.loss, rel=1e-6)
    assert result.history.test_accuracy[-1] == evaluation.accuracy


@pytest.mark.parametrize(
    "names, unknown",
    [(np.array([10, 20, 30, 40]), -1), (np.array(["a", "b", "c", "d"]), "?"), ([3, 2, 1, 0], 7)],
)
def test_labels_of_any_kind(names, unknown):
    """The label to ignore is not a class; class_weight may be a mapping of labels."""
    y, half = np.asarray(names)[Y].tolist(), {names[1]: 0.5}
    half = {key.item() if hasattr(key, "item") else key: value for key, value in half.items()}
    y[::7] = [unknown] * len(y[::7])
    result = train(y, ignore_index=unknown, class_weight=half, validation_data=(X, y))
    assert result.model.classes.tolist() == sorted(np.asarray(names).tolist())
    kept = np.arange(N) % 7 != 0
    weights = np.where(Y[kept] == 1, 0.5, 1)
    twin = fs.train(
        (X, y), batch_size=64, epochs=3, ignore_index=unknown,
        sample_weight=np.where(np.arange(N) % 7 == 0, 100, np.where(Y == 1, 0.5, 1)),
    )  # fmt: skip
    np.testing.assert_allclose(result.model.weight, twin.model.weight, rtol=0, atol=1e-6)
    assert result.history.train_loss == pytest.approx(twin.history.train_loss, rel=1e-6)
    right = result.model.predict(X[kept]) == np.asarray(names)[Y[kept]]
    assert result.history.test_accuracy[-1] == pytest.approx(right.mean())
    evaluation = result.model.evaluate(X[kept], np.asarray(names)[Y[kept]], weights)
    assert evaluation.accuracy == pytest.approx(np.average(right, weights=weights))


def test_balanced_counts_no_ignored_rows():
    y = np.where(np.arange(N) % 2, Y, -1)
    result = train(y, ignore_index=-1, class_weight="balanced")
    rows = np.bincount(Y[1::2])
    expected = len(Y[1::2]) / (K * rows)
    assert result.model.settings["class_weight"] == pytest.approx(expected, rel=1e-6)


def test_a_batch_of_nothing_changes_nothing():
    y = np.where(np.arange(N) < 256, -1, Y)
    y[256:260] = range(4)
    result = fs.train((X, y), batch_size=256, epochs=1, shuffle=False, ignore_index=-1)
    alone = fs.train((X[256:], y[256:]), batch_size=256, epochs=1, shuffle=False)
    np.testing.assert_allclose(result.model.weight, alone.model.weight, rtol=0, atol=1e-7)
    assert result.history.train_accuracy == alone.history.train_accuracy
    assert result.history.train_loss == pytest.approx(alone.history.train_loss, rel=1e-6)


def test_a_weight_is_a_row_that_often():
    times = RNG.integers(0, 3, N)
    weighted = fs.train((X, Y), batch_size=N, epochs=3, shuffle=False, sample_weight=times)
    rows = np.repeat(np.arange(N), times)
    repeated = fs.train((X[rows], Y[rows]), batch_size=len(rows), epochs=3, shuffle=False)
    np.testing.assert_allclose(weighted.model.weight, repeated.model.weight, rtol=0, atol=1e-6)
    assert weighted.history.train_loss == pytest.approx(repeated.history.train_loss, rel=1e-6)


def test_validation_is_plain():
    options = {"class_weight": "balanced", "label_smoothing": 0.3, "sample_weight": SAMPLE_WEIGHT}
    result = train(**options, validation_data=(X, Y))
    evaluation = result.model.evaluate(X, Y)
    assert (result.history.test_loss[-1], result.history.test_accuracy[-1]) == evaluation


def test_the_record():
    settings = train(
        class_weight={1: 0.5}, sample_weight=SAMPLE_WEIGHT, label_smoothing=0.1, ignore_index=7
    ).model.settings
    assert settings["class_weight"] == [1.0, 0.5, 1.0, 1.0]
    assert settings["sample_weight"] is True
    assert (settings["label_smoothing"], settings["ignore_index"]) == (0.1, 7)


def test_it_can_be_saved(tmp_path):
    model = train(class_weight="balanced", ignore_index=np.int64(2), label_smoothing=0.1).model
    model.save(tmp_path / "m")
    assert fs.LinearClassifier.load(tmp_path / "m").settings == model.settings


def test_the_data_stays_as_it_was():
    arrays = X.copy(), Y.copy(), SAMPLE_WEIGHT.astype(np.float32), CLASS_WEIGHT.astype(np.float32)
    before = [a.tobytes() for a in arrays]
    for a in arrays:
        a.flags.writeable = False
    x, y, sample_weight, class_weight = arrays
    fs.train((x, y), epochs=1, sample_weight=sample_weight, class_weight=class_weight)
    assert [a.tobytes() for a in arrays] == before


def test_weighted_evaluation():
    model = train().model
    evaluation = model.evaluate(X, Y, SAMPLE_WEIGHT)
    right = model.predict(X) == Y
    assert evaluation.accuracy == pytest.approx(np.average(right, weights=SAMPLE_WEIGHT))
    losses = -np.log(model.predict_proba(X)[np.arange(N), Y])
    assert evaluation.loss == pytest.approx(np.average(losses, weights=SAMPLE_WEIGHT), rel=1e-5)
    assert model.score(X, Y, sample_weight=SAMPLE_WEIGHT) == evaluation.accuracy
    assert model.evaluate(X, Y, np.ones(N)).accuracy == pytest.approx(model.score(X, Y))
    assert evaluation.accuracy != model.score(X, Y)
