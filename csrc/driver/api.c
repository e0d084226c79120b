/* api.c: the entry points of fastsoftmax.h.
 *
 * Design
 *  a) A call makes a plan, runs on the team by it, and ends it. Nothing is written to the caller's
 *     arrays before everything that can fail has succeeded.
 *  b) Parameters are packed once per call and unpacked once: a whole epoch is one call. A large weight
 *     that is used for one span of rows only is read and updated where it is (plan.c).
 *  c) Which chunk of the rows a thread computes depends on the chunk's index alone (chunks.h).
 */
#include "steps.h"

/* ---- with a gradient ---- */

int fs_train_epoch(const fs_kernels *kernels, const fs_rows *rows, const fs_loss *loss,
                   const fs_params *params, const fs_step_settings *settings, ptrdiff_t batch_size,
                   int num_threads, fs_interrupted interrupted, fs_sums *sums) {
    plan p;
    if (fs_make_plan(&p, TRAIN, kernels, rows, loss, params, batch_size, num_threads) != FS_OK)
        return FS_NO_MEMORY;
    steps s = {.plan = &p,
               .update = 1,
               .params = params,
               .settings = *settings,
               .interrupted = interrupted};
    fs_run_steps(&s);
    if (p.packed) kernels->unpack(p.packed, params->shape, params->weight, params->bias);
    if (p.velocity)
        kernels->unpack(p.velocity, params->shape, params->velocity_weight, params->velocity_bias);
    *sums = s.sums;
    fs_end_plan(&p);
    return s.stop ? FS_INTERRUPTED : FS_OK;
}

int fs_loss_and_grad(const fs_kernels *kernels, const fs_rows *rows, const fs_loss *loss,
                     const fs_params *params, int num_threads, const fs_gradients *gradients,
                     fs_sums *sums) {
    plan p;
    if (fs_make_plan(&p, LOSS_AND_GRAD, kernels, rows, loss, params, rows->n_rows, num_threads) !=
        FS_OK)
        return FS_NO_MEMORY;
    p.problem.grad_scale = gradients->scale;
    steps s = {.plan = &p, .gradients = *gradients};
    fs_run_steps(&s);
    if (!fs_is_by_tiles(kernels, params->shape, rows->n_rows))
        kernels->unpack(p.partials, params->shape, gradients->weight, gradients->bias);
    *sums = s.sums;
    fs_end_plan(&p);
    return FS_OK;
}

void fs_sgd_update(const fs_kernels *kernels, const fs_params *params, const float *grad_weight,
                   const float *grad_bias, double total_weight, const fs_step_settings *settings) {
    const float scale = fs_mean_scale(total_weight);
    const ptrdiff_t n_classes = params->shape.n_classes;
    kernels->update(params->weight, grad_weight, params->velocity_weight,
                    n_classes * params->shape.n_features, scale, 0, settings);
    kernels->update(params->bias, grad_bias, params->velocity_bias, n_classes, scale, 1, settings);
}

/* ---- logits only: one phase, of which an item is a chunk of all rows ---- */

typedef struct {
    const plan *plan;
    int begun;
    chunks chunks;
    fs_sums chunk_sums[FS_MAX_CHUNKS]; /* evaluate */
    float *losses;
    float *out; /* predict_logits, softmax */
    const float *logits;
    int log;
} forward;

/* A chunk, and the first row of the thread's next one, or -1. */
typedef struct {
    ptrdiff_t index, begin, end, next;
} chunk;

static chunk chunk_of(const forward *f, fs_item item) {
    const chunks c = f->chunks;
    const ptrdiff_t i = chunk_of_item(c, item), next = next_chunk(c, item);
    const ptrdiff_t end = min_of((i + 1) * c.rows, f->plan->problem.rows->n_rows);
    return (chunk){i, i * c.rows, end, next < 0 ? -1 : next * c.rows};
}

