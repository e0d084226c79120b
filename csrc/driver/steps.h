/* steps.h: the steps of a call that has a gradient, as phases of items. */
#ifndef FS_STEPS_H
#define FS_STEPS_H

#include "plan.h"

/* What the team works on. A step by rows is PARTIALS, REDUCE. A step by tiles is, for each span of its
 * rows, RESIDUALS, TILES; or TAKE, LOGITS, FINISH, TILES where threads share the classes. */
typedef enum { BEGINNING, PARTIALS, REDUCE, RESIDUALS, TAKE, LOGITS, FINISH, TILES } phase;

typedef struct {
    const plan *plan;
    int update;                 /* whether a step changes the parameters */
    const fs_params *params;    /* updated in place where nothing is packed */
    fs_step_settings settings;  /* of this step */
    fs_interrupted interrupted; /* or NULL */
    int64_t asked_at;           /* ms */
    int stop;                   /* after this step */
    fs_gradients gradients;     /* where to write them; all NULL where the steps update */

    /* where the call is */
    phase phase;
    ptrdiff_t phase_number;
    ptrdiff_t begin, n_rows; /* of the step */
    ptrdiff_t first, last;   /* rows of the phase: the step's, or by tiles those of a span */
    chunks chunks;           /* of these */
    fs_sums chunk_sums[FS_MAX_CHUNKS];
    fs_sums step_sums, sums;
    double total_weight; /* of the step's rows so far */
    float mean_scale;    /* of the step's gradient: 1 / total_weight */

    /* by rows */
    uint8_t by_whom[FS_MAX_CHUNKS]; /* the thread that had the chunk */
    struct {
        uint8_t to, apart;
    } adds[FS_MAX_CHUNKS]; /* what of the tree of sums is left for REDUCE, in its order */
    int n_adds;

    /* by tiles */
    int by_classes; /* whether threads share the classes */
} steps;

/* ---- steps.c ---- */

/* Runs all steps over the rows of the plan. `s` has the plan, what to update or where to write the
 * gradients, and zeros; afterwards it has the sums. */
void fs_run_steps(steps *s);

/* By what the gradient of a sum is multiplied to be that of a mean. Where nothing weighs anything there
 * is no gradient, and it is 1. */
float fs_mean_scale(double total_weight);

/* Adds sums (n,), in their order. */
void fs_add_sums(fs_sums *to, const fs_sums *sums, ptrdiff_t n);

/* What the thread remembers of this phase. */
thread_notes *fs_notes_of(const steps *s, int thread);

/* Updates the packed parameters [begin, end), all of the weight or all of the bias. */
void fs_update_range(const steps *s, const float *grad, ptrdiff_t begin, ptrdiff_t end,
                     int is_bias);

/* Writes the gradient for the rows in the workspaces, which begin at `begin`, unless grad_input is
 * NULL. */
void fs_write_input_gradient(const plan *p, const fs_workspaces *workspaces, ptrdiff_t begin,
                             float *grad_input);

/* ---- step_rows.c ---- */

/* The partial gradient (packed_size,) of a chunk, the rows [first, last), is stored or added to what is
 * there; grad_input may be NULL. Meanwhile the rows from `after` on are fetched, unless it is -1. */
void fs_compute_partial(const plan *p, int thread, ptrdiff_t first, ptrdiff_t last, ptrdiff_t after,
                        fs_onto onto, float *partial, float *grad_input, fs_sums *sums);
/* Computes the partial gradient of a chunk, an item of PARTIALS. */
void fs_partial_item(steps *s, fs_item item);
/* Lists which additions of the tree are left after PARTIALS. */
void fs_list_adds(steps *s);
/* Adds up a slice of the gradient, an item of REDUCE, and updates these parameters. */
void fs_reduce_item(steps *s, fs_item item);

/* ---- step_tiles.c ---- */

/* Computes the residuals of some chunks, an item of RESIDUALS. */
void fs_residuals_item(steps *s, fs_item item);
/* The same in three phases, an item of TAKE, LOGITS or FINISH. */
void fs_classes_item(steps *s, fs_item item);
/* Computes some tiles of the gradient, an item of TILES, and updates these parameters. */
void fs_tiles_item(steps *s, fs_item item);

#endif
