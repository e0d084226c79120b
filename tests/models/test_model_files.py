"""A model's file: what goes in comes out, whole or not at all."""

from __future__ import annotations

import functools
import json
import os
import stat

import numpy as np
import pytest
from safetensors import safe_open

import fastsoftmax as fs
from fastsoftmax import LinearClassifier
from helpers.models import FORMAT, K, full_model, make_model, rows, same, write_model


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
    write_model(tmp_path / "m", classes="[7, 5, 9]", settings='{"lr": [0.1], "seed": null}')
    loaded = LinearClassifier.load(tmp_path / "m")
    assert loaded.classes.tolist() == [7, 5, 9] and loaded.classes.dtype == np.int64
    assert loaded.settings == {"lr": [0.1], "seed": None}


def test_a_header_that_safetensors_would_not_read(tmp_path, monkeypatch):
    full_model().save(tmp_path / "m")
    before = (tmp_path / "m").read_bytes()
    n = int.from_bytes(before[:8], "little")
    monkeypatch.setattr("fastsoftmax.model_file._MAX_HEADER", n)
    full_model().save(tmp_path / "m")
    monkeypatch.setattr("fastsoftmax.model_file._MAX_HEADER", n - 8)
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
