/* fastsoftmax.h: the nouns and the entry points of the C layer. It is all that Cython sees.
 *
 * The letters of every shape comment: N rows of data, B rows of a batch, D = n_features,
 * K = n_classes. `weight` alone is the linear weight, (K, D) and row-major, as in torch.nn.Linear.
 * Every index is a ptrdiff_t, and every loss is summed in double.
 */
#ifndef FASTSOFTMAX_H
#define FASTSOFTMAX_H

#include <stddef.h>
#include <stdint.h>

enum { FS_ALIGN = 64 }; /* bytes; of every buffer that the C layer allocates */

/* What an entry point returns. */
enum { FS_OK = 0, FS_NO_MEMORY = 1, FS_INTERRUPTED = 2 };

/* ---- the nouns ---- */

typedef enum { FS_FLOAT32, FS_UINT8 } fs_row_type;

/* Rows of features, and the order in which they are taken. */
typedef struct {
    const void *x; /* (N, D) row-major, no alignment assumed */
    fs_row_type row_type;
    float scale;          /* a feature is scale * x: 1/255 for pixels */
    const int64_t *order; /* (n_rows,) indices of rows, or NULL for 0, 1, 2, ... */
    ptrdiff_t n_rows;     /* len(order), or N */
    ptrdiff_t n_features;
} fs_rows;

/* The loss of each row, as in torch.nn.functional.cross_entropy, times the weight of the row. The
 * options give each class of a row a coefficient c; the loss is -sum(c * log_softmax(logits)). */
typedef struct {
    const int32_t *target;      /* (N,) in [0, K), or -1 for a row to ignore */
    int plain;                  /* no row is ignored, and no option below is looked at */
    const float *class_weight;  /* (K,), or NULL for 1 each */
    const float *sample_weight; /* (N,), or NULL for 1 each */
    const float *probabilities; /* (N, K), in the place of `target`, or NULL */
    float label_smoothing;
} fs_loss;

/* The shape of the weight. */
typedef struct {
    ptrdiff_t n_features, n_classes;
} fs_shape;

/* The parameters and their velocities. An entry point writes to them only where it says so. */
typedef struct {
    float *weight, *bias;                   /* (K, D) and (K,) */
    float *velocity_weight, *velocity_bias; /* the same, or NULL without momentum */
    fs_shape shape;
} fs_params;

/* The settings of one update, as in torch.optim.SGD. */
typedef struct {
    float lr, momentum, dampening;
    float weight_decay, bias_weight_decay;
    float l1; /* of the weight alone */
    int nesterov;
    int first_step;            /* the velocity becomes the gradient, undamped */
    const double *lr_of_steps; /* (n_steps,), or NULL where lr is that of all steps */
} fs_step_settings;

/* What rows add up to. `entropy` is 0 where it is not asked for. Of each row it is S *
 * (logsumexp(z) - p . z), with its logits z, p = softmax(z), and S the sum of its coefficients. */
typedef struct {
    double loss;
    double entropy;
    double total_weight; /* what a mean divides by: the weights of the targets, or the rows */
    int64_t correct;     /* rows whose first largest logit is the target's, the loss no NaN */
    int64_t counted;     /* rows that count for anything: neither ignored nor of weight 0 */
    char pad[FS_ALIGN - 3 * sizeof(double) - 2 * sizeof(int64_t)]; /* two threads share no line */
} fs_sums;

/* Where gradients go. */
typedef struct {
    float *weight, *bias; /* (K, D) and (K,) */
    float *input;         /* (n_rows, D), or NULL where it is not asked for */
    float scale;          /* of all three */
} fs_gradients;

/* ---- which kernels ---- */

/* The kernels of one instruction set (ISA). Those that were built are numbered, slowest first. */
typedef struct fs_kernels fs_kernels;

int fs_n_built(void);
const fs_kernels *fs_built(int i);
int fs_supported(int i); /* by this CPU */
const char *fs_isa(const fs_kernels *kernels);

/* ---- threads ---- */

