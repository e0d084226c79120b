/* loss.h: logits -> losses and residuals of a plain loss, whose rows all count alike.
 *
 * With p = softmax(z) the loss of a row is max + log(sum(exp(z - max))) - z[target], and its
 * residual, the gradient for the logits, is p - onehot(target).
 */
#ifndef FS_LOSS_H
#define FS_LOSS_H

#include <math.h>

#include "softmax.h"

/* Adds the losses of FS_LANES rows to sums, and writes them to losses (FS_LANES,), which may be
 * NULL. */
static void add_losses(const block *b, ptrdiff_t r, vf loss, vi argmax, float *losses,
                       fs_sums *sums) {
    const ptrdiff_t n = min_of(FS_LANES, b->n_rows - r);
    for (ptrdiff_t i = 0; i < n; i++) {
        sums->loss += (double)loss[i];
        sums->correct += argmax[i] == b->target[r + i] && !isnan(loss[i]);
        if (losses) losses[i] = loss[i];
    }
}

/* Adds total * (log(sum) - product / sum) of FS_LANES rows, which is their entropy where total is
 * 1. Neither term is negative, so nothing cancels. A row whose total is 0 adds 0. */
static void add_entropies(const block *b, ptrdiff_t r, vf total, vf sum, vf product,
                          fs_sums *sums) {
    const vf entropy = v_select(total != 0.0f, total * (v_log(sum) - product / sum), (vf){0});
    const ptrdiff_t n = min_of(FS_LANES, b->n_rows - r);
    for (ptrdiff_t i = 0; i < n; i++) sums->entropy += (double)entropy[i];
}

/* z_target (FS_LANES,) = the logit of each row's target. */
static void gather_target_logits(const block *b, ptrdiff_t r, float *z_target) {
    for (ptrdiff_t i = 0; i < FS_LANES; i++)
        z_target[i] = r + i < b->n_rows ? b->z[b->target[r + i] * FS_BLOCK_ROWS + r + i] : 0.0f;
}

/* Adds what the block's rows add up to; z becomes the residuals where these are asked for. losses
 * (FS_BLOCK_ROWS,) may be NULL. A NaN or +infinity among the logits gives a NaN loss: NaN - max, or
 * infinity - infinity, is in the sum. */
static void block_loss(block *b, int residuals_too, int entropy, float *losses, fs_sums *sums) {
    pad_columns(b);
    for (ptrdiff_t r = 0; r < b->n_rows; r += FS_LANES) {
        float z_target[FS_LANES];
        gather_target_logits(b, r, z_target);
        vi argmax;
        const vf max = row_max(b, r, &argmax);
        vf sum, product;
        if (entropy) {
            sum = softmax_columns(b, r, max, v_set(1.0f), KEPT, &product);
            add_entropies(b, r, v_set(1.0f), sum, product, sums);
        } else {
            sum = residuals_too ? softmax_columns(b, r, max, v_set(1.0f), KEPT, NULL)
                                : sum_of_exp(b, r, max, NOT_KEPT, NULL);
        }
        add_losses(b, r, (max - v_load(z_target)) + v_log(sum), argmax, losses ? losses + r : NULL,
                   sums);
    }
    sums->total_weight += (double)b->n_rows;
    sums->counted += b->n_rows;
    if (residuals_too)
        for (ptrdiff_t r = 0; r < b->n_rows; r++) b->z[b->target[r] * FS_BLOCK_ROWS + r] -= 1.0f;
}

/* Sums the residuals up to the gradient of the bias, and scales them for the gradient of the
 * weight, which so need not scale the features. */
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
