"""The outlines of the garments that :mod:`.synthetic` draws: data, no drawing.

Each garment stands in a box: ``v`` runs from 0 at the top to 100 at the bottom, ``u`` from -100 at
the left to 100 at the right. A part is a tuple of rows ``(v, left, right)`` from top to bottom;
between them its edges are straight lines. The parts, in the order in which they are drawn:

``body``
    the silhouette.
``arms``
    a part and its mirror image: ``left`` and ``right`` are distances from the middle. The length
    of the sleeve cuts it off. Handles of bags are arms, too.
``hole``
    taken away from body and arms: necks, the gap between two legs, the arch under a heel.
``mark``
    darkened by a random amount: front openings, belts, soles, stripes.

Some garments lie between two classes on purpose (a shirt with short sleeves, a long coat, a high
sneaker), so that a linear model gets about one picture in six wrong.
"""

from __future__ import annotations

from typing import NamedTuple

Part = tuple[tuple[int, int, int], ...]


class Garment(NamedTuple):
    """A kind of garment. Pairs are the lowest and the highest value."""

    class_name: str
    height: tuple[int, int]  # pixels
    width: tuple[int, int]  # pixels
    body: Part
    arms: Part = ()
    sleeve: tuple[int, int] = (100, 100)  # where the arms end, in v
    hole: Part = ()
    mark: Part = ()


_TORSO = ((0, -30, 30), (7, -54, 54), (35, -57, 57), (100, -58, 58))
_LOOSE = ((0, -34, 34), (6, -56, 56), (25, -62, 62), (100, -66, 66))
_ARMS = ((3, 40, 55), (12, 52, 80), (32, 61, 92), (100, 74, 100))
_NECK = ((0, -18, 18), (4, -14, 14), (8, -4, 4))
_V_NECK = ((0, -16, 16), (18, -1, 1))
_FRONT = ((8, -5, 5), (100, -5, 5))
_BUTTONS = ((4, -3, 3), (100, -3, 3))
_CHEST = ((30, -100, 100), (46, -100, 100))
_HANDLE = ((0, 0, 24), (5, 0, 38), (9, 22, 46), (40, 40, 56))
_SHOE = ((0, 30, 82), (20, 10, 92), (45, -35, 98), (62, -82, 99), (80, -98, 100), (100, -100, 98))
_FOOT_OPENING = ((0, 48, 76), (14, 56, 70))
_SOLE = ((78, -100, 100), (100, -100, 100))

GARMENTS = (
    Garment("t-shirt", (22, 28), (20, 28), _LOOSE, _ARMS, (18, 50), _NECK),
    Garment("t-shirt", (22, 28), (20, 28), _TORSO, _ARMS, (20, 66), _V_NECK, _CHEST),
    Garment(
        "t-shirt", (23, 28), (15, 24),
        body=((0, -44, 44), (12, -48, 48), (32, -66, 66), (100, -68, 68)),
        hole=((0, -24, 24), (14, -18, 18), (22, -6, 6)),
    ),
    Garment(
        "trouser", (24, 28), (10, 16),
        body=((0, -62, 62), (25, -86, 86), (100, -84, 84)),
        hole=((30, -1, 1), (45, -10, 10), (100, -26, 26)),
        mark=((4, -100, 100), (10, -100, 100)),
    ),
    Garment(
        "trouser", (23, 28), (12, 20),
        body=((0, -50, 50), (25, -72, 72), (100, -98, 98)),
        hole=((50, -1, 1), (64, -5, 5), (100, -12, 12)),
    ),
    Garment("pullover", (21, 28), (20, 28), _TORSO, _ARMS, (60, 100), _NECK),
    Garment("pullover", (21, 28), (20, 28), _LOOSE, _ARMS, (60, 100), _V_NECK),
    Garment("pullover", (21, 28), (20, 28), _LOOSE, _ARMS, (60, 100), _NECK, _CHEST),
    Garment(
        "dress", (24, 28), (10, 20),
        body=((0, -50, 50), (10, -58, 58), (38, -44, 44), (100, -98, 98)),
        hole=_V_NECK,
        mark=((36, -60, 60), (42, -60, 60)),
    ),
    Garment(
        "dress", (24, 28), (14, 26),
        body=((0, -30, 30), (6, -48, 48), (40, -42, 42), (100, -62, 62)),
        arms=_ARMS, sleeve=(10, 80), hole=_NECK,
    ),
    Garment("coat", (22, 28), (20, 28), _LOOSE, _ARMS, (60, 100), _V_NECK, _FRONT),
    Garment(
        "coat", (24, 28), (18, 27),
        body=((0, -36, 36), (7, -56, 56), (45, -54, 54), (100, -74, 74)),
        arms=_ARMS, sleeve=(60, 94), hole=_NECK, mark=_FRONT,
    ),
    Garment(
        "sandal", (8, 15), (23, 28),
        body=((72, -100, 100), (86, -100, 100), (100, -96, 96)),
        arms=((0, 8, 26), (14, 12, 32), (80, 62, 82)),
    ),
    Garment(
        "sandal", (9, 16), (23, 28), _SHOE,
        hole=((24, 34, 58), (46, 0, 76), (70, -34, 80)),
        mark=((50, -70, -50), (76, -90, -66)),
    ),
    Garment(
        "sandal", (14, 26), (22, 28),
        body=((0, 44, 92), (14, 40, 96), (40, 0, 96), (70, -66, 96), (100, -100, 94)),
        hole=((46, 60, 70), (64, 0, 80), (92, -44, 84), (100, -50, 85)),
        mark=((18, 52, 84), (42, 20, 74), (44, 20, 30)),
    ),
    Garment("shirt", (22, 28), (20, 28), _TORSO, _ARMS, (60, 100), _V_NECK, _BUTTONS),
    Garment("shirt", (22, 28), (19, 28), _LOOSE, _ARMS, (18, 70), _V_NECK, _BUTTONS),
    Garment("shirt", (22, 28), (17, 27), _LOOSE, _ARMS, (18, 100), _NECK, _BUTTONS),
    Garment("sneaker", (8, 15), (24, 28), _SHOE, mark=_SOLE),
    Garment(
        "sneaker", (9, 16), (24, 28), _SHOE,
        hole=_FOOT_OPENING,
        mark=((24, -20, 20), (70, -70, -30)),
    ),
    Garment(
        "sneaker", (11, 21), (24, 28),
        body=((0, 14, 84), (30, 0, 92), (52, -50, 97), (74, -94, 100), (100, -100, 98)),
        mark=((20, 10, 30), (66, -50, -20)),
    ),
    Garment(
        "bag", (20, 28), (18, 28),
        body=((36, -78, 78), (42, -84, 84), (94, -100, 100), (100, -94, 94)),
        arms=_HANDLE,
        mark=((48, -100, 100), (56, -100, 100)),
    ),
    Garment(
        "bag", (12, 26), (20, 28),
        body=((0, -84, 84), (8, -96, 96), (90, -100, 100), (100, -92, 92)),
        mark=((8, -90, 90), (44, -10, 10)),
    ),
    Garment(
        "ankle boot", (14, 25), (23, 28),
        body=((0, 2, 84), (42, -4, 86), (58, -40, 92), (74, -90, 96), (100, -98, 96)),
        hole=((90, 20, 40), (100, 6, 46)),
    ),
    Garment(
        "ankle boot", (18, 28), (21, 27),
        body=((0, 0, 76), (40, -8, 84), (60, -52, 92), (78, -96, 92), (100, -100, 88)),
        hole=((70, 40, 44), (86, -20, 62), (100, -44, 66)),
    ),
)  # fmt: skip
