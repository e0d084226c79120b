/* kernels.h: the contract between the two wings: what the driver asks of the kernels of one ISA.
 *
 * kernels/ is compiled once per instruction set (ISA), and exports one table of functions,
 * fs_kernels. driver/ is compiled once, and calls the kernels through the table only.
 *
 * Design
 *  a) Rows are taken in blocks of at most FS_BLOCK_ROWS. What a kernel knows of a block is in a
 *     workspace: where its rows are, their targets, their logits, which become residuals. A block
 *     is small enough for the gradient to find its rows in L2, where the logits have left them.
 *  b) The parameters are read from a packed copy, [class group][feature vector][class][lane], then
 *     the bias. One pointer with constant offsets walks it. The layout is the kernels' own; the
 *     driver knows its size and where the bias begins.
 *  c) The gradient of the weight is cut into tiles: some classes by some features, whose sums a
 *     kernel holds in registers. One more tile is the gradient of the bias.
 *
 * How to write a kernel
 *  a) It takes nouns and plain numbers, and writes to memory that the driver gives it. It allocates
 *     nothing, locks nothing and knows no other thread.
 *  b) Its result depends on its arguments only, never on what is in scratch or in the lanes that
 *     fill up a vector: nothing that is computed there may reach a sum.
 *  c) NaN and infinity are arithmetic: they come out where they should. A row that counts for
 *     nothing changes nothing, even if it is NaN.
 *  d) It is static, or FS_INLINE, as a function that the linker shared between two ISAs would be an
 *     illegal instruction on the older CPU.
 *  e) Vectors are those of vec.h, and a * b + c is v_fma wherever it may be rounded once. Loops
 *     over registers have constant bounds where they are inlined.
 *  f) It goes into the table with a comment that gives the shapes. Outputs are the last arguments.
 *  g) Tests compare it with NumPy for every ISA, row type and size around FS_LANES, FS_CLASSES and
 *     FS_BLOCK_ROWS, and hold its bits for any number of threads.
 */
#ifndef FS_KERNELS_H
#define FS_KERNELS_H

#include "fastsoftmax.h"

enum {
    FS_BLOCK_ROWS = 64,   /* of a block, at most: 200 KB of float32 rows at D = 784 */
    FS_TILE_FLOATS = 640, /* of a tile, at most, the bias's apart */
    FS_LINE = 64,         /* bytes of a cache line */
};

/* ---- arithmetic of indices ---- */

