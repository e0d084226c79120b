"""`fastsoftmax train`: what it prints and writes, and that every option reaches the training."""

from __future__ import annotations

import json

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import cli
from fastsoftmax.datasets import fashion_mnist, synthetic
from helpers.command import arrays_of


def test_train_prints_the_history_and_a_summary(run, npz, trained):
    code, out, err = run("train", "--data", npz, "--epochs", 3)
    assert (code, err) == (0, [])
    history = trained.history
    assert out[0].split() == ["epoch", *(name for name in history.to_dict())]
    for epoch in range(3):
        cells = out[1 + epoch].split()
        assert cells[:6] == [
            str(epoch + 1),
            "0.1",
            f"{history.train_loss[epoch]:.4f}",
            f"{history.train_accuracy[epoch]:.4f}",
            f"{history.test_loss[epoch]:.4f}",
            f"{history.test_accuracy[epoch]:.4f}",
        ]
    accuracy, summary = history.test_accuracy[-1], " ".join(out[4:])
    assert f"test accuracy {accuracy:.4f} on garments.npz after 3 epochs" in summary
    assert "trained in 0." in summary
    assert summary.endswith(f"by the {fs.get_backend().name} backend")


def test_one_epoch_is_not_epochs(run, npz):
    _, out, _ = run("train", "--data", npz, "--epochs", 1)
    assert any(line.endswith("after 1 epoch") for line in out)


