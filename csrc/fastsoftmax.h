/* fastsoftmax.h: all that the Python layer sees of the C layer.
 *
 * The letters of every shape comment:  N rows of data, B = batch_size, D = n_features,
 * K = n_classes. `weight` is (K, D) and row-major, as in torch.nn.Linear.
 *
 * Design
 *  a) kernels.c is compiled once per instruction set (ISA) and exports one table of functions,
 *     `fs_kernels`. dispatch.c alone knows which tables were built, and picks one at run time.
 *  b) The kernels work on packed parameters: [class block][feature vector][class][lane], then
 *     the bias. One pointer with constant offsets walks them. The layout is the table's own.
 *  c) A batch is cut into chunks of rows: a fixed function of the batch, never of the number of
 *     threads. Either each chunk has its own partial gradient, and these are added as a balanced
 *     binary tree over the chunk index, or each tile of the gradient goes through all rows in
 *     order. Hence the same bits for any number of threads.
 *  d) Losses are summed in double; every index is a ptrdiff_t.
 */
#ifndef FASTSOFTMAX_H
#define FASTSOFTMAX_H

#include <stddef.h>
#include <stdint.h>

enum {
    FS_BLOCK_ROWS = 64, /* rows that a kernel holds at a time: 200 KB of float32 rows at D = 784 */
    FS_MAX_CHUNKS = 64, /* per batch, hence the most threads that can share a batch's rows */
    FS_ALIGN = 64,      /* bytes; of every buffer that the C layer allocates */
    FS_TILE_FLOATS = 640, /* the most that a tile of the gradient has, the bias apart */
};

/* Error codes of the entry points; 0 is success. */
enum { FS_OK = 0, FS_NO_MEMORY = 1, FS_INTERRUPTED = 2 };

typedef enum { FS_FLOAT32, FS_UINT8 } fs_row_type;

/* What gives each class of a row a coefficient c, its loss being -sum(c * log_softmax(logits)): as
 * in torch.nn.functional.cross_entropy, and a weight of the row on top. NULL is 1 each. */
typedef struct {
    const float *class_weight;  /* (K,) */
    const float *sample_weight; /* (N,) */
    const float *probabilities; /* (N, K), in the place of targets */
    float label_smoothing;
} fs_criterion;

/* The rows, and the order in which to take them. */
typedef struct {
    const void *x; /* (N, D) row-major, no alignment assumed */
    fs_row_type row_type;
    float scale;           /* a feature is scale * x: 1/255 for pixels */
    float grad_scale;      /* of all gradients; 1 in training, where the mean is the update\'s */
    const int32_t *target; /* (N,) in [0, K); may be NULL where no loss is asked for; */
    const fs_criterion *criterion; /* with one, which may be NULL, -1 is a row to ignore */
    const int64_t *order;          /* (n_rows,) indices of rows, or NULL for 0, 1, 2, ... */
    ptrdiff_t n_rows;              /* rows to visit: len(order), or N */
    ptrdiff_t n_features;
    ptrdiff_t n_classes;
} fs_rows;

/* The settings of one update, as in torch.optim.SGD. */
typedef struct {
    float lr, momentum, dampening, weight_decay;
    float bias_weight_decay;
    int nesterov;
    int first_step; /* velocity = gradient, undamped */
} fs_sgd;

/* Parameters and their velocities, which are NULL without momentum. */
typedef struct {
    float *weight, *bias;
    float *velocity_weight, *velocity_bias;
} fs_params;

/* What a pass over rows adds up. */
typedef struct {
    double loss;     /* of the rows */
    double weight;   /* by which a mean divides: of each row's target, or their number */
    int64_t correct; /* rows whose first largest logit is the target's, the loss not being NaN */
    int64_t counted; /* rows that count for anything: neither ignored nor of weight 0 */
    char pad[FS_ALIGN - 2 * sizeof(double) - 2 * sizeof(int64_t)]; /* threads share few lines */
} fs_sums;

/* Rooms, in each of which a block of at most FS_BLOCK_ROWS rows is worked on. */
typedef struct {
    char *first;
    size_t stride; /* at least room_bytes, a multiple of FS_ALIGN */
    ptrdiff_t n;
} fs_rooms;

/* The rows that a thread wants after those that it has, from this position on; none where it is
 * negative. They are prefetched, n_forward of FS_BLOCK_ROWS in the forward pass, the others in the
 * backward pass. */
typedef struct {
    ptrdiff_t first, n_forward;
} fs_next;

/* Tiles of the gradient: [first, first + run), and as many `apart` tiles on, until `end`. */
typedef struct {
    ptrdiff_t first, end, run, apart;
} fs_tiles;

/* What a tile of the gradient is added to: nothing; the sums there, which go on; or, once it is
 * complete, what is there. */
