/* steps.c: one step of a pass, by all members of a team: the gradient of a batch, and its update.
 *
 * Design
 *  a) A batch is cut into chunks of rows by a fixed rule (chunks.h). Chunk c belongs to a thread
 *     by c alone; what it computes has a place of its own, or is added to its neighbour's where that
 *     is the same thread's, as the tree of sums would add it.
 *  b) A step has two phases with a barrier after each. By rows: every thread computes the partial
 *     gradients of its chunks, and adds what the tree has of them alone; then each adds up its slice
 *     over all threads, and updates that slice of the parameters. By tiles: every thread computes the
 *     residuals of its chunks; then each computes its tiles of the gradient, over all rows in order,
 *     and updates them. In no phase do two threads write one place.
 */
#include "steps.h"

enum {
    SLICE = 64,           /* floats, of which each thread reduces whole ones */
    REDUCE_FLOATS = 1024, /* reduced and updated at a time, to stay in L1 */
    LINE_FLOATS = 16,     /* of a cache line */
};

/* Adds what n chunks weigh, in their order: as each thread does for itself, to scale the gradient. */
static double add_weights(const pass *p, double weight, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i++) weight += p->chunk_sums[i].weight;
    return weight;
}

static void input_gradient(const pass *p, const fs_rooms *rooms, ptrdiff_t begin) {
    if (p->grad_input)
        p->kernels->input_gradient(p->rows, p->weights.weight, rooms,
                                   p->grad_input + begin * p->rows->n_features);
}

/* ---- a step by rows ---- */

/* Whether the chunks [begin, end) are one thread's. */
static int are_of_one(chunks c, ptrdiff_t begin, ptrdiff_t end, int n_threads) {
    return thread_of(c, begin, n_threads) == thread_of(c, end - 1, n_threads);
}

/* Whether the partial gradient of chunk i is added to that of i - 1 as it is stored, the chunks being
 * one thread's and of one block: it is where the tree of sums begins, and saves a partial. Then an epoch
 * of the book's job takes 3 to 7% less (Zen 4). */
static int joins(chunks c, ptrdiff_t i, int n_threads) {
    return i % 2 == 1 && c.rows <= FS_BLOCK_ROWS && are_of_one(c, i - 1, i + 1, n_threads);
}

/* partials[i][begin:end] += partials[i + apart][begin:end] */
static void add_partial(const pass *p, ptrdiff_t i, ptrdiff_t apart, ptrdiff_t begin,
                        ptrdiff_t end) {
    float *sum = p->partials + i * p->packed_size + begin;
    p->kernels->add(sum, sum + apart * p->packed_size, end - begin);
}

/* What of the tree of sums a thread can add by itself once it has chunk i, while it is in its cache: an
 * epoch of the book's rows in batches of 4,096 takes 6% less (Zen 4). */
static void add_own_partials(const pass *p, fs_member m, chunks c, ptrdiff_t i) {
    for (ptrdiff_t apart = joins(c, i, m.n_threads) ? 2 : 1; apart < c.n; apart *= 2) {
        const ptrdiff_t left = i / (2 * apart) * 2 * apart;
        if (left + apart > i) continue; /* where the tree has no right branch, or not yet */
        if (min_of(left + 2 * apart, c.n) > i + 1 || !are_of_one(c, left, i + 1, m.n_threads))
            return;
        add_partial(p, left, apart, 0, p->packed_size);
    }
}

