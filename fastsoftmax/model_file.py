"""The file of a model: safetensors.

The tensors are ``weight`` and ``bias``. The header has everything else as JSON texts: ``classes``,
``class_names``, ``scale`` and ``settings``, the ``classes_dtype`` of integers, and the ``format``
with its ``format_version``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from .arrays import Array
from .files import atomic_write
from .labels import labels

__all__ = ["read", "write"]

_FORMAT = "fastsoftmax.LinearClassifier"
_FORMAT_VERSION = "1"
_MAX_HEADER = 100_000_000  # bytes: safetensors does not read a longer one

_Model = TypeVar("_Model")


class _Header(dict[str, str]):
    def __missing__(self, key: str) -> str:
        raise ValueError(f"its header has no {key}")


def write(
    path: str | os.PathLike[str],
    *,
    weight: Array,
    bias: Array,
    classes: Array,
    class_names: tuple[str, ...] | None,
    scale: float,
    settings: dict[str, Any],
) -> None:
    """Writes the file, all of it or nothing; the same model makes the same bytes."""
    from safetensors.numpy import save

    metadata = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "classes": json.dumps(classes.tolist()),
        "class_names": json.dumps(class_names),
        "scale": json.dumps(scale),
        "settings": json.dumps(settings),
    }
    if classes.dtype.kind in "iu":
        metadata["classes_dtype"] = classes.dtype.name
    content = save({"weight": weight, "bias": bias}, metadata)
    begin = 8 + int.from_bytes(content[:8], "little")
    # safetensors writes the keys of its header in another order each time
    header = json.dumps(json.loads(content[8:begin]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)  # aligns the tensors
    if len(header) > _MAX_HEADER:
        raise ValueError(
            f"classes, class_names and settings must take at most {_MAX_HEADER:,} bytes, got "
            f"{len(header):,}"
        )
    with atomic_write(path) as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.write(memoryview(content)[begin:])


def read(path: str | os.PathLike[str], make: Callable[..., _Model]) -> _Model:
    """What `make` makes of the content of a file; its arguments are those of `write`.

    Raises
    ------
    FileNotFoundError
    ValueError
        It is no such file, or `make` refused its content; the message says why.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with _on_disk(path) as source, safe_open(source.name, framework="numpy") as file:
            header = _Header(file.metadata() or {})
            if header.get("format") != _FORMAT:
                raise ValueError(f"its header's format is {header.get('format')!r}")
            if header["format_version"] != _FORMAT_VERSION:
                raise ValueError(f"its format_version is {header['format_version']!r}")
            classes = labels(json.loads(header["classes"]), "classes")
            if "classes_dtype" in header:
                classes = _of_integer_type(classes, header["classes_dtype"])
            return make(
                weight=file.get_tensor("weight"),
                bias=file.get_tensor("bias"),
                classes=classes,
                class_names=json.loads(header["class_names"]),
                scale=json.loads(header["scale"]),
                settings=json.loads(header["settings"]),
            )
    except (
        AttributeError,  # of safetensors, for a dtype that NumPy does not have
        OverflowError,  # of float, for an integer of 400 digits
        RecursionError,  # of json, for a header made to be so
        SafetensorError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(f"{os.fspath(path)} is not a fastsoftmax model: {error}") from error


def _on_disk(path: str | os.PathLike[str]) -> Any:
    """An open file that safetensors can map; a pipe is copied to a temporary file."""
    file = open(path, "rb")  # raises Python's own errors for what is missing or a folder
    if file.seekable():
        return file
    import tempfile  # here, as only a pipe needs it

    with file:
        copy = tempfile.NamedTemporaryFile(prefix="fastsoftmax-")
        shutil.copyfileobj(file, copy)
        copy.flush()
    return copy


def _of_integer_type(classes: Array, dtype: str) -> Array:
    """The integers `classes` in the type that they had when they were saved."""
    wanted = np.dtype(dtype)
    if wanted.kind not in "iu" or classes.dtype.kind not in "iu":
        raise ValueError(f"its classes_dtype is {dtype!r}, and its classes are {classes.dtype}")
    converted = classes.astype(wanted)
    if converted.tolist() != classes.tolist():
        raise ValueError(f"its classes do not fit into {dtype}")
    return converted
