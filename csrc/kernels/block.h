/* block.h: a block of at most FS_BLOCK_ROWS rows, and the workspace for it.
 *
 * Rows are not padded by the caller. What is left of a row after its last full vector is copied,
 * zero-padded, into `tail`. Kernels take several rows at once; the last row stands in for those
 * that are missing, with residual zero.
 */
#ifndef FS_BLOCK_H
#define FS_BLOCK_H

#include "rows.h"

/* What a workspace begins with. Its arrays z, tail and grad_bias follow in memory. */
typedef struct {
    const char *row[FS_BLOCK_ROWS];
    const char *next[FS_BLOCK_ROWS]; /* rows to prefetch meanwhile, */
    ptrdiff_t n_next_logits;         /* so many of them with the logits */
    int32_t target[FS_BLOCK_ROWS];
    /* of weighted_loss.h: coefficients of the target and of every class */
    float own[FS_BLOCK_ROWS], every[FS_BLOCK_ROWS];
    const float *probabilities[FS_BLOCK_ROWS];
    ptrdiff_t n_rows;
    ptrdiff_t n_gradient; /* rows of the gradient: n_rows, or 0 where none counts for anything */
    ptrdiff_t row_bytes;
    ptrdiff_t n_classes;
    ptrdiff_t n_full;    /* full vectors of a row */
    ptrdiff_t n_vectors; /* n_full, and one more where a tail is left */
    float *z;            /* (K, FS_BLOCK_ROWS): logits, then residuals */
    float *tail;         /* (FS_BLOCK_ROWS, FS_LANES) */
    float *grad_bias;    /* (K,) sums of the residuals, before z is scaled */
} block;

static size_t workspace_bytes(ptrdiff_t n_classes) {
    return (size_t)round_up(sizeof(block), FS_ALIGN) +
           sizeof(float) * (size_t)(FS_BLOCK_ROWS * (n_classes + FS_LANES) +
                                    round_up(n_classes, FS_ALIGN / sizeof(float)));
}

static block *block_in(const fs_workspaces *workspaces, ptrdiff_t i) {
    return (block *)(void *)(workspaces->first + (size_t)i * workspaces->stride);
}

static block *new_block(const fs_workspaces *workspaces, ptrdiff_t i, fs_shape shape) {
    block *b = block_in(workspaces, i);
    b->n_classes = shape.n_classes;
    b->n_full = shape.n_features / FS_LANES;
    b->n_vectors = feature_vectors(shape.n_features);
    b->z = (float *)((char *)b + round_up(sizeof(block), FS_ALIGN));
    b->tail = b->z + shape.n_classes * FS_BLOCK_ROWS;
    b->grad_bias = b->tail + FS_BLOCK_ROWS * FS_LANES;
    return b;
}

/* Takes the rows [begin, end) into the block. The rows from `next` on are prefetched meanwhile, as
 * many as the block has; where next < 0 only its last row, again and again. */
static void take_rows(block *b, const fs_problem *problem, ptrdiff_t begin, ptrdiff_t end,
                      ptrdiff_t next, ptrdiff_t n_next_logits) {
    const fs_rows *const rows = problem->rows;
    b->n_next_logits = n_next_logits;
    b->row_bytes = feature_bytes(rows, rows->n_features);
    const ptrdiff_t n = b->n_rows = b->n_gradient = end - begin, padded = round_up(n, FS_LANES);
    for (ptrdiff_t r = 0; r < n; r++) b->row[r] = row_at(rows, begin + r);
    for (ptrdiff_t r = n; r < padded; r++) b->row[r] = b->row[n - 1];
    for (ptrdiff_t r = 0; r < FS_BLOCK_ROWS; r++)
        b->next[r] = next >= 0 ? row_at(rows, min_of(next + min_of(r, n - 1), rows->n_rows - 1))
                               : b->row[n - 1];

    const int32_t *target = problem->loss ? problem->loss->target : NULL;
    if (target) {
        if (rows->order)
            for (ptrdiff_t r = 0; r < n; r++) b->target[r] = target[rows->order[begin + r]];
        else
            memcpy(b->target, target + begin, (size_t)n * sizeof(int32_t));
    }

    if (b->n_vectors > b->n_full)
        for (ptrdiff_t r = 0; r < padded; r++)
            load_tail(b->tail + r * FS_LANES, rows, b->row[r], b->n_full * FS_LANES);
}

#endif
