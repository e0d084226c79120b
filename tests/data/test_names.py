"""Every name of a dataset is known wherever names are taken or listed."""

from __future__ import annotations

import pytest

from fastsoftmax import cli
from fastsoftmax.datasets import NAMES, is_file, load_dataset


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_no_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).touch()
    assert not is_file(name)
    assert is_file(name + "x.npz") and is_file(tmp_path / name)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_listed(name, capsys):
    with pytest.raises(ValueError, match=f"choose .*{name}.*, or give the path"):
        load_dataset("no such dataset")
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    assert f"{name}," in capsys.readouterr().out
