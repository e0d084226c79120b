"""Ctrl-C in the command: exit status 130, one line, whole files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import cli
from helpers.command import COMMAND

# ---- after some epochs ----


def test_ctrl_c_keeps_what_was_trained(run, npz, tmp_path, monkeypatch):
    kernels = fs.get_backend().kernels
    real, calls = kernels.train, []

    def train_epoch(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(kernels, "train", train_epoch)
    code, out, err = run(
        "train", "--data", npz, "--save", tmp_path / "m", "--json", tmp_path / "j"
    )
    wrote = "".join(f"; wrote {tmp_path / name}" for name in "mj")
    assert (code, err) == (130, [f"fastsoftmax: interrupted after 2 epochs{wrote}"])
    assert any("after 2 epochs" in line for line in out)
    assert len(json.loads((tmp_path / "j").read_text())["history"]["train_loss"]) == 2
    assert fs.LinearClassifier.load(tmp_path / "m").n_classes == 10


RNG = np.random.default_rng(0)


# ---- at any other time ----


def test_ctrl_c_in_the_first_epoch_writes_nothing(run, npz, tmp_path, monkeypatch):
    def train_epoch(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(fs.get_backend().kernels, "train", train_epoch)
    (tmp_path / "m").write_bytes(b"a good model")
    code, out, err = run("train", "--data", npz, "--save", tmp_path / "m")
    assert (code, out, err) == (130, [], ["fastsoftmax: interrupted"])
    assert (tmp_path / "m").read_bytes() == b"a good model"


@pytest.mark.parametrize("where", ["load_dataset", "train", "check_output", "same_file"])
def test_ctrl_c_anywhere(run, npz, tmp_path, monkeypatch, where):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, where, interrupted)
    code, out, err = run("train", "--data", npz, "--save", tmp_path / "m")
    assert (code, out, err) == (130, [], ["fastsoftmax: interrupted"])
    assert not (tmp_path / "m").exists()


def test_ctrl_c_while_a_file_is_written(run, npz, tmp_path, monkeypatch):
    def fsync(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", fsync)
    (tmp_path / "m").write_bytes(b"old")
    code, _, err = run("train", "--data", npz, "--epochs", 1, "--save", tmp_path / "m")
    assert (code, err) == (130, ["fastsoftmax: interrupted"])
    assert (tmp_path / "m").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_a_real_ctrl_c(tmp_path):
    np.savez(tmp_path / "d.npz", x=RNG.standard_normal((3000, 20)).astype(np.float32),
             y=np.arange(3000) % 5)  # fmt: skip
    # as the script that pip installs, which hears Ctrl-C while the package is imported, too
    script = "import sys; from _fastsoftmax_command import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", script, "train", "--data", "d.npz", "--epochs", "200000",
         "--save", "m", "--json", "j"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as training:  # fmt: skip
        time.sleep(2)
        training.send_signal(signal.SIGINT)
        out, err = training.communicate(timeout=60)
    assert training.returncode == 130
    if err == "fastsoftmax: interrupted\n":  # on a slow machine, before the first epoch
        assert not (tmp_path / "m").exists()
        return
    n = len(json.loads((tmp_path / "j").read_text())["history"]["lr"])
    assert err == f"fastsoftmax: interrupted after {n} epoch{'s' * (n != 1)}; wrote m; wrote j\n"
    assert len(out.splitlines()) == 1 + n
    assert fs.LinearClassifier.load(tmp_path / "m").n_classes == 5


# ---- before the package is there ----


def test_ctrl_c_while_the_package_is_imported(run_python):
    finder = """
import sys
class Finder:
    def find_spec(self, name, *args):
        if name == "numpy":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Finder())
"""
    done = run_python(finder + COMMAND)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "fastsoftmax: interrupted\n")
