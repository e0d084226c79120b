/* steps.h: the steps of a call that has a gradient, as phases of items. */
#ifndef FS_STEPS_H
#define FS_STEPS_H

#include "plan.h"

/* The phases of a step. By rows they are PARTIALS, REDUCE. By tiles they are RESIDUALS, TILES for
 * each span of the rows; or TAKE, LOGITS, FINISH, TILES where threads share the classes. BEGINNING
 * comes before the first step, and after the last one. */
typedef enum { BEGINNING, PARTIALS, REDUCE, RESIDUALS, TAKE, LOGITS, FINISH, TILES } phase;

typedef struct {
    const plan *plan;
    const fs_params *params;    /* to update, in place where nothing is packed; or NULL */
    fs_step_settings settings;  /* of the step */
    fs_interrupted interrupted; /* or NULL */
    int64_t asked_at;           /* when, in milliseconds */
    int stop;                   /* whether to, after this step */
    fs_gradients gradients;     /* where to write them; all NULL where the steps update */

    /* where the call is */
    phase phase;
    ptrdiff_t phase_number;
    ptrdiff_t begin, n_rows; /* of the step */
    ptrdiff_t first, last;   /* by rows: all rows of the step; by tiles: those of a span */
    chunks chunks;           /* of these rows */
    fs_sums chunk_sums[FS_MAX_CHUNKS];
    fs_sums step_sums, sums;
    double total_weight; /* of the step's rows so far */
    float mean_scale;    /* of the step's gradient: 1 / total_weight */

    /* by rows */
    uint8_t by_whom[FS_MAX_CHUNKS]; /* the thread that had the chunk */
    struct {
        uint8_t to, apart;
    } adds[FS_MAX_CHUNKS]; /* additions of the tree that are left for REDUCE, in its order */
    int n_adds;

    /* by tiles */
    int by_classes; /* whether threads share the classes */
} steps;

/* ---- steps.c ---- */

/* Runs all steps over the rows of the plan. At first `s` has the plan, what to update or where to
 * write the gradients, and zeros; at last it has the sums. */
void fs_run_steps(steps *s);

/* The factor that makes the gradient of a sum that of a mean. Where nothing weighs anything, the
 * gradient is 0 and the factor 1. */
float fs_mean_scale(double total_weight);

/* Adds sums (n,), in their order. */
void fs_add_sums(fs_sums *to, const fs_sums *sums, ptrdiff_t n);

/* The notes of a thread, which are empty at first in each phase. */
thread_notes *fs_notes_of(const steps *s, int thread);

/* Updates the packed parameters [begin, end), all of the weight or all of the bias. */
void fs_update_range(const steps *s, const float *grad, ptrdiff_t begin, ptrdiff_t end,
                     int is_bias);

/* Writes the gradient of the rows in the workspaces, which begin at `begin`, to their place in
 * grad_input (n_rows, D), which may be NULL. */
void fs_write_input_gradient(const plan *p, const fs_workspaces *workspaces, ptrdiff_t begin,
                             float *grad_input);

/* ---- step_rows.c ---- */

/* partial (packed_size,) = or += the gradient of a chunk, which is the rows [first, last).
 * grad_input may be NULL. Meanwhile the rows from `after` on are fetched, or none where it is
 * -1. */
void fs_compute_partial(const plan *p, int thread, ptrdiff_t first, ptrdiff_t last, ptrdiff_t after,
                        fs_onto onto, float *partial, float *grad_input, fs_sums *sums);
/* An item of PARTIALS: computes the partial gradient of a chunk. */
void fs_partial_item(steps *s, fs_item item);
/* Lists which additions of the tree are left: those over chunks of several threads. */
void fs_list_adds(steps *s);
/* An item of REDUCE: adds up a slice of the gradient, and updates these parameters. */
void fs_reduce_item(steps *s, fs_item item);

/* ---- step_tiles.c ---- */

/* An item of RESIDUALS: computes the residuals of some chunks. */
void fs_residuals_item(steps *s, fs_item item);
/* An item of TAKE, LOGITS or FINISH, which are the same in three phases. */
void fs_classes_item(steps *s, fs_item item);
/* An item of TILES: computes some tiles of the gradient, and updates these parameters. */
void fs_tiles_item(steps *s, fs_item item);

#endif
