/* weighted_loss.h: logits -> losses and residuals, where something weighs, smooths or ignores.
 *
 * Every option of the loss becomes a coefficient c of each class of a row. With S = sum(c)
 *     the loss is      sum(c * (max - z)) + S * log(sum(exp(z - max))),
 *     its residual     S * softmax(z) - c.
 * All classes of a row have the coefficient `every`, times what is the class's own; the target has
 * `own` besides. A class of coefficient 0 has no part in the loss, even if its logit is -infinity.
 *
 * A row whose coefficients are all 0 counts for nothing, even if it is NaN: it is not counted, its
 * residuals are 0, and its target becomes -1, like that of an ignored row.
 */
#ifndef FS_WEIGHTED_LOSS_H
#define FS_WEIGHTED_LOSS_H

#include "loss.h"

/* Sets `own` and `every` of the block's rows, which begin at `begin`, and adds what the rows weigh
 * to sums. Columns without a row have 0. A row whose targets are probabilities has the first
 * largest of them as its target. */
static void weigh_rows(block *b, const fs_problem *problem, ptrdiff_t begin, fs_sums *sums) {
    const fs_loss *const c = problem->loss;
    memset(b->own, 0, sizeof(b->own));
    memset(b->every, 0, sizeof(b->every));
    for (ptrdiff_t r = 0; r < b->n_rows; r++) {
        const ptrdiff_t index = index_at(problem->rows, begin + r);
        const float sample = c->sample_weight ? c->sample_weight[index] : 1.0f;
        float weight = sample;
        if (c->probabilities) {
            const float *q = b->probabilities[r] = c->probabilities + index * b->n_classes;
            b->every[r] = sample;
            b->target[r] = 0;
            for (int32_t k = 1; k < b->n_classes; k++)
                if (q[k] > q[b->target[r]]) b->target[r] = k;
        } else {
            if (b->target[r] < 0) continue;
            if (c->class_weight) weight *= c->class_weight[b->target[r]];
            b->own[r] = (1.0f - c->label_smoothing) * weight;
            b->every[r] = sample * (c->label_smoothing / (float)b->n_classes);
        }
        sums->total_weight += (double)weight;
    }
}

/* The coefficients of class k, without `own`, of FS_LANES rows from column r on. */
FS_INLINE vf coefficients(const block *b, const fs_loss *c, ptrdiff_t k, ptrdiff_t r) {
    vf every = v_load(b->every + r);
    if (c->probabilities) {
        float q[FS_LANES] = {0};
        const ptrdiff_t n = min_of(FS_LANES, b->n_rows - r);
        for (ptrdiff_t i = 0; i < n; i++) q[i] = b->probabilities[r + i][k];
        every *= v_fma(v_load(q), v_set(1.0f - c->label_smoothing),
                       v_set(c->label_smoothing / (float)b->n_classes));
    }
    return c->class_weight ? every * c->class_weight[k] : every;
}

/* c * x, or 0 where c is 0 */
FS_INLINE vf times_coefficient(vf c, vf x) { return v_select(c != 0.0f, c * x, (vf){0}); }

/* z_target (FS_LANES,) = the logit of each row's target, 0 where there is none. */
static void gather_own_logits(const block *b, ptrdiff_t r, float *z_target) {
    for (ptrdiff_t i = 0; i < FS_LANES; i++) {
        const int has_own = r + i < b->n_rows && b->target[r + i] >= 0;
        z_target[i] = has_own ? b->z[b->target[r + i] * FS_BLOCK_ROWS + r + i] : 0.0f;
    }
}

/* Counts those of FS_LANES rows, from column r on, that count. The others get the target -1.
 * Returns whether there are others. */
static int mark_ignored(block *b, ptrdiff_t r, vi counts, fs_sums *sums) {
    const ptrdiff_t n = min_of(FS_LANES, b->n_rows - r);
    int any = 0;
    for (ptrdiff_t i = 0; i < n; i++)
        if (counts[i]) {
            sums->counted++;
        } else {
            b->target[r + i] = -1;
            any = 1;
        }
    return any;
}

