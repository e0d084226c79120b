/* steps.c: one step of a pass: the gradient of a batch, and its update. Over 300 lines: by rows, and
 * by tiles.
 *
 * Design
 *  a) A batch is cut into chunks of rows by a fixed rule (chunks.h). What a chunk's partial gradient
 *     and sums are depends on the chunk alone; so does the order in which they are added.
 *  b) A step by rows has two phases. PARTIALS: an item is a chunk, of which the partial gradient is
 *     computed, and added to that of the neighbour which the same thread has had, as the tree of sums
 *     would add it. SLICES: an item is a range of the parameters, for which the rest of the tree is
 *     added and which is then updated.
 *  c) A step by tiles has two phases for each span of its rows. RESIDUALS: an item is a group of
 *     chunks. TILES: an item is some tiles of the gradient, over all rows of the span in order, and
 *     the update of these. Where threads share the classes, the residuals take three phases: TAKE,
 *     LOGITS, FINISH.
 *  d) No two items of a phase write one place. Who does an item is of no matter to the result.
 */
#include "steps.h"

#include "cores.h"

enum {
    SLICE = 64,           /* floats, of which each thread reduces whole ones */
    REDUCE_FLOATS = 1024, /* reduced and updated at a time, to stay in L1 */
    LINE_FLOATS = 16,     /* of a cache line */
};

static void input_gradient(const pass *p, const fs_rooms *rooms, ptrdiff_t begin) {
    if (p->grad_input)
        p->kernels->input_gradient(p->rows, p->weights.weight, rooms,
                                   p->grad_input + begin * p->rows->n_features);
}

/* ---- a step by rows ---- */

/* partials[i][begin:end] += partials[i + apart][begin:end] */
static void add_partial(const pass *p, ptrdiff_t i, ptrdiff_t apart, ptrdiff_t begin,
                        ptrdiff_t end) {
    float *sum = p->partials + i * p->packed_size + begin;
    p->kernels->add(sum, sum + apart * p->packed_size, end - begin);
}

/* A bit for each of the chunks [begin, end). */
static uint64_t bits_of(ptrdiff_t begin, ptrdiff_t end) {
    return (~(uint64_t)0 >> (64 - (end - begin))) << begin;
}
_Static_assert(FS_MAX_CHUNKS <= 64, "a bit for each chunk");

/* What of the tree of sums one thread can add by itself once it has chunk i and those of `chunks`,
 * while it is in its cache: an epoch of the book's rows in batches of 4,096 takes 6% less (Zen 4). Where
 * `joined`, chunk i has been added to the one before. */
static void add_own_partials(const pass *p, ptrdiff_t i, uint64_t chunks, int joined) {
    const ptrdiff_t n = p->chunks.n;
    for (ptrdiff_t apart = joined ? 2 : 1; apart < n; apart *= 2) {
        const ptrdiff_t left = i / (2 * apart) * 2 * apart;
        if (left + apart >= n) continue; /* the tree has no right branch there */
        const uint64_t needed = bits_of(left, min_of(left + 2 * apart, n));
        if ((chunks & needed) != needed) return;
        add_partial(p, left, apart, 0, p->packed_size);
    }
}

/* The additions of the tree that are left, in its order: those over chunks of several threads. */
static void list_adds(pass *p) {
    const ptrdiff_t n = p->chunks.n;
    p->n_adds = 0;
    for (ptrdiff_t apart = 1; apart < n; apart *= 2)
        for (ptrdiff_t i = 0; i + apart < n; i += 2 * apart) {
            const ptrdiff_t end = min_of(i + 2 * apart, n);
            ptrdiff_t j = i + 1;
            while (j < end && p->by_whom[j] == p->by_whom[i]) j++;
            if (j == end) continue;
            p->adds[p->n_adds].to = (uint8_t)i;
            p->adds[p->n_adds++].apart = (uint8_t)apart;
        }
}

/* What the thread remembers of this phase. */
static memory_of_thread *memory_of(const pass *p, int thread) {
    memory_of_thread *m = &p->memories[thread];
    if (m->phase != p->phase_number)
        *m = (memory_of_thread){.phase = p->phase_number, .in_panel = -1};
    return m;
}

/* Where the rows begin that the thread will want after this chunk: of its next one, or of its first of
 * the next batch; or -1. */
static ptrdiff_t rows_after(const pass *p, fs_item item) {
    const ptrdiff_t next = next_chunk(p->chunks, item), end = p->begin + p->n_rows;
    if (next >= 0) return p->begin + next * p->chunks.rows;
    const ptrdiff_t n_rows = min_of(p->batch_size, p->rows->n_rows - end);
    if (n_rows <= 0) return -1;
    const chunks c = chunks_of(n_rows);
    return end + first_chunk(c, item.thread, item.n_threads) * c.rows;
}