typedef enum { FS_ONTO_NOTHING, FS_ONTO_SUMS, FS_ONTO_TILE } fs_onto;

/* The parameters as the kernels read them. Where `packed` is NULL, logits pack of weight (K, D) what
 * they need, when they need it: no copy of a large weight, where by_columns says that they can. */
typedef struct {
    const float *packed, *weight, *bias;
} fs_weights;

/* The functions of one ISA. `begin` and `end` count positions in the order of the rows;
 * `packed` has packed_size floats; where there is one `room`, the rows pass through it. */
typedef struct {
    const char *isa;
    ptrdiff_t (*packed_size)(ptrdiff_t n_features, ptrdiff_t n_classes);
    ptrdiff_t (*packed_bias_offset)(ptrdiff_t n_features, ptrdiff_t n_classes);
    size_t (*room_bytes)(ptrdiff_t n_classes);
    void (*pack)(const float *weight, const float *bias, ptrdiff_t n_features, ptrdiff_t n_classes,
                 float *packed);
    void (*unpack)(const float *packed, ptrdiff_t n_features, ptrdiff_t n_classes, float *weight,
                   float *bias);

    /* Of each thread: for the logits of n_logits rooms at a time, the panel of n_gradient rooms. */
    ptrdiff_t (*scratch_floats)(ptrdiff_t n_features, ptrdiff_t n_classes, ptrdiff_t n_logits,
                                ptrdiff_t n_gradient);
    /* Whether rows are transposed for the logits: then these need no copy of the weight. */
    int (*by_columns)(ptrdiff_t n_features, ptrdiff_t n_classes);
    /* Residuals of the rows [begin, end) into the rooms, block_rows to each, and the losses of each
     * room into its sums. */
    void (*residuals)(const fs_rows *rows, const fs_weights *weights, ptrdiff_t begin,
                      ptrdiff_t end, ptrdiff_t block_rows, fs_next next, const fs_rooms *rooms,
                      float *scratch, fs_sums *sums);
    /* The same in three parts, so that threads can share the classes, where by_classes says that it
     * pays: the rows into the rooms; logits of the classes that are a thread's; losses and residuals.
     */
    int (*by_classes)(ptrdiff_t n_rows, ptrdiff_t n_classes, int n_threads);
    void (*take)(const fs_rows *rows, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t block_rows,
                 fs_next next, const fs_rooms *rooms);
    void (*share_logits)(const fs_rows *rows, const fs_weights *weights, const fs_rooms *rooms,
                         int thread, int n_threads, float *scratch);
    void (*finish)(const fs_rows *rows, ptrdiff_t begin, ptrdiff_t block_rows,
                   const fs_rooms *rooms, fs_sums *sums);
    /* The gradient comes in tiles, each of them consecutive floats of the packed layout; the last
     * one is the bias. */
    ptrdiff_t (*n_tiles)(ptrdiff_t n_features, ptrdiff_t n_classes);
    /* Those of a thread, but the bias's: of the classes that share_logits gives it, or as many
     * vectors of features as of every other thread. */
    fs_tiles (*thread_tiles)(ptrdiff_t n_features, ptrdiff_t n_classes, int by_classes, int thread,
                             int n_threads);
    ptrdiff_t (*tile_floats)(ptrdiff_t n_features, ptrdiff_t n_classes, ptrdiff_t tile,
                             ptrdiff_t *offset);
    /* The first feature of a tile: those with the same one lie next to each other. */
    ptrdiff_t (*tile_features)(ptrdiff_t n_classes, ptrdiff_t tile);
    /* Whether many tiles in a row are of the same features: then these are kept in a panel, in
     * scratch, which the first of them that a thread computes is to fill. */
    int (*by_panels)(ptrdiff_t n_classes);
    /* grad (tile_floats,) = or += a tile of the gradient of the summed loss of the rows in rooms, or
     * in one room where it is added to a tile; panel is NULL where there is none. */
    void (*gradient)(const fs_rows *rows, const fs_rooms *rooms, float *panel, int fill,
                     ptrdiff_t tile, fs_onto onto, float *grad);
    /* a tile of the gradient to and from its place in grad_weight (K, D) or grad_bias (K,) */
    void (*store_tile)(const float *grad, ptrdiff_t n_features, ptrdiff_t n_classes, ptrdiff_t tile,
                       float *grad_weight, float *grad_bias);
    void (*load_tile)(const float *grad_weight, ptrdiff_t n_features, ptrdiff_t n_classes,
                      ptrdiff_t tile, float *grad);
    /* `update` of a tile of parameters that are not packed, and the same lines fetched before. */
    void (*update_tile)(const fs_params *params, const float *grad, ptrdiff_t n_features,
                        ptrdiff_t n_classes, ptrdiff_t tile, float grad_scale, const fs_sgd *sgd);
    void (*fetch_tile)(const fs_params *params, ptrdiff_t n_features, ptrdiff_t n_classes,
                       ptrdiff_t tile);
    /* grad_input (rows in rooms, D) = the gradient for them, in their order; weight is (K, D) */
    void (*input_gradient)(const fs_rows *rows, const float *weight, const fs_rooms *rooms,
                           float *grad_input);
    /* Also losses[begin:end], (n_rows,), if it is not NULL. The rows from `next` on are prefetched
     * at last; none where it is negative. */
    void (*loss)(const fs_rows *rows, const fs_weights *weights, ptrdiff_t begin, ptrdiff_t end,
                 ptrdiff_t next, void *room, float *scratch, float *losses, fs_sums *sums);
    /* logits[begin:end], logits being (n_rows, K) */
    void (*logits)(const fs_rows *rows, const fs_weights *weights, ptrdiff_t begin, ptrdiff_t end,
                   ptrdiff_t next, void *room, float *scratch, float *logits);
    /* out[begin:end] = softmax or log_softmax of logits[begin:end], each (n_rows, K) */
    void (*softmax)(const float *logits, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t n_classes,
                    int log, void *room, float *out);

    /* sum[0:n] += other[0:n], n a multiple of a vector */
    void (*add)(float *sum, const float *other, ptrdiff_t n);
    /* one update of n parameters by grad_scale * grad; velocity is NULL without momentum */
    void (*update)(float *param, const float *grad, float *velocity, ptrdiff_t n, float grad_scale,
                   float weight_decay, const fs_sgd *sgd);

    /* exp.h, over arrays, for its tests */
    void (*exp)(const float *x, float *out, ptrdiff_t n);
    void (*log)(const float *x, float *out, ptrdiff_t n);
} fs_kernels;

