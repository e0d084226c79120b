"""Fixtures that allow only one of the two ways of fastsoftmax.torch."""

import pytest


@pytest.fixture
def fused(monkeypatch):
    """A call that would be left to PyTorch fails."""

    def refused(*args, **kwargs):
        pytest.fail("handed to PyTorch")

    monkeypatch.setattr("fastsoftmax.torch.reference.linear_cross_entropy", refused)


@pytest.fixture
def not_fused(monkeypatch):
    """A call that would go to the kernels fails."""

    def refused(*args, **kwargs):
        pytest.fail("handed to the kernels")

    for name in ("_fused", "_join"):
        monkeypatch.setattr(f"fastsoftmax.torch.autograd.{name}", refused)
