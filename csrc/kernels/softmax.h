/* softmax.h: logits -> the largest, the sum of exponentials, probabilities.
 *
 * Logits are held transposed, (K, FS_BLOCK_ROWS). Each lane is a row, so nothing is added up over
 * lanes. "Columns from r on" are FS_LANES rows of the block.
 */
#ifndef FS_SOFTMAX_H
#define FS_SOFTMAX_H

#include "block.h"
#include "exp.h"

/* z = 0 in the columns that fill the last vector of rows: these lanes are computed, too. */
static void pad_columns(block *b) {
    const ptrdiff_t padded = round_up(b->n_rows, FS_LANES);
    for (ptrdiff_t k = 0; k < b->n_classes; k++)
        for (ptrdiff_t r = b->n_rows; r < padded; r++) b->z[k * FS_BLOCK_ROWS + r] = 0.0f;
}

/* The largest logit of FS_LANES rows from column r on, and the first class that has it. */
FS_INLINE vf row_max(const block *b, ptrdiff_t r, vi *argmax) {
    vf max = v_load(b->z + r);
    vi index = {0};
    for (ptrdiff_t k = 1; k < b->n_classes; k++) {
        const vf zk = v_load(b->z + k * FS_BLOCK_ROWS + r);
        const vi larger = zk > max;
        max = v_select(larger, zk, max);
        index = v_selecti(larger, v_seti((int32_t)k), index);
    }
    *argmax = index;
    return max;
}

/* sum += term. The rounding error is carried along (Kahan), as there may be thousands of
 * classes. */
FS_INLINE void add_compensated(vf *sum, vf *error, vf term) {
    const vf corrected = term - *error, next = *sum + corrected;
    *error = (next - *sum) - corrected;
    *sum = next;
}

/* Whether the exponentials take the place of z; TO_READ is for people, so subnormals are kept. */
enum { NOT_KEPT, KEPT, TO_READ };

/* The sum over classes of exp(z - max), in the columns from r on. Where `product` is not NULL, it
 * becomes the sum of exp(z - max) * (z - max); a class whose exponential is 0 has no part in it,
 * even if its logit is -infinity. `kept`, and whether product is NULL, are constants. */
FS_INLINE vf sum_of_exp(block *b, ptrdiff_t r, vf max, const int kept, vf *product) {
    vf sum = {0}, error = {0}, products = {0}, products_error = {0};
    for (ptrdiff_t k = 0; k < b->n_classes; k++) {
        float *zk = b->z + k * FS_BLOCK_ROWS + r;
        const vf x = v_load(zk) - max, e = kept == TO_READ ? v_exp_gradual(x) : v_exp(x);
        if (kept != NOT_KEPT) v_store(zk, e);
        add_compensated(&sum, &error, e);
        if (product)
            add_compensated(&products, &products_error, v_select(e != 0.0f, e * x, (vf){0}));
    }
    if (product) *product = products;
    return sum;
}

/* z = factor * softmax(z) in the columns from r on. Returns what sum_of_exp does. */
FS_INLINE vf softmax_columns(block *b, ptrdiff_t r, vf max, vf factor, const int kept,
                             vf *product) {
    const vf sum = sum_of_exp(b, r, max, kept, product);
    const vf inverse = factor / sum;
    for (ptrdiff_t k = 0; k < b->n_classes; k++) {
        float *zk = b->z + k * FS_BLOCK_ROWS + r;
        v_store(zk, v_load(zk) * inverse);
    }
    return sum;
}

/* out[begin:end] = softmax or log_softmax of logits[begin:end], each (n_rows, K). */
static void softmax(const float *logits, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t n_classes,
                    int log, const fs_workspaces *workspace, float *out) {
    block *b = new_block(workspace, 0, (fs_shape){.n_classes = n_classes});
    for (ptrdiff_t r = begin; r < end; r += FS_BLOCK_ROWS) {
        b->n_rows = min_of(FS_BLOCK_ROWS, end - r);
        for (ptrdiff_t i = 0; i < b->n_rows; i++)
            for (ptrdiff_t k = 0; k < n_classes; k++)
                b->z[k * FS_BLOCK_ROWS + i] = logits[(r + i) * n_classes + k];
        pad_columns(b);
        for (ptrdiff_t i = 0; i < b->n_rows; i += FS_LANES) {
            vi argmax;
            const vf max = row_max(b, i, &argmax);
            if (!log) {
                softmax_columns(b, i, max, v_set(1.0f), TO_READ, NULL);
                continue;
            }
            const vf log_sum = v_log(sum_of_exp(b, i, max, NOT_KEPT, NULL));
            for (ptrdiff_t k = 0; k < n_classes; k++) {
                float *zk = b->z + k * FS_BLOCK_ROWS + i;
                v_store(zk, (v_load(zk) - max) - log_sum);
            }
        }
        for (ptrdiff_t i = 0; i < b->n_rows; i++)
            for (ptrdiff_t k = 0; k < n_classes; k++)
                out[(r + i) * n_classes + k] = b->z[k * FS_BLOCK_ROWS + i];
    }
}

#endif