/* Partial gradients of this thread's chunks of the batch [begin, begin + n_rows). */
static void partials_phase(pass *p, fs_member m, ptrdiff_t begin, ptrdiff_t n_rows) {
    const fs_kernels *const k = p->kernels;
    const chunks c = chunks_of(n_rows);
    const ptrdiff_t end = begin + n_rows, stop = first_chunk(c, m.thread + 1, m.n_threads);
    const ptrdiff_t n_tiles = k->n_tiles(p->rows->n_features, p->rows->n_classes);
    const fs_rooms room = rooms_of(p, m.thread, 1);
    /* who transposes rows fetches none of the next ones meanwhile */
    const ptrdiff_t n_forward =
        k->by_columns(p->rows->n_features, p->rows->n_classes) ? 0 : FS_BLOCK_ROWS / 2;

    /* where this thread's rows of the next batch begin, to be prefetched */
    ptrdiff_t next_batch = -1;
    const ptrdiff_t next_rows = min_of(p->batch_size, p->rows->n_rows - end);
    if (next_rows > 0) {
        const chunks next = chunks_of(next_rows);
        next_batch = end + first_chunk(next, m.thread, m.n_threads) * next.rows;
    }

    for (ptrdiff_t i = first_chunk(c, m.thread, m.n_threads); i < stop; i++) {
        const ptrdiff_t first = begin + i * c.rows, last = min_of(first + c.rows, end);
        const int joined = joins(c, i, m.n_threads);
        float *partial = p->partials + (i - joined) * p->packed_size;
        p->chunk_sums[i] = (fs_sums){0};
        for (ptrdiff_t r = first; r < last; r += FS_BLOCK_ROWS) {
            const ptrdiff_t r_stop = min_of(r + FS_BLOCK_ROWS, last);
            const fs_next next = {.first = r_stop < last || i + 1 < stop ? r_stop : next_batch,
                                  .n_forward = n_forward};
            k->residuals(p->rows, &p->weights, r, r_stop, FS_BLOCK_ROWS, next, &room,
                         scratch_of(p, m), &p->chunk_sums[i]);
            const fs_onto onto = joined ? FS_ONTO_TILE : r > first ? FS_ONTO_SUMS : FS_ONTO_NOTHING;
            for (ptrdiff_t tile = 0; tile < n_tiles; tile++) {
                ptrdiff_t offset;
                k->tile_floats(p->rows->n_features, p->rows->n_classes, tile, &offset);
                k->gradient(p->rows, &room, NULL, 0, tile, onto, partial + offset);
            }
            input_gradient(p, &room, r);
        }
        add_own_partials(p, m, c, i);
    }
}

/* This thread's slice of the packed parameters. */
static void slice_of(const pass *p, fs_member m, ptrdiff_t *begin, ptrdiff_t *end) {
    const ptrdiff_t n = divide_up(p->packed_size, SLICE);
    *begin = n * m.thread / m.n_threads * SLICE;
    *end = min_of(n * (m.thread + 1) / m.n_threads * SLICE, p->packed_size);
}

static void update_range(pass *p, const float *grad, ptrdiff_t begin, ptrdiff_t end,
                         float grad_scale, float weight_decay) {
    if (begin < end)
        p->kernels->update(p->packed + begin, grad, p->velocity ? p->velocity + begin : NULL,
                           end - begin, grad_scale, weight_decay, &p->sgd);
}

/* partials[0][begin:end] += all others, in tree order, but for what a thread has added by itself. */
static void reduce(const pass *p, chunks c, int n_threads, ptrdiff_t begin, ptrdiff_t end) {
    for (ptrdiff_t apart = 1; apart < c.n; apart *= 2)
        for (ptrdiff_t i = 0; i + apart < c.n; i += 2 * apart)
            if (!are_of_one(c, i, min_of(i + 2 * apart, c.n), n_threads))
                add_partial(p, i, apart, begin, end);
}

static void reduce_phase(pass *p, fs_member m, ptrdiff_t n_rows, int update) {
    const chunks c = chunks_of(n_rows);
    const float grad_scale = grad_scale_of(add_weights(p, 0.0, c.n));
    ptrdiff_t begin, end;
    slice_of(p, m, &begin, &end);
    for (ptrdiff_t i = begin; i < end; i += REDUCE_FLOATS) {
        const ptrdiff_t stop = min_of(i + REDUCE_FLOATS, end);
        reduce(p, c, m.n_threads, i, stop);
        if (update) {
            const ptrdiff_t bias = p->bias_offset;
            const ptrdiff_t in_bias = max_of(i, bias);
            update_range(p, p->partials + i, i, min_of(stop, bias), grad_scale,
                         p->sgd.weight_decay);
            update_range(p, p->partials + in_bias, in_bias, stop, grad_scale,
                         p->sgd.bias_weight_decay);
        }
    }
}

