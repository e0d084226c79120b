/* vec.h: the vector vocabulary of the kernels, in the vector extensions of GCC and Clang.
 *
 * The build names the ISA (FS_ISA_*). How wide a vector is, and how many sums are held in
 * registers, follows from it here; no other file of the kernels has a condition on the ISA.
 * Measured: as fast as intrinsics, and the same bits. Only the fused multiply-add is an intrinsic.
 * Left to -ffp-contract, the compiler chooses in each inlined copy anew which of two products it
 * rounds, so that equal sources give unequal bits.
 */
#ifndef FS_VEC_H
#define FS_VEC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FS_INLINE static inline __attribute__((always_inline))

/* Stands before a loop over registers, whose bounds are constants where it is inlined. GCC keeps
 * the registers in memory unless the loop is unrolled. */
#if defined(__clang__)
#    define FS_UNROLL _Pragma("clang loop unroll(full)")
#else
#    define FS_UNROLL _Pragma("GCC unroll 20")
#endif

/* A kernel holds in registers the sums of FS_CLASSES classes x FS_WIDE rows for the logits, and of
 * FS_FEW_CLASSES classes x FS_WIDER vectors of features for the gradient: 20 of 32 vector
 * registers, or 10 of 16. Measured slower: the same number of sums the other way round.
 * FS_FOR_CLASSES(X) is X(n) for each number of classes that a group can have, FS_FOR_FEW(X) for
 * each up to FS_FEW_CLASSES. */
#define FS_WIDE        2
#define FS_FEW_CLASSES 5
#define FS_WIDER       (FS_CLASSES / FS_FEW_CLASSES * FS_WIDE)

#if defined(FS_ISA_X86_64_V4)
#    if !defined(__AVX512F__) || !defined(__AVX512VL__)
#        error "FS_ISA_X86_64_V4 needs -march=x86-64-v4"
#    endif
#    define FS_ISA_NAME "x86-64-v4"
#    define FS_KERNELS  fs_kernels_x86_64_v4
#    define FS_LANES    16
#    define FS_CLASSES  10
#    include <immintrin.h>
#    define FS_FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#elif defined(FS_ISA_X86_64_V3)
#    if !defined(__AVX2__) || !defined(__FMA__)
#        error "FS_ISA_X86_64_V3 needs -march=x86-64-v3"
#    endif
#    define FS_ISA_NAME "x86-64-v3"
#    define FS_KERNELS  fs_kernels_x86_64_v3
#    define FS_LANES    8
#    define FS_CLASSES  5
#    include <immintrin.h>
#    define FS_FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#elif defined(FS_ISA_X86_64_V2)
#    if !defined(__SSE4_2__) || defined(__AVX__)
#        error "FS_ISA_X86_64_V2 needs -march=x86-64-v2"
#    endif
#    define FS_ISA_NAME     "x86-64-v2"
#    define FS_KERNELS      fs_kernels_x86_64_v2
#    define FS_LANES        4
#    define FS_CLASSES      5
#    define FS_FMA(a, b, c) ((a) * (b) + (c))
#elif defined(FS_ISA_NEON)
#    if !defined(__ARM_NEON)
#        error "FS_ISA_NEON needs a target with NEON"
#    endif
#    define FS_ISA_NAME "neon"
#    define FS_KERNELS  fs_kernels_neon
#    define FS_LANES    4
#    define FS_CLASSES  10
#    include <arm_neon.h>
#    define FS_FMA(a, b, c) ((vf)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#elif defined(FS_ISA_BASELINE)
#    define FS_ISA_NAME     "baseline"
#    define FS_KERNELS      fs_kernels_baseline
#    define FS_LANES        4
#    define FS_CLASSES      5
#    define FS_FMA(a, b, c) ((a) * (b) + (c))
#else
#    error "the build names no FS_ISA_*"
#endif

#define FS_FOR_FEW(X) X(1) X(2) X(3) X(4) X(5)
#if FS_CLASSES == 10
#    define FS_FOR_CLASSES(X) FS_FOR_FEW(X) X(6) X(7) X(8) X(9) X(10)
#else
#    define FS_FOR_CLASSES(X) FS_FOR_FEW(X)
#endif

#define FS_VECTOR_BYTES (4 * FS_LANES)

typedef float vf __attribute__((vector_size(FS_VECTOR_BYTES)));
typedef int32_t vi __attribute__((vector_size(FS_VECTOR_BYTES)));
typedef vf vf_unaligned __attribute__((aligned(1), may_alias));
typedef double vd __attribute__((vector_size(FS_VECTOR_BYTES)));
typedef float vpair __attribute__((vector_size(2 * sizeof(float))));

FS_INLINE vf v_load(const float *p) { return *(const vf_unaligned *)p; }
FS_INLINE void v_store(float *p, vf v) { *(vf_unaligned *)p = v; }
FS_INLINE vf v_set(float a) { return a - (vf){0}; }
FS_INLINE vi v_seti(int32_t a) { return a - (vi){0}; }

/* v, kept in a register from here on. GCC would rather load it anew for each multiply-add. */
FS_INLINE vf v_keep(vf v) {
#if FS_CLASSES == 10 && defined(__x86_64__)
    __asm__("" : "+v"(v));
#endif
    return v;
}

/* a * b + c, rounded once where the ISA has it */
FS_INLINE vf v_fma(vf a, vf b, vf c) { return FS_FMA(a, b, c); }

/* mask ? a : b, lane by lane. A lane of a mask is all ones or all zeros: the result of a
 * comparison. */
