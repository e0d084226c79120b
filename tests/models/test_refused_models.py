"""Bad rows, labels, constructions and assignments of a model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fastsoftmax import LinearClassifier
from helpers.models import BIAS, WEIGHT, full_model, make_model, rows

# ---- prediction ----


@pytest.mark.parametrize("method", ["decision_function", "predict", "predict_proba"])
def test_bad_rows(method):
    predict = getattr(make_model(), method)
    with pytest.raises(TypeError, match=r"got float64; convert it once with np\.ascont"):
        predict(np.zeros((2, 784)))
    with pytest.raises(ValueError, match="x has 783 features, expected 784 as the weight has"):
        predict(np.zeros((2, 783), np.float32))
    with pytest.raises(ValueError, match="C-contiguous"):
        predict(np.zeros((784, 2), np.float32).T)
    with pytest.raises(ValueError, match=r"got shape \(784,\)"):
        predict(np.zeros(784, np.float32))


@pytest.mark.parametrize("x", [3.0, "a", None, [[1.0, 2.0]]], ids=repr)
def test_rows_that_are_none(x):
    model = make_model(n_features=2)
    for call in (
        model.predict,
        model.predict_proba,
        model.decision_function,
        lambda x: model.evaluate(x, [1]),
        lambda x: model.score(x, [1], [1.0]),
    ):
        with pytest.raises((TypeError, ValueError), match=r"^x must be "):
            call(x)


# ---- labels ----


@pytest.mark.parametrize(
    "y, wrong",
    [
        ([3, 8, 1], "8"),
        ([-1], "-1"),
        ([6, 7], "7"),
        ([7 << 40, 0], str(7 << 40)),
        (["a"], "'a'"),
        (["1"], "'1'"),
    ],
    ids=repr,
)
def test_a_label_that_is_none_of_the_integers(y, wrong):
    with pytest.raises(ValueError) as error:
        make_model().encode(y)
    message = str(error.value)
    assert message.startswith("label ") and wrong in message
    assert message.endswith("is none of the classes [0, 1, 2, 3, 4, 5, 6]")


@pytest.mark.parametrize("y, wrong", [(["a", "h"], "'h'"), (["A"], "'A'"), ([1], "1")], ids=repr)
def test_a_label_that_is_none_of_the_strings(y, wrong):
    with pytest.raises(ValueError) as error:
        make_model(list("abcdefg")).encode(y)
    message = str(error.value)
    assert message.startswith("label ") and wrong in message
    assert message.endswith("is none of the classes ['a', 'b', 'c', 'd', 'e', 'f', 'g']")


@pytest.mark.parametrize(
    "y, got",
    [
        ([0.5, 1.0], "float64; np.unique(labels, return_inverse=True)[1] makes labels of them"),
        ([1.0], "float64; np.asarray(labels).astype(int) makes labels of them"),
        ([b"a"], "bytes; [label.decode() for label in labels] makes labels of them"),
        ([{}], "dict; [str(label) for label in labels] makes labels of them"),
    ],
    ids=repr,
)
def test_labels_are_integers_booleans_or_strings(y, got):
    for model in (make_model(), make_model(list("abcdefg"))):
        with pytest.raises(TypeError) as error:
            model.encode(y)
        assert str(error.value) == f"labels must be integers, booleans or strings, got {got}"


@pytest.mark.parametrize("y", [3, [[1, 2], [3, 4]], np.zeros((5, 1), int)], ids=repr)
def test_labels_are_one_dimensional(y):
    with pytest.raises(ValueError, match="labels must be one-dimensional, got shape"):
        make_model().encode(y)


def test_as_many_labels_as_rows():
    x, _ = rows("float32")
    with pytest.raises(ValueError, match=r"must have shape \(50,\) as x has rows, got \(49,\)"):
        make_model().evaluate(x, np.zeros(49, int))


NESTED: list = []
for _ in range(200):
    NESTED = [NESTED]
ENDLESS: list = []
ENDLESS.append(ENDLESS)


# ---- construction ----


@pytest.mark.parametrize(
    "changed, error, message",
    [
        ({"weight": WEIGHT.astype(np.float64)}, TypeError, "weight must be .*, got float64"),
        ({"weight": WEIGHT.tolist()}, TypeError, "weight must be an array of float32, got list"),
        ({"weight": WEIGHT[0]}, ValueError, r"weight must be \(K, D\), got shape \(4,\)"),
        ({"weight": WEIGHT[:1], "bias": BIAS[:1]}, ValueError, r"K >= 2.* got shape \(1, 4\)"),
        ({"weight": WEIGHT[:, ::2]}, ValueError, "weight must be C-contiguous"),
        ({"bias": BIAS[:2]}, ValueError, r"bias must have shape \(3,\), got \(2,\)"),
        ({"bias": BIAS.astype(np.float64)}, TypeError, "bias must be .*, got float64"),
        ({"classes": [1, 2]}, ValueError, r"classes must have shape \(3,\), got \(2,\)"),
        ({"classes": [[1, 2, 3]]}, ValueError, r"classes must be one-dimens.* shape \(1, 3\)"),
        ({"classes": [1, 2, 1]}, ValueError, r"classes must differ .*, got \[1, 2, 1\]"),
        ({"classes": ["a", "b", "a"]}, ValueError, r"differ .*, got \['a', 'b', 'a'\]"),
        ({"classes": [0.5, 1, 2]}, TypeError, "classes must be integers, .*, got float64"),
        ({"classes": [1, None, 2]}, TypeError, r"classes\[1\] is missing, None; "),
        ({"classes": {0: "a", 1: "b", 2: "c"}}, ValueError, r"shape \(\) of type dict"),
        ({"class_names": ["a", "b"]}, ValueError, "class_names must be 3, got 2"),
        ({"class_names": "abc"}, TypeError, "class_names must be a sequence of .*, got 'abc'"),
        ({"class_names": b"abc"}, TypeError, "class_names must be a sequence of .*, got b'abc'"),
        ({"class_names": 5}, TypeError, "class_names must be a sequence of strings, got 5"),
        ({"class_names": np.array("a")}, TypeError, "class_names must be a sequence of strings"),
        ({"class_names": {"a", "b", "c"}}, TypeError, "class_names must be a sequence of strings"),
        ({"class_names": {0: "a"}}, TypeError, r"got a dict; \[class_names\[label\] for label in"),
        ({"class_names": pd.Series(list("abc"))}, TypeError, "got a Series; "),
        ({"class_names": ["a", "b", 3]}, TypeError, r"must be strings, got \('a', 'b', 3\)"),
        ({"class_names": ["a", "b", None]}, TypeError, "class_names must be strings, got "),
        ({"class_names": ["\ud83d\ude00", "b", "c"]}, ValueError, "class_names has a text"),
        ({"classes": ["\ud83d\ude00", "b", "c"]}, ValueError, "classes has a text or number"),
        ({"settings": [("a", 1)]}, TypeError, "settings must be a mapping, got list"),
        ({"settings": {"a": object()}}, TypeError, r"settings\['a'\] must be what JSON can hold"),
        ({"settings": {"a": {3: 1}}}, TypeError, r"settings\['a'\] must have strings as keys"),
        ({"settings": {"a": [1, b"x"]}}, TypeError, r"settings\['a'\]\[1\] must be what JSON"),
        (
            {"settings": {"a": 1j}},
            TypeError,
            "must be what JSON can hold, got 1j",
        ),
        ({"settings": {"a": np.datetime64(1, "ns")}}, TypeError, "must be what JSON can hold"),
        ({"settings": {"a": {1, 2}}}, TypeError, "must be what JSON can hold"),
        ({"settings": {"a": 10**5000}}, ValueError, r"settings\['a'\] has a text or number"),
        ({"settings": {"a": "\ud83d\ude00"}}, ValueError, r"settings\['a'\] has a text or num"),
        ({"settings": {"\ud83d\ude00": 1}}, ValueError, "settings has a text or number"),
        ({"settings": {"a": NESTED}}, ValueError, "nested too deeply: settings may be 100 deep"),
        ({"settings": {"a": ENDLESS}}, ValueError, "nested too deeply: settings may be 100 deep"),
        ({"scale": float("nan")}, ValueError, "scale must be finite in float32, got nan"),
        ({"scale": "1/255"}, TypeError, "scale must be a number, got '1/255'"),
    ],
)
def test_bad_construction(changed, error, message):
    with pytest.raises(error, match=message):
        LinearClassifier(**{"weight": WEIGHT, "bias": BIAS, **changed})


# ---- what is assigned afterwards ----


@pytest.mark.parametrize(
    "name, value, error, message",
    [
        ("weight", WEIGHT.astype(np.float64), TypeError, "weight must be .*, got float64"),
        ("weight", WEIGHT.astype(">f4"), TypeError, "weight must be .*, got >f4"),
        ("weight", WEIGHT.tolist(), TypeError, "weight must be .*, got list"),
        ("weight", np.asfortranarray(WEIGHT), ValueError, "weight must be C-contiguous"),
        ("weight", WEIGHT[:, [3, 1, 0, 2]], ValueError, "weight must be C-contiguous"),
        ("weight", WEIGHT[0], ValueError, "weight must have 3 classes as the model has"),
        ("weight", WEIGHT[:2], ValueError, r"weight must have 3 classes .* \(2, 4\)"),
        ("weight", BIAS, ValueError, r"weight must be \(K, D\), got shape \(3,\)"),
        ("weight", WEIGHT[:, :0].copy(), ValueError, r"D >= 1, got shape \(3, 0\)"),
        ("weight", np.ma.array(WEIGHT, mask=WEIGHT == 0), TypeError, "array without a mask"),
        ("weight", None, TypeError, "weight must be an array of float32, got NoneType"),
        ("bias", np.zeros(6, np.float32)[::2], ValueError, "bias must be C-contiguous"),
        ("bias", BIAS[:2], ValueError, "bias must have 3 classes as the model has, got shape"),
        ("bias", 0.0, TypeError, "bias must be an array of float32, got float"),
        ("classes", [1, 2], ValueError, r"classes must have shape \(3,\), got \(2,\)"),
        ("classes", [1, 2, 1], ValueError, "classes must differ from each other"),
        ("classes", [0, "a", 2.5], TypeError, "classes must be of one kind"),
        ("class_names", "abc", TypeError, "class_names must be a sequence of strings"),
        ("class_names", ["a"], ValueError, "class_names must be 3, got 1"),
        ("scale", float("inf"), ValueError, "scale must be finite"),
        ("scale", "big", TypeError, "scale must be a number"),
        ("settings", {"a": object()}, TypeError, "must be what JSON can hold"),
        ("settings", 5, TypeError, "settings must be a mapping, got int"),
        ("n_classes", 5, AttributeError, "n_classes"),
    ],
)
def test_what_is_assigned_is_checked(name, value, error, message):
    model = full_model()
    before = vars(model).copy()
    with pytest.raises(error, match=message):
        setattr(model, name, value)
    assert vars(model) == before
