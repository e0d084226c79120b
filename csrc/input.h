/* input.h: residuals and the weight -> the gradient for the rows themselves. */
#ifndef FS_INPUT_H
#define FS_INPUT_H

#include "block.h"

/* grad (n, row_floats) = z (K, FS_BLOCK_ROWS)^T . `width` vectors of the weight from f on, of which
 * the last has n_last floats; z points to the first of n columns. n and width are constants where
 * this is inlined. */
FS_INLINE void input_vectors(const float *z, const float *packed, ptrdiff_t n_vectors,
                             ptrdiff_t n_classes, ptrdiff_t f, float *grad, ptrdiff_t row_floats,
                             ptrdiff_t n_last, const int n, const int width) {
    vf acc[FS_CLASSES * FS_WIDE] = {0};
    for (ptrdiff_t c = 0, k = 0; c < class_blocks(n_classes); c++) {
        const ptrdiff_t stop = first_class(c + 1, n_classes), size = stop - k;
        const float *w = packed + (k * n_vectors + f * size) * FS_LANES;
        for (; k < stop; k++, w += FS_LANES) {
            vf x[FS_WIDE];
            for (int i = 0; i < width; i++) x[i] = v_load(w + i * size * FS_LANES);
            for (int r = 0; r < n; r++) {
                const vf d = v_set(z[k * FS_BLOCK_ROWS + r]);
                for (int i = 0; i < width; i++)
                    acc[r * width + i] = v_fma(d, x[i], acc[r * width + i]);
            }
        }
    }
    for (int r = 0; r < n; r++)
        for (int i = 0; i < width; i++) {
            float *to = grad + r * row_floats + i * FS_LANES;
            if (i + 1 < width || n_last == FS_LANES)
                v_store(to, acc[r * width + i]);
            else
                memcpy(to, &acc[r * width + i], (size_t)n_last * sizeof(float));
        }
}

typedef void input_function(const float *z, const float *packed, ptrdiff_t n_vectors,
                            ptrdiff_t n_classes, ptrdiff_t f, float *grad, ptrdiff_t row_floats,
                            ptrdiff_t n_last);

#define INPUT(n, name, width)                                                                      \
    static __attribute__((noinline)) void input_##n##_##name(                                      \
        const float *z, const float *packed, ptrdiff_t n_vectors, ptrdiff_t n_classes,             \
        ptrdiff_t f, float *grad, ptrdiff_t row_floats, ptrdiff_t n_last) {                        \
        input_vectors(z, packed, n_vectors, n_classes, f, grad, row_floats, n_last, n, width);     \
    }
/* clang-format off */
INPUT(1, one, 1) INPUT(2, one, 1) INPUT(3, one, 1) INPUT(4, one, 1) INPUT(5, one, 1)
INPUT(1, wide, FS_WIDE) INPUT(2, wide, FS_WIDE) INPUT(3, wide, FS_WIDE)
INPUT(4, wide, FS_WIDE) INPUT(5, wide, FS_WIDE)
    /* clang-format on */

    static input_function *const input_of[FS_CLASSES][2] = {
        {input_1_one, input_1_wide}, {input_2_one, input_2_wide}, {input_3_one, input_3_wide},
        {input_4_one, input_4_wide}, {input_5_one, input_5_wide},
};

/* Features are outermost, so that FS_WIDE vectors of the weight of all classes serve all rows. */
static void input_gradient(const fs_rows *rows, const float *packed, const fs_rooms *rooms,
                           float *grad_input) {
    const ptrdiff_t d = rows->n_features, n_vectors = feature_vectors(d);
    for (ptrdiff_t f = 0, width; f < n_vectors; f += width) {
        width = n_vectors - f < FS_WIDE ? 1 : FS_WIDE;
        const ptrdiff_t n_last = min_of(FS_LANES, d - (f + width - 1) * FS_LANES);
        float *grad = grad_input + f * FS_LANES;
        for (ptrdiff_t i = 0; i < rooms->n; i++) {
            const block *b = block_in(rooms, i);
            for (ptrdiff_t r = 0, n; r < b->n_rows; r += n, grad += n * d) {
                n = min_of(FS_CLASSES, b->n_rows - r);
                input_of[n - 1][width > 1](b->z + r, packed, n_vectors, rows->n_classes, f, grad, d,
                                           n_last);
            }
        }
    }
}

#endif
