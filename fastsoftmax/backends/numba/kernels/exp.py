"""exp, as csrc/kernels/exp.h has it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .jit import FUSE, ONE, ZERO, kernel

LOWEST = np.float32(-87.33654)  # log(2**-126): below it exp is subnormal
LOG2_E = np.float32(1.44269504)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
TO_INTEGER = np.float32(12582912.0)  # 1.5 * 2**23: adding it rounds to an integer
P0, P1 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3)
P2, P3 = np.float32(8.3334519073e-3), np.float32(4.1665795894e-2)
P4, P5 = np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)


@kernel(fastmath=FUSE)
def exp(x: Any) -> Any:
    """e**x within 1.1 ULP for -87.33 <= x <= 88; 0 below; NaN stays NaN.

    Cephes (S. Moshier): x = n log 2 + r, and a polynomial in r. It has no branch and no call.
    Hence a loop over it becomes vectors; a loop over math.exp does not.
    """
    above = x if x > LOWEST else LOWEST  # NaN is not
    n = (above * LOG2_E + TO_INTEGER) - TO_INTEGER
    r = (above - n * LN2_HIGH) - n * LN2_LOW
    p = ((((P0 * r + P1) * r + P2) * r + P3) * r + P4) * r + P5
    p = (p * (r * r) + r) + ONE
    # 2**n, by its exponent field
    result = p * np.int32((np.int32(n) + 127) << 23).view(np.float32)
    return result if x >= LOWEST else (ZERO if x < LOWEST else x)
