/* steps.c: the steps of a call, one after another: their phases and what they add up to.
 *
 * Design
 *  a) A batch is cut into chunks of rows by a fixed rule (chunks.h). A chunk's partial gradient
 *     and its sums depend on the chunk alone. So does the order in which they are added.
 *  b) A step by rows (step_rows.c) has two phases. PARTIALS: an item is a chunk, whose partial
 *     gradient is computed. REDUCE: an item is a slice of the parameters, for which the tree of
 *     sums is completed and which is then updated.
 *  c) A step by tiles (step_tiles.c) has two phases for each span of its rows. RESIDUALS: an item
 *     is some chunks. TILES: an item is some tiles of the gradient, over all rows of the span in
 *     order, and the update of these. Where threads share the classes, the residuals take three
 *     phases: TAKE, LOGITS, FINISH.
 *  d) No two items of a phase write to one place. Who does an item does not matter to the result.
 */
#include "steps.h"

#include <float.h>
#include <math.h>

#include "cores.h"

float fs_mean_scale(double total_weight) {
    return 1.0f / (fabs(total_weight) >= FLT_MIN ? (float)total_weight : 1.0f);
}

thread_notes *fs_notes_of(const steps *s, int thread) {
    thread_notes *notes = &s->plan->notes[thread];
    if (notes->phase != s->phase_number)
        *notes = (thread_notes){.phase = s->phase_number, .in_panel = -1};
    return notes;
}

void fs_update_range(const steps *s, const float *grad, ptrdiff_t begin, ptrdiff_t end,
                     int is_bias) {
    const plan *const p = s->plan;
    if (begin < end)
        p->kernels->update(p->packed + begin, grad, p->velocity ? p->velocity + begin : NULL,
                           end - begin, s->mean_scale, is_bias, &s->settings);
}

void fs_write_input_gradient(const plan *p, const fs_workspaces *workspaces, ptrdiff_t begin,
                             float *grad_input) {
    if (grad_input)
        p->kernels->input_gradient(&p->problem, workspaces,
                                   grad_input + begin * p->problem.rows->n_features);
}

/* ---- which phase comes next ---- */

/* Begins with the rows from `first` on: as many of a step by tiles as are held at a time. */
static phase begin_span(steps *s, ptrdiff_t first, int n_threads) {
    const plan *const p = s->plan;
    s->first = first;
    s->last = first + min_of(p->span_rows, s->begin + s->n_rows - first);
    s->chunks = chunks_of(s->last - first);
    s->by_classes =
        s->last - first <= ITEM_CHUNKS * FS_BLOCK_ROWS &&
        p->kernels->by_classes(s->last - first, p->problem.weights.shape.n_classes, n_threads);
    return s->by_classes ? TAKE : RESIDUALS;
}

/* What changes from one step to the next. */
static void settings_of_step(fs_step_settings *settings, ptrdiff_t step) {
    if (step > 0) settings->first_step = 0;
    if (settings->lr_of_steps) settings->lr = (float)settings->lr_of_steps[step];
}

static phase begin_step(steps *s, ptrdiff_t begin, int n_threads) {
    const plan *const p = s->plan;
    s->begin = begin;
    s->n_rows = min_of(p->batch_size, p->problem.rows->n_rows - begin);
    s->total_weight = 0;
    s->step_sums = (fs_sums){0};
    if (s->params) settings_of_step(&s->settings, begin / p->batch_size);
    if (fs_is_by_tiles(p->kernels, p->problem.weights.shape, s->n_rows))
        return begin_span(s, begin, n_threads);
    s->first = begin;
    s->last = begin + s->n_rows;
    s->chunks = chunks_of(s->n_rows);
    return PARTIALS;
}

void fs_add_sums(fs_sums *to, const fs_sums *sums, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i++) {
        to->loss += sums[i].loss;
        to->entropy += sums[i].entropy;
        to->total_weight += sums[i].total_weight;
        to->correct += sums[i].correct;
        to->counted += sums[i].counted;
    }
}

/* Adds what the phase's rows weigh, chunk by chunk in their order. The gradient's scale follows
 * from it. */
static void add_weights(steps *s) {
    for (ptrdiff_t i = 0; i < s->chunks.n; i++) s->total_weight += s->chunk_sums[i].total_weight;
    s->mean_scale = fs_mean_scale(s->total_weight);
}

static phase next_phase(steps *s, int n_threads) {
    const ptrdiff_t end = s->begin + s->n_rows;
    switch (s->phase) {
    case BEGINNING:
        return begin_step(s, 0, n_threads);
    case TAKE:
        return LOGITS;
    case LOGITS:
        return FINISH;
    case PARTIALS:
        add_weights(s);
        fs_list_adds(s);
        return REDUCE;
    case RESIDUALS:
    case FINISH:
        add_weights(s);
        return TILES;
    default: /* REDUCE, TILES: the rows are done */
        fs_add_sums(&s->step_sums, s->chunk_sums, s->chunks.n);
        if (s->last < end) return begin_span(s, s->last, n_threads);
        fs_add_sums(&s->sums, &s->step_sums, 1); /* step by step, like a loop of calls */
        return end < s->plan->problem.rows->n_rows && !s->stop ? begin_step(s, end, n_threads)
                                                               : BEGINNING;
    }
}

static int begin_next_phase(void *context, int n_threads, int *n_items) {
    steps *s = context;
    s->phase = next_phase(s, n_threads);
    s->phase_number++;
    for (int i = 0; i < n_threads; i++) {
        const int n_chunks = n_chunks_of(s->chunks, i, n_threads);
        n_items[i] = s->phase == PARTIALS    ? n_chunks
                     : s->phase == RESIDUALS ? (int)divide_up(n_chunks, ITEM_CHUNKS)
                     : s->phase == TILES     ? ITEMS_OF_TILES
                                             : 1;
    }
    return s->phase != BEGINNING;
}

/* ---- the items of a phase ---- */

/* Asked by the caller's thread, whose signals they are. */
static void ask_to_stop(steps *s) {
    const int64_t now = fs_milliseconds();
    if (now < s->asked_at + ASK_MS) return;
    s->asked_at = now;
    if (s->interrupted()) s->stop = 1;
}

static void do_item(void *context, fs_item item) {
    steps *s = context;
    if (item.thread == 0 && s->interrupted && !s->stop) ask_to_stop(s);
    switch (s->phase) {
    case PARTIALS:
        fs_partial_item(s, item);
        break;
    case REDUCE:
        fs_reduce_item(s, item);
        break;
    case RESIDUALS:
        fs_residuals_item(s, item);
        break;
    case TILES:
        fs_tiles_item(s, item);
        break;
    default:
        fs_classes_item(s, item);
    }
}

void fs_run_steps(steps *s) {
    s->asked_at = fs_milliseconds();
    fs_team_run(s->plan->num_threads, &(fs_work){do_item, begin_next_phase, s});
}
