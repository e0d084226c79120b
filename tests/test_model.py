"""LinearClassifier: prediction and evaluation against float64, and the file that holds it."""

from __future__ import annotations

import copy
import functools
import json
import os
import pickle
import stat

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import fastsoftmax as fs
from fastsoftmax import LinearClassifier

N, K = 50, 7
FORMAT = "fastsoftmax.LinearClassifier"


def rows(kind, n=N):
    """Rows, and what the features are in float64."""
    rng = np.random.default_rng(5)
    if kind == "float32":
        x = rng.standard_normal((n, 784), np.float32)
        return x, x.astype(np.float64)
    shape = (n, 28, 28) if kind == "pictures" else (n, 784)
    x = rng.integers(0, 256, shape, np.uint8)
    return x, x.reshape(n, 784) / 255.0


def make_model(*args, n_features=784, n_classes=K, **kwargs):
    rng = np.random.default_rng(6)
    weight = rng.standard_normal((n_classes, n_features), np.float32) * np.float32(0.1)
    weight -= weight.mean(axis=1, keepdims=True)  # or one class is the best for all grey pictures
    return LinearClassifier(weight, rng.standard_normal(n_classes, np.float32), *args, **kwargs)


def exact_logits(model, features):
    return features @ model.weight.astype(np.float64).T + model.bias.astype(np.float64)


def exact_log_softmax(logits):
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


KINDS = pytest.mark.parametrize("kind", ["float32", "uint8", "pictures"])


# ---- prediction ----


@KINDS
def test_decision_function(kind):
    x, features = rows(kind)
    model = make_model()
    logits = model.decision_function(x)
    assert logits.shape == (N, K) and logits.dtype == np.float32
    # 784 roundings of 2**-24 of the sizes could add up; spread over lanes they come to about one
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


@pytest.mark.parametrize("backend", fs.available_backends())
@pytest.mark.parametrize("n_classes", [2, 3, 40])
def test_a_row_of_nan_is_never_right(monkeypatch, backend, n_classes):
    """As evaluated, with weights and without, and as trained."""
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


# ---- labels ----


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


# ---- construction ----

WEIGHT, BIAS = np.zeros((3, 4), np.float32), np.zeros(3, np.float32)
NESTED: list = []
for _ in range(200):
    NESTED = [NESTED]
ENDLESS: list = []
ENDLESS.append(ENDLESS)


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


def test_attributes():
    model = LinearClassifier(WEIGHT, BIAS, class_names=["x", "y", "z"], settings={"lr": 0.1})
    assert (model.n_classes, model.n_features) == (3, 4)
    assert model.classes.tolist() == [0, 1, 2]
    assert model.class_names == ("x", "y", "z")
    assert model.settings == {"lr": 0.1}
    assert repr(model) == "LinearClassifier(n_features=4, n_classes=3)"


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


def test_what_is_assigned_is_saved(tmp_path):
    model = full_model()
    model.weight = np.ascontiguousarray(model.weight[:, [2, 1, 0]])
    model.bias = model.bias[::-1].copy()
    model.classes = np.array([9, 7, 8], ">i2")
    model.class_names = np.array(["x", "y", "z"])
    model.scale = np.float32(0.1)
    model.settings = {"shape": (28, 28), "lr": np.array([0.1, 0.2]), "seed": np.uint64(2**63)}
    assert model.class_names == ("x", "y", "z")
    assert type(model.scale) is float
    assert model.settings == {"shape": [28, 28], "lr": [0.1, 0.2], "seed": 2**63}
    model.save(tmp_path / "m")
    assert same(LinearClassifier.load(tmp_path / "m"), model)
    model.class_names = model.settings = model.classes = None
    assert (model.class_names, model.settings, model.classes.tolist()) == (None, {}, [0, 1, 2])
    model.weight = np.ones((3, 9), np.float32)  # other features
    assert model.n_features == 9
    model.weight = np.ones((3, 2), np.float32).view(np.matrix)
    assert type(model.weight) is np.ndarray  # as the constructor has it


def test_a_model_shares_its_parameters_and_nothing_else():
    weight, bias, classes, settings = WEIGHT.copy(), BIAS.copy(), np.arange(3), {"a": [1]}
    model = LinearClassifier(weight, bias, classes, settings=settings)
    assert model.weight is weight and model.bias is bias
    classes[0] = 7
    settings["a"].append(2)
    assert model.classes.tolist() == [0, 1, 2] and model.settings == {"a": [1]}
    with pytest.raises(ValueError, match="read-only"):
        model.classes[0] = 7
    assert model.predict(np.zeros((2, 4), np.float32)).flags.writeable


