/* softmax.h: logits -> losses, and residuals or probabilities.
 *
 * Logits are held transposed, (K, FS_BLOCK_ROWS): rows are in lanes, so nothing here is horizontal.
 */
#ifndef FS_SOFTMAX_H
#define FS_SOFTMAX_H

#include <math.h>

#include "block.h"
#include "exp.h"

/* Zeroes z's columns from n_rows up to the next full vector, whose lanes are computed too. */
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

/* sum += term, with the rounding error carried along (Kahan): thousands of classes are added. */
FS_INLINE void add_compensated(vf *sum, vf *error, vf term) {
    const vf corrected = term - *error, next = *sum + corrected;
    *error = (next - *sum) - corrected;
    *sum = next;
}

/* sum over classes of exp(z - max), for FS_LANES rows from column r on; each term is kept in z's
 * place where `kept` says so, a constant: TO_READ with subnormals. */
enum { NOT_KEPT, KEPT, TO_READ };
FS_INLINE vf sum_of_exp(block *b, ptrdiff_t r, vf max, const int kept) {
    vf sum = {0}, error = {0};
    for (ptrdiff_t k = 0; k < b->n_classes; k++) {
        float *zk = b->z + k * FS_BLOCK_ROWS + r;
        const vf x = v_load(zk) - max, e = kept == TO_READ ? v_exp_gradual(x) : v_exp(x);
        if (kept != NOT_KEPT) v_store(zk, e);
        add_compensated(&sum, &error, e);
    }
    return sum;
}

/* Adds the losses of FS_LANES rows to sums, and stores them in losses (FS_LANES,) unless NULL. */
static void add_losses(const block *b, ptrdiff_t r, vf loss, vi argmax, float *losses,
                       fs_sums *sums) {
    const ptrdiff_t n = min_of(FS_LANES, b->n_rows - r);
    for (ptrdiff_t i = 0; i < n; i++) {
        sums->loss += (double)loss[i];
        sums->correct += argmax[i] == b->target[r + i] && !isnan(loss[i]);
        if (losses) losses[i] = loss[i];
    }
}

static void gather_target_logits(const block *b, ptrdiff_t r, float *z_target) {
    for (ptrdiff_t i = 0; i < FS_LANES; i++)
        z_target[i] = r + i < b->n_rows ? b->z[b->target[r + i] * FS_BLOCK_ROWS + r + i] : 0.0f;
}

/* z becomes factor * softmax(z) in FS_LANES columns from r on; returns the sum of exponentials. */
FS_INLINE vf softmax_columns(block *b, ptrdiff_t r, vf max, vf factor, const int kept) {
    const vf sum = sum_of_exp(b, r, max, kept);
    const vf inverse = factor / sum;
    for (ptrdiff_t k = 0; k < b->n_classes; k++) {
        float *zk = b->z + k * FS_BLOCK_ROWS + r;
        v_store(zk, v_load(zk) * inverse);
    }
    return sum;
}

/* Logits -> losses = max + log(sum(exp(z - max))) - z[target]; z becomes softmax(z) -
 * onehot(target) if residuals are asked for. A NaN or +infinity among the logits gives a NaN loss:
 * NaN - max, or infinity - infinity, is in the sum. losses (FS_BLOCK_ROWS,) may be NULL. */
static void block_loss(block *b, int residuals_too, float *losses, fs_sums *sums) {
    pad_columns(b);
    for (ptrdiff_t r = 0; r < b->n_rows; r += FS_LANES) {
        float z_target[FS_LANES];
        gather_target_logits(b, r, z_target);
        vi argmax;
        const vf max = row_max(b, r, &argmax);
        const vf sum = residuals_too ? softmax_columns(b, r, max, v_set(1.0f), KEPT)
                                     : sum_of_exp(b, r, max, NOT_KEPT);
        add_losses(b, r, (max - v_load(z_target)) + v_log(sum), argmax, losses ? losses + r : NULL,
                   sums);
    }
    sums->weight += (double)b->n_rows;
    sums->counted += b->n_rows;
    if (residuals_too)
        for (ptrdiff_t r = 0; r < b->n_rows; r++) b->z[b->target[r] * FS_BLOCK_ROWS + r] -= 1.0f;
}

/* z = scale * grad_scale * z, 0 in the padding columns; and the gradient of the bias, to which the
 * scale of the features is nothing. */
static void finish_residuals(block *b, float scale, float grad_scale) {
    pad_columns(b);
    for (ptrdiff_t k = 0; k < b->n_classes; k++) {
        float *zk = b->z + k * FS_BLOCK_ROWS;
        vf sum = {0};
        for (ptrdiff_t r = 0; r < b->n_rows; r += FS_LANES) {
            const vf d = v_load(zk + r);
            sum += d;
            v_store(zk + r, d * (scale * grad_scale));
        }
        v_sum_each(&sum, 1);
        b->grad_bias[k] = sum[0] * grad_scale;
    }
}

#endif