static int begin_only_phase(void *context, int n_threads, int *n_items) {
    forward *f = context;
    if (f->begun) return 0;
    f->begun = 1;
    for (int i = 0; i < n_threads; i++) n_items[i] = n_chunks_of(f->chunks, i, n_threads);
    return 1;
}

static void run_chunks(forward *f, void (*do_chunk)(void *forward, fs_item item)) {
    f->chunks = chunks_of(f->plan->problem.rows->n_rows);
    fs_team_run(f->plan->num_threads, &(fs_work){do_chunk, begin_only_phase, f});
}

static void evaluate_chunk(void *context, fs_item item) {
    forward *f = context;
    const plan *const p = f->plan;
    const chunk c = chunk_of(f, item);
    const fs_workspaces workspace = workspaces_of(p, item.thread, 1);
    p->kernels->evaluate(&p->problem, c.begin, c.end, c.next, &workspace,
                         scratch_of(p, item.thread), f->losses, &f->chunk_sums[c.index]);
}

int fs_evaluate(const fs_kernels *kernels, const fs_rows *rows, const fs_loss *loss,
                const fs_params *params, int num_threads, float *losses, fs_sums *sums) {
    plan p;
    if (fs_make_plan(&p, LOGITS_ONLY, kernels, rows, loss, params, rows->n_rows, num_threads) !=
        FS_OK)
        return FS_NO_MEMORY;
    forward f = {.plan = &p, .losses = losses};
    run_chunks(&f, evaluate_chunk);
    *sums = (fs_sums){0};
    fs_add_sums(sums, f.chunk_sums, f.chunks.n);
    fs_end_plan(&p);
    return FS_OK;
}

static void logits_chunk(void *context, fs_item item) {
    forward *f = context;
    const plan *const p = f->plan;
    const chunk c = chunk_of(f, item);
    const fs_workspaces workspace = workspaces_of(p, item.thread, 1);
    p->kernels->logits(&p->problem, c.begin, c.end, c.next, &workspace, scratch_of(p, item.thread),
                       f->out);
}

int fs_predict_logits(const fs_kernels *kernels, const fs_rows *rows, const fs_params *params,
                      int num_threads, float *logits) {
    plan p;
    if (fs_make_plan(&p, LOGITS_ONLY, kernels, rows, NULL, params, rows->n_rows, num_threads) !=
        FS_OK)
        return FS_NO_MEMORY;
    forward f = {.plan = &p, .out = logits};
    run_chunks(&f, logits_chunk);
    fs_end_plan(&p);
    return FS_OK;
}

static void softmax_chunk(void *context, fs_item item) {
    forward *f = context;
    const plan *const p = f->plan;
    const chunk c = chunk_of(f, item);
    const fs_workspaces workspace = workspaces_of(p, item.thread, 1);
    p->kernels->softmax(f->logits, c.begin, c.end, p->problem.weights.shape.n_classes, f->log,
                        &workspace, f->out);
}

int fs_softmax(const fs_kernels *kernels, const float *logits, ptrdiff_t n_rows,
               ptrdiff_t n_classes, int log, int num_threads, float *out) {
    const fs_rows rows = {.n_rows = n_rows};
    const fs_params params = {.shape = {.n_classes = n_classes}};
    plan p;
    if (fs_make_plan(&p, LOGITS_ONLY, kernels, &rows, NULL, &params, n_rows, num_threads) != FS_OK)
        return FS_NO_MEMORY;
    forward f = {.plan = &p, .out = out, .logits = logits, .log = log};
    run_chunks(&f, softmax_chunk);
    fs_end_plan(&p);
    return FS_OK;
}

/* ---- functions of the kernels, for their tests ---- */

void fs_exp(const fs_kernels *kernels, const float *x, float *out, ptrdiff_t n) {
    kernels->exp(x, out, n);
}

void fs_log(const fs_kernels *kernels, const float *x, float *out, ptrdiff_t n) {
    kernels->log(x, out, n);
}