/* The partial gradient of a chunk. It is added to that of the chunk before as it is stored, where the
 * thread has just had that and both are of one block: it is where the tree of sums begins, and saves a
 * partial. Then an epoch of the book's job takes 3 to 7% less (Zen 4). */
static void partial_item(pass *p, fs_item item) {
    const fs_kernels *const k = p->kernels;
    const chunks c = p->chunks;
    const ptrdiff_t i = chunk_of_item(c, item);
    const ptrdiff_t first = p->begin + i * c.rows, last = min_of(first + c.rows, p->last);
    const ptrdiff_t n_tiles = k->n_tiles(p->rows->n_features, p->rows->n_classes);
    const fs_rooms room = rooms_of(p, item.thread, 1);
    memory_of_thread *const mine = memory_of(p, item.thread);
    const int joined =
        i % 2 == 1 && c.rows <= FS_BLOCK_ROWS && (mine->chunks & bits_of(i - 1, i)) != 0;
    float *partial = p->partials + (i - joined) * p->packed_size;

    /* who transposes rows fetches none of the next ones meanwhile */
    const ptrdiff_t n_forward =
        k->by_columns(p->rows->n_features, p->rows->n_classes) ? 0 : FS_BLOCK_ROWS / 2;
    const ptrdiff_t after = rows_after(p, item);

    p->chunk_sums[i] = (fs_sums){0};
    p->by_whom[i] = (uint8_t)item.thread;
    for (ptrdiff_t r = first; r < last; r += FS_BLOCK_ROWS) {
        const ptrdiff_t r_stop = min_of(r + FS_BLOCK_ROWS, last);
        const fs_next next = {.first = r_stop < last ? r_stop : after, .n_forward = n_forward};
        k->residuals(p->rows, &p->weights, r, r_stop, FS_BLOCK_ROWS, next, &room,
                     scratch_of(p, item.thread), &p->chunk_sums[i]);
        const fs_onto onto = joined ? FS_ONTO_TILE : r > first ? FS_ONTO_SUMS : FS_ONTO_NOTHING;
        for (ptrdiff_t tile = 0; tile < n_tiles; tile++) {
            ptrdiff_t offset;
            k->tile_floats(p->rows->n_features, p->rows->n_classes, tile, &offset);
            k->gradient(p->rows, &room, NULL, 0, tile, onto, partial + offset);
        }
        input_gradient(p, &room, r);
    }
    mine->chunks |= bits_of(i, i + 1);
    add_own_partials(p, i, mine->chunks, joined);
}

static void update_range(pass *p, const float *grad, ptrdiff_t begin, ptrdiff_t end,
                         float weight_decay) {
    if (begin < end)
        p->kernels->update(p->packed + begin, grad, p->velocity ? p->velocity + begin : NULL,
                           end - begin, p->grad_scale, weight_decay, &p->sgd);
}

/* Adds up a slice of the packed parameters' gradient, and updates it. */
static void slice_item(pass *p, fs_item item) {
    const ptrdiff_t n = divide_up(p->packed_size, SLICE), bias = p->bias_offset;
    const ptrdiff_t begin = n * item.owner / item.n_threads * SLICE;
    const ptrdiff_t end = min_of(n * (item.owner + 1) / item.n_threads * SLICE, p->packed_size);
    for (ptrdiff_t i = begin; i < end; i += REDUCE_FLOATS) {
        const ptrdiff_t stop = min_of(i + REDUCE_FLOATS, end), in_bias = max_of(i, bias);
        for (int j = 0; j < p->n_adds; j++)
            add_partial(p, p->adds[j].to, p->adds[j].apart, i, stop);
        if (!p->update) continue;
        update_range(p, p->partials + i, i, min_of(stop, bias), p->sgd.weight_decay);
        update_range(p, p->partials + in_bias, in_bias, stop, p->sgd.bias_weight_decay);
    }
}

/* ---- a step by tiles ---- */

/* Items of a thread's tiles, at most: where it begins late, others take the last ones. */
enum { TILE_ITEMS = 4 };

/* A tile. In training it is used to update as soon as it has all rows of the batch, and is stored only
 * where these are of several spans. Meanwhile the parameters of the tile `next` are fetched, which lie
 * too far for the CPU to foresee. */