static inline ptrdiff_t min_of(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static inline ptrdiff_t max_of(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }
static inline ptrdiff_t divide_up(ptrdiff_t a, ptrdiff_t b) { return (a + b - 1) / b; }
static inline ptrdiff_t round_up(ptrdiff_t n, ptrdiff_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

/* Bytes of n features of a row. */
static inline ptrdiff_t feature_bytes(const fs_rows *rows, ptrdiff_t n) {
    return rows->row_type == FS_UINT8 ? n : n * (ptrdiff_t)sizeof(float);
}

/* ---- what a kernel is given ---- */

/* The parameters as the kernels read them. `packed` may be NULL where by_columns(shape): then the
 * kernels pack what they need of weight (K, D), when they need it, and a large weight is not
 * copied. */
typedef struct {
    const float *packed; /* (packed_size,) */
    const float *weight, *bias;
    fs_shape shape;
} fs_weights;

/* Rows, their loss, and the weights that give their logits. */
typedef struct {
    const fs_rows *rows;
    const fs_loss *loss; /* NULL where none is asked for */
    fs_weights weights;
    float grad_scale; /* of all gradients */
    int entropy;      /* whether residuals and finish add it up, too */
} fs_problem;

/* Workspaces, each for one block. */
typedef struct {
    char *first;
    size_t stride; /* at least workspace_bytes, a multiple of FS_ALIGN */
    ptrdiff_t n;
} fs_workspaces;

/* Which rows a thread will take next: a position, or negative for none. They are prefetched
 * meanwhile: n_logits of FS_BLOCK_ROWS with the logits, the others with the gradient. */
typedef struct {
    ptrdiff_t first, n_logits;
} fs_next;

/* Tiles: [first, first + run), and as many again every `apart` tiles, until `end`. */
typedef struct {
    ptrdiff_t first, end, run, apart;
} fs_tiles;

/* What a tile of the gradient is added to: nothing; the sums there, which go on; or, once it is
 * complete, the tile there. The last two round differently. */
typedef enum { FS_ONTO_NOTHING, FS_ONTO_SUMS, FS_ONTO_TILE } fs_onto;

/* ---- the table ---- */

/* `begin` and `end` are positions in the order of the rows. */
struct fs_kernels {
    const char *isa;

    /* ---- memory ---- */

    /* Floats of the packed parameters, and how many of them come before the bias. */
    ptrdiff_t (*packed_size)(fs_shape shape);
    ptrdiff_t (*packed_bias_offset)(fs_shape shape);
    /* packed (packed_size,) from weight (K, D) and bias (K,), and back. */
    void (*pack)(const float *weight, const float *bias, fs_shape shape, float *packed);
    void (*unpack)(const float *packed, fs_shape shape, float *weight, float *bias);
    /* Bytes of the workspace of one block. */
    size_t (*workspace_bytes)(ptrdiff_t n_classes);
    /* Floats that each thread needs besides: for the logits of n_logits blocks at a time, and for
     * the gradient of n_gradient blocks at a time. */
    ptrdiff_t (*scratch_floats)(fs_shape shape, ptrdiff_t n_logits, ptrdiff_t n_gradient);

    /* ---- choices: kernels/thresholds.h ---- */

    /* Whether the logits are computed of transposed rows. Then they need no packed weight. */
    int (*by_columns)(fs_shape shape);
    /* Whether threads should share the classes of so few rows, instead of the rows. */
    int (*by_classes)(ptrdiff_t n_rows, ptrdiff_t n_classes, int n_threads);
    /* Whether enough tiles are of the same features for these to be copied into a panel. */
    int (*by_panels)(ptrdiff_t n_classes);

    /* ---- rows -> residuals and losses ---- */

    /* Takes the rows [begin, end) in blocks of block_rows, one to each workspace. Writes the
     * residuals to the workspace, and adds what the block adds up to to its element of sums. */
    void (*residuals)(const fs_problem *problem, ptrdiff_t begin, ptrdiff_t end,
                      ptrdiff_t block_rows, fs_next next, const fs_workspaces *workspaces,
                      float *scratch, fs_sums *sums);
    /* The same in three parts, so that threads can share the classes: `take` takes the rows;
     * `share_logits` computes the logits of the classes that are one thread's; `finish` computes
     * the losses and residuals. */
    void (*take)(const fs_problem *problem, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t block_rows,
                 fs_next next, const fs_workspaces *workspaces);
    void (*share_logits)(const fs_problem *problem, const fs_workspaces *workspaces, int thread,
                         int n_threads, float *scratch);
    void (*finish)(const fs_problem *problem, ptrdiff_t begin, ptrdiff_t block_rows,
                   const fs_workspaces *workspaces, fs_sums *sums);

    /* ---- residuals -> gradients ---- */

    ptrdiff_t (*n_tiles)(fs_shape shape);
    /* The tiles that are one thread's, without that of the bias. Where by_classes they are those of
     * the classes that share_logits gives the thread; else each thread has as many features. */
    fs_tiles (*thread_tiles)(fs_shape shape, int by_classes, int thread, int n_threads);
    /* How many floats a tile has, and where they begin in the packed layout. */
    ptrdiff_t (*tile_floats)(fs_shape shape, ptrdiff_t tile, ptrdiff_t *offset);
    /* The first feature of a tile. Tiles with the same one follow one another. */
    ptrdiff_t (*tile_features)(ptrdiff_t n_classes, ptrdiff_t tile);
    /* grad (tile_floats,) = or += a tile of the gradient of the summed loss of all blocks.
     * FS_ONTO_TILE is for one block only. `panel` is scratch, or NULL for no panel. The first tile
     * of some features must `fill` it; the tiles that follow find the features there. */
    void (*gradient)(const fs_problem *problem, const fs_workspaces *workspaces, float *panel,
                     int fill, ptrdiff_t tile, fs_onto onto, float *grad);
    /* grad_input (rows in the workspaces, D) = the gradient of these rows. */
    void (*input_gradient)(const fs_problem *problem, const fs_workspaces *workspaces,
                           float *grad_input);
    /* Writes a tile to its place in grad_weight (K, D) or grad_bias (K,); and reads it back, but
     * not that of the bias. */
    void (*store_tile)(const float *grad, fs_shape shape, ptrdiff_t tile, float *grad_weight,
                       float *grad_bias);
    void (*load_tile)(const float *grad_weight, fs_shape shape, ptrdiff_t tile, float *grad);
    /* sum[0:n] += other[0:n], n a multiple of a vector. */
    void (*add)(float *sum, const float *other, ptrdiff_t n);

    /* ---- gradients -> parameters ---- */

    /* One update of n parameters by grad_scale * grad. They are packed or not, all of the weight or
     * all of the bias. velocity is NULL without momentum. */
    void (*update)(float *param, const float *grad, float *velocity, ptrdiff_t n, float grad_scale,
                   int is_bias, const fs_step_settings *settings);
    /* The same of a tile of parameters that are not packed. */
    void (*update_tile)(const fs_params *params, const float *grad, ptrdiff_t tile,
                        float grad_scale, const fs_step_settings *settings);
    /* Prefetches the parameters that update_tile will change. */
    void (*fetch_tile)(const fs_params *params, ptrdiff_t tile);

    /* ---- logits only; `next` is a position whose rows are prefetched, or negative ---- */

    /* What the rows [begin, end) add up to, and losses[begin:end], losses (n_rows,) or NULL. */
    void (*evaluate)(const fs_problem *problem, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t next,
                     const fs_workspaces *workspace, float *scratch, float *losses, fs_sums *sums);
    /* logits[begin:end], logits (n_rows, K). */
    void (*logits)(const fs_problem *problem, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t next,
                   const fs_workspaces *workspace, float *scratch, float *logits);
    /* out[begin:end] = softmax or log_softmax of logits[begin:end], each (n_rows, K). */
    void (*softmax)(const float *logits, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t n_classes,
                    int log, const fs_workspaces *workspace, float *out);

    /* ---- exp.h over arrays ---- */

    void (*exp)(const float *x, float *out, ptrdiff_t n);
    void (*log)(const float *x, float *out, ptrdiff_t n);
};

#endif
