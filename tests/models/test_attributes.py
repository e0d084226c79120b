"""A model's attributes: what they are, what may be assigned, what a file then has."""

from __future__ import annotations

import copy
import os
import pickle

import numpy as np
import pytest

from fastsoftmax import LinearClassifier
from helpers.models import BIAS, WEIGHT, full_model, same

# ---- construction ----


def test_attributes():
    model = LinearClassifier(WEIGHT, BIAS, class_names=["x", "y", "z"], settings={"lr": 0.1})
    assert (model.n_classes, model.n_features) == (3, 4)
    assert model.classes.tolist() == [0, 1, 2]
    assert model.class_names == ("x", "y", "z")
    assert model.settings == {"lr": 0.1}
    assert repr(model) == "LinearClassifier(n_features=4, n_classes=3)"


# ---- what is assigned afterwards ----


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
