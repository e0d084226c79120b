/* api.c: the entry points of fastsoftmax.h.
 *
 * Design
 *  a) A call makes a plan, runs on the team by it, and ends it. Nothing is written to the caller's
 *     arrays before everything that can fail has succeeded.
 *  b) Parameters are packed once per call and unpacked once: a whole epoch is one call. A large
 *     weight that is used for one span of rows only is read and updated where it is (plan.c).
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
    steps s = {.plan = &p, .params = params, .settings = *settings, .interrupted = interrupted};
    fs_run_steps(&s);
    if (p.packed) kernels->unpack(p.packed, params->shape, params->weight, params->bias);
    if (p.velocity)
        kernels->unpack(p.velocity, params->shape, params->velocity_weight, params->velocity_bias);
    *sums = s.sums;
    fs_end_plan(&p);
    return s.stop ? FS_INTERRUPTED : FS_OK;
}

int fs_loss_and_grad(const fs_kernels *kernels, const fs_rows *rows, const fs_loss *loss,
                     const fs_params *params, int num_threads, int entropy,
                     const fs_gradients *gradients, fs_sums *sums) {
    plan p;
    if (fs_make_plan(&p, LOSS_AND_GRAD, kernels, rows, loss, params, rows->n_rows, num_threads) !=
        FS_OK)
        return FS_NO_MEMORY;
    p.problem.grad_scale = gradients->scale;
    p.problem.entropy = entropy;
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

/* ---- calls of one phase, in which an item is a chunk of all rows ---- */

typedef struct {
    const plan *plan;
    int begun;
    chunks chunks;
    fs_sums *sums; /* chunk_partials, evaluate: (n_chunks,) */
    float *grad_weight, *grad_bias;
    float *losses;
    float *out; /* predict_logits, softmax */
    const float *logits;
    int log;
} over_chunks;

/* A chunk, and the first row of the thread's next one, or -1. */
typedef struct {
    ptrdiff_t index, begin, end, next;
} chunk;

static chunk chunk_of(const over_chunks *call, fs_item item) {
    const chunks c = call->chunks;
    const ptrdiff_t i = chunk_of_item(c, item), next = next_chunk(c, item);
    const ptrdiff_t end = min_of((i + 1) * c.rows, call->plan->problem.rows->n_rows);
    return (chunk){i, i * c.rows, end, next < 0 ? -1 : next * c.rows};
}

static int begin_only_phase(void *context, int n_threads, int *n_items) {
    over_chunks *call = context;
    if (call->begun) return 0;
    call->begun = 1;
    for (int i = 0; i < n_threads; i++) n_items[i] = n_chunks_of(call->chunks, i, n_threads);
    return 1;
}

static void run_chunks(over_chunks *call, void (*do_chunk)(void *context, fs_item item)) {
    call->chunks = chunks_of(call->plan->problem.rows->n_rows);
    fs_team_run(call->plan->num_threads, &(fs_work){do_chunk, begin_only_phase, call});
}

ptrdiff_t fs_n_chunks(ptrdiff_t n_rows) { return chunks_of(n_rows).n; }
ptrdiff_t fs_chunk_rows(ptrdiff_t n_rows) { return chunks_of(n_rows).rows; }

static void partial_of_chunk(void *context, fs_item item) {
    over_chunks *call = context;
    const plan *const p = call->plan;
    const fs_shape shape = p->problem.weights.shape;
    const chunk c = chunk_of(call, item);
    float *partial = p->partials + item.thread * p->packed_size;
    fs_compute_partial(p, item.thread, c.begin, c.end, c.next, FS_ONTO_NOTHING, partial, NULL,
                       &call->sums[c.index]);
    p->kernels->unpack(partial, shape,
                       call->grad_weight + c.index * shape.n_classes * shape.n_features,
                       call->grad_bias + c.index * shape.n_classes);
}

int fs_chunk_partials(const fs_kernels *kernels, const fs_rows *rows, const fs_loss *loss,
                      const fs_params *params, int num_threads, float *grad_weight,
                      float *grad_bias, fs_sums *sums) {
    plan p;
    if (fs_make_plan(&p, CHUNK_PARTIALS, kernels, rows, loss, params, rows->n_rows, num_threads) !=
        FS_OK)
        return FS_NO_MEMORY;
    over_chunks call = {
        .plan = &p, .sums = sums, .grad_weight = grad_weight, .grad_bias = grad_bias};
    run_chunks(&call, partial_of_chunk);
    fs_end_plan(&p);
    return FS_OK;
}

static void evaluate_chunk(void *context, fs_item item) {
    over_chunks *call = context;
    const plan *const p = call->plan;
    const chunk c = chunk_of(call, item);
    const fs_workspaces workspace = workspaces_of(p, item.thread, 1);
    p->kernels->evaluate(&p->problem, c.begin, c.end, c.next, &workspace,
                         scratch_of(p, item.thread), call->losses, &call->sums[c.index]);
}

int fs_evaluate(const fs_kernels *kernels, const fs_rows *rows, const fs_loss *loss,
                const fs_params *params, int num_threads, float *losses, fs_sums *sums) {
    plan p;
    if (fs_make_plan(&p, LOGITS_ONLY, kernels, rows, loss, params, rows->n_rows, num_threads) !=
        FS_OK)
        return FS_NO_MEMORY;
    fs_sums chunk_sums[FS_MAX_CHUNKS];
    over_chunks call = {.plan = &p, .sums = chunk_sums, .losses = losses};
    run_chunks(&call, evaluate_chunk);
    *sums = (fs_sums){0};
    fs_add_sums(sums, chunk_sums, call.chunks.n);
    fs_end_plan(&p);
    return FS_OK;
}

static void logits_chunk(void *context, fs_item item) {
    over_chunks *call = context;
    const plan *const p = call->plan;
    const chunk c = chunk_of(call, item);
    const fs_workspaces workspace = workspaces_of(p, item.thread, 1);
    p->kernels->logits(&p->problem, c.begin, c.end, c.next, &workspace, scratch_of(p, item.thread),
                       call->out);
}

int fs_predict_logits(const fs_kernels *kernels, const fs_rows *rows, const fs_params *params,
                      int num_threads, float *logits) {
    plan p;
    if (fs_make_plan(&p, LOGITS_ONLY, kernels, rows, NULL, params, rows->n_rows, num_threads) !=
        FS_OK)
        return FS_NO_MEMORY;
    over_chunks call = {.plan = &p, .out = logits};
    run_chunks(&call, logits_chunk);
    fs_end_plan(&p);
    return FS_OK;
}

static void softmax_chunk(void *context, fs_item item) {
    over_chunks *call = context;
    const plan *const p = call->plan;
    const chunk c = chunk_of(call, item);
    const fs_workspaces workspace = workspaces_of(p, item.thread, 1);
    p->kernels->softmax(call->logits, c.begin, c.end, p->problem.weights.shape.n_classes, call->log,
                        &workspace, call->out);
}

int fs_softmax(const fs_kernels *kernels, const float *logits, ptrdiff_t n_rows,
               ptrdiff_t n_classes, int log, int num_threads, float *out) {
    const fs_rows rows = {.n_rows = n_rows};
    const fs_params params = {.shape = {.n_classes = n_classes}};
    plan p;
    if (fs_make_plan(&p, LOGITS_ONLY, kernels, &rows, NULL, &params, n_rows, num_threads) != FS_OK)
        return FS_NO_MEMORY;
    over_chunks call = {.plan = &p, .out = out, .logits = logits, .log = log};
    run_chunks(&call, softmax_chunk);
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