CHANGES = {
    "the shape of the weight": lambda m: m.weight.resize((4, 3), refcheck=False),
    "the number of classes": lambda m: m.bias.resize(5, refcheck=False),
    "equal classes": lambda m: (m.classes.setflags(write=True), m.classes.fill("b")),
    "a setting that is none": lambda m: m.settings.update(a=object()),
    "a key that is none": lambda m: m.settings.update({3: 1}),
    "settings in themselves": lambda m: m.settings.update(a=m.settings),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("case", CHANGES)
def test_what_is_changed_in_place_is_checked_before_anything_is_written(tmp_path, case):
    full_model().save(tmp_path / "m")
    before = (tmp_path / "m").read_bytes()
    weight = np.arange(12, dtype=np.float32).reshape(3, 4).copy()
    model = LinearClassifier(weight, np.zeros(3, np.float32), list("abc"))
    CHANGES[case](model)
    with pytest.raises((TypeError, ValueError)):
        model.save(tmp_path / "m")
    assert os.listdir(tmp_path) == ["m"] and (tmp_path / "m").read_bytes() == before


def test_settings_changed_in_place_are_as_the_file_has_them(tmp_path):
    model = full_model()
    model.settings.update(shape=(28, 28), rate=np.float32(0.5), of={"a": (np.int8(1),)})
    model.save(tmp_path / "m")
    assert model.settings["shape"] == [28, 28] and model.settings["of"] == {"a": [1]}
    assert same(LinearClassifier.load(tmp_path / "m"), model)


def test_copies_and_pickles_are_models(tmp_path):
    for other in (copy.copy(full_model()), copy.deepcopy(full_model()), pickled(full_model())):
        assert same(other, full_model())
        with pytest.raises(ValueError, match="weight must be C-contiguous"):
            other.weight = np.asfortranarray(other.weight)


def pickled(model):
    return pickle.loads(pickle.dumps(model))


# ---- the file ----


def full_model(classes=("b", "⊕", "")):
    weight = np.array([[np.nan, np.inf, -0.0], [1e-45, -1e38, 0.1], [1, 2, 3]], np.float32)
    return LinearClassifier(
        weight,
        np.array([-np.inf, 1.5, 0.1], np.float32),
        list(classes),
        class_names=["the b", "Ünïcode", "nothing"],
        scale=0.1 + 0.2,
        settings={"lr": [0.1, 0.05], "seed": None, "data": "arrays", "nested": {"a": [True]}},
    )


def same(a, b):
    return (
        a.weight.tobytes() == b.weight.tobytes()
        and a.bias.tobytes() == b.bias.tobytes()
        and a.weight.shape == b.weight.shape
        and a.classes.tolist() == b.classes.tolist()
        and a.classes.dtype.kind == b.classes.dtype.kind
        and a.class_names == b.class_names
        and a.scale == b.scale
        and a.settings == b.settings
    )


@pytest.mark.parametrize(
    "classes",
    [("b", "⊕", ""), (3, -1, 1 << 40), (2, 0, 1), ("2", "0", "1")],
    ids=repr,
)
@pytest.mark.parametrize("as_text", [True, False], ids=["str", "Path"])
def test_round_trip(tmp_path, classes, as_text):
    model, path = full_model(classes), tmp_path / "a model.bin"
    given = str(path) if as_text else path
    model.save(given)
    loaded = LinearClassifier.load(given)
    assert isinstance(loaded, LinearClassifier)
    assert same(loaded, model)
    assert os.listdir(tmp_path) == ["a model.bin"]


def test_round_trip_of_a_bare_model(tmp_path):
    model = make_model()
    model.save(tmp_path / "m")
    loaded = LinearClassifier.load(tmp_path / "m")
    assert same(loaded, model)
    assert loaded.class_names is None and loaded.settings == {}
    x, _ = rows("pictures")
    assert loaded.decision_function(x).tobytes() == model.decision_function(x).tobytes()


def test_round_trip_of_booleans(tmp_path):
    model = make_model([True, False], n_classes=2)
    model.save(tmp_path / "m")
    assert same(LinearClassifier.load(tmp_path / "m"), model)


def test_numpy_scalars_in_settings_become_pythons(tmp_path):
    settings = {"seed": np.int64(3), "lr": [np.float32(0.5)], "shuffle": np.True_}
    make_model(settings=settings).save(tmp_path / "m")
    loaded = LinearClassifier.load(tmp_path / "m").settings
    assert loaded == {"seed": 3, "lr": [0.5], "shuffle": True}


ODD = {
    "odd names": {"class_names": ['"', "a\0", "\ud800", "\n\\", "\U0001f600", "", "null"]},
    "odd classes": {"classes": ['"', "a\0b", "\ud800", "\n\\", "\U0001f600", "", "null"]},
    "wide strings": {"classes": np.array(list("abcdefg"), "<U50")},
    "bytes of another order": {"classes": np.arange(7).astype(">u2")},
    "numbers at the edges": {
        "settings": {"a": 5e-324, "b": -0.0, "c": float("inf"), "d": 10**4000, "e": 2**63},
        "scale": 5e-324,
    },
    "subclasses": {"settings": {np.str_("a"): np.float64(0.1), "b": np.longdouble(0.1)}},
    "empty things": {"settings": {"": {}, "a": [], "b": "", "c": ((),)}},
    "90 deep": {"settings": {"a": functools.reduce(lambda inner, _: [inner], range(90), 1)}},
    "arrays": {"settings": {"a": np.eye(2), "b": np.array("x"), "c": np.array([True])}},
}


@pytest.mark.parametrize("case", ODD)
def test_round_trip_of_odd_things(tmp_path, case):
    model = make_model(**ODD[case])
    model.save(tmp_path / "m")
    loaded = LinearClassifier.load(tmp_path / "m")
    assert same(loaded, model)
    assert loaded.classes.dtype == model.classes.dtype
    assert repr(loaded.settings) == repr(model.settings)


def test_nan_in_settings(tmp_path):
    make_model(settings={"best": float("nan")}).save(tmp_path / "m")
    assert np.isnan(LinearClassifier.load(tmp_path / "m").settings["best"])


def test_a_file_of_before_classes_had_a_type(tmp_path):
    write(tmp_path / "m", classes="[7, 5, 9]", settings='{"lr": [0.1], "seed": null}')
    loaded = LinearClassifier.load(tmp_path / "m")
    assert loaded.classes.tolist() == [7, 5, 9] and loaded.classes.dtype == np.int64
    assert loaded.settings == {"lr": [0.1], "seed": None}


def test_a_header_that_safetensors_would_not_read(tmp_path, monkeypatch):
    full_model().save(tmp_path / "m")
    before = (tmp_path / "m").read_bytes()
    n = int.from_bytes(before[:8], "little")
    monkeypatch.setattr("fastsoftmax.model._MAX_HEADER", n)
    full_model().save(tmp_path / "m")
    monkeypatch.setattr("fastsoftmax.model._MAX_HEADER", n - 8)
    with pytest.raises(ValueError, match=r"must take at most [\d,]+ bytes, got [\d,]+"):
        full_model().save(tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == before


def test_one_model_is_the_same_bytes_each_time(tmp_path):
    files = []
    for i in range(20):  # a map of 7 keys is in one order by chance alone
        full_model().save(tmp_path / f"{i}")
        files.append((tmp_path / f"{i}").read_bytes())
    LinearClassifier.load(tmp_path / "0").save(tmp_path / "again")
    assert set(files) == {(tmp_path / "again").read_bytes()}
    assert int.from_bytes(files[0][:8], "little") % 8 == 0  # so the tensors are aligned


def test_a_loaded_model_can_be_trained_on_and_saved_in_its_own_place(tmp_path):
    make_model(n_features=5).save(tmp_path / "m")
    model = LinearClassifier.load(tmp_path / "m")
    x = np.random.default_rng(0).standard_normal((20, 5), np.float32)
    fs.sgd_step(x, np.arange(20) % K, model.weight, model.bias, lr=0.5)
    model.save(tmp_path / "m")
    assert same(LinearClassifier.load(tmp_path / "m"), model)
    assert model.weight.tobytes() != make_model(n_features=5).weight.tobytes()


def test_other_programs_can_read_it(tmp_path):
    model = full_model()
    model.save(tmp_path / "m")
    with safe_open(tmp_path / "m", framework="numpy") as file:
        assert sorted(file.keys()) == ["bias", "weight"]
        assert file.get_tensor("weight").tobytes() == model.weight.tobytes()
        header = file.metadata()
    assert header["format"] == FORMAT
    assert json.loads(header["classes"]) == ["b", "⊕", ""]


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_the_file_is_as_readable_as_any(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    full_model().save(tmp_path / "m")
    mode = stat.S_IMODE((tmp_path / "m").stat().st_mode)
    assert mode == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_save_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch, where, error):
    full_model().save(tmp_path / "m")
    before = (tmp_path / "m").read_bytes()
    written = []

    def fail(*args):
        written.extend(path for path in os.listdir(tmp_path) if path != "m")
        raise error

    monkeypatch.setattr(os, where, fail)
    with pytest.raises(type(error)):
        make_model().save(tmp_path / "m")
    assert len(written) == 1  # it was there, and is not any more
    assert os.listdir(tmp_path) == ["m"]
    assert (tmp_path / "m").read_bytes() == before


def test_settings_that_json_cannot_hold_leave_the_old_file_alone(tmp_path):
    full_model().save(tmp_path / "m")
    before = (tmp_path / "m").read_bytes()
    model = make_model()
    model.settings["seed"] = object()
    with pytest.raises(TypeError, match=r"settings\['seed'\] must be what JSON can hold, got"):
        model.save(tmp_path / "m")
    assert os.listdir(tmp_path) == ["m"]
    assert (tmp_path / "m").read_bytes() == before


def test_save_into_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        full_model().save(tmp_path / "nowhere" / "m")
    assert os.listdir(tmp_path) == []


def test_load_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        LinearClassifier.load(tmp_path / "missing")


class Boom:
    """Says so when it is unpickled."""

    opened: tuple = ()

    def __reduce__(self):
        return (exec, ("import os; os.environ['FASTSOFTMAX_TEST_BOOM'] = '1'",))


def garbage():
    yield "empty", b""
    yield "short", b"\x00" * 7
    yield "text", b"weight: 1, 2, 3\n" * 50
    yield "noise", np.random.default_rng(0).bytes(5000)
    yield "header length of 2**64 - 1", b"\xff" * 8 + b"{}"
    yield "header that is not JSON", (9).to_bytes(8, "little") + b"{" * 9
    for protocol in (0, 2, 4):
        yield f"pickle {protocol}", pickle.dumps(Boom(), protocol)


@pytest.mark.parametrize("name, content", list(garbage()), ids=lambda value: str(value)[:30])
def test_load_refuses_garbage(tmp_path, monkeypatch, name, content):
    monkeypatch.delenv("FASTSOFTMAX_TEST_BOOM", raising=False)
    path = tmp_path / "garbage.bin"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"garbage\.bin is not a fastsoftmax model: "):
        LinearClassifier.load(path)
    assert "FASTSOFTMAX_TEST_BOOM" not in os.environ


def test_the_pickle_would_have_gone_off(monkeypatch):
    monkeypatch.delenv("FASTSOFTMAX_TEST_BOOM", raising=False)
    pickle.loads(pickle.dumps(Boom()))
    assert os.environ.pop("FASTSOFTMAX_TEST_BOOM") == "1"


def test_load_refuses_every_truncation_and_whatever_follows(tmp_path):
    full_model().save(tmp_path / "m")
    content = (tmp_path / "m").read_bytes()
    path = tmp_path / "cut.bin"
    for n in range(len(content)):
        path.write_bytes(content[:n])
        with pytest.raises(ValueError, match=r"cut\.bin is not a fastsoftmax model: "):
            LinearClassifier.load(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(ValueError, match=r"cut\.bin is not a fastsoftmax model: "):
        LinearClassifier.load(path)


def write(path, drop=(), tensors=None, **header):
    """The file of a good model, but for what is given."""
    good = {
        "format": FORMAT, "format_version": "1", "classes": "[0, 1, 2]", "class_names": "null",
        "scale": "1.0", "settings": "{}", **header,
    }  # fmt: skip
    if tensors is None:
        tensors = {"weight": WEIGHT, "bias": BIAS}
    save_file(tensors, path, metadata={k: v for k, v in good.items() if k not in drop})


def test_what_the_bad_files_below_are_made_from_is_good(tmp_path):
    write(tmp_path / "m")
    assert same(LinearClassifier.load(tmp_path / "m"), LinearClassifier(WEIGHT, BIAS, scale=1.0))


BAD_FILES = {
    "of another program": ({"format": "pt"}, r"its header's format is 'pt'"),
    "no format": ({"drop": ["format"]}, r"its header's format is None"),
    "version 2": ({"format_version": "2"}, r"its format_version is '2'"),
    "version 1.0": ({"format_version": "1.0"}, r"its format_version is '1\.0'"),
    "no version": ({"drop": ["format_version"]}, "format_version"),
    "no classes": ({"drop": ["classes"]}, "classes"),
    "no class_names": ({"drop": ["class_names"]}, "class_names"),
    "no scale": ({"drop": ["scale"]}, "scale"),
    "no settings": ({"drop": ["settings"]}, "settings"),
    "no weight": ({"tensors": {"bias": BIAS}}, "weight"),
    "no bias": ({"tensors": {"weight": WEIGHT}}, "bias"),
    "float64": ({"tensors": {"weight": WEIGHT.astype(float), "bias": BIAS}}, "got float64"),
    "bias too short": ({"tensors": {"weight": WEIGHT, "bias": BIAS[1:]}}, "bias must have shape"),
    "weight flat": ({"tensors": {"weight": WEIGHT[0], "bias": BIAS}}, r"must be \(K, D\)"),
    "classes not JSON": ({"classes": "[0, 1,"}, "Expecting value"),
    "classes repeat": ({"classes": "[0, 1, 1]"}, "classes must differ"),
    "two classes": ({"classes": "[0, 1]"}, "classes must have shape"),
    "classes a dict": ({"classes": '{"a": 1}'}, "classes must be one-dimensional"),
    "classes of all kinds": ({"classes": '[0, "a", 2.5]'}, "classes must be of one kind"),
    "classes too large": ({"classes": f"[{2**64}, 1, 2]"}, "classes must fit into int64"),
    "classes of bytes": ({"classes_dtype": "S1"}, r"its classes_dtype is 'S1'"),
    "classes that do not fit": (
        {"classes": "[0, 1, 256]", "classes_dtype": "uint8"}, "its classes do not fit into uint8",
    ),
    "classes of no type": ({"classes_dtype": "integers"}, "integers"),
    "strings as integers": (
        {"classes": '["0", "1", "2"]', "classes_dtype": "int8"}, "its classes are <U1",
    ),
    "classes of floats": ({"classes": "[0.5, 1, 2]"}, "classes must be integers, booleans or st"),
    "two names": ({"class_names": '["a", "b"]'}, "class_names must be 3, got 2"),
    "names a number": ({"class_names": "5"}, "class_names must be a sequence of strings"),
    "names a word": ({"class_names": '"abc"'}, "class_names must be a sequence of strings"),
    "names a dict": ({"class_names": '{"a": 0, "b": 1, "c": 2}'}, "class_names must be a seq"),
    "scale NaN": ({"scale": "NaN"}, "scale must be finite"),
    "scale a word": ({"scale": '"big"'}, "scale must be a number"),
    "scale of 400 digits": ({"scale": "9" * 400}, ""),
    "settings a list": ({"settings": "[1]"}, "settings must be a mapping, got list"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_load_refuses(tmp_path, case):
    changed, reason = BAD_FILES[case]
    write(tmp_path / "bad.st", **changed)
    with pytest.raises(ValueError, match=rf"bad\.st is not a fastsoftmax model: .*{reason}"):
        LinearClassifier.load(tmp_path / "bad.st")


def test_load_refuses_a_safetensors_file_without_metadata(tmp_path):
    save_file({"weight": WEIGHT, "bias": BIAS}, tmp_path / "m")
    with pytest.raises(ValueError, match=r"m is not a fastsoftmax.*: its header's format is None"):
        LinearClassifier.load(tmp_path / "m")


@pytest.mark.parametrize("key", ["classes", "settings"])
def test_load_refuses_json_that_is_nested_too_deeply(tmp_path, key):
    write(tmp_path / "deep", **{key: "[" * 100_000 + "]" * 100_000})
    with pytest.raises(ValueError, match="deep is not a fastsoftmax model: "):
        LinearClassifier.load(tmp_path / "deep")


def test_load_refuses_a_type_that_numpy_does_not_have(tmp_path):
    header = {
        "__metadata__": {
            "format": FORMAT, "format_version": "1", "classes": "[0, 1, 2]",
            "class_names": "null", "scale": "1.0", "settings": "{}",
        },
        "weight": {"dtype": "F8_E4M3", "shape": [3, 4], "data_offsets": [0, 12]},
        "bias": {"dtype": "F32", "shape": [3], "data_offsets": [12, 24]},
    }  # fmt: skip
    text = json.dumps(header).encode()
    (tmp_path / "f8").write_bytes(len(text).to_bytes(8, "little") + text + bytes(24))
    with pytest.raises(ValueError, match="f8 is not a fastsoftmax model: "):
        LinearClassifier.load(tmp_path / "f8")
