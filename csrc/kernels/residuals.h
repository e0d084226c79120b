/* residuals.h: rows -> logits -> losses and residuals, block by block. */
#ifndef FS_RESIDUALS_H
#define FS_RESIDUALS_H

#include "logits_columns.h"
#include "logits_rows.h"
#include "loss.h"
#include "weighted_loss.h"

/* The logits of all blocks, for the class groups [c_first, c_end). */
static void compute_logits(const fs_problem *problem, const fs_workspaces *workspaces,
                           ptrdiff_t c_first, ptrdiff_t c_end, float *scratch) {
    if (by_columns(problem->weights.shape))
        logits_by_columns(problem, workspaces, c_first, c_end, scratch);
    else if (problem->rows->row_type == FS_UINT8)
        logits_by_rows(problem, workspaces, c_first, c_end, 1);
    else
        logits_by_rows(problem, workspaces, c_first, c_end, 0);
}

static void share_logits(const fs_problem *problem, const fs_workspaces *workspaces, int thread,
                         int n_threads, float *scratch) {
    const ptrdiff_t n = class_groups(problem->weights.shape.n_classes);
    compute_logits(problem, workspaces, thread_group(n, thread, n_threads),
                   thread_group(n, thread + 1, n_threads), scratch);
}

/* Logits of the rows from `begin` on -> losses, and residuals if they are asked for. */
static void compute_loss(block *b, const fs_problem *problem, ptrdiff_t begin, int residuals_too,
                         float *losses, fs_sums *sums) {
    const int entropy = residuals_too && problem->entropy;
    if (problem->loss->plain) {
        block_loss(b, residuals_too, entropy, losses, sums);
    } else {
        weigh_rows(b, problem, begin, sums);
        weighted_loss(b, problem->loss, residuals_too, entropy, losses, sums);
    }
    if (residuals_too) finish_residuals(b, problem->rows->scale, problem->grad_scale);
}

static void take(const fs_problem *problem, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t block_rows,
                 fs_next next, const fs_workspaces *workspaces) {
    for (ptrdiff_t i = 0; i < workspaces->n; i++) {
        const ptrdiff_t r = begin + i * block_rows, stop = min_of(r + block_rows, end);
        block *b = new_block(workspaces, i, problem->weights.shape);
        take_rows(b, problem, r, stop, stop < end ? stop : next.first, next.n_logits);
    }
}

static void finish(const fs_problem *problem, ptrdiff_t begin, ptrdiff_t block_rows,
                   const fs_workspaces *workspaces, fs_sums *sums) {
    for (ptrdiff_t i = 0; i < workspaces->n; i++)
        compute_loss(block_in(workspaces, i), problem, begin + i * block_rows, 1, NULL, &sums[i]);
}

static void residuals(const fs_problem *problem, ptrdiff_t begin, ptrdiff_t end,
                      ptrdiff_t block_rows, fs_next next, const fs_workspaces *workspaces,
                      float *scratch, fs_sums *sums) {
    take(problem, begin, end, block_rows, next, workspaces);
    share_logits(problem, workspaces, 0, 1, scratch);
    finish(problem, begin, block_rows, workspaces, sums);
}

static void evaluate(const fs_problem *problem, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t next,
                     const fs_workspaces *workspace, float *scratch, float *losses, fs_sums *sums) {
    block *b = new_block(workspace, 0, problem->weights.shape);
    *sums = (fs_sums){0};
    for (ptrdiff_t r = begin; r < end; r += FS_BLOCK_ROWS) {
        const ptrdiff_t stop = min_of(r + FS_BLOCK_ROWS, end);
        take_rows(b, problem, r, stop, stop < end ? stop : next, FS_BLOCK_ROWS);
        share_logits(problem, workspace, 0, 1, scratch);
        compute_loss(b, problem, r, 0, losses ? losses + r : NULL, sums);
    }
}

static void logits(const fs_problem *problem, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t next,
                   const fs_workspaces *workspace, float *scratch, float *out) {
    block *b = new_block(workspace, 0, problem->weights.shape);
    for (ptrdiff_t r = begin; r < end; r += FS_BLOCK_ROWS) {
        const ptrdiff_t stop = min_of(r + FS_BLOCK_ROWS, end);
        take_rows(b, problem, r, stop, stop < end ? stop : next, FS_BLOCK_ROWS);
        share_logits(problem, workspace, 0, 1, scratch);
        for (ptrdiff_t i = 0; i < b->n_rows; i++)
            for (ptrdiff_t k = 0; k < b->n_classes; k++)
                out[(r + i) * b->n_classes + k] = b->z[k * FS_BLOCK_ROWS + i];
    }
}

#endif
