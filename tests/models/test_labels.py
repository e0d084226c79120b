"""Labels as people have them: compared exactly, put by label."""

from __future__ import annotations

import enum

import numpy as np
import pandas as pd
import pytest

from fastsoftmax import LinearClassifier
from fastsoftmax.labels import indices, labels
from helpers.arguments import X
from helpers.models import LABELS, make_model, rows, train_on

torch = pytest.importorskip("torch")

N, D = 60, 4
BIG = {
    "beside 2**62": np.array([2**62, 2**62 + 1, 2**62 + 2], np.uint64),
    "beyond int64": np.array([1, 2**63, 2**63 + 1], np.uint64),
    "the last two": np.array([0, 2**64 - 2, 2**64 - 1], np.uint64),
    "negative": np.array([-(2**63), -(2**63) + 1, 2**63 - 1], np.int64),
    "bytes": np.array([-128, 0, 127], np.int8),
    "other byte order": np.array([-2, 1, 2**40], ">i8"),
    "objects": np.array([2**53, 2**53 + 1, 2**53 + 2], object),
}


# ---- integers of any type ----


@pytest.mark.parametrize("case", BIG)
def test_any_integers_can_be_trained_saved_and_scored(case, tmp_path):
    names = BIG[case]
    model = train_on(names[LABELS])
    assert model.classes.tolist() == names.tolist()
    model.save(tmp_path / "m")
    loaded = LinearClassifier.load(tmp_path / "m")
    assert loaded.classes.dtype == model.classes.dtype
    for each in (model, loaded):
        for y in (names[LABELS], names[LABELS].tolist(), names.astype(object)[LABELS]):
            assert each.encode(y).tolist() == LABELS.tolist()
        assert each.predict(X).tolist() == names[each.decision_function(X).argmax(1)].tolist()


def test_labels_of_two_types_are_the_same_integers():
    big = np.array([2**62, 2**62 + 1, 2**62 + 2], np.uint64)
    assert train_on(big[LABELS]).encode(big[LABELS].astype(np.int64)).tolist() == LABELS.tolist()
    assert train_on(big.astype(np.int64)[LABELS]).encode(big[LABELS]).tolist() == LABELS.tolist()


TYPES = [np.int8, np.uint8, np.int16, np.uint32, np.int64, np.uint64, bool]


@pytest.mark.parametrize("of_classes", TYPES)
@pytest.mark.parametrize("of_labels", TYPES)
def test_the_place_of_each_label_is_that_of_python(of_classes, of_labels):
    """The edges of both types, and what would wrap around to an edge of the other."""

    def edges(dtype, i):
        if dtype is bool:
            return [i == 1, i != 1]
        limits = np.iinfo(dtype)
        near = {limits.min, limits.min + 1, limits.max - 1, limits.max, 0, 1, 127, 128, 255, -1}
        return sorted((n for n in near if limits.min <= n <= limits.max), key=lambda n: n * i)

    for i in (1, -1):
        classes, y = edges(of_classes, i), edges(of_labels, -i)
        expected = [classes.index(label) if label in classes else -1 for label in y]
        got = indices(np.array(classes, of_classes), np.array(y, of_labels))
        assert got.tolist() == expected


def test_ignore_index_is_compared_exactly():
    y = np.array([2**62, 2**62 + 1, 2**62 + 2], np.uint64)[LABELS]
    model = train_on(y, ignore_index=2**62 + 1)
    assert model.classes.tolist() == [2**62, 2**62 + 2]
    model = train_on(np.array([0, 1, 2**64 - 1], np.uint64)[LABELS], ignore_index=-1)
    assert model.classes.tolist() == [0, 1, 2**64 - 1]


def test_booleans_are_the_integers_0_and_1():
    model = train_on(LABELS > 0)
    assert model.score(X, (LABELS > 0).astype(int)) == model.score(X, LABELS > 0)
    with pytest.raises(ValueError, match=r"label 2 is none of the classes \[False, True\]"):
        model.encode(LABELS)
    assert labels([True, 2, 0]).tolist() == [1, 2, 0]
    assert train_on(LABELS % 2).encode([True, False]).tolist() == [1, 0]


def test_a_string_is_no_number():
    with pytest.raises(ValueError, match=r"label '1' is none of the classes \[0, 1, 2\]"):
        train_on(LABELS).encode(["1"])
    with pytest.raises(ValueError, match=r"label 1 is none of the classes \['0', '1', '2'\]"):
        train_on(LABELS.astype(str)).encode([1])


def test_many_classes_are_not_all_named():
    model = LinearClassifier(np.zeros((1000, 2), np.float32), np.zeros(1000, np.float32))
    with pytest.raises(ValueError, match=r"classes \[0, 1, .*, 19\] and 980 more$"):
        model.encode([1000])


class Color(str, enum.Enum):
    RED = "red"
    BLUE = "blue"


class Digit(enum.IntEnum):
    ONE = 1
    TWO = 2