FS_INLINE vf v_select(vi mask, vf a, vf b) { return (vf)((mask & (vi)a) | (~mask & (vi)b)); }
FS_INLINE vi v_selecti(vi mask, vi a, vi b) { return (mask & a) | (~mask & b); }

/* An element loop, as GCC turns __builtin_convertvector from bytes into scalar code. */
FS_INLINE vf v_load_u8(const uint8_t *p) {
    vi widened = {0};
    for (int lane = 0; lane < FS_LANES; lane++) widened[lane] = p[lane];
    return __builtin_convertvector(widened, vf);
}

/* Some lanes of a and b, by the constants given: those of a are numbered from 0, of b from
 * FS_LANES. */
#if defined(__clang__)
#    define FS_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#    define FS_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (vi){__VA_ARGS__})
#endif

/* One level of a transposition. The lanes of a and b come in runs of 2 * h. FS_LOWER takes the
 * lower half of each run, those of a first, and FS_UPPER the upper half. h is a constant. */
/* clang-format off */
#if FS_LANES == 16
#    define FS_LOWER(a, b, h)                                                                      \
    (h == 8 ? FS_SHUFFLE(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)             \
   : h == 4 ? FS_SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27)           \
   : h == 2 ? FS_SHUFFLE(a, b, 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29)           \
            : FS_SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30))
#    define FS_UPPER(a, b, h)                                                                      \
    (h == 8 ? FS_SHUFFLE(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31)       \
   : h == 4 ? FS_SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31)         \
   : h == 2 ? FS_SHUFFLE(a, b, 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31)         \
            : FS_SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31))
#elif FS_LANES == 8
#    define FS_LOWER(a, b, h)                                                                      \
    (h == 4 ? FS_SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11)                                           \
   : h == 2 ? FS_SHUFFLE(a, b, 0, 1, 4, 5, 8, 9, 12, 13)                                           \
            : FS_SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14))
#    define FS_UPPER(a, b, h)                                                                      \
    (h == 4 ? FS_SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15)                                         \
   : h == 2 ? FS_SHUFFLE(a, b, 2, 3, 6, 7, 10, 11, 14, 15)                                         \
            : FS_SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15))
#else
#    define FS_LOWER(a, b, h)                                                                      \
    (h == 2 ? FS_SHUFFLE(a, b, 0, 1, 4, 5) : FS_SHUFFLE(a, b, 0, 2, 4, 6))
#    define FS_UPPER(a, b, h)                                                                      \
    (h == 2 ? FS_SHUFFLE(a, b, 2, 3, 6, 7) : FS_SHUFFLE(a, b, 1, 3, 5, 7))
#endif
/* clang-format on */

/* Adds the halves of runs of 2 * half lanes: n vectors become (n + 1) / 2. */
FS_INLINE int v_sum_level(vf *v, const int n, const int half) {
    FS_UNROLL
    for (int i = 0; i < n; i += 2) {
        const vf a = v[i], b = i + 1 < n ? v[i + 1] : (vf){0};
        v[i / 2] = FS_LOWER(a, b, half) + FS_UPPER(a, b, half);
    }
    return (n + 1) / 2;
}

/* The sum over the lanes of each of v[0..n) goes, in order, to the lanes of v[0], v[1], ... This
 * takes half the shuffles of n sums on their own. n is a constant. */
FS_INLINE void v_sum_each(vf *v, int n) {
#if FS_LANES >= 16
    n = v_sum_level(v, n, 8);
#endif
#if FS_LANES >= 8
    n = v_sum_level(v, n, 4);
#endif
    n = v_sum_level(v, n, 2);
    v_sum_level(v, n, 1);
}

/* to[0..2) = or += the lanes i and i + 1 of v, where i is even */
FS_INLINE void v_store_pair(float *to, vf v, int i, int accumulate) {
    const double both = ((vd)v)[i / 2]; /* moved, never computed with */
    vpair pair;
    memcpy(&pair, &both, sizeof pair);
    if (accumulate) {
        vpair before;
        memcpy(&before, to, sizeof before);
        pair += before;
    }
    memcpy(to, &pair, sizeof pair);
}

/* The lane at which v_transpose puts what lies in vector i: i with its bits reversed. */
FS_INLINE int v_transposed_lane(int i) {
    int lane = 0;
    for (int bit = 1; bit < FS_LANES; bit *= 2, i /= 2) lane = lane * 2 + i % 2;
    return lane;
}

/* Exchanges the upper half of each run of 2 * half lanes with the lower half in the vector `half`
 * on. */
FS_INLINE void v_transpose_level(vf *v, const int half) {
    FS_UNROLL
    for (int i = 0; i < FS_LANES; i++)
        if (!(i & half)) {
            const vf a = v[i], b = v[i + half];
            v[i] = FS_LOWER(a, b, half);
            v[i + half] = FS_UPPER(a, b, half);
        }
}

/* Transposes v (FS_LANES, FS_LANES): lane l of vector i goes to lane v_transposed_lane(i) of
 * vector l. */
FS_INLINE void v_transpose(vf *v) {
#if FS_LANES >= 16
    v_transpose_level(v, 8);
#endif
#if FS_LANES >= 8
    v_transpose_level(v, 4);
#endif
    v_transpose_level(v, 2);
    v_transpose_level(v, 1);
}

/* Fetches a line to L2: in an L1 of 32 KB there is no place for it beside the weight of a class
 * group. */
FS_INLINE void v_prefetch(const void *p) { __builtin_prefetch(p, 0, 2); }

#endif