static void compute_tile(pass *p, memory_of_thread *mine, float *panel, ptrdiff_t tile,
                         ptrdiff_t next) {
    const fs_kernels *const k = p->kernels;
    const ptrdiff_t d = p->rows->n_features, n_classes = p->rows->n_classes;
    const fs_rooms rooms = rooms_of(p, 0, p->chunks.n);
    const fs_onto onto = p->first > p->begin ? FS_ONTO_SUMS : FS_ONTO_NOTHING;
    const int update = p->update && p->last == p->begin + p->n_rows;
    _Alignas(FS_ALIGN) float tile_grad[FS_TILE_FLOATS];
    ptrdiff_t offset;
    const ptrdiff_t size = k->tile_floats(d, n_classes, tile, &offset);
    const int is_bias = offset == p->bias_offset;
    float *grad = is_bias ? p->bias_tile : p->partials ? p->partials + offset : tile_grad;
    if (p->grad_weight && onto != FS_ONTO_NOTHING && !is_bias)
        k->load_tile(p->grad_weight, d, n_classes, tile, grad);
    if (update && next >= 0) {
        ptrdiff_t first;
        const ptrdiff_t n_floats = k->tile_floats(d, n_classes, next, &first);
        if (p->packed)
            for (ptrdiff_t i = 0; i < n_floats; i += LINE_FLOATS)
                __builtin_prefetch(p->packed + first + i, 1, 2);
        else
            k->fetch_tile(p->params, d, n_classes, next);
    }
    const ptrdiff_t features = k->tile_features(n_classes, tile);
    k->gradient(p->rows, &rooms, panel, features != mine->in_panel, tile, onto, grad);
    mine->in_panel = features;
    if (update && p->packed)
        update_range(p, grad, offset, offset + size,
                     is_bias ? p->sgd.bias_weight_decay : p->sgd.weight_decay);
    else if (update)
        k->update_tile(p->params, grad, d, n_classes, tile, p->grad_scale, &p->sgd);
    if (p->grad_weight) k->store_tile(grad, d, n_classes, tile, p->grad_weight, p->grad_bias);
}

/* Which runs of a thread's tiles an item has: of one run, a part; of many, as many as every other. */
static void tiles_item(pass *p, fs_item item) {
    const fs_kernels *const k = p->kernels;
    const ptrdiff_t d = p->rows->n_features, n_classes = p->rows->n_classes;
    const fs_tiles t = k->thread_tiles(d, n_classes, p->by_classes, item.owner, item.n_threads);
    float *panel = k->by_panels(n_classes) ? scratch_of(p, item.thread) : NULL;
    memory_of_thread *const mine = memory_of(p, item.thread);
    const ptrdiff_t n_runs = t.run ? divide_up(t.end - t.first, t.apart) : 0;
    const int in_parts = n_runs == 1;
    const ptrdiff_t n = in_parts ? t.run : n_runs;
    const ptrdiff_t begin = n * item.index / TILE_ITEMS, end = n * (item.index + 1) / TILE_ITEMS;
    if (in_parts) {
        for (ptrdiff_t i = begin; i < end; i++)
            compute_tile(p, mine, panel, t.first + i, i + 1 < t.run ? t.first + i + 1 : -1);
    } else {
        for (ptrdiff_t run = begin; run < end; run++) {
            const ptrdiff_t first = t.first + run * t.apart;
            const ptrdiff_t next_run = run + 1 < n_runs ? first + t.apart : -1;
            for (ptrdiff_t tile = first; tile < first + t.run; tile++)
                compute_tile(p, mine, panel, tile, tile + 1 < first + t.run ? tile + 1 : next_run);
        }
    }
    if (item.owner == item.n_threads - 1 && item.index == TILE_ITEMS - 1)
        compute_tile(p, mine, panel, k->n_tiles(d, n_classes) - 1, -1);
}

/* Residuals of a group of chunks. */
static void residuals_item(pass *p, fs_item item) {
    const chunks c = p->chunks;
    const ptrdiff_t stop = first_chunk(c, item.owner + 1, item.n_threads);
    const ptrdiff_t i = first_chunk(c, item.owner, item.n_threads) + item.index * GROUP_ROOMS;
    const ptrdiff_t n = min_of(GROUP_ROOMS, stop - i), first = p->first + i * c.rows;
    const fs_rooms group = rooms_of(p, i, n);
    const ptrdiff_t last = min_of(first + n * c.rows, p->last);
    const fs_next next = {.first = i + n < stop ? last : -1, .n_forward = FS_BLOCK_ROWS};
    for (ptrdiff_t j = i; j < i + n; j++) p->chunk_sums[j] = (fs_sums){0};
    p->kernels->residuals(p->rows, &p->weights, first, last, c.rows, next, &group,
                          scratch_of(p, item.thread), &p->chunk_sums[i]);
    input_gradient(p, &group, first);
}

/* The same in three phases, where an item of LOGITS is some classes for all rows: who does it reads its
 * part of the weight only. */
