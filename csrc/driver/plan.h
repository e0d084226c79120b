/* plan.h: how a call will work: what it computes, its threads, its buffers. */
#ifndef FS_PLAN_H
#define FS_PLAN_H

#include "chunks.h"

/* What a call is for, by what it needs. */
typedef enum { TRAIN, LOSS_AND_GRAD, CHUNK_PARTIALS, LOGITS_ONLY } purpose;

/* What a thread remembers of the items that it has done in a phase. */
typedef struct {
    _Alignas(FS_ALIGN) ptrdiff_t phase; /* its number */
    uint64_t chunks;    /* by rows: whose partial gradients are complete, a bit each */
    ptrdiff_t in_panel; /* by tiles: the features that are there, or -1 */
} thread_notes;

/* While the call runs, nothing of it changes but what is in the buffers. */
typedef struct {
    const fs_kernels *kernels;
    fs_problem problem;
    ptrdiff_t batch_size; /* rows of a step; the last one may have fewer */
    ptrdiff_t span_rows;  /* by tiles: rows at a time */
    int num_threads;

    ptrdiff_t packed_size, bias_offset;
    size_t workspace_bytes; /* a multiple of FS_ALIGN */
    ptrdiff_t scratch_floats;

    void *memory; /* of all buffers that follow */
    /* one for each thread; by tiles, one for each chunk of a span */
    char *workspaces;
    float *packed;   /* (packed_size,) parameters, or NULL: the caller's are read */
    float *velocity; /* (packed_size,) or NULL */
    /* by rows (chunks, packed_size); of CHUNK_PARTIALS (num_threads, packed_size); by tiles
     * (packed_size,), or NULL where one span is the whole step */
    float *partials;
    float *bias_tile;    /* by tiles: the gradient of the bias */
    float *scratch;      /* (num_threads, scratch_floats) */
    thread_notes *notes; /* (num_threads,) */
} plan;

/* Makes the plan of a call: chooses how to work, takes the memory, packs the parameters. Returns
 * FS_OK or FS_NO_MEMORY. */
int fs_make_plan(plan *p, purpose what, const fs_kernels *kernels, const fs_rows *rows,
                 const fs_loss *loss, const fs_params *params, ptrdiff_t batch_size,
                 int num_threads);
void fs_end_plan(plan *p);

/* n workspaces from `first` on. */
static inline fs_workspaces workspaces_of(const plan *p, ptrdiff_t first, ptrdiff_t n) {
    return (fs_workspaces){p->workspaces + (size_t)first * p->workspace_bytes, p->workspace_bytes,
                           n};
}

static inline float *scratch_of(const plan *p, int thread) {
    return p->scratch + thread * p->scratch_floats;
}

#endif
