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

    from fastsoftmax.torch import direct

    of_usual_calls = direct.loss_and_grads

    def unusual_only(*args, **kwargs):
        if of_usual_calls(*args, **kwargs) is not None:
            refused()

    monkeypatch.setattr(direct, "loss_and_grads", unusual_only)
    monkeypatch.setattr("fastsoftmax.torch.autograd._fused", refused)