/* The two functions of an OpenMP library by which it lends its threads. */
typedef void (*fs_parallel)(void (*work)(void *), void *data, unsigned n_threads, unsigned flags);
typedef int (*fs_max_threads)(void);
typedef struct {
    fs_parallel parallel;
    fs_max_threads max_threads;
} fs_lender;

/* From now on the calls of this thread run on the lender's threads. Where `parallel` is NULL they
 * run on our own. */
void fs_borrow_threads(fs_lender lender);

/* Whether a call may use more threads than there are cores: no, but in tests. Not to be called
 * while another thread is in a call. */
void fs_allow_threads_beyond_cores(int allowed);

/* ---- computing; at most num_threads threads, the same bits for any number of them ---- */

/* Whether to stop. The calling thread asks it every 50 ms. */
typedef int (*fs_interrupted)(void);

/* Takes every step of one epoch and writes the parameters and velocities. A batch is batch_size
 * rows in the order given, the last one what is left. A step's gradient is the mean over its
 * batch, or 0 where the batch weighs nothing. Where `interrupted`, which may be NULL, says yes,
 * the epoch ends after the step with FS_INTERRUPTED. */
int fs_train_epoch(const fs_kernels *kernels, const fs_rows *rows, const fs_loss *loss,
                   const fs_params *params, const fs_step_settings *settings, ptrdiff_t batch_size,
                   int num_threads, fs_interrupted interrupted, fs_sums *sums);

/* The summed loss of all rows as one batch, and its gradients. `entropy` says whether to add it
 * up. */
int fs_loss_and_grad(const fs_kernels *kernels, const fs_rows *rows, const fs_loss *loss,
                     const fs_params *params, int num_threads, int entropy,
                     const fs_gradients *gradients, fs_sums *sums);

/* A batch is cut into chunks, by the number of its rows alone: how many, and the rows of each. The
 * last chunk has what is left. */
ptrdiff_t fs_n_chunks(ptrdiff_t n_rows);
ptrdiff_t fs_chunk_rows(ptrdiff_t n_rows);

/* The summed loss of each chunk of all rows as one batch, sums (n_chunks,), and its gradient:
 * grad_weight (n_chunks, K, D), grad_bias (n_chunks, K). Where a step of so many rows is by rows,
 * fs_loss_and_grad returns the balanced binary tree over these. */
int fs_chunk_partials(const fs_kernels *kernels, const fs_rows *rows, const fs_loss *loss,
                      const fs_params *params, int num_threads, float *grad_weight,
                      float *grad_bias, fs_sums *sums);

/* Whether a step of so many rows is computed by tiles of the gradient, or by rows. */
int fs_is_by_tiles(const fs_kernels *kernels, fs_shape shape, ptrdiff_t n_rows);

/* Updates the parameters and velocities by the gradient of a summed loss divided by
 * total_weight. */
void fs_sgd_update(const fs_kernels *kernels, const fs_params *params, const float *grad_weight,
                   const float *grad_bias, double total_weight, const fs_step_settings *settings);

/* The summed loss, and that of each row in losses (n_rows,), which may be NULL. */
int fs_evaluate(const fs_kernels *kernels, const fs_rows *rows, const fs_loss *loss,
                const fs_params *params, int num_threads, float *losses, fs_sums *sums);

/* logits (n_rows, K) */
int fs_predict_logits(const fs_kernels *kernels, const fs_rows *rows, const fs_params *params,
                      int num_threads, float *logits);

/* out = softmax or log_softmax of logits, each (n_rows, n_classes) */
int fs_softmax(const fs_kernels *kernels, const float *logits, ptrdiff_t n_rows,
               ptrdiff_t n_classes, int log, int num_threads, float *out);

/* out = exp or log of x, each (n,): the functions of the kernels, for their tests */
void fs_exp(const fs_kernels *kernels, const float *x, float *out, ptrdiff_t n);
void fs_log(const fs_kernels *kernels, const float *x, float *out, ptrdiff_t n);

#endif
