"""Bad options, models and paths: one line on standard error, and exit status 2."""

from __future__ import annotations

import os

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import cli
from helpers.arguments import X
from helpers.command import arrays_of, exits

# ---- what argparse refuses ----


@pytest.mark.parametrize(
    "args, message",
    [
        ([], "the following arguments are required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["train", "--lr", "abc"], "argument --lr: invalid float value: 'abc'"),
        (["train", "--lr", "0.1,"], "argument --lr: invalid float value: '0.1,'"),
        (["train", "--epochs", "1.5"], "argument --epochs: invalid int value: '1.5'"),
        (["train", "--speed", "9"], "unrecognized arguments: --speed 9"),
        (["evaluate"], "the following arguments are required: model"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_argparse_refuses(capsys, args, message):
    code, out, err = exits(capsys, *args)
    assert (code, out) == (2, "")
    assert err.startswith("fastsoftmax: error: ")
    assert message in err
    assert err.count("\n") == 1


# ---- options, models and paths ----


@pytest.mark.parametrize(
    "option, value, message",
    [
        ("--lr", "-1", "lr must be >= 0, got -1.0"),
        ("--lr", "nan", "lr must be finite in float32, got nan"),
        ("--epochs", "0", "epochs must be >= 1, got 0"),
        ("--batch-size", "-5", "batch_size must be >= 1, got -5"),
        ("--momentum", "-0.5", "momentum must be >= 0, got -0.5"),
        ("--weight-decay", "inf", "weight_decay must be finite in float32, got inf"),
        ("--init-std", "-1", "init_std must be >= 0, got -1.0"),
        ("--num-threads", "0", "num_threads must be >= 1, got 0"),
        (
            "--backend",
            "gpu",
            "backend must be one of ('auto', 'cython', 'numba', 'numpy'), got 'gpu'",
        ),
        (
            "--data",
            "mnist",
            "unknown dataset 'mnist': choose auto, fashion-mnist or synthetic, or give the path "
            "of an .npz file",
        ),
    ],
)
def test_bad_options(refused, npz, option, value, message):
    assert refused("train", "--data", npz, option, value) == message


def test_nesterov_without_momentum(refused, npz):
    assert refused("train", "--data", npz, "--nesterov").startswith("nesterov needs momentum > 0")


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_no_such_model(refused, npz, tmp_path, command):
    assert "missing.st" in refused(command, tmp_path / "missing.st", "--data", npz)


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_not_a_model(refused, npz, command):
    assert "garments.npz is not a fastsoftmax model" in refused(command, npz, "--data", npz)


@pytest.mark.parametrize("option", ["--save", "--plot", "--json"])
def test_no_such_folder_is_told_before_training(refused, npz, tmp_path, option, monkeypatch):
    monkeypatch.setattr(cli, "train", lambda *args, **kwargs: pytest.fail("it was trained"))
    path = tmp_path / "nowhere" / "file.png"
    assert refused("train", "--data", npz, option, path) == f"the folder of {path} does not exist"


def test_no_such_npz(refused, tmp_path):
    assert "missing.npz" in refused("train", "--data", tmp_path / "missing.npz")


@pytest.mark.parametrize("option", ["--save", "--json"])
def test_a_folder_where_a_file_should_be(refused, npz, tmp_path, option):
    assert refused("train", "--data", npz, option, tmp_path) == f"{tmp_path} is a folder"


def test_a_plot_that_cannot_be_drawn_is_told_before_training(refused, npz, tmp_path):
    pytest.importorskip("matplotlib")
    message = refused("train", "--data", npz, "--plot", tmp_path / "c.xyz")
    assert "c.xyz must end in one of ." in message and ".png" in message


@pytest.mark.parametrize("count", [0, -3])
def test_predict_at_least_one(refused, npz, saved, count):
    message = refused("predict", saved, "--data", npz, "--count", count)
    assert message == f"--count must be >= 1, got {count}"


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_data_that_the_model_was_not_made_for(run, saved, data, tmp_path, command):
    arrays = arrays_of(data)
    for name in ("x_train", "x_test"):
        arrays[name] = arrays[name][:, :20].copy()
    np.savez(tmp_path / "small.npz", **arrays)
    code, _, err = run(command, saved, "--data", tmp_path / "small.npz")
    assert code == 2
    assert err == ["fastsoftmax: error: x has 560 features, expected 784 as the weight has"]


# ---- whatever else ends it ----


@pytest.mark.parametrize(
    "error", [MemoryError(), OverflowError("too large"), RecursionError("too deep"), EOFError()]
)
def test_whatever_ends_it_is_one_line(refused, npz, monkeypatch, error):
    def train(data, **options):
        raise error

    monkeypatch.setattr(cli, "train", train)
    assert refused("train", "--data", npz) == (str(error) or type(error).__name__)


def test_a_number_of_5000_digits(capsys):
    code, out, err = exits(capsys, "train", "--epochs", "9" * 5000)
    assert (code, out, err.count("\n")) == (2, "", 1)


# ---- two names of one file ----


@pytest.mark.parametrize(
    "args, a, b",
    [
        ("--save out --json out", "json", "save"),
        ("--save out --json ./out", "json", "save"),
        ("--save link --json out", "json", "save"),
        ("--save dangling --json nothing", "json", "save"),
        ("--plot c.svg --json c.svg", "json", "plot"),
        ("--save d.npz", "save", "data"),
        ("--save to-data", "save", "data"),
        ("--json d.npz", "json", "data"),
    ],
)
def test_two_names_of_one_file_are_refused(refused, small, monkeypatch, args, a, b):
    if "plot" in args:
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(small.parent)
    monkeypatch.setattr(cli, "train", lambda *args, **kwargs: pytest.fail("it was trained"))
    (small.parent / "out").write_bytes(b"old")
    os.symlink("out", "link")
    os.symlink("nothing", "dangling")
    os.link("d.npz", "to-data")
    before = small.read_bytes()
    message = refused("train", "--data", "d.npz", *args.split())
    assert message.startswith(f"--{a} ") and f" is the same file as --{b} " in message
    assert small.read_bytes() == before and (small.parent / "out").read_bytes() == b"old"


def test_a_picture_over_the_model_or_the_data(refused, small, tmp_path):
    pytest.importorskip("matplotlib")
    model, rows = tmp_path / "m.png", tmp_path / "rows.svg"
    fs.train(small, epochs=1).model.save(model)
    np.savez(tmp_path / "r.npz", x=X)
    os.rename(tmp_path / "r.npz", rows)
    message = refused("predict", model, "--data", rows, "--plot", model)
    assert message == f"--plot {model} is the same file as model {model}"
    message = refused("predict", model, "--data", rows, "--plot", rows)
    assert message == f"--plot {rows} is the same file as --data {rows}"
