"""LinearClassifier: prediction and evaluation against float64, and the file that holds it."""

from __future__ import annotations

import json
import os
import pickle
import stat

import numpy as np
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
    with pytest.raises(TypeError, match=r"got float64; convert it once with x\.astype"):
        predict(np.zeros((2, 784)))
    with pytest.raises(ValueError, match="x has 783 features, expected 784 as the weight has"):
        predict(np.zeros((2, 783), np.float32))
    with pytest.raises(ValueError, match="C-contiguous"):
        predict(np.zeros((784, 2), np.float32).T)
    with pytest.raises(ValueError, match=r"got shape \(784,\)"):
        predict(np.zeros(784, np.float32))


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
        ([0.5, 1.0], "float64"),
        ([1.0], "float64"),
        ([float("nan")], "float64"),
        (["a", None], "object"),
        ([b"a"], "|S1"),
        ([{}], "object"),
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
        ({"classes": [1, None, 2]}, TypeError, "classes must be integers, .*, got object"),
        ({"class_names": ["a", "b"]}, ValueError, "class_names must be 3, got 2"),
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
    with pytest.raises(TypeError, match="settings must be JSON serializable, got <object"):
        make_model(settings={"seed": object()}).save(tmp_path / "m")
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
    "classes a dict": ({"classes": '{"a": 1}'}, "classes must be integers"),
    "classes of floats": ({"classes": "[0.5, 1, 2]"}, "classes must be integers, booleans or st"),
    "two names": ({"class_names": '["a", "b"]'}, "class_names must be 3, got 2"),
    "names a number": ({"class_names": "5"}, "not iterable"),
    "scale NaN": ({"scale": "NaN"}, "scale must be finite"),
    "scale a word": ({"scale": '"big"'}, "scale must be a number"),
    "settings a list": ({"settings": "[1]"}, "settings|dictionary"),
}


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
