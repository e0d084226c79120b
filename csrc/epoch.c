/* epoch.c: the entry points of fastsoftmax.h: whole passes over the rows, in parallel, by the
 * functions of one table of kernels.
 *
 * Design
 *  a) Parameters are packed once per call and unpacked once: a whole epoch is one call. Where it is one
 *     step of one span, and the weight is large, they are read and updated where they are (pass.c).
 *  b) Nothing is written to the caller's arrays before everything that can fail has succeeded.
 *  c) What chunk of the rows a thread computes is a matter of the chunk's index alone (chunks.h).
 */
#include "cores.h"
#include "memory.h"
#include "steps.h"

static void run_steps(pass *p, int update) {
    p->update = update;
    fs_team_run(p->num_threads, &(fs_work){fs_do_step_item, fs_next_step_phase, p});
}

int fs_train_epoch(const fs_kernels *kernels, const fs_rows *rows, ptrdiff_t batch_size,
                   const fs_params *params, const fs_sgd *sgd, int num_threads,
                   fs_interrupted interrupted, fs_sums *sums) {
    pass p;
    void *memory = fs_new_pass(&p, TRAIN, kernels, rows, num_threads, batch_size, params->weight,
                               params->bias, params->velocity_weight != NULL);
    if (!memory) return FS_NO_MEMORY;
    p.sgd = *sgd;
    p.params = params;
    p.interrupted = interrupted;
    p.asked_at = fs_milliseconds();
    const ptrdiff_t d = rows->n_features, k = rows->n_classes;
    if (p.velocity) kernels->pack(params->velocity_weight, params->velocity_bias, d, k, p.velocity);
    run_steps(&p, 1);
    if (p.packed) kernels->unpack(p.packed, d, k, params->weight, params->bias);
    if (p.velocity)
        kernels->unpack(p.velocity, d, k, params->velocity_weight, params->velocity_bias);
    *sums = p.sums;
    fs_give_back_memory(memory);
    return p.stop ? FS_INTERRUPTED : FS_OK;
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
    run_steps(&p, 0);
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

/* ---- passes of one phase, of which an item is a chunk of all rows ---- */

/* A chunk of all rows, and the first row of the thread's next one, or -1. */
typedef struct {
    ptrdiff_t index, begin, end, next;
} chunk;

static chunk chunk_of(const pass *p, fs_item item) {
    const chunks c = p->chunks;
    const ptrdiff_t i = chunk_of_item(c, item), next = next_chunk(c, item);
    const ptrdiff_t end = min_of((i + 1) * c.rows, p->rows->n_rows);
    return (chunk){i, i * c.rows, end, next < 0 ? -1 : next * c.rows};
}

static int next_chunks_phase(void *context, int n_threads, int *n_items) {
    pass *p = context;
    if (p->phase_number++ > 0) return 0;
    p->chunks = chunks_of(p->rows->n_rows);
    for (int i = 0; i < n_threads; i++) n_items[i] = n_chunks_of(p->chunks, i, n_threads);
    return 1;
}

static void run_chunks(pass *p, void (*do_chunk)(void *pass, fs_item item)) {
    fs_team_run(p->num_threads, &(fs_work){do_chunk, next_chunks_phase, p});
}

static void evaluate_chunk(void *context, fs_item item) {
    pass *p = context;
    const chunk c = chunk_of(p, item);
    p->kernels->loss(p->rows, &p->weights, c.begin, c.end, c.next,
                     rooms_of(p, item.thread, 1).first, scratch_of(p, item.thread), p->losses,
                     &p->chunk_sums[c.index]);
}

int fs_evaluate(const fs_kernels *kernels, const fs_rows *rows, const float *weight,
                const float *bias, int num_threads, float *losses, fs_sums *sums) {
    pass p;
    void *memory =
        fs_new_pass(&p, FORWARD, kernels, rows, num_threads, rows->n_rows, weight, bias, 0);
    if (!memory) return FS_NO_MEMORY;
    p.losses = losses;
    run_chunks(&p, evaluate_chunk);
    add_sums(&p.sums, p.chunk_sums, chunks_of(rows->n_rows).n);
    *sums = p.sums;
    fs_give_back_memory(memory);
    return FS_OK;
}

static void logits_chunk(void *context, fs_item item) {
    pass *p = context;
    const chunk c = chunk_of(p, item);
    p->kernels->logits(p->rows, &p->weights, c.begin, c.end, c.next,
                       rooms_of(p, item.thread, 1).first, scratch_of(p, item.thread), p->out);
}

int fs_predict_logits(const fs_kernels *kernels, const fs_rows *rows, const float *weight,
                      const float *bias, int num_threads, float *logits) {
    pass p;
    void *memory =
        fs_new_pass(&p, FORWARD, kernels, rows, num_threads, rows->n_rows, weight, bias, 0);
    if (!memory) return FS_NO_MEMORY;
    p.out = logits;
    run_chunks(&p, logits_chunk);
    fs_give_back_memory(memory);
    return FS_OK;
}

static void softmax_chunk(void *context, fs_item item) {
    pass *p = context;
    const chunk c = chunk_of(p, item);
    p->kernels->softmax(p->logits, c.begin, c.end, p->rows->n_classes, p->log,
                        rooms_of(p, item.thread, 1).first, p->out);
}

int fs_softmax(const fs_kernels *kernels, const float *logits, ptrdiff_t n_rows,
               ptrdiff_t n_classes, int log, int num_threads, float *out) {
    const fs_rows rows = {.n_rows = n_rows, .n_classes = n_classes};
    pass p;
    void *memory = fs_new_pass(&p, FORWARD, kernels, &rows, num_threads, n_rows, NULL, NULL, 0);
    if (!memory) return FS_NO_MEMORY;
    p.logits = logits;
    p.log = log;
    p.out = out;
    run_chunks(&p, softmax_chunk);
    fs_give_back_memory(memory);
    return FS_OK;
}
