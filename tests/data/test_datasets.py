"""load_dataset chooses and says so; what a Dataset is and is not; the stand-in."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys

import numpy as np
import pytest

from fastsoftmax.datasets import (
    Dataset,
    fashion_mnist,
    load_dataset,
    synthetic,
)

# ---- load_dataset ----


def test_auto_falls_back_and_says_so(small):
    with pytest.warns(UserWarning, match=r"Fashion-MNIST .* \(ConnectionError\)") as caught:
        dataset = load_dataset()
    assert dataset.name == "synthetic"
    (warning,) = caught
    assert "synthetic" in str(warning.message) and "\n" not in str(warning.message)
    assert warning.filename == __file__


def test_the_warning_points_outside_the_package(small):
    # As fastsoftmax.train() would: a caller within the package, called from here.
    inside = {"__name__": "fastsoftmax.training.train", "load_dataset": load_dataset}
    exec(compile("def train():\n    return load_dataset('auto')", "trainer.py", "exec"), inside)
    with pytest.warns(UserWarning) as caught:
        inside["train"]()
    assert caught[0].filename == __file__


def test_unknown_names():
    with pytest.raises(ValueError, match=r"'mnist'.*auto, fashion-mnist or synthetic"):
        load_dataset("mnist")
    for name in (None, 3, b"auto"):
        with pytest.raises(TypeError, match=f"must be a str or a path, not {type(name).__name__}"):
            load_dataset(name)


def test_importing_is_light(tmp_path):
    code = "import sys, fastsoftmax.datasets as d; print(d.load_dataset and sorted(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,  # not the source folder
    )
    for heavy in ("pooch", "requests", "platformdirs", "matplotlib"):
        assert f"'{heavy}'" not in run.stdout


# ---- Dataset ----


def test_dataset():
    images, labels = np.zeros((4, 28, 28), np.uint8), np.zeros(4, np.int32)
    dataset = Dataset(images, labels, images[:2], labels[:2], ("a", "b"), "zeros")
    assert repr(dataset) == "<Dataset zeros: 4 + 2 pictures of 28x28, 2 classes>"
    for part in (dataset.train_images, dataset.train_labels, dataset.test_images):
        with pytest.raises(ValueError, match="read-only"):
            part[0] = 1
    images[0] = 1  # the caller's own array is not frozen
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.name = "ones"
    assert dataset != dataclasses.replace(dataset)


GOOD = {
    "train_images": [[1, 2], [3, 4]],
    "train_labels": [0, 1],
    "test_images": [],
    "test_labels": [],
    "class_names": ["a", "b"],
    "name": "mine",
}


def test_a_dataset_of_lists():
    dataset = Dataset(**GOOD)
    assert dataset.class_names == ("a", "b") and dataset.train_images.shape == (2, 2)
    assert not dataset.train_labels.flags.writeable
    assert dataset.test_labels.dtype.kind == "i" and len(dataset.test_images) == 0
    names = Dataset(**{**GOOD, "class_names": np.array(["a", "b"])}).class_names
    assert names == ("a", "b") and {type(name) for name in names} == {str}
    Dataset(**{**GOOD, "train_labels": [0, -100]})  # to be ignored


@pytest.mark.parametrize(
    "changed, error, message",
    [
        ({"train_images": [[1], [2, 3]]}, ValueError, "train_images cannot be made an array"),
        ({"train_images": 3}, TypeError, "train_images must be an array, got int"),
        ({"train_images": None}, TypeError, "train_images must be an array, got NoneType"),
        ({"train_images": [["a"], ["b"]]}, TypeError, "an array of numbers, got dtype <U1"),
        ({"train_images": [[None], [2]]}, TypeError, "got dtype object of NoneType"),
        ({"train_images": [1, 2]}, ValueError, r"train_images must be \(N, D\), .*, got \(2,\)"),
        ({"train_labels": [0]}, ValueError, r"train_labels must have shape \(2,\) as train_ima"),
        ({"test_labels": [1]}, ValueError, r"test_labels must have shape \(0,\) as test_images"),
        ({"train_labels": [0.0, 1.0]}, TypeError, "train_labels must be integers"),
        ({"train_labels": ["a", "b"]}, TypeError, "train_labels must be integers"),
        ({"train_labels": [[0], [1]]}, ValueError, "train_labels must be one-dimensional"),
        ({"train_labels": [0, 2]}, ValueError, r"train_labels\[1\] is 2, and there are 2 class"),
        ({"class_names": "ab"}, TypeError, "class_names must be a sequence of str, got the str"),
        ({"class_names": 2}, TypeError, "class_names must be a sequence of str, got int"),
        ({"class_names": [0, 1]}, TypeError, "class_names must .*, one of them is 0"),
        ({"name": 3}, TypeError, "name must be a str, got int"),
    ],
)
def test_what_is_no_dataset(changed, error, message):
    with pytest.raises(error, match=message):
        Dataset(**{**GOOD, **changed})


def digest(array):
    return hashlib.sha256(array.tobytes()).hexdigest()[:16]


# ---- the stand-in ----


def test_the_same_pictures_on_every_machine():
    dataset = synthetic.make(n_train=70, n_test=10)
    assert digest(dataset.train_images[:10]) == "46367ad91ecdb395"
    assert digest(dataset.train_images[60:]) == "273326ed8386e2bc"
    assert digest(dataset.test_images) == "832b365bbb5eb546"
    assert dataset.train_labels[:10].tolist() == [3, 2, 1, 8, 6, 0, 7, 4, 5, 9]
    assert digest(synthetic.make(10, 0, seed=1).train_images) == "9749117988834f42"


def test_a_picture_does_not_depend_on_how_many_are_drawn():
    many = synthetic.make(n_train=185, n_test=135, seed=7)
    for n in (1, 59, 60, 61, 130):
        few = synthetic.make(n_train=n, n_test=n - 1, seed=7)
        np.testing.assert_array_equal(few.train_images, many.train_images[:n])
        np.testing.assert_array_equal(few.train_labels, many.train_labels[:n])
        np.testing.assert_array_equal(few.test_images, many.test_images[: n - 1])


def test_no_picture_is_drawn_twice():
    dataset = synthetic.make(n_train=600, n_test=600)
    other = synthetic.make(n_train=600, n_test=0, seed=1)
    pictures = np.concatenate([dataset.train_images, dataset.test_images, other.train_images])
    assert len(np.unique(pictures, axis=0)) == 1800


def test_the_record_of_the_stand_in(stand_in):
    assert stand_in.name == "synthetic"
    assert stand_in.class_names == fashion_mnist.CLASS_NAMES
    for part, n in (("train", 60_000), ("test", 10_000)):
        images, labels = getattr(stand_in, f"{part}_images"), getattr(stand_in, f"{part}_labels")
        assert images.shape == (n, 28, 28) and images.dtype == np.uint8
        assert images.flags.c_contiguous and not images.flags.writeable
        assert labels.shape == (n,) and labels.dtype == np.int32
        assert np.bincount(labels).tolist() == [n // 10] * 10
        # Every ten in a row hold every class.
        assert (np.sort(labels.reshape(-1, 10), axis=1) == np.arange(10)).all()


def test_the_pictures_of_the_stand_in(stand_in):
    images = stand_in.test_images
    covered = (images > 0).mean(axis=(1, 2))
    assert 0.05 < covered.min() and covered.max() < 0.95
    assert images.max() > 220
    assert (images[:, 0, 0] == 0).mean() > 0.95  # on a black background


def test_a_linear_model_finds_the_stand_in_hard_but_not_too_hard(stand_in):
    x = stand_in.train_images.reshape(-1, 784).astype(np.float32) / 255
    y = np.eye(10, dtype=np.float32)[stand_in.train_labels]
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(0, 0.01, (784, 10)).astype(np.float32), np.zeros(10, np.float32)
    losses = []
    for _ in range(10):
        total, order = 0.0, rng.permutation(len(x))
        for start in range(0, len(x), 256):
            rows = order[start : start + 256]
            logits = x[rows] @ weight + bias
            logits -= logits.max(axis=1, keepdims=True)
            logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
            total -= float((logits * y[rows]).sum())
            residual = (np.exp(logits) - y[rows]) * np.float32(0.1 / len(rows))
            weight -= x[rows].T @ residual
            bias -= residual.sum(axis=0)
        losses.append(total / len(x))
    scores = (stand_in.test_images.reshape(-1, 784).astype(np.float32) / 255) @ weight + bias
    assert (np.diff(losses) < 0).all() and losses[-1] < 0.6 * losses[0]
    assert 0.80 < (scores.argmax(axis=1) == stand_in.test_labels).mean() < 0.90


@pytest.fixture(scope="module")
def stand_in():
    return load_dataset("synthetic")


def test_odd_numbers_of_pictures():
    empty = synthetic.make(n_train=0, n_test=np.int64(0))
    assert empty.train_images.shape == (0, 28, 28) and empty.test_labels.shape == (0,)
    for wrong in ({"n_train": -1}, {"n_test": -1}, {"seed": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}=-1"):
            synthetic.make(**wrong)
    for wrong in ({"n_train": 1.5}, {"n_test": "3"}, {"seed": None}):
        with pytest.raises(TypeError):
            synthetic.make(**wrong)