static void step_by_rows(pass *p, fs_member m, ptrdiff_t begin, ptrdiff_t n_rows, int update) {
    partials_phase(p, m, begin, n_rows);
    fs_team_barrier(m);
    reduce_phase(p, m, n_rows, update);
    if (m.thread == 0) add_sums(&p->step_sums, p->chunk_sums, chunks_of(n_rows).n);
    fs_team_barrier(m);
}

/* ---- a step by tiles ---- */

/* What a thread's tiles of the gradient over the rows of a span have in common. */
typedef struct {
    const fs_rooms *rooms;
    float *panel;
    ptrdiff_t in_panel; /* the features that are there */
    fs_onto onto;
    int update;
    float grad_scale;
} tile_work;

/* A tile. In training it is used to update as soon as it has all rows of the batch, and is stored only
 * where these are of several spans. Meanwhile the parameters of the tile `next` are fetched, which lie
 * too far for the CPU to foresee. */
static void compute_tile(pass *p, tile_work *w, ptrdiff_t tile, ptrdiff_t next) {
    const fs_kernels *const k = p->kernels;
    const ptrdiff_t d = p->rows->n_features, n_classes = p->rows->n_classes;
    _Alignas(FS_ALIGN) float tile_grad[FS_TILE_FLOATS];
    ptrdiff_t offset;
    const ptrdiff_t size = k->tile_floats(d, n_classes, tile, &offset);
    const int is_bias = offset == p->bias_offset;
    float *grad = is_bias ? p->bias_tile : p->partials ? p->partials + offset : tile_grad;
    if (p->grad_weight && w->onto != FS_ONTO_NOTHING && !is_bias)
        k->load_tile(p->grad_weight, d, n_classes, tile, grad);
    if (w->update && next >= 0) {
        ptrdiff_t first;
        const ptrdiff_t n_floats = k->tile_floats(d, n_classes, next, &first);
        if (p->packed)
            for (ptrdiff_t i = 0; i < n_floats; i += LINE_FLOATS)
                __builtin_prefetch(p->packed + first + i, 1, 2);
        else
            k->fetch_tile(p->params, d, n_classes, next);
    }
    const ptrdiff_t features = k->tile_features(n_classes, tile);
    k->gradient(p->rows, w->rooms, w->panel, features != w->in_panel, tile, w->onto, grad);
    w->in_panel = features;
    if (w->update && p->packed)
        update_range(p, grad, offset, offset + size, w->grad_scale,
                     is_bias ? p->sgd.bias_weight_decay : p->sgd.weight_decay);
    else if (w->update)
        k->update_tile(p->params, grad, d, n_classes, tile, w->grad_scale, &p->sgd);
    if (p->grad_weight) k->store_tile(grad, d, n_classes, tile, p->grad_weight, p->grad_bias);
}

static void tiles_phase(pass *p, fs_member m, tile_work work, int by_classes) {
    const fs_kernels *const k = p->kernels;
    const ptrdiff_t d = p->rows->n_features, n_classes = p->rows->n_classes;
    const fs_tiles t = k->thread_tiles(d, n_classes, by_classes, m.thread, m.n_threads);
    work.panel = k->by_panels(n_classes) ? scratch_of(p, m) : NULL;
    work.in_panel = -1;
    for (ptrdiff_t run = t.first; run < t.end; run += t.apart) {
        const ptrdiff_t next_run = run + t.apart < t.end ? run + t.apart : -1;
        for (ptrdiff_t tile = run; tile < run + t.run; tile++)
            compute_tile(p, &work, tile, tile + 1 < run + t.run ? tile + 1 : next_run);
    }
    if (m.thread == m.n_threads - 1) compute_tile(p, &work, k->n_tiles(d, n_classes) - 1, -1);
}