def test_train_writes_what_it_is_asked_for(run, npz, trained, tmp_path):
    pytest.importorskip("matplotlib")
    model, plot, record = (tmp_path / name for name in ("m.safetensors", "c.png", "h.json"))
    code, _, err = run(
        "train", "--data", npz, "--epochs", 3, "--save", model, "--plot", plot, "--json", record
    )
    assert (code, err) == (0, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.png", "h.json", "m.safetensors"]

    loaded = fs.LinearClassifier.load(model)
    assert loaded.weight.tobytes() == trained.model.weight.tobytes()
    assert loaded.bias.tobytes() == trained.model.bias.tobytes()
    assert loaded.settings["data"] == "garments.npz"

    assert plot.read_bytes().startswith(b"\x89PNG\r\n")

    written = json.loads(record.read_text())
    assert list(written) == ["dataset", "backend", "settings", "history"]
    assert written["dataset"] == "garments.npz"
    assert written["backend"] == trained.backend
    assert written["settings"] == loaded.settings
    expected = trained.history.to_dict()
    assert list(written["history"]) == list(expected)
    for name, values in written["history"].items():
        assert len(values) == 3
        if "second" not in name:
            assert values == expected[name]


def test_every_option_reaches_the_training(run, npz, data, tmp_path):
    code, _, err = run(
        "train", "--data", npz, "--epochs", 2, "--batch-size", 100, "--lr", 0.05,
        "--momentum", 0.9, "--nesterov", "--weight-decay", 0.01, "--l1", 0.001,
        "--class-weight", "balanced", "--label-smoothing", 0.1, "--no-shuffle", "--seed", 3,
        "--init-std", 0.5, "--backend", "numpy", "--num-threads", 1, "--save", tmp_path / "m",
        "--json", tmp_path / "j",
    )  # fmt: skip
    assert (code, err) == (0, [])
    result = fs.train(
        data, epochs=2, batch_size=100, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01,
        l1=0.001, class_weight="balanced", label_smoothing=0.1, shuffle=False, seed=3,
        init_std=0.5, backend="numpy",
    )  # fmt: skip
    loaded = fs.LinearClassifier.load(tmp_path / "m")
    assert loaded.weight.tobytes() == result.model.weight.tobytes()
    assert loaded.settings == {**result.model.settings, "data": "garments.npz"}
    assert json.loads((tmp_path / "j").read_text())["backend"] == "numpy"


def test_dampening_and_threads_reach_the_training(run, npz, data, tmp_path, monkeypatch):
    asked = []

    def train(data, **options):
        asked.append(options)
        return fs.train(data, **options)

    monkeypatch.setattr(cli, "train", train)
    run("train", "--data", npz, "--epochs", 1, "--momentum", 0.5, "--dampening", 0.25,
        "--num-threads", 3)  # fmt: skip
    (options,) = asked
    assert (options["dampening"], options["num_threads"]) == (0.25, 3)


def test_the_defaults_are_those_of_the_function(run, npz, monkeypatch):
    import inspect

    asked = []

    def train(data, **options):
        asked.append(options)
        return fs.train(data, **{**options, "epochs": 1})

    monkeypatch.setattr(cli, "train", train)
    run("train", "--data", npz)
    (options,) = asked
    parameters = inspect.signature(fs.train).parameters
    assert {name: parameters[name].default for name in options} == options
    no_option = {"data", "validation_data", "sample_weight", "ignore_index", "progress"}
    assert set(parameters) - set(options) == no_option


def test_train_on_flat_float32_rows(run, data, tmp_path):
    flat = {
        name: array.reshape(len(array), -1).astype(np.float32) / 255 if name[0] == "x" else array
        for name, array in arrays_of(data).items()
    }
    np.savez_compressed(tmp_path / "flat.npz", **flat)
    code, out, err = run("train", "--data", tmp_path / "flat.npz", "--epochs", 2)
    assert (code, err) == (0, [])
    assert "on flat.npz after 2 epochs" in " ".join(out)


def test_synthetic_by_name(run, data, monkeypatch):
    monkeypatch.setattr(synthetic, "make", lambda: data)
    code, out, err = run("train", "--data", "synthetic", "--epochs", 1)
    assert (code, err) == (0, [])
    assert "on synthetic after 1 epoch" in " ".join(out)


def test_the_stand_in_is_announced(run, data, monkeypatch, tmp_path):
    for variable in ("FASTSOFTMAX_DATA_DIR", "FASTSOFTMAX_CACHE_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    # no downloader knows this scheme: the network is not asked
    monkeypatch.setattr(fashion_mnist, "MIRRORS", ("nowhere://a/", "nowhere://b/"))
    monkeypatch.setattr(synthetic, "make", lambda: data)
    code, out, err = run("train", "--epochs", 1)
    assert code == 0
    warnings = [line for line in err if "warning" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith("fastsoftmax: warning: Fashion-MNIST is not on this machine")
    assert "synthetic pictures instead" in warnings[0]
    assert "on synthetic after 1 epoch" in " ".join(out)


def test_no_stand_in_for_what_was_asked_for_by_name(run, monkeypatch, tmp_path):
    for variable in ("FASTSOFTMAX_DATA_DIR", "FASTSOFTMAX_CACHE_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setattr(fashion_mnist, "MIRRORS", ("nowhere://a/",))
    code, out, err = run("train", "--data", "fashion-mnist")
    assert (code, out) == (2, [])
    errors = [line for line in err if line.startswith("fastsoftmax: error: ")]
    assert len(errors) == 1
    assert "Fashion-MNIST is not on this machine and could not be downloaded" in errors[0]
    assert "train-images-idx3-ubyte.gz" in errors[0]


def test_a_warning_does_not_change_how_python_warns(run, npz):
    import warnings

    before = warnings.showwarning
    run("train", "--data", npz, "--epochs", 1)
    assert warnings.showwarning is before


def test_a_test_part_without_rows_is_no_test_part(run, data, tmp_path):
    arrays = arrays_of(data)
    arrays |= {"x_test": arrays["x_test"][:0], "y_test": arrays["y_test"][:0]}
    np.savez(tmp_path / "train.npz", **arrays)
    model = tmp_path / "m"
    code, out, _ = run("train", "--data", tmp_path / "train.npz", "--epochs", 1, "--save", model)
    assert code == 0
    assert "test" not in " ".join(out)
    code, out, _ = run("evaluate", model, "--data", tmp_path / "train.npz")
    assert (code, len(out)) == (0, 1)


def test_a_run_that_diverges_writes_strict_json(run, npz, tmp_path):
    code, _, _ = run("train", "--data", npz, "--lr", 1e38, "--json", tmp_path / "j")
    assert code == 0
    text = (tmp_path / "j").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["history"]["train_loss"][-1] is None


@pytest.mark.parametrize("lr", [[0.2, 0.05], np.linspace(0.2, 0.05, 2 * 3).tolist()], ids=len)
def test_learning_rates_of_epochs_and_of_steps(run, tmp_path, lr):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((70, 5), np.float32), rng.integers(0, 3, 70)
    np.savez(tmp_path / "x.npz", x=x, y=y)
    text, model = ",".join(map(str, lr)), tmp_path / "m.safetensors"
    options = "--epochs", 2, "--batch-size", 30
    code, _, err = run(
        "train", "--data", tmp_path / "x.npz", *options, "--lr", text, "--save", model
    )
    assert (code, err) == (0, [])
    expected = fs.train((x, y), epochs=2, batch_size=30, lr=lr).model
    assert fs.LinearClassifier.load(model).weight.tobytes() == expected.weight.tobytes()
