"""The command in a process of its own, and data for it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fastsoftmax import cli

TRAIN = "$FS train --data d.npz --epochs 1 --save m --json j"


COMMAND = (
    "import sys; from _fastsoftmax_command import main; sys.argv[1:] = ['info']; sys.exit(main())"
)


def arrays_of(data):
    """The arrays of a dataset, by their names in an .npz file."""
    return {
        "x_train": data.train_images, "y_train": data.train_labels,
        "x_test": data.test_images, "y_test": data.test_labels,
    }  # fmt: skip


def exits(capsys, *args):
    """Exit code and output of a command that ends in argparse."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(list(args))
    out, err = capsys.readouterr()
    return exit_.value.code, out, err


def process(*args, cwd, text=True, **environment):
    """Runs the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "fastsoftmax.cli", *map(str, args)],
        cwd=cwd,  # not the source folder, from which fastsoftmax cannot be imported
        env={**os.environ, **environment},
        capture_output=True,
        text=text,
        timeout=60,
    )


def shell(script, cwd, stdout=subprocess.PIPE, **environment):
    """Runs a script of bash in which $FS is the command."""
    return subprocess.run(
        ["bash", "-c", f'FS="{sys.executable} -m fastsoftmax.cli"; {script}'],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=60,
    )
