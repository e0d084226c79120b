"""Data of one's own: .npz and .npy files, their arrays' names, labels of any kind."""

from __future__ import annotations

import os

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax.datasets import synthetic
from helpers.arguments import X, Y


@pytest.mark.parametrize(
    "labels",
    [[0, 1000, 2000], [2**40, 0, -5], [2**62, 2**62 + 1, 0], ["a", "b", "c"], [True, False, True]],
    ids=str,
)
def test_the_rules_for_labels_are_those_of_train(run, tmp_path, labels):
    y = np.array(labels)[Y]
    np.savez(tmp_path / "d.npz", x_train=X, y_train=y, x_test=X[:20], y_test=y[:20])
    code, out, err = run(
        "train", "--data", tmp_path / "d.npz", "--epochs", 5, "--save", tmp_path / "m"
    )
    assert (code, err) == (0, [])
    expected = fs.train((X, y), validation_data=(X[:20], y[:20]), epochs=5)
    loaded = fs.LinearClassifier.load(tmp_path / "m")
    assert loaded.classes.tolist() == np.unique(y).tolist() == expected.model.classes.tolist()
    assert loaded.weight.tobytes() == expected.model.weight.tobytes()
    assert f"{expected.history.test_loss[-1]:.4f}" in out[5]

    code, out, err = run("evaluate", tmp_path / "m", "--data", tmp_path / "d.npz")
    assert (code, len(out), err) == (0, 2, [])
    code, out, err = run("predict", tmp_path / "m", "--data", tmp_path / "d.npz", "--count", 4)
    assert (code, err) == (0, [])
    assert [line.split()[2] for line in out] == [str(label) for label in y[:4].tolist()]


@pytest.mark.parametrize("name", ["d.npz", "D.NPZ", "without a suffix"])
@pytest.mark.parametrize("names", ["x y", "X Y", "x_train y_train", "X_train y_train"])
def test_names_of_files_and_arrays(run, tmp_path, monkeypatch, name, names):
    x, y = names.split()
    with open(tmp_path / name, "wb") as file:
        np.savez(file, **{x: X, y: Y})
    expected = fs.train((X, Y), epochs=2)
    path = tmp_path / name
    for data in (path, str(path), fs.load_dataset(path)):
        result = fs.train(data, epochs=2)
        assert result.dataset == name
        assert result.model.weight.tobytes() == expected.model.weight.tobytes()
    result = fs.train(path, epochs=2, validation_data=(X, Y))
    assert len(result.history.test_loss) == 2
    monkeypatch.chdir(tmp_path)
    code, _, err = run("train", "--data", name, "--epochs", 2, "--save", "m")
    assert (code, err) == (0, [])
    assert fs.LinearClassifier.load("m").weight.tobytes() == expected.model.weight.tobytes()


def test_a_dataset_of_a_file(tmp_path):
    np.savez(tmp_path / "d.npz", x_train=X, y_train=Y * 5, x_test=X[:7], y_test=Y[:7])
    data = fs.load_dataset(tmp_path / "d.npz")
    assert repr(data) == "<Dataset d.npz: 60 + 7 rows of 4, 3 classes>"
    assert data.class_names is None and not data.train_images.flags.writeable
    assert (data.train_labels == Y * 5).all()


def test_a_file_that_is_called_as_a_dataset_is_not_taken_for_it(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    np.savez("synthetic.npz", x=X, y=Y)
    os.rename("synthetic.npz", "synthetic")
    monkeypatch.setattr(synthetic, "make", lambda: data)
    assert fs.load_dataset("synthetic") is data
    assert fs.load_dataset("./synthetic").name == "synthetic"


@pytest.mark.parametrize("kind", ["x_test", "x", "X", "npy", "with another y"])
def test_predict_rows_without_labels(run, tmp_path, of_words, kind):
    path = tmp_path / ("rows.npy" if kind == "npy" else "rows.npz")
    if kind == "npy":
        np.save(path, X)
    elif kind == "with another y":
        np.savez(path, x_test=X, y_train=Y)
    else:
        np.savez(path, **{kind: X})
    code, out, err = run("predict", of_words, "--data", path, "--count", 60)
    assert (code, len(out), err) == (0, 60, [])
    model = fs.LinearClassifier.load(of_words)
    for i, (line, name, p) in enumerate(
        zip(out, model.predict(X), model.predict_proba(X).max(axis=1), strict=True)
    ):
        assert line.split() == [str(i), "predicted", name, f"{p:.3f}"]


def test_predict_and_draw_rows_without_labels(run, saved, data, tmp_path):
    pytest.importorskip("matplotlib")
    np.save(tmp_path / "rows.npy", data.test_images)
    code, out, err = run(
        "predict", saved, "--data", tmp_path / "rows.npy", "--plot", tmp_path / "p.png"
    )
    assert (code, len(out), err) == (0, 18, [])
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_predict_where_labels_are_no_classes(run, tmp_path, of_words):
    np.savez(tmp_path / "d.npz", x=X, y=Y)
    code, out, err = run("predict", of_words, "--data", tmp_path / "d.npz")
    assert (code, err) == (0, [])
    assert all(line.endswith("  wrong") for line in out)
    assert [line.split()[2] for line in out] == [str(k) for k in Y[:18]]


def test_evaluate_with_test_arrays_alone(run, tmp_path, of_words):
    y = np.array(["coat", "bag", "shirt"])[Y]
    model = fs.LinearClassifier.load(of_words)
    loss, accuracy = model.evaluate(X, y)
    for part, names in (("test", "x_test y_test"), ("train", "x_train y_train"), ("all", "X y")):
        np.savez(tmp_path / "d.npz", **dict(zip(names.split(), (X, y), strict=True)))
        code, out, err = run("evaluate", of_words, "--data", tmp_path / "d.npz")
        assert (code, err) == (0, [])
        (line,) = out
        assert line.split() == [
            part, "loss", f"{loss:.4f}", "accuracy", f"{accuracy:.4f}", "(d.npz)",
        ]  # fmt: skip