WORKS = {
    "objects": (np.array(["b", "a"], object), ["b", "a"]),
    "NumPy's strings in a list": ([np.str_("b"), "a"], ["b", "a"]),
    "NumPy's integers in a list": ([np.uint64(7), np.int64(2**53 + 1)], [7, 2**53 + 1]),
    "booleans in objects": (np.array([True, np.False_], object), [True, False]),
    "strings that are enumerated": ([Color.RED, Color.BLUE], ["red", "blue"]),
    "integers that are enumerated": ([Digit.TWO, Digit.ONE], [2, 1]),
    "a range": (range(3, 6), [3, 4, 5]),
    "tensor": (torch.tensor([3, 1]), [3, 1]),
    "tensors in a list": ([torch.tensor(3), torch.tensor(1)], [3, 1]),
    "pandas str": (pd.Series(["b", "a"]), ["b", "a"]),
    "pandas string": (pd.Series(["b", "a"], dtype="string"), ["b", "a"]),
    "pandas category": (pd.Series(["b", "a"], dtype="category"), ["b", "a"]),
    "pandas category of integers": (pd.Series([5, 3], dtype="category"), [5, 3]),
    "pandas Int64": (pd.Series([5, 2**62 + 1], dtype="Int64"), [5, 2**62 + 1]),
    "pandas UInt64": (pd.Series([5, 2**63 + 1], dtype="UInt64"), [5, 2**63 + 1]),
    "pandas boolean": (pd.Series([True, False], dtype="boolean"), [True, False]),
    "pandas Categorical": (pd.Categorical(["b", "a"]), ["b", "a"]),
    "pandas Index": (pd.Index([4, 2]), [4, 2]),
    "nothing masked": (np.ma.array([4, 2]), [4, 2]),
    "lone surrogates, as of file names": (["a\udcff", "b"], ["a\udcff", "b"]),
    "nothing": ([], []),
    "a NUL within": (["a\0b", "a"], ["a\0b", "a"]),
}
if hasattr(np.dtypes, "StringDType"):
    WORKS["StringDType"] = (np.array(["b", "a"], np.dtypes.StringDType()), ["b", "a"])


# ---- what works ----


@pytest.mark.parametrize("case", WORKS)
def test_labels_that_work(case):
    given, expected = WORKS[case]
    got = labels(given)
    assert got.tolist() == expected
    assert got.dtype.kind in "biuU" and got.dtype.isnative


@pytest.mark.parametrize("case", [case for case in WORKS if case != "nothing"])
def test_a_model_of_labels_that_work_is_saved_and_scored(case, tmp_path):
    given, expected = WORKS[case]
    index = np.arange(N) % len(expected)
    if isinstance(given, (list, range)):
        y = [given[k] for k in index]
    else:
        y = given.take(torch.tensor(index) if isinstance(given, torch.Tensor) else index)
    model = train_on(y)
    model.save(tmp_path / "m")
    loaded = LinearClassifier.load(tmp_path / "m")
    assert loaded.classes.dtype == model.classes.dtype
    assert sorted(loaded.classes.tolist()) == sorted(expected)
    assert loaded.score(X, y) == model.score(X, y)


COUNTS = pd.Series(["b"] * 30 + ["c"] * 20 + ["a"] * 10).value_counts()


# ---- weights by label ----


def test_a_series_of_class_weights_is_by_label():
    y = np.array(["a"] * 10 + ["b"] * 30 + ["c"] * 20)
    series = 1 / COUNTS
    assert series.index.tolist() == ["b", "c", "a"]
    model = train_on(y, class_weight=series)
    assert model.settings["class_weight"] == pytest.approx([1 / 10, 1 / 30, 1 / 20])
    assert model.settings == train_on(y, class_weight=series.to_dict()).settings
    part = train_on(y, class_weight=pd.Series({"c": 5}))
    assert part.settings["class_weight"] == [1, 1, 5]


# ---- rows by position, and never by two indices ----


def test_pandas_objects_of_one_index_are_taken_as_they_are():
    order = np.random.default_rng(2).permutation(N)
    y, weights = pd.Series(LABELS, index=order), pd.Series(np.arange(1.0, N + 1), index=order)
    model, plain = (
        train_on(y, sample_weight=weights),
        train_on(LABELS, sample_weight=weights.to_numpy()),
    )
    assert model.weight.tobytes() == plain.weight.tobytes()
    assert model.evaluate(X, y, weights) == plain.evaluate(X, LABELS, weights.to_numpy())
    # if only one has an index, rows are taken by position, as by NumPy
    assert train_on(y).weight.tobytes() == train_on(LABELS).weight.tobytes()


# ---- encode ----


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64])
def test_encode_integers_in_any_order(dtype):
    model = make_model([30, 10, 50, 20, 7, 3, 100])
    index = np.array([0, 6, 5, 4, 3, 2, 1, 1, 0])
    y = np.array([30, 10, 50, 20, 7, 3, 100], dtype)[index]
    encoded = model.encode(y)
    assert encoded.dtype == np.int32
    assert encoded.tolist() == index.tolist()


def test_encode_booleans():
    model = make_model([True, False], n_classes=2)
    assert model.encode([True, True, False]).tolist() == [0, 0, 1]
    assert model.predict(rows("float32")[0]).dtype == bool


def test_encode_strings():
    model = make_model(["t-shirt", "bag", "coat", "a", "b", "c", "ankle boot"])
    assert model.encode(["bag", "ankle boot", "t-shirt"]).tolist() == [1, 6, 0]
    assert model.encode(np.array(["coat", "a"], object)).tolist() == [2, 3]
    assert model.encode([]).tolist() == []
