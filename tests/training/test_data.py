"""What train() takes for data: datasets, pairs, names; validation data; labels of any kind."""

from __future__ import annotations

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax.datasets import Dataset, synthetic
from helpers.training import D, arrays, assert_same, bits, by_hand


def test_a_dataset():
    data = synthetic.make(n_train=600, n_test=200)
    result = fs.train(data, epochs=3)
    assert result.dataset == result.model.settings["data"] == "synthetic"
    assert result.model.class_names == data.class_names
    assert result.model.classes.tolist() == list(range(10))
    hand = by_hand(
        data.train_images, data.train_labels, test=(data.test_images, data.test_labels),
        n_classes=10,
    )  # fmt: skip
    assert_same(result, hand, rel=1e-15)


def test_a_dataset_by_its_name(monkeypatch):
    small = synthetic.make(n_train=600, n_test=200)
    monkeypatch.setattr(synthetic, "make", lambda: small)
    result = fs.train("synthetic", epochs=2)
    assert result.dataset == "synthetic"
    assert bits(result) == bits(fs.train(small, epochs=2))


def test_a_class_without_rows_is_still_a_class_of_the_dataset():
    x, y = arrays(dtype=np.uint8)
    keep = y < 2
    data = Dataset(x[keep], y[keep], x, y, ("a", "b", "c", "d"), "four")
    result = fs.train(data, epochs=1)
    assert result.model.weight.shape == (4, D) and result.dataset == "four"
    assert len(result.history.test_loss) == 1


def test_evaluation_is_that_of_the_model():
    x, y = arrays()
    test = arrays(n=333, seed=1)
    result = fs.train((x, y), epochs=3, validation_data=test)
    evaluation = result.model.evaluate(*test)
    assert (result.history.test_loss[-1], result.history.test_accuracy[-1]) == evaluation
    assert result.model.score(*test) == result.history.test_accuracy[-1] > 0.8


def test_validation_data_takes_the_place_of_a_datasets_own_test_part():
    data = synthetic.make(n_train=600, n_test=200)
    other = data.train_images[:100], data.train_labels[:100]
    result = fs.train(data, epochs=1, validation_data=other)
    assert result.history.test_loss == [result.model.evaluate(*other).loss]
    assert bits(result)[0] == bits(fs.train(data, epochs=1))[0]


def test_validation_rows_may_be_of_the_other_type():
    x, y = arrays(dtype=np.uint8)
    floats = x.astype(np.float32) / np.float32(255)
    same = fs.train((x, y), epochs=2, validation_data=(x, y))
    other = fs.train((x, y), epochs=2, validation_data=(floats, y))
    assert other.model.weight.tobytes() == same.model.weight.tobytes()
    assert other.history.test_loss == pytest.approx(same.history.test_loss, rel=1e-6)
    assert other.history.test_accuracy == same.history.test_accuracy


def test_no_validation_data():
    history = fs.train(arrays(), epochs=2).history
    assert history.test_loss == history.test_accuracy == history.eval_seconds == []
    assert len(history) == len(history.train_loss) == 2
    assert "test" not in str(history) and "eval_seconds" not in str(history)


@pytest.mark.parametrize(
    "labels",
    [[40, -3, 7, 1 << 40], ["dress", "bag", "ankle boot", "Ä"], ["10", "9", "1", "2"]],
    ids=["integers", "strings", "digits"],
)
def test_labels_of_any_kind(labels):
    x, y = arrays()
    labels = np.array(labels)
    ranks = np.argsort(np.argsort(labels))  # the classes of a model are in order
    test = arrays(n=100, seed=1)
    result = fs.train((x, labels[y]), epochs=3, validation_data=(test[0], labels[test[1]]))
    plain = fs.train((x, ranks[y]), epochs=3, validation_data=(test[0], ranks[test[1]]))
    assert bits(result) == bits(plain)
    assert result.model.classes.tolist() == sorted(labels.tolist())
    predicted = result.model.predict(test[0])
    assert predicted.dtype == labels.dtype
    assert (predicted == labels[test[1]]).mean() == result.history.test_accuracy[-1] > 0.8


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint64])
def test_labels_of_any_integer_type(dtype):
    x, y = arrays()
    assert bits(fs.train((x, y.astype(dtype)), epochs=1)) == bits(fs.train((x, y), epochs=1))


@pytest.mark.parametrize("kind", ["object", "bool"])
def test_labels_as_pandas_and_comparisons_give_them(kind):
    x, y = arrays()
    names = np.array(["a", "b", "c", "d"], object)
    labels = names[y] if kind == "object" else y > 1
    result = fs.train((x, labels), epochs=3, validation_data=(x, labels))
    assert result.model.score(x, labels) == result.history.test_accuracy[-1] > 0.8
    assert result.model.classes.tolist() == (list("abcd") if kind == "object" else [False, True])
    assert (result.model.predict(x) == labels).mean() == result.history.test_accuracy[-1]
