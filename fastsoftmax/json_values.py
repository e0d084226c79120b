"""Values that JSON holds, and that come back from it as they were."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .files import atomic_write

__all__ = ["json_types", "same_in_json", "write_json"]

_MAX_DEPTH = 100  # of nested values: Python's json gives up much later


def json_types(name: str, value: Any, depth: int = 0) -> Any:
    """`value` in the types that JSON has, `name` in messages.

    Tuples and arrays become lists, and NumPy's numbers Python's.

    Raises
    ------
    TypeError, ValueError
        JSON cannot hold it, or gives back something else.

    Examples
    --------
    >>> json_types("settings", {"shape": (28, 28), "lr": np.float32(0.5)})
    {'shape': [28, 28], 'lr': 0.5}
    """
    if depth > _MAX_DEPTH:
        raise ValueError(f"{name} is nested too deeply: settings may be {_MAX_DEPTH} deep")
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufU":
        value = (value.astype(np.float64) if value.dtype.kind == "f" else value).tolist()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        return same_in_json(name, int(value))
    if isinstance(value, str):
        return same_in_json(name, str.__str__(value))
    if isinstance(value, (list, tuple)):
        return [json_types(f"{name}[{i}]", item, depth + 1) for i, item in enumerate(value)]
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be what JSON can hold, got {value!r}")
    result = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise TypeError(f"{name} must have strings as keys, got {key!r}")
        plain_key = same_in_json(name, str.__str__(key))
        result[plain_key] = json_types(f"{name}[{plain_key!r}]", item, depth + 1)
    return result


def same_in_json(name: str, value: Any) -> Any:
    """`value`, if JSON gives it back unchanged; it changes two surrogates that make a pair."""
    try:
        same = json.loads(json.dumps(value)) == value
    except ValueError:  # an int with more digits than Python converts
        same = False
    if not same:
        raise ValueError(f"{name} has a text or number that JSON does not give back as it is")
    return value


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes a JSON file, all of it or nothing, with null for NaN and infinity."""
    text = json.dumps(_without_nan(value), indent=2, allow_nan=False) + "\n"
    with atomic_write(path) as file:
        file.write(text.encode())


def _without_nan(value: Any) -> Any:
    """`value` with None for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