/* z = 0 where a row does not count: 0 times NaN or infinity would be a NaN residual. */
static void zero_ignored(block *b, ptrdiff_t r, vi counts) {
    for (ptrdiff_t k = 0; k < b->n_classes; k++) {
        float *zk = b->z + k * FS_BLOCK_ROWS + r;
        v_store(zk, v_select(counts, v_load(zk), (vf){0}));
    }
}

/* For the gradient of the weight, a row that counts stands in for each that does not, and for those
 * missing in a vector: residual 0 times NaN or infinity would be NaN. Where no row counts, the
 * gradient has no rows. */
static void replace_ignored(block *b) {
    ptrdiff_t other = 0;
    while (other < b->n_rows && b->target[other] < 0) other++;
    if (other == b->n_rows) {
        b->n_gradient = 0;
        return;
    }
    for (ptrdiff_t r = 0; r < round_up(b->n_rows, FS_LANES); r++)
        if (r >= b->n_rows || b->target[r] < 0) {
            b->row[r] = b->row[other];
            if (b->n_vectors > b->n_full)
                v_store(b->tail + r * FS_LANES, v_load(b->tail + other * FS_LANES));
        }
}

/* Does what block_loss does, for rows that have been weighed. */
static void weighted_loss(block *b, const fs_loss *c, int residuals_too, int entropy, float *losses,
                          fs_sums *sums) {
    const int spread = c->probabilities || c->label_smoothing != 0.0f; /* beyond the target */
    pad_columns(b);
    for (ptrdiff_t r = 0; r < b->n_rows; r += FS_LANES) {
        float z_target[FS_LANES];
        gather_own_logits(b, r, z_target);
        vi argmax;
        vf max = row_max(b, r, &argmax);
        const vf own = v_load(b->own + r);
        vi counts = own != 0.0f;
        vf total = {0}, total_error = {0}, below = {0}, below_error = {0};
        if (spread)
            for (ptrdiff_t k = 0; k < b->n_classes; k++) {
                const vf ck = coefficients(b, c, k, r);
                const vf zk = v_load(b->z + k * FS_BLOCK_ROWS + r);
                counts |= ck != 0.0f;
                add_compensated(&total, &total_error, ck);
                add_compensated(&below, &below_error, times_coefficient(ck, max - zk));
                /* so that an infinite sum stays infinite */
                below_error = v_select(below_error == below_error, below_error, (vf){0});
            }
        if (mark_ignored(b, r, counts, sums) && residuals_too) {
            zero_ignored(b, r, counts);
            max = v_select(counts, max, (vf){0});
        }
        vf sum, product;
        if (entropy) {
            sum = softmax_columns(b, r, max, total + own, KEPT, &product);
            add_entropies(b, r, total + own, sum, product, sums);
        } else {
            sum = residuals_too ? softmax_columns(b, r, max, total + own, KEPT, NULL)
                                : sum_of_exp(b, r, max, NOT_KEPT, NULL);
        }
        const vf log_sum = v_log(sum);
        const vf loss = times_coefficient(own, (max - v_load(z_target)) + log_sum) +
                        (below + times_coefficient(total, log_sum));
        add_losses(b, r, loss, argmax, losses ? losses + r : NULL, sums);
        if (residuals_too && spread)
            for (ptrdiff_t k = 0; k < b->n_classes; k++) {
                float *zk = b->z + k * FS_BLOCK_ROWS + r;
                v_store(zk, v_load(zk) - coefficients(b, c, k, r));
            }
    }
    if (residuals_too) {
        for (ptrdiff_t r = 0; r < b->n_rows; r++)
            if (b->target[r] >= 0) b->z[b->target[r] * FS_BLOCK_ROWS + r] -= b->own[r];
        replace_ignored(b);
    }
}

#endif
