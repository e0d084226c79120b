/* input_gradient.h: residuals and the weight -> the gradient for the rows themselves.
 *
 * grad_input (rows, D) = residuals (rows, K) . weight (K, D). FS_WIDER vectors of features are
 * computed at a time, for FS_FEW_CLASSES rows; those at the end of a row one by one. The weight of
 * these features is copied into a panel first, which all rows pass.
 */
#ifndef FS_INPUT_GRADIENT_H
#define FS_INPUT_GRADIENT_H

#include "block.h"
#include "thresholds.h"

/* panel (n, width, FS_LANES) = `width` vectors of the weight of n classes, zeros after n_floats.
 * Without a copy, classes that lie a power of two apart would push one another out of the cache. */
static void gather_weight(const float *weight, ptrdiff_t n_features, ptrdiff_t n, ptrdiff_t width,
                          ptrdiff_t n_floats, float *panel) {
    for (ptrdiff_t k = 0; k < n; k++, weight += n_features, panel += width * FS_LANES) {
        if (n_floats < width * FS_LANES)
            memset(panel, 0, (size_t)(width * FS_LANES) * sizeof(float));
        memcpy(panel, weight, (size_t)n_floats * sizeof(float));
    }
}

/* grad (n, n_floats), whose rows are row_floats apart, = or += z (n_classes, FS_BLOCK_ROWS)^T .
 * panel (n_classes, width, FS_LANES). n and width are constants where this is inlined. */
FS_INLINE void input_vectors(const float *z, const float *panel, ptrdiff_t n_classes, float *grad,
                             ptrdiff_t row_floats, ptrdiff_t n_floats, int accumulate, const int n,
                             const int width) {
    vf acc[FS_FEW_CLASSES * FS_WIDER] = {0};
    for (ptrdiff_t k = 0; k < n_classes; k++, panel += width * FS_LANES, z += FS_BLOCK_ROWS) {
        vf x[FS_WIDER];
        for (int i = 0; i < width; i++) x[i] = v_load(panel + i * FS_LANES);
        for (int r = 0; r < n; r++) {
            const vf d = v_set(z[r]);
            for (int i = 0; i < width; i++) acc[r * width + i] = v_fma(d, x[i], acc[r * width + i]);
        }
    }
    for (int r = 0; r < n; r++)
        for (int i = 0; i < width; i++) {
            float *to = grad + r * row_floats + i * FS_LANES, lanes[FS_LANES] = {0};
            const size_t bytes = (size_t)min_of(FS_LANES, n_floats - i * FS_LANES) * sizeof(float);
            if (accumulate) memcpy(lanes, to, bytes);
            v_store(lanes, v_load(lanes) + acc[r * width + i]);
            memcpy(to, lanes, bytes);
        }
}

/* A function for each number of rows, of one vector and of FS_WIDER. */
typedef void input_function(const float *z, const float *panel, ptrdiff_t n_classes, float *grad,
                            ptrdiff_t row_floats, ptrdiff_t n_floats, int accumulate);

#define INPUT(n, name, width)                                                                      \
    static __attribute__((noinline)) void input_##n##_##name(                                      \
        const float *z, const float *panel, ptrdiff_t n_classes, float *grad,                      \
        ptrdiff_t row_floats, ptrdiff_t n_floats, int accumulate) {                                \
        input_vectors(z, panel, n_classes, grad, row_floats, n_floats, accumulate, n, width);      \
    }
#define INPUTS(n) INPUT(n, one, 1) INPUT(n, wide, FS_WIDER)
FS_FOR_FEW(INPUTS)

#define INPUTS_OF(n) {input_##n##_one, input_##n##_wide},
static input_function *const input_of[FS_FEW_CLASSES][2] = {FS_FOR_FEW(INPUTS_OF)};

/* Zeroes the rows that count for nothing: residual 0 times a weight that is not finite is NaN. */
static void zero_ignored_inputs(const fs_workspaces *workspaces, ptrdiff_t n_features,
                                float *grad_input) {
    for (ptrdiff_t i = 0; i < workspaces->n; i++) {
        const block *b = block_in(workspaces, i);
        for (ptrdiff_t r = 0; r < b->n_rows; r++, grad_input += n_features)
            if (b->target[r] < 0) memset(grad_input, 0, (size_t)n_features * sizeof(float));
    }
}

static void input_gradient(const fs_problem *problem, const fs_workspaces *workspaces,
                           float *grad_input) {
    const float *weight = problem->weights.weight;
    _Alignas(FS_ALIGN) float panel[INPUT_CLASSES * FS_WIDER * FS_LANES];
    const ptrdiff_t d = problem->weights.shape.n_features;
    const ptrdiff_t n_classes = problem->weights.shape.n_classes;
    for (ptrdiff_t f = 0, width; f < d; f += width * FS_LANES) {
        width = f + FS_WIDER * FS_LANES <= d ? FS_WIDER : 1;
        const ptrdiff_t n_floats = min_of(width * FS_LANES, d - f);
        for (ptrdiff_t k = 0; k < n_classes; k += INPUT_CLASSES) {
            const ptrdiff_t n_k = min_of(INPUT_CLASSES, n_classes - k);
            gather_weight(weight + k * d + f, d, n_k, width, n_floats, panel);
            float *grad = grad_input + f;
            for (ptrdiff_t i = 0; i < workspaces->n; i++) {
                const block *b = block_in(workspaces, i);
                const float *z = b->z + k * FS_BLOCK_ROWS;
                for (ptrdiff_t r = 0, n; r < b->n_rows; r += n, grad += n * d) {
                    n = min_of(FS_FEW_CLASSES, b->n_rows - r);
                    input_of[n - 1][width > 1](z + r, panel, n_k, grad, d, n_floats, k > 0);
                }
            }
        }
    }
    if (!problem->loss->plain) zero_ignored_inputs(workspaces, d, grad_input);
}

#endif