/* ---- dispatch.c: the tables built into this library, slowest first ---- */

int fs_n_built(void);
const fs_kernels *fs_built(int i);
int fs_supported(int i); /* by this CPU */

/* ---- threads.c ---- */

/* The two functions of an OpenMP library by which it lends its threads. */
typedef void (*fs_parallel)(void (*work)(void *), void *data, unsigned n_threads, unsigned flags);
typedef int (*fs_max_threads)(void);
typedef struct {
    fs_parallel parallel;
    fs_max_threads max_threads;
} fs_lender;

/* From whom the calls of this thread have their threads from now on; from nobody, where `parallel` is
 * NULL: then they are our own. */
void fs_borrow_threads(fs_lender lender);

/* Whether a call may use more threads than there are cores: no, but in tests. Not to be called while
 * another thread is in a call. */
void fs_allow_threads_beyond_cores(int allowed);

/* ---- epoch.c: whole passes, in parallel. Arrays are (K, D) and (K,), unpacked. ---- */

typedef int (*fs_interrupted)(void);

/* Every step of one pass over the rows: batches of batch_size in the order given, the last one
 * with what is left; each step's gradient is the mean over its own batch, or 0 where nothing in it
 * has any weight. `interrupted` may be NULL; it is asked by the calling thread every 50 ms, and where
 * it says yes the pass ends after the step, FS_INTERRUPTED. */
int fs_train_epoch(const fs_kernels *kernels, const fs_rows *rows, ptrdiff_t batch_size,
                   const fs_params *params, const fs_sgd *sgd, int num_threads,
                   fs_interrupted interrupted, fs_sums *sums);
/* Summed loss, and its gradients, over all rows as one batch; grad_input (N, D) may be NULL. */
int fs_loss_and_grad(const fs_kernels *kernels, const fs_rows *rows, const float *weight,
                     const float *bias, int num_threads, float *grad_weight, float *grad_bias,
                     float *grad_input, fs_sums *sums);
/* One update by the gradient of a loss summed over rows of that weight. */
void fs_sgd_update(const fs_kernels *kernels, const fs_params *params, const float *grad_weight,
                   const float *grad_bias, ptrdiff_t n_features, ptrdiff_t n_classes,
                   double total_weight, const fs_sgd *sgd);
/* losses (n_rows,) may be NULL. */
int fs_evaluate(const fs_kernels *kernels, const fs_rows *rows, const float *weight,
                const float *bias, int num_threads, float *losses, fs_sums *sums);
int fs_predict_logits(const fs_kernels *kernels, const fs_rows *rows, const float *weight,
                      const float *bias, int num_threads, float *logits);
int fs_softmax(const fs_kernels *kernels, const float *logits, ptrdiff_t n_rows,
               ptrdiff_t n_classes, int log, int num_threads, float *out);

#endif
