"""A stand-in for Fashion-MNIST: garment-like pictures drawn by the program.

Design
------
a) All arithmetic is of integers, with lengths in 1/32 pixel: a seed and an index give the same
   picture on every machine. For the same reason the random numbers are the raw words of PCG64,
   which NumPy keeps for ever, and not those of a ``Generator``, which it may change.
b) A garment is a few spans per row of pixels (see `garments`). To draw it, columns are compared
   with edges: the distance of a pixel to the nearest edge gives the smooth outline and the light.
c) Pictures are drawn in blocks, with the index of the picture as the last axis, so that NumPy's
   inner loops run over long rows. Blocks have their own random numbers, so a picture does not
   depend on how many are asked for.
d) Nothing is cached on disk: drawing is fast enough to be done in every run.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from operator import index
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .dataset import CLASS_NAMES, Dataset
from .garments import GARMENTS

NAME = "synthetic"
_SIDE = 28
_PIXEL = 32  # units of length in a pixel
# Pictures; a multiple of the number of classes. Both 20 and 160 were measured slower: the
# temporaries of 160 are fresh pages each time.
_BLOCK = 60

_Ints = NDArray[Any]


def load() -> Dataset:
    """The stand-in in the size of Fashion-MNIST."""
    return make()


def make(n_train: int = 60_000, n_test: int = 10_000, seed: int = 0) -> Dataset:
    """Draw the stand-in.

    Every ten pictures in a row, counted from the first, hold each class once. A linear model
    trained as in *Dive into Deep Learning* gets 0.83 to 0.86 of the test pictures right.

    Parameters
    ----------
    n_train, n_test : int
        How many pictures. The first pictures are the same for any number.
    seed : int, default 0
        Not negative.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        If a number is negative.

    Examples
    --------
    >>> data = make(n_train=10, n_test=0)
    >>> data.train_images.shape, data.train_labels
    ((10, 28, 28), array([3, 2, 1, 8, 6, 0, 7, 4, 5, 9], dtype=int32))
    """
    n_train, n_test, seed = index(n_train), index(n_test), index(seed)
    if min(n_train, n_test, seed) < 0:
        raise ValueError(f"negative: n_train={n_train}, n_test={n_test}, seed={seed}")
    return Dataset(*_draw(n_train, seed, 0), *_draw(n_test, seed, 1), CLASS_NAMES, NAME)


def _draw(n: int, seed: int, part: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    images = np.empty((n, _SIDE * _SIDE), np.uint8)
    labels = np.empty(n, np.int32)
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        bits = np.random.PCG64(np.random.SeedSequence((seed, part, start // _BLOCK)))
        block = _draw_block(bits)
        images[start:stop] = block[0].T[: stop - start]
        labels[start:stop] = block[1][: stop - start]
    return images.reshape(n, _SIDE, _SIDE), labels


class _Tables(NamedTuple):
    """`GARMENTS` as arrays; G garments."""

    kinds: _Ints  # (10, 3) the garments of each class, repeated up to three
    n_kinds: _Ints  # (10,) how many garments the class has
    height: _Ints  # (2, G) lowest and highest, in units of length
    half_width: _Ints  # (2, G)
    sleeve: _Ints  # (2, G) in v
    edges: _Ints  # (2, 4, G, 103) left and right of the four parts, for v = -1 ... 101


@cache
def _tables() -> _Tables:
    kinds = [
        [i for i, garment in enumerate(GARMENTS) if garment.class_name == name]
        for name in CLASS_NAMES
    ]
    edges = np.empty((2, 4, len(GARMENTS), 103), np.int32)
    edges[0], edges[1] = 200, -200  # no pixel is between these
    for g, garment in enumerate(GARMENTS):
        for p, part in enumerate((garment.body, garment.arms, garment.hole, garment.mark)):
            for (v0, *edges0), (v1, *edges1) in pairwise(part):
                for v in range(v0, v1 + 1):
                    for side in range(2):
                        step = (edges1[side] - edges0[side]) * (v - v0) // (v1 - v0)
                        edges[side, p, g, v + 1] = edges0[side] + step
    return _Tables(
        kinds=np.array([(of_class * 3)[:3] for of_class in kinds]),
        n_kinds=np.array([len(of_class) for of_class in kinds]),
        height=np.array([garment.height for garment in GARMENTS]).T * _PIXEL,
        half_width=np.array([garment.width for garment in GARMENTS]).T * _PIXEL // 2,
        sleeve=np.array([garment.sleeve for garment in GARMENTS]).T,
        edges=edges,
    )


def _draw_block(bits: np.random.PCG64) -> tuple[_Ints, _Ints]:
    """Return pictures (784, n), int16 with values that fit uint8, and labels (n,)."""
    n, tables = _BLOCK, _tables()
    order = bits.random_raw(n).reshape(-1, len(CLASS_NAMES))
    labels = order.argsort(axis=1, kind="stable").ravel()
    u16 = _raw_u16(bits, 16 * n).reshape(16, n).astype(np.int32)

    kind = tables.kinds[labels, u16[0] * tables.n_kinds[labels] >> 16]
    height = _between(u16[1], *tables.height[:, kind])
    half_width = _between(u16[2], *tables.half_width[:, kind])
    sleeve = _between(u16[3], *tables.sleeve[:, kind])
    middle = _SIDE * _PIXEL // 2 + _between(u16[4], -92, 92)
    top = (_SIDE * _PIXEL - height) // 2 + _between(u16[5], -68, 68)
    shear = _between(u16[6], -3, 3)
    # The brighter of two: most garments in such photographs are bright
    brightness = _between(np.maximum(u16[7], u16[8]), 50, 255)
    mark_depth = _between(u16[9], 0, 110)
    stripe_depth = _between(u16[10], 0, 90) * _between(u16[11], 0, 128) >> 7
    stripe_x, stripe_y = _between(u16[12], -60, 60), _between(u16[13], -80, 80)
    stripe_phase = u16[14] >> 8

    # Rows of pixels: (28, n).
    y = np.arange(_SIDE, dtype=np.int32)[:, None]
    v = np.clip((y * _PIXEL + _PIXEL // 2 - top) * 100 // height, -1, 101)
    left, right = tables.edges[:, :, kind, v + 1] * half_width // 100  # each (4, 28, n)
    cut_off = v > sleeve
    left[1][cut_off], right[1][cut_off] = 4000, -4000
    axis = middle + (y - _SIDE // 2) * shear

    # Pixels: (28, 28, n), int16 from here on, of which a vector holds twice as many as of int32.
    # No product below exceeds 255 * 128 = 32640.
    left, right = _rows(left), _rows(right)
    x = np.arange(_SIDE, dtype=np.int16)[None, :, None]
    u = x * _PIXEL + _PIXEL // 2 - _rows(axis)
    body, arms, hole, mark = range(4)
    # Distance to the nearest edge, positive inside.
    depth = np.minimum(u - left[body], right[body] - u)
    away = np.abs(u)
    np.maximum(depth, np.minimum(away - left[arms], right[arms] - away), out=depth)
    np.minimum(depth, np.maximum(left[hole] - u, u - right[hole]), out=depth)
    # A quarter of the light comes with distance from the edge, which makes it look round.
    depth += _PIXEL // 2
    np.clip(depth, 0, 2 * _PIXEL, out=depth)
    light = np.minimum(depth, _PIXEL) * 3 + (depth >> 1)  # 0 ... 128
    light *= brightness.astype(np.int16)
    light >>= 7  # 0 ... 255

    shade = np.clip(np.minimum(u - left[mark], right[mark] - u) + _PIXEL // 2, 0, _PIXEL)
    shade *= mark_depth.astype(np.int16)
    shade >>= 5
    stripes = x * stripe_x.astype(np.int16) + _rows(y * stripe_y + stripe_phase)
    stripes &= 255
    stripes -= 128
    np.abs(stripes, out=stripes)  # a triangular wave, 0 ... 128
    stripes *= stripe_depth.astype(np.int16)
    stripes >>= 7
    shade += stripes
    shade += (_raw_u16(bits, _SIDE * _SIDE * n) >> 12).astype(np.int16).reshape(shade.shape)
    light *= np.maximum(128 - shade, 6)
    light >>= 7
    return light.reshape(_SIDE * _SIDE, n), labels


def _raw_u16(bits: np.random.PCG64, n: int) -> _Ints:
    halves: _Ints = bits.random_raw(n // 4).astype("<u8", copy=False).view("<u2")
    return halves


def _between(u16: _Ints, low: Any, high: Any) -> _Ints:
    """Return 16 random bits as an integer from `low` to `high`, both included."""
    return np.asarray(low + (u16 * (high - low + 1) >> 16))


def _rows(values: _Ints) -> _Ints:
    """Return (..., 28, n) as int16 (..., 28, 1, n), to meet the columns."""
    return np.expand_dims(values.astype(np.int16), -2)
