"""An old file."""

from __future__ import annotations

import pytest

from helpers.files import OLD


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(OLD)
    return path
