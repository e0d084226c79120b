"""A classifier as a linear layer of PyTorch, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arrays import Array
from ..model import LinearClassifier

__all__ = ["from_linear", "to_linear"]


def to_linear(model: LinearClassifier) -> torch.nn.Linear:
    """A ``torch.nn.Linear`` with a copy of the model's weight and bias: its logits.

    Rows of float32 have the same logits by both. Pixels of uint8 are for you to convert:
    ``x.float() * model.scale``. Classes and their names stay with the model.

    Parameters
    ----------
    model : LinearClassifier

    Returns
    -------
    torch.nn.Linear
        float32, on the CPU.

    Examples
    --------
    >>> model = LinearClassifier(np.eye(2, dtype=np.float32), np.zeros(2, np.float32))
    >>> to_linear(model)
    Linear(in_features=2, out_features=2, bias=True)
    """
    linear = torch.nn.utils.skip_init(
        torch.nn.Linear, model.n_features, model.n_classes, dtype=torch.float32, device="cpu"
    )
    with torch.no_grad():
        linear.weight.copy_(torch.tensor(model.weight))
        linear.bias.copy_(torch.tensor(model.bias))
    assert isinstance(linear, torch.nn.Linear)
    return linear


def from_linear(
    linear: torch.nn.Module | Mapping[str, Tensor],
    classes: Any = None,
    *,
    class_names: Sequence[str] | None = None,
    scale: float = 1 / 255,
) -> LinearClassifier:
    """A `LinearClassifier` with a copy of the weight and bias of a linear layer.

    Parameters
    ----------
    linear : torch.nn.Linear, FusedLinearCrossEntropy or state_dict of one
        On any device, of any floating dtype: the copy is float32, which must hold the numbers.
        Without a bias it is zero.
    classes, class_names, scale
        As in `LinearClassifier`.

    Raises
    ------
    TypeError, ValueError
        `linear` is not of that kind, or what is given besides does not fit it.

    Examples
    --------
    >>> linear = torch.nn.Linear(2, 3)
    >>> from_linear(linear, classes=["cat", "cow", "dog"])
    LinearClassifier(n_features=2, n_classes=3)
    """
    if isinstance(linear, torch.nn.Linear):
        linear = linear.state_dict()
    if not isinstance(linear, Mapping):
        raise TypeError(
            f"linear must be a torch.nn.Linear or its state_dict, got {type(linear).__name__}"
        )
    if not {"weight"} <= linear.keys() <= {"weight", "bias"}:
        raise ValueError(f"the state_dict must have weight and bias, got {sorted(linear)}")
    for name, tensor in linear.items():
        if not (isinstance(tensor, Tensor) and tensor.is_floating_point()):
            got = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"{name} must be a tensor of floats, got {got}")
    weight, bias = (linear.get(name) for name in ("weight", "bias"))
    assert weight is not None
    if bias is None:
        bias = weight.new_zeros(weight.shape[:1])
    return LinearClassifier(
        _copied("weight", weight),
        _copied("bias", bias),
        classes,
        class_names=class_names,
        scale=scale,
    )


def _copied(name: str, tensor: Tensor) -> Array:
    tensor = tensor.detach().cpu()
    single = tensor.to(torch.float32)
    too_large = single.isinf() & ~tensor.double().isinf()
    if too_large.any():
        raise ValueError(f"{name} must fit into float32, got {tensor[too_large][0].item()}")
    copy: Array = np.array(single.numpy(), order="C")
    return copy
