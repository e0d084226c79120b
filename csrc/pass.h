/* pass.h: what a call works on: its rows, its buffers, what it adds up. */
#ifndef FS_PASS_H
#define FS_PASS_H

#include "chunks.h"
#include "fastsoftmax.h"
#include "threads.h"

/* By tiles, of which a thread computes the residuals at a time, at most. */
enum { GROUP_ROOMS = 4 };

typedef struct {
    const fs_kernels *kernels;
    const fs_rows *rows;
    int num_threads;
    ptrdiff_t packed_size, bias_offset;
    size_t room_bytes; /* a multiple of FS_ALIGN */
    char *rooms;       /* one for each thread; by tiles, for each chunk of a span */
    float *packed;     /* (packed_size,) parameters, or NULL: the caller's are read */
    fs_weights weights;
    ptrdiff_t scratch_floats;
    float *scratch; /* (num_threads, scratch_floats) */

    /* loss_and_grad and train_epoch */
    float *velocity;  /* (packed_size,) or NULL */
    float *partials;  /* (chunks, packed_size); by tiles (packed_size,), NULL where not needed */
    float *bias_tile; /* by tiles: the gradient of the bias */
    ptrdiff_t span_rows;
    fs_sums chunk_sums[FS_MAX_CHUNKS];
    ptrdiff_t batch_size;
    fs_sgd sgd;
    const fs_params *params; /* updated in place where nothing is packed */
    fs_sums step_sums, sums;
    /* loss_and_grad's: where tiles go, (K, D) and (K,); (n_rows, D), or NULL */
    float *grad_weight, *grad_bias, *grad_input;

    float *losses; /* evaluate: (n_rows,) or NULL */
    float *out;    /* predict_logits, softmax */
    const float *logits;
    int log;
} pass;

/* What a pass is for: by what it needs. */
typedef enum { TRAIN, LOSS_AND_GRAD, FORWARD } purpose;

/* All buffers of a pass in one allocation, which the caller gives back, and the parameters packed
 * or where they are; NULL if there is no memory. */
void *fs_new_pass(pass *p, purpose what, const fs_kernels *kernels, const fs_rows *rows,
                  int num_threads, ptrdiff_t batch_size, const float *weight, const float *bias,
                  int velocity);

/* Whether a step of so many rows is computed by tiles of the gradient, or by rows. */
int fs_by_tiles(const pass *p, ptrdiff_t n_rows);

/* The sums of all chunks, in the order of the chunks. */
static inline void add_sums(fs_sums *to, const fs_sums *sums, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i++) {
        to->loss += sums[i].loss;
        to->weight += sums[i].weight;
        to->correct += sums[i].correct;
        to->counted += sums[i].counted;
    }
}

/* Of a mean over rows of that weight. */
static inline float grad_scale_of(double weight) {
    return 1.0f / (weight != 0 ? (float)weight : 1.0f);
}

static inline fs_rooms rooms_of(const pass *p, ptrdiff_t first, ptrdiff_t n) {
    return (fs_rooms){p->rooms + (size_t)first * p->room_bytes, p->room_bytes, n};
}

static inline float *scratch_of(const pass *p, fs_member m) {
    return p->scratch + m.thread * p->scratch_floats;
}

#endif
