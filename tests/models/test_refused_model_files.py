"""Files that are no model: refused, whatever they hold; a pickle is never opened."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest
from safetensors.numpy import save_file

from fastsoftmax import LinearClassifier
from helpers.models import BIAS, FORMAT, WEIGHT, full_model, same, write_model


class Boom:
    """Sets an environment variable when it is unpickled."""

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


def test_what_the_bad_files_below_are_made_from_is_good(tmp_path):
    write_model(tmp_path / "m")
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
    write_model(tmp_path / "bad.st", **changed)
    with pytest.raises(ValueError, match=rf"bad\.st is not a fastsoftmax model: .*{reason}"):
        LinearClassifier.load(tmp_path / "bad.st")


def test_load_refuses_a_safetensors_file_without_metadata(tmp_path):
    save_file({"weight": WEIGHT, "bias": BIAS}, tmp_path / "m")
    with pytest.raises(ValueError, match=r"m is not a fastsoftmax.*: its header's format is None"):
        LinearClassifier.load(tmp_path / "m")


@pytest.mark.parametrize("key", ["classes", "settings"])
def test_load_refuses_json_that_is_nested_too_deeply(tmp_path, key):
    write_model(tmp_path / "deep", **{key: "[" * 100_000 + "]" * 100_000})
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
