/* epoch.c: the entry points of fastsoftmax.h: whole passes over the rows, in parallel, by the
 * functions of one table of kernels.
 *
 * Design
 *  a) Parameters are packed once per call and unpacked once: a whole epoch is one call. Where it is one
 *     step of one span, and the weight is large, they are read and updated where they are (pass.c).
 *  b) Nothing is written to the caller's arrays before everything that can fail has succeeded.
 *  c) What chunk of the rows a thread computes is a matter of the chunk's index alone (chunks.h).
 */
#include "memory.h"
#include "steps.h"

static void train_work(void *context, fs_member m) {
    pass *p = context;
    for (ptrdiff_t begin = 0; begin < p->rows->n_rows; begin += p->batch_size)
        fs_step(p, m, begin, min_of(p->batch_size, p->rows->n_rows - begin), 1);
}

int fs_train_epoch(const fs_kernels *kernels, const fs_rows *rows, ptrdiff_t batch_size,
                   const fs_params *params, const fs_sgd *sgd, int num_threads, fs_sums *sums) {
    pass p;
    void *memory = fs_new_pass(&p, TRAIN, kernels, rows, num_threads, batch_size, params->weight,
                               params->bias, params->velocity_weight != NULL);
    if (!memory) return FS_NO_MEMORY;
    p.sgd = *sgd;
    p.params = params;
    const ptrdiff_t d = rows->n_features, k = rows->n_classes;
    if (p.velocity) kernels->pack(params->velocity_weight, params->velocity_bias, d, k, p.velocity);
    fs_team_run(p.num_threads, train_work, &p);
    if (p.packed) kernels->unpack(p.packed, d, k, params->weight, params->bias);
    if (p.velocity)
        kernels->unpack(p.velocity, d, k, params->velocity_weight, params->velocity_bias);
    *sums = p.sums;
    fs_give_back_memory(memory);
    return FS_OK;
}

static void loss_and_grad_work(void *context, fs_member m) {
    pass *p = context;
    fs_step(p, m, 0, p->rows->n_rows, 0);
}

int fs_loss_and_grad(const fs_kernels *kernels, const fs_rows *rows, const float *weight,
                     const float *bias, int num_threads, float *grad_weight, float *grad_bias,
                     float *grad_input, fs_sums *sums) {
    pass p;
    void *memory =
        fs_new_pass(&p, LOSS_AND_GRAD, kernels, rows, num_threads, rows->n_rows, weight, bias, 0);
    if (!memory) return FS_NO_MEMORY;
    p.grad_weight = grad_weight;
    p.grad_bias = grad_bias;
    p.grad_input = grad_input;
    fs_team_run(p.num_threads, loss_and_grad_work, &p);
    if (!fs_by_tiles(&p, rows->n_rows))
        kernels->unpack(p.partials, rows->n_features, rows->n_classes, grad_weight, grad_bias);
    *sums = p.sums;
    fs_give_back_memory(memory);
    return FS_OK;
}

void fs_sgd_update(const fs_kernels *kernels, const fs_params *params, const float *grad_weight,
                   const float *grad_bias, ptrdiff_t n_features, ptrdiff_t n_classes,
                   double total_weight, const fs_sgd *sgd) {
    const float grad_scale = grad_scale_of(total_weight);
    kernels->update(params->weight, grad_weight, params->velocity_weight, n_classes * n_features,
                    grad_scale, sgd->weight_decay, sgd);
    kernels->update(params->bias, grad_bias, params->velocity_bias, n_classes, grad_scale,
                    sgd->bias_weight_decay, sgd);
}

/* A chunk of all rows, and the first row of the thread's next one, or -1. */
typedef struct {
    ptrdiff_t index, begin, end, next;
} chunk;

/* Calls `one` for each of this thread's chunks of all rows. */
static void for_each_chunk(pass *p, fs_member m,
                           void (*one)(pass *p, fs_member m, void *room, chunk c)) {
    const chunks c = chunks_of(p->rows->n_rows);
    void *room = p->rooms + (size_t)m.thread * p->room_bytes;
    const ptrdiff_t stop = first_chunk(c, m.thread + 1, m.n_threads);
    for (ptrdiff_t i = first_chunk(c, m.thread, m.n_threads); i < stop; i++) {
        const ptrdiff_t end = min_of((i + 1) * c.rows, p->rows->n_rows);
        one(p, m, room, (chunk){i, i * c.rows, end, i + 1 < stop ? end : -1});
    }
}

static void evaluate_chunk(pass *p, fs_member m, void *room, chunk c) {
    p->kernels->loss(p->rows, &p->weights, c.begin, c.end, c.next, room, scratch_of(p, m),
                     p->losses, &p->chunk_sums[c.index]);
}

static void evaluate_work(void *p, fs_member m) { for_each_chunk(p, m, evaluate_chunk); }

int fs_evaluate(const fs_kernels *kernels, const fs_rows *rows, const float *weight,
                const float *bias, int num_threads, float *losses, fs_sums *sums) {
    pass p;
    void *memory =
        fs_new_pass(&p, FORWARD, kernels, rows, num_threads, rows->n_rows, weight, bias, 0);
    if (!memory) return FS_NO_MEMORY;
    p.losses = losses;
    fs_team_run(p.num_threads, evaluate_work, &p);
    add_sums(&p.sums, p.chunk_sums, chunks_of(rows->n_rows).n);
    *sums = p.sums;
    fs_give_back_memory(memory);
    return FS_OK;
}

static void logits_chunk(pass *p, fs_member m, void *room, chunk c) {
    p->kernels->logits(p->rows, &p->weights, c.begin, c.end, c.next, room, scratch_of(p, m),
                       p->out);
}

static void logits_work(void *p, fs_member m) { for_each_chunk(p, m, logits_chunk); }

int fs_predict_logits(const fs_kernels *kernels, const fs_rows *rows, const float *weight,
                      const float *bias, int num_threads, float *logits) {
    pass p;
    void *memory =
        fs_new_pass(&p, FORWARD, kernels, rows, num_threads, rows->n_rows, weight, bias, 0);
    if (!memory) return FS_NO_MEMORY;
    p.out = logits;
    fs_team_run(p.num_threads, logits_work, &p);
    fs_give_back_memory(memory);
    return FS_OK;
}

static void softmax_chunk(pass *p, fs_member m, void *room, chunk c) {
    (void)m;
    p->kernels->softmax(p->logits, c.begin, c.end, p->rows->n_classes, p->log, room, p->out);
}

static void softmax_work(void *p, fs_member m) { for_each_chunk(p, m, softmax_chunk); }

int fs_softmax(const fs_kernels *kernels, const float *logits, ptrdiff_t n_rows,
               ptrdiff_t n_classes, int log, int num_threads, float *out) {
    const fs_rows rows = {.n_rows = n_rows, .n_classes = n_classes};
    pass p;
    void *memory = fs_new_pass(&p, FORWARD, kernels, &rows, num_threads, n_rows, NULL, NULL, 0);
    if (!memory) return FS_NO_MEMORY;
    p.logits = logits;
    p.log = log;
    p.out = out;
    fs_team_run(p.num_threads, softmax_work, &p);
    fs_give_back_memory(memory);
    return FS_OK;
}