/* Residuals of this thread's chunks of the rows [begin, end). */
static void share_rows(pass *p, fs_member m, chunks c, ptrdiff_t begin, ptrdiff_t end) {
    const ptrdiff_t stop = first_chunk(c, m.thread + 1, m.n_threads);
    for (ptrdiff_t i = first_chunk(c, m.thread, m.n_threads); i < stop; i += GROUP_ROOMS) {
        const ptrdiff_t n = min_of(GROUP_ROOMS, stop - i), first = begin + i * c.rows;
        const fs_rooms group = rooms_of(p, i, n);
        const ptrdiff_t last = min_of(first + n * c.rows, end);
        const fs_next next = {.first = i + n < stop ? last : -1, .n_forward = FS_BLOCK_ROWS};
        for (ptrdiff_t j = i; j < i + n; j++) p->chunk_sums[j] = (fs_sums){0};
        p->kernels->residuals(p->rows, &p->weights, first, last, c.rows, next, &group,
                              scratch_of(p, m), &p->chunk_sums[i]);
        input_gradient(p, &group, first);
    }
}

/* The same, where each thread computes the logits of its classes for all rows, and so reads its part
 * of the weight only. */
static void share_classes(pass *p, fs_member m, chunks c, ptrdiff_t begin, ptrdiff_t end) {
    const fs_kernels *const k = p->kernels;
    const ptrdiff_t mine = first_chunk(c, m.thread, m.n_threads);
    const ptrdiff_t n = first_chunk(c, m.thread + 1, m.n_threads) - mine;
    const fs_rooms rooms = rooms_of(p, mine, n), all = rooms_of(p, 0, c.n);
    const ptrdiff_t first = begin + mine * c.rows;
    k->take(p->rows, first, min_of(first + n * c.rows, end), c.rows,
            (fs_next){.first = -1, .n_forward = FS_BLOCK_ROWS}, &rooms);
    fs_team_barrier(m);
    k->share_logits(p->rows, &p->weights, &all, m.thread, m.n_threads, scratch_of(p, m));
    fs_team_barrier(m);
    for (ptrdiff_t i = mine; i < mine + n; i++) p->chunk_sums[i] = (fs_sums){0};
    k->finish(p->rows, first, c.rows, &rooms, &p->chunk_sums[mine]);
    input_gradient(p, &rooms, first);
}

static void step_by_tiles(pass *p, fs_member m, ptrdiff_t begin, ptrdiff_t n_rows, int update) {
    double weight = 0;
    for (ptrdiff_t done = 0; done < n_rows; done += p->span_rows) {
        const ptrdiff_t first = begin + done, last = first + min_of(p->span_rows, n_rows - done);
        const chunks c = chunks_of(last - first);
        const fs_rooms rooms = rooms_of(p, 0, c.n);
        const int by_classes =
            last - first <= GROUP_ROOMS * FS_BLOCK_ROWS &&
            p->kernels->by_classes(last - first, p->rows->n_classes, m.n_threads);
        (by_classes ? share_classes : share_rows)(p, m, c, first, last);
        fs_team_barrier(m);
        weight = add_weights(p, weight, c.n);
        const tile_work work = {.rooms = &rooms,
                                .onto = done > 0 ? FS_ONTO_SUMS : FS_ONTO_NOTHING,
                                .update = update && last == begin + n_rows,
                                .grad_scale = grad_scale_of(weight)};
        tiles_phase(p, m, work, by_classes);
        if (m.thread == 0) add_sums(&p->step_sums, p->chunk_sums, c.n);
        fs_team_barrier(m);
    }
}

/* ---- either ---- */

void fs_step(pass *p, fs_member m, ptrdiff_t begin, ptrdiff_t n_rows, int update) {
    (fs_by_tiles(p, n_rows) ? step_by_tiles : step_by_rows)(p, m, begin, n_rows, update);
    if (m.thread == 0) {
        p->sgd.first_step = 0;
        add_sums(&p->sums, &p->step_sums, 1); /* step by step, as a loop of calls would */
        p->step_sums = (fs_sums){0};
    }
}
