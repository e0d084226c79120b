/* exp.h: exp and log of vectors, after the Cephes library (S. Moshier).
 *
 * The argument is reduced by multiples of log 2, then comes a polynomial. Tests hold the bounds
 * that the comments state.
 */
#ifndef FS_EXP_H
#define FS_EXP_H

#include "vec.h"

/* e**x = 2**n times what is returned, n an integer whose low bits are those of *exponent. */
FS_INLINE vf v_exp_reduced(vf x, vi *exponent) {
    const vf to_integer = v_set(12582912.0f); /* 1.5 * 2**23: adding it rounds to an integer */
    const vf shifted = v_fma(x, v_set(1.44269504f), to_integer);
    const vf n = shifted - to_integer;
    *exponent = (vi)shifted;
    vf r =
        v_fma(n, v_set(-0.693359375f), x); /* log 2 in two pieces, the first exact in n * piece */
    r = v_fma(n, v_set(2.12194440e-4f), r);

    vf p = v_set(1.9875691500e-4f);
    p = v_fma(p, r, v_set(1.3981999507e-3f));
    p = v_fma(p, r, v_set(8.3334519073e-3f));
    p = v_fma(p, r, v_set(4.1665795894e-2f));
    p = v_fma(p, r, v_set(1.6666665459e-1f));
    p = v_fma(p, r, v_set(5.0000001201e-1f));
    return v_fma(p, r * r, r) + v_set(1.0f);
}

/* 2**n for -126 <= n <= 127. The low bits of n, which will do, become the exponent field. */
FS_INLINE vf v_power_of_2(vi n) { return (vf)((n + v_seti(127)) << 23); }

/* e**x. The error is at most 1.1 ULP for -87.33 <= x <= 88. Below, where float32 has only
 * subnormals left, the result is 0. NaN stays NaN. Larger x is out of range; a softmax never has
 * it. */
FS_INLINE vf v_exp(vf x) {
    const vf lowest = v_set(-87.33654f); /* log(2**-126) */
    const vi underflow = x < lowest;     /* false for NaN, so the result is NaN */
    vi n;
    const vf p = v_exp_reduced(v_select(underflow, lowest, x), &n);
    return v_select(underflow, (vf){0}, p * v_power_of_2(n));
}

/* The same for x <= 0, with subnormals, to the nearest: residuals can do without them, but not the
 * probabilities that people read. 2**n comes in two factors, as it may be too small for a float. */
FS_INLINE vf v_exp_gradual(vf x) {
    const vf lowest = v_set(-104.0f); /* below log(2**-150), what rounds to 0 */
    vi n;
    const vf p = v_exp_reduced(v_select(x < lowest, lowest, x), &n);
    const vi half = n >> 1;
    return p * v_power_of_2(half) * v_power_of_2(n - half);
}

/* log x. The error is at most 0.9 ULP for normal x > 0. NaN and infinity give NaN. Zero, negative
 * and subnormal x are out of range; a sum of exponentials whose largest is 1 is never that. */
FS_INLINE vf v_log(vf x) {
    /* x = m * 2**e with sqrt(1/2) <= m < sqrt(2) */
    const vi bits = (vi)x;
    const vi from_sqrt_half = bits - v_seti(0x3f3504f3);
    const vi e = from_sqrt_half >> 23;
    const vf m = (vf)(bits - (vi)((vi)e << 23));
    const vf r = m - v_set(1.0f);
    const vf e_float = __builtin_convertvector(e, vf);

    vf p = v_set(7.0376836292e-2f);
    p = v_fma(p, r, v_set(-1.1514610310e-1f));
    p = v_fma(p, r, v_set(1.1676998740e-1f));
    p = v_fma(p, r, v_set(-1.2420140846e-1f));
    p = v_fma(p, r, v_set(1.4249322787e-1f));
    p = v_fma(p, r, v_set(-1.6668057665e-1f));
    p = v_fma(p, r, v_set(2.0000714765e-1f));
    p = v_fma(p, r, v_set(-2.4999993993e-1f));
    p = v_fma(p, r, v_set(3.3333331174e-1f));

    const vf r2 = r * r;
    vf y = v_fma(e_float, v_set(-2.12194440e-4f), p * r * r2);
    y = r + v_fma(v_set(-0.5f), r2, y);
    return v_fma(e_float, v_set(0.693359375f), y) +
           (x - x); /* x - x: 0, or NaN for NaN and infinity */
}

/* The same over arrays (n,). */
#define OVER_ARRAY(name, function)                                                                 \
    static void name(const float *x, float *out, ptrdiff_t n) {                                    \
        for (ptrdiff_t i = 0; i < n; i += FS_LANES) {                                              \
            float lanes[FS_LANES] = {0};                                                           \
            const size_t bytes = sizeof(float) * (size_t)(n - i < FS_LANES ? n - i : FS_LANES);    \
            memcpy(lanes, x + i, bytes);                                                           \
            v_store(lanes, function(v_load(lanes)));                                               \
            memcpy(out + i, lanes, bytes);                                                         \
        }                                                                                          \
    }
OVER_ARRAY(exp_array, v_exp)
OVER_ARRAY(log_array, v_log)

#endif
