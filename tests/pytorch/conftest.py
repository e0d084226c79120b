"""The two ways of fastsoftmax.torch, each alone."""

import pytest


@pytest.fixture
def fused(monkeypatch):
    """The kernels only: what would go to PyTorch fails."""

    def refused(*args, **kwargs):
        pytest.fail("handed to PyTorch")

    monkeypatch.setattr("fastsoftmax.torch.autograd._pytorch", refused)


@pytest.fixture
def not_fused(monkeypatch):
    """PyTorch only: what would go to the kernels fails."""

    def refused(*args, **kwargs):
        pytest.fail("handed to the kernels")

    for name in ("_fused", "_join"):
        monkeypatch.setattr(f"fastsoftmax.torch.autograd.{name}", refused)
