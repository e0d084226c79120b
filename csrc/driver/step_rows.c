/* step_rows.c: a step by rows: partial gradients of chunks, and the tree that adds them up. */
#include "steps.h"

/* partials[i][begin:end] += partials[i + apart][begin:end] */
static void add_partial(const plan *p, ptrdiff_t i, ptrdiff_t apart, ptrdiff_t begin,
                        ptrdiff_t end) {
    float *sum = p->partials + i * p->packed_size + begin;
    p->kernels->add(sum, sum + apart * p->packed_size, end - begin);
}

/* A bit for each of the chunks [begin, end). */
static uint64_t bits_of(ptrdiff_t begin, ptrdiff_t end) {
    return (~(uint64_t)0 >> (64 - (end - begin))) << begin;
}
_Static_assert(FS_MAX_CHUNKS <= 64, "a bit for each chunk");

/* Adds what one thread can add by itself, once it has done chunk i and those of `done`: every
 * branch of the tree whose chunks are all its own. They are still in its cache. Where `joined`,
 * chunk i has been added to the one before already. */
static void add_own_partials(const steps *s, ptrdiff_t i, uint64_t done, int joined) {
    const ptrdiff_t n = s->chunks.n;
    for (ptrdiff_t apart = joined ? 2 : 1; apart < n; apart *= 2) {
        const ptrdiff_t left = i / (2 * apart) * 2 * apart;
        if (left + apart >= n) continue; /* the tree has no right branch there */
        const uint64_t needed = bits_of(left, min_of(left + 2 * apart, n));
        if ((done & needed) != needed) return;
        add_partial(s->plan, left, apart, 0, s->plan->packed_size);
    }
}

void fs_list_adds(steps *s) {
    const ptrdiff_t n = s->chunks.n;
    s->n_adds = 0;
    for (ptrdiff_t apart = 1; apart < n; apart *= 2)
        for (ptrdiff_t i = 0; i + apart < n; i += 2 * apart) {
            const ptrdiff_t end = min_of(i + 2 * apart, n);
            ptrdiff_t j = i + 1;
            while (j < end && s->by_whom[j] == s->by_whom[i]) j++;
            if (j == end) continue;
            s->adds[s->n_adds].to = (uint8_t)i;
            s->adds[s->n_adds++].apart = (uint8_t)apart;
        }
}

/* Where the rows begin that the thread takes after this chunk: those of its next chunk, or of its
 * first one of the next batch; or -1. */
static ptrdiff_t rows_after(const steps *s, fs_item item) {
    const plan *const p = s->plan;
    const ptrdiff_t next = next_chunk(s->chunks, item), end = s->begin + s->n_rows;
    if (next >= 0) return s->begin + next * s->chunks.rows;
    const ptrdiff_t n_rows = min_of(p->batch_size, p->problem.rows->n_rows - end);
    if (n_rows <= 0) return -1;
    const chunks c = chunks_of(n_rows);
    return end + first_chunk(c, item.thread, item.n_threads) * c.rows;
}

void fs_compute_partial(const plan *p, int thread, ptrdiff_t first, ptrdiff_t last, ptrdiff_t after,
                        fs_onto onto, float *partial, float *grad_input, fs_sums *sums) {
    const fs_kernels *const k = p->kernels;
    const fs_shape shape = p->problem.weights.shape;
    const ptrdiff_t n_tiles = k->n_tiles(shape);
    const fs_workspaces workspace = workspaces_of(p, thread, 1);
    /* where rows are transposed, none of the next ones are fetched with the logits */
    const ptrdiff_t n_logits = k->by_columns(shape) ? 0 : FS_BLOCK_ROWS / 2;

    *sums = (fs_sums){0};
    for (ptrdiff_t r = first; r < last; r += FS_BLOCK_ROWS) {
        const ptrdiff_t stop = min_of(r + FS_BLOCK_ROWS, last);
        const fs_next next = {.first = stop < last ? stop : after, .n_logits = n_logits};
        k->residuals(&p->problem, r, stop, FS_BLOCK_ROWS, next, &workspace, scratch_of(p, thread),
                     sums);
        for (ptrdiff_t tile = 0; tile < n_tiles; tile++) {
            ptrdiff_t offset;
            k->tile_floats(shape, tile, &offset);
            k->gradient(&p->problem, &workspace, NULL, 0, tile, r > first ? FS_ONTO_SUMS : onto,
                        partial + offset);
        }
        fs_write_input_gradient(p, &workspace, r, grad_input);
    }
}

/* Where the thread has just done the chunk before, the two are a branch of the tree, and this one
 * is added to that one as it is stored. That saves a partial gradient. It needs a chunk of one
 * block, whose tiles are complete when they are stored. */
void fs_partial_item(steps *s, fs_item item) {
    const plan *const p = s->plan;
    const chunks c = s->chunks;
    const ptrdiff_t i = chunk_of_item(c, item);
    const ptrdiff_t first = s->begin + i * c.rows, last = min_of(first + c.rows, s->last);
    thread_notes *const mine = fs_notes_of(s, item.thread);
    const int joined =
        i % 2 == 1 && c.rows <= FS_BLOCK_ROWS && (mine->chunks & bits_of(i - 1, i)) != 0;
    s->by_whom[i] = (uint8_t)item.thread;
    fs_compute_partial(
        p, item.thread, first, last, rows_after(s, item), joined ? FS_ONTO_TILE : FS_ONTO_NOTHING,
        p->partials + (i - joined) * p->packed_size, s->gradients.input, &s->chunk_sums[i]);
    mine->chunks |= bits_of(i, i + 1);
    add_own_partials(s, i, mine->chunks, joined);
}

void fs_reduce_item(steps *s, fs_item item) {
    const plan *const p = s->plan;
    const ptrdiff_t n = divide_up(p->packed_size, REDUCE_UNIT), bias = p->bias_offset;
    const ptrdiff_t begin = n * item.owner / item.n_threads * REDUCE_UNIT;
    const ptrdiff_t end =
        min_of(n * (item.owner + 1) / item.n_threads * REDUCE_UNIT, p->packed_size);
    for (ptrdiff_t i = begin; i < end; i += REDUCE_FLOATS) {
        const ptrdiff_t stop = min_of(i + REDUCE_FLOATS, end), in_bias = max_of(i, bias);
        for (int j = 0; j < s->n_adds; j++)
            add_partial(p, s->adds[j].to, s->adds[j].apart, i, stop);
        if (!s->params) continue;
        fs_update_range(s, p->partials + i, i, min_of(stop, bias), 0);
        fs_update_range(s, p->partials + in_bias, in_bias, stop, 1);
    }
}