static void classes_item(pass *p, fs_item item) {
    const fs_kernels *const k = p->kernels;
    const chunks c = p->chunks;
    const ptrdiff_t mine = first_chunk(c, item.owner, item.n_threads);
    const ptrdiff_t n = n_chunks_of(c, item.owner, item.n_threads);
    const fs_rooms rooms = rooms_of(p, mine, n), all = rooms_of(p, 0, c.n);
    const ptrdiff_t first = p->first + mine * c.rows;
    switch (p->phase) {
    case TAKE:
        k->take(p->rows, first, min_of(first + n * c.rows, p->last), c.rows,
                (fs_next){.first = -1, .n_forward = FS_BLOCK_ROWS}, &rooms);
        break;
    case LOGITS:
        k->share_logits(p->rows, &p->weights, &all, item.owner, item.n_threads,
                        scratch_of(p, item.thread));
        break;
    default:
        for (ptrdiff_t i = mine; i < mine + n; i++) p->chunk_sums[i] = (fs_sums){0};
        k->finish(p->rows, first, c.rows, &rooms, &p->chunk_sums[mine]);
        input_gradient(p, &rooms, first);
    }
}

/* ---- either ---- */

enum { ASK_MS = 50 };

/* By the caller, whose signals they are. */
static void ask_to_stop(pass *p) {
    const int64_t now = fs_milliseconds();
    if (now < p->asked_at + ASK_MS) return;
    p->asked_at = now;
    if (p->interrupted()) p->stop = 1;
}

void fs_do_step_item(void *context, fs_item item) {
    pass *p = context;
    if (item.thread == 0 && p->interrupted && !p->stop) ask_to_stop(p);
    switch (p->phase) {
    case PARTIALS:
        partial_item(p, item);
        break;
    case SLICES:
        slice_item(p, item);
        break;
    case RESIDUALS:
        residuals_item(p, item);
        break;
    case TILES:
        tiles_item(p, item);
        break;
    default:
        classes_item(p, item);
    }
}

/* The rows [first, ...) of a step by tiles, as many as are held at a time. */
static phase begin_span(pass *p, ptrdiff_t first, int n_threads) {
    p->first = first;
    p->last = first + min_of(p->span_rows, p->begin + p->n_rows - first);
    p->chunks = chunks_of(p->last - first);
    p->by_classes = p->last - first <= GROUP_ROOMS * FS_BLOCK_ROWS &&
                    p->kernels->by_classes(p->last - first, p->rows->n_classes, n_threads);
    return p->by_classes ? TAKE : RESIDUALS;
}

static phase begin_step(pass *p, ptrdiff_t begin, int n_threads) {
    p->begin = begin;
    p->n_rows = min_of(p->batch_size, p->rows->n_rows - begin);
    p->weight = 0;
    if (fs_by_tiles(p, p->n_rows)) return begin_span(p, begin, n_threads);
    p->first = begin;
    p->last = begin + p->n_rows;
    p->chunks = chunks_of(p->n_rows);
    return PARTIALS;
}

/* Adds what the phase's rows weigh, by chunks in their order, to scale the gradient. */
static void add_weights(pass *p) {
    for (ptrdiff_t i = 0; i < p->chunks.n; i++) p->weight += p->chunk_sums[i].weight;
    p->grad_scale = grad_scale_of(p->weight);
}

static phase next_phase(pass *p, int n_threads) {
    const ptrdiff_t end = p->begin + p->n_rows;
    switch (p->phase) {
    case BEGINNING:
        return begin_step(p, 0, n_threads);
    case TAKE:
        return LOGITS;
    case LOGITS:
        return FINISH;
    case PARTIALS:
        add_weights(p);
        list_adds(p);
        return SLICES;
    case RESIDUALS:
    case FINISH:
        add_weights(p);
        return TILES;
    default: /* SLICES, TILES: the rows are done */
        add_sums(&p->step_sums, p->chunk_sums, p->chunks.n);
        if (p->last < end) return begin_span(p, p->last, n_threads);
        p->sgd.first_step = 0;
        add_sums(&p->sums, &p->step_sums, 1); /* step by step, as a loop of calls would */
        p->step_sums = (fs_sums){0};
        return end < p->rows->n_rows && !p->stop ? begin_step(p, end, n_threads) : BEGINNING;
    }
}

int fs_next_step_phase(void *context, int n_threads, int *n_items) {
    pass *p = context;
    p->phase = next_phase(p, n_threads);
    p->phase_number++;
    for (int i = 0; i < n_threads; i++) {
        const int n_chunks = n_chunks_of(p->chunks, i, n_threads);
        n_items[i] = p->phase == PARTIALS    ? n_chunks
                     : p->phase == RESIDUALS ? (int)divide_up(n_chunks, GROUP_ROOMS)
                     : p->phase == TILES     ? TILE_ITEMS
                                             : 1;
    }
    return p->phase != BEGINNING;
}
