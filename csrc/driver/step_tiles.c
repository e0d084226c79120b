/* step_tiles.c: a step by tiles: the residuals of a span of rows, then each tile over them all. */
#include "steps.h"

/* ---- residuals ---- */

void fs_residuals_item(steps *s, fs_item item) {
    const plan *const p = s->plan;
    const chunks c = s->chunks;
    const ptrdiff_t stop = first_chunk(c, item.owner + 1, item.n_threads);
    const ptrdiff_t i = first_chunk(c, item.owner, item.n_threads) + item.index * ITEM_CHUNKS;
    const ptrdiff_t n = min_of(ITEM_CHUNKS, stop - i), first = s->first + i * c.rows;
    const fs_workspaces workspaces = workspaces_of(p, i, n);
    const ptrdiff_t last = min_of(first + n * c.rows, s->last);
    const fs_next next = {.first = i + n < stop ? last : -1, .n_logits = FS_BLOCK_ROWS};
    for (ptrdiff_t j = i; j < i + n; j++) s->chunk_sums[j] = (fs_sums){0};
    p->kernels->residuals(&p->problem, first, last, c.rows, next, &workspaces,
                          scratch_of(p, item.thread), &s->chunk_sums[i]);
    fs_write_input_gradient(p, &workspaces, first, s->gradients.input);
}

/* An item of LOGITS is some classes for all rows. So a thread reads only its part of the weight. */
void fs_classes_item(steps *s, fs_item item) {
    const plan *const p = s->plan;
    const fs_kernels *const k = p->kernels;
    const chunks c = s->chunks;
    const ptrdiff_t mine = first_chunk(c, item.owner, item.n_threads);
    const ptrdiff_t n = n_chunks_of(c, item.owner, item.n_threads);
    const fs_workspaces workspaces = workspaces_of(p, mine, n), all = workspaces_of(p, 0, c.n);
    const ptrdiff_t first = s->first + mine * c.rows;
    switch (s->phase) {
    case TAKE:
        k->take(&p->problem, first, min_of(first + n * c.rows, s->last), c.rows,
                (fs_next){.first = -1, .n_logits = FS_BLOCK_ROWS}, &workspaces);
        break;
    case LOGITS:
        k->share_logits(&p->problem, &all, item.owner, item.n_threads, scratch_of(p, item.thread));
        break;
    default:
        for (ptrdiff_t i = mine; i < mine + n; i++) s->chunk_sums[i] = (fs_sums){0};
        k->finish(&p->problem, first, c.rows, &workspaces, &s->chunk_sums[mine]);
        fs_write_input_gradient(p, &workspaces, first, s->gradients.input);
    }
}

/* ---- tiles ---- */

/* Fetches the parameters of a tile, which are too far from those of the last one for the CPU to
 * foresee. */
static void fetch_tile(const steps *s, ptrdiff_t tile) {
    const plan *const p = s->plan;
    ptrdiff_t first;
    const ptrdiff_t n_floats = p->kernels->tile_floats(p->problem.weights.shape, tile, &first);
    if (p->packed)
        for (ptrdiff_t i = 0; i < n_floats; i += FS_LINE / (ptrdiff_t)sizeof(float))
            __builtin_prefetch(p->packed + first + i, 1, 2);
    else
        p->kernels->fetch_tile(s->params, tile);
}

/* Computes a tile over the rows of the span. In training, once it has all rows of the batch, its
 * parameters are updated, so it is stored only where a step has several spans. Meanwhile the
 * parameters of the tile `next` are fetched, or none where it is -1. */
static void compute_tile(steps *s, thread_notes *mine, float *panel, ptrdiff_t tile,
                         ptrdiff_t next) {
    const plan *const p = s->plan;
    const fs_kernels *const k = p->kernels;
    const fs_shape shape = p->problem.weights.shape;
    const fs_workspaces workspaces = workspaces_of(p, 0, s->chunks.n);
    const fs_onto onto = s->first > s->begin ? FS_ONTO_SUMS : FS_ONTO_NOTHING;
    const int update = s->params && s->last == s->begin + s->n_rows;
    _Alignas(FS_ALIGN) float tile_grad[FS_TILE_FLOATS];
    ptrdiff_t offset;
    const ptrdiff_t size = k->tile_floats(shape, tile, &offset);
    const int is_bias = offset == p->bias_offset;
    float *grad = is_bias ? p->bias_tile : p->partials ? p->partials + offset : tile_grad;
    if (s->gradients.weight && onto != FS_ONTO_NOTHING && !is_bias)
        k->load_tile(s->gradients.weight, shape, tile, grad);
    if (update && next >= 0) fetch_tile(s, next);
    const ptrdiff_t features = k->tile_features(shape.n_classes, tile);
    k->gradient(&p->problem, &workspaces, panel, features != mine->in_panel, tile, onto, grad);
    mine->in_panel = features;
    if (update && p->packed)
        fs_update_range(s, grad, offset, offset + size, is_bias);
    else if (update)
        k->update_tile(s->params, grad, tile, s->mean_scale, &s->settings);
    if (s->gradients.weight)
        k->store_tile(grad, shape, tile, s->gradients.weight, s->gradients.bias);
}

/* An item has a part of the tiles of a thread: some tiles where they are one run, or else some
 * runs. */
void fs_tiles_item(steps *s, fs_item item) {
    const plan *const p = s->plan;
    const fs_kernels *const k = p->kernels;
    const fs_shape shape = p->problem.weights.shape;
    const fs_tiles t = k->thread_tiles(shape, s->by_classes, item.owner, item.n_threads);
    float *panel = k->by_panels(shape.n_classes) ? scratch_of(p, item.thread) : NULL;
    thread_notes *const mine = fs_notes_of(s, item.thread);
    const ptrdiff_t n_runs = t.run ? divide_up(t.end - t.first, t.apart) : 0;
    const int in_parts = n_runs == 1;
    const ptrdiff_t n = in_parts ? t.run : n_runs;
    const ptrdiff_t begin = n * item.index / ITEMS_OF_TILES;
    const ptrdiff_t end = n * (item.index + 1) / ITEMS_OF_TILES;
    if (in_parts) {
        for (ptrdiff_t i = begin; i < end; i++)
            compute_tile(s, mine, panel, t.first + i, i + 1 < t.run ? t.first + i + 1 : -1);
    } else {
        for (ptrdiff_t run = begin; run < end; run++) {
            const ptrdiff_t first = t.first + run * t.apart;
            const ptrdiff_t next_run = run + 1 < n_runs ? first + t.apart : -1;
            for (ptrdiff_t tile = first; tile < first + t.run; tile++)
                compute_tile(s, mine, panel, tile, tile + 1 < first + t.run ? tile + 1 : next_run);
        }
    }
    if (item.owner == item.n_threads - 1 && item.index == ITEMS_OF_TILES - 1)
        compute_tile(s, mine, panel, k->n_tiles(shape) - 1, -1);
}
