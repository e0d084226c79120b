/* pass.h: what a call works on: its rows, its buffers, what it adds up. */
#ifndef FS_PASS_H
#define FS_PASS_H

#include <float.h>
#include <math.h>

#include "chunks.h"
#include "fastsoftmax.h"
#include "threads.h"

/* By tiles, of which a thread computes the residuals at a time, at most. */
enum { GROUP_ROOMS = 4 };

/* Where a pass is. A step by rows is PARTIALS, SLICES. A step by tiles is, for each span of its rows,
 * RESIDUALS, TILES; or TAKE, LOGITS, FINISH, TILES where threads share the classes. */
typedef enum { BEGINNING, PARTIALS, SLICES, RESIDUALS, TAKE, LOGITS, FINISH, TILES } phase;

/* What a thread remembers of the items that it has done in a phase. */
typedef struct {
    _Alignas(FS_ALIGN) ptrdiff_t phase; /* its number */
    uint64_t chunks;    /* by rows: whose partial gradients are complete, a bit each */
    ptrdiff_t in_panel; /* by tiles: the features that are there, or -1 */
} memory_of_thread;

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
    fs_interrupted interrupted; /* asked at times whether to stop after the step, or NULL */
    int64_t asked_at;           /* ms */
    int stop;
    int update;              /* whether a step changes the parameters */
    const fs_params *params; /* updated in place where nothing is packed */
    fs_sums step_sums, sums;
    /* loss_and_grad's: where tiles go, (K, D) and (K,); (n_rows, D), or NULL */
    float *grad_weight, *grad_bias, *grad_input;

    /* where it is */
    phase phase;
    ptrdiff_t phase_number;
    ptrdiff_t begin, n_rows; /* of the step */
    ptrdiff_t first, last;   /* rows of the phase: the step's, or by tiles those of a span */
    chunks chunks;           /* of these */
    double weight;           /* of the step's rows so far */
    float grad_scale;
    int by_classes;                 /* by tiles: whether threads share the classes */
    memory_of_thread *memories;     /* (num_threads,) */
    uint8_t by_whom[FS_MAX_CHUNKS]; /* by rows: the thread that had the chunk */
    struct {
        uint8_t to, apart;
    } adds[FS_MAX_CHUNKS]; /* by rows: what of the tree of sums is left for SLICES, in its order */
    int n_adds;

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

/* Of a mean over rows of that weight; 1 where that is none, as then there is no gradient. */
static inline float grad_scale_of(double weight) {
    return 1.0f / (fabs(weight) >= FLT_MIN ? (float)weight : 1.0f);
}

static inline fs_rooms rooms_of(const pass *p, ptrdiff_t first, ptrdiff_t n) {
    return (fs_rooms){p->rooms + (size_t)first * p->room_bytes, p->room_bytes, n};
}

static inline float *scratch_of(const pass *p, int thread) {
    return p->scratch + thread * p->scratch_floats;
}

/* How many chunks are a thread's. */
static inline int n_chunks_of(chunks c, int thread, int n_threads) {
    return (int)(first_chunk(c, thread + 1, n_threads) - first_chunk(c, thread, n_threads));
}

/* Where an item is a chunk: which one, and the one that the thread will do after it, or -1. */
static inline ptrdiff_t chunk_of_item(chunks c, fs_item item) {
    return first_chunk(c, item.owner, item.n_threads) + item.index;
}
static inline ptrdiff_t next_chunk(chunks c, fs_item item) {
    return item.next_owner < 0 ? -1
                               : first_chunk(c, item.next_owner, item.n_threads) + item.next_index;
}

#endif
