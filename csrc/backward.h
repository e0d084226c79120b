/* backward.h: residuals and rows -> the gradient, in tiles. */
#ifndef FS_BACKWARD_H
#define FS_BACKWARD_H

#include "block.h"

_Static_assert(FS_CLASSES * FS_WIDER * FS_LANES <= FS_TILE_FLOATS, "what a tile can have");

/* acc (n, width) += residuals of one row times `width` vectors of its features */
FS_INLINE void multiply_outer(vf *acc, const vf *x, const float *residual, const int n,
                              const int width) {
    for (int k = 0; k < n; k++) {
        const vf d = v_set(residual[k * FS_BLOCK_ROWS]);
        for (int i = 0; i < width; i++) acc[k * width + i] = v_fma(d, x[i], acc[k * width + i]);
    }
}

/* Where the backward pass finds the features of its rows. In a panel the FS_WIDER vectors of all
 * rows follow one another: many class blocks pass over them, and rows that lie a power of two apart
 * would push one another out of the cache. A step takes 5% less at D = 784, K = 1000 and 8% less at
 * D = 4096 (Zen 4), and with two class blocks 16% less at K = 16, D = 4096, B = 256 (Emerald
 * Rapids). */
enum { FLOAT32_ROWS, UINT8_ROWS, TAILS, PANEL };
enum { PANEL_FLOATS = FS_WIDER * FS_LANES, PANEL_CLASS_BLOCKS = 2 };

FS_INLINE vf load_from(const block *b, ptrdiff_t r, ptrdiff_t f, int i, const int source) {
    return source == TAILS ? v_load(b->tail + r * FS_LANES)
                           : load_features(b->row[r], f + i, source == UINT8_ROWS);
}

/* acc (n, width) = grad, whose vectors of features are `classes` vectors apart, or 0 */
FS_INLINE void load_gradient(vf *acc, const float *grad, ptrdiff_t classes, fs_onto onto,
                             const int n, const int width) {
    for (int k = 0; k < n; k++)
        for (int i = 0; i < width; i++)
            acc[k * width + i] =
                onto == FS_ONTO_SUMS ? v_load(grad + (i * classes + k) * FS_LANES) : (vf){0};
}

FS_INLINE void store_gradient(vf *acc, float *grad, ptrdiff_t classes, fs_onto onto, const int n,
                              const int width) {
    if (onto == FS_ONTO_TILE)
        for (int k = 0; k < n; k++)
            for (int i = 0; i < width; i++)
                acc[k * width + i] =
                    v_load(grad + (i * classes + k) * FS_LANES) + acc[k * width + i];
    for (int k = 0; k < n; k++)
        for (int i = 0; i < width; i++)
            v_store(grad + (i * classes + k) * FS_LANES, acc[k * width + i]);
}

/* grad (width, n of `classes`, FS_LANES) = or += residual (n, FS_BLOCK_ROWS) . `width` vectors from
 * f on; meanwhile the same features of n_next rows are fetched. n, width and source are constants
 * where this is inlined. */
FS_INLINE void backward_vectors(const block *b, const float *residual, float *grad,
                                ptrdiff_t classes, ptrdiff_t f, fs_onto onto,
                                const char *const *next, ptrdiff_t n_next, const int n,
                                const int width, const int source) {
    const int vector_bytes = FS_LANES * (source == UINT8_ROWS ? 1 : (int)sizeof(float));
    const int lines = width * vector_bytes > LINE ? width * vector_bytes / LINE : 1;
    const ptrdiff_t n_padded = round_up(b->n_backward, FS_WIDE), n_prefetch = n_next * lines;
    vf acc[FS_CLASSES * FS_WIDE], x[FS_WIDER];
    load_gradient(acc, grad, classes, onto, n, width);
    for (ptrdiff_t r = 0; r < n_padded; r++) {
        if (width > 1 && r < n_prefetch) /* one at a time: bursts lose */
            v_prefetch(next[r / lines] + f * vector_bytes + r % lines * LINE);
        for (int i = 0; i < width; i++) x[i] = load_from(b, r, f, i, source);
        multiply_outer(acc, x, residual + r, n, width);
    }
    store_gradient(acc, grad, classes, onto, n, width);
}

/* The same of all rows in rooms, whose features are in a panel, or go there from `source`: the sums
 * stay in registers from room to room, which takes 7 to 10% less (Emerald Rapids). residual is that
 * of the first room. Meanwhile a line is fetched of each row, `ahead` bytes into it; ahead < 0: none. */
FS_INLINE void panel_vectors(const fs_rooms *rooms, float *panel, const float *residual,
                             float *grad, ptrdiff_t classes, ptrdiff_t f, fs_onto onto,
                             ptrdiff_t ahead, const int n, const int width, const int source) {
    vf acc[FS_CLASSES * FS_WIDE], x[FS_WIDER];
    load_gradient(acc, grad, classes, onto, n, width);
    for (ptrdiff_t i = 0; i < rooms->n; i++, residual += rooms->stride / sizeof(float)) {
        const block *b = block_in(rooms, i);
        const ptrdiff_t n_padded = round_up(b->n_backward, FS_WIDE);
        for (ptrdiff_t r = 0; r < n_padded; r++, panel += PANEL_FLOATS) {
            if (width > 1 && ahead >= 0) v_prefetch(b->row[r] + ahead);
            for (int j = 0; j < width; j++) {
                float *place = panel + j * FS_LANES;
                x[j] = source == PANEL ? v_load(place) : load_from(b, r, f, j, source);
                if (source != PANEL) v_store(place, x[j]);
            }
            multiply_outer(acc, x, residual + r, n, width);
        }
    }
    store_gradient(acc, grad, classes, onto, n, width);
}

/* A tile of the gradient: one class block x FS_WIDER vectors of features from f on, or what is left
 * of them: grad is (FS_WIDER, n, FS_LANES). It takes two passes over the rows where n is more than
 * FS_FEW_CLASSES: half of the classes each, which need the fewest loads; or half of the vectors, of
 * uint8 rows, which so are converted once. At K = 1000 the first takes 17% less than the second
 * does (Emerald Rapids). */
FS_INLINE void backward_tile(const block *b, const float *residual, float *grad, ptrdiff_t f,
                             fs_onto onto, const char *const *next, ptrdiff_t n_next, const int n,
                             const int source) {
    const int first = n > FS_FEW_CLASSES ? (n + 1) / 2 : n;
    if (f + FS_WIDER > b->n_full) {
        for (; f < b->n_full; f++, grad += n * FS_LANES)
            backward_vectors(b, residual, grad, n, f, onto, NULL, 0, n, 1, source);
        if (f < b->n_vectors) backward_vectors(b, residual, grad, n, f, onto, NULL, 0, n, 1, TAILS);
    } else if (first == n) {
        backward_vectors(b, residual, grad, n, f, onto, next, n_next, n, FS_WIDER, source);
    } else if (source == UINT8_ROWS) {
        backward_vectors(b, residual, grad, n, f, onto, next, n_next, n, FS_WIDE, source);
        backward_vectors(b, residual, grad + FS_WIDE * n * FS_LANES, n, f + FS_WIDE, onto, NULL, 0,
                         n, FS_WIDE, source);
    } else {
        const ptrdiff_t half = n_next / 2;
        backward_vectors(b, residual, grad, n, f, onto, next, half, first, FS_WIDER, source);
        backward_vectors(b, residual + first * FS_BLOCK_ROWS, grad + first * FS_LANES, n, f, onto,
                         next + half, n_next - half, n - first, FS_WIDER, source);
    }
}

/* Of whole tiles; ahead[0] and ahead[1] are of the two passes, of which the first fills the panel. */
FS_INLINE void panel_tile(const fs_rooms *rooms, float *panel, const float *residual, float *grad,
                          ptrdiff_t f, fs_onto onto, const ptrdiff_t *ahead, const int n,
                          const int source) {
    const int first = n > FS_FEW_CLASSES ? (n + 1) / 2 : n;
    panel_vectors(rooms, panel, residual, grad, n, f, onto, ahead[0], first, FS_WIDER, source);
    if (first < n)
        panel_vectors(rooms, panel, residual + first * FS_BLOCK_ROWS, grad + first * FS_LANES, n, f,
                      onto, ahead[1], n - first, FS_WIDER, PANEL);
}

/* Tiles are counted class block by class block within each FS_WIDER vectors of features, which so
 * stay in L1; one more tile is the bias. */
static ptrdiff_t n_tiles(ptrdiff_t n_features, ptrdiff_t n_classes) {
    return (feature_vectors(n_features) + FS_WIDER - 1) / FS_WIDER * class_blocks(n_classes) + 1;
}

/* Where a thread's tiles begin that have as many vectors as every other thread's. Of 784 features most
 * tiles have 4 of them, but the last ones have 1: shared by number, one of two threads would have 6%
 * more than half. */
static ptrdiff_t first_tile(ptrdiff_t n_features, ptrdiff_t n_classes, int thread, int n_threads) {
    const ptrdiff_t n_vectors = feature_vectors(n_features), n_blocks = class_blocks(n_classes);
    if (thread == n_threads) return n_tiles(n_features, n_classes) - 1;
    const ptrdiff_t whole = n_vectors / FS_WIDER * n_blocks, rest = n_vectors % FS_WIDER;
    const ptrdiff_t before = n_vectors * n_blocks * thread / n_threads;
    return before < whole * FS_WIDER ? before / FS_WIDER
                                     : whole + (before - whole * FS_WIDER) / rest;
}

static fs_tiles thread_tiles(ptrdiff_t n_features, ptrdiff_t n_classes, int by_classes, int thread,
                             int n_threads) {
    const ptrdiff_t n = class_blocks(n_classes);
    if (!by_classes) {
        const ptrdiff_t first = first_tile(n_features, n_classes, thread, n_threads);
        const ptrdiff_t end = first_tile(n_features, n_classes, thread + 1, n_threads);
        return (fs_tiles){.first = first, .end = end, .run = end - first, .apart = end - first};
    }
    const ptrdiff_t first = thread_block(n, thread, n_threads);
    const ptrdiff_t run = thread_block(n, thread + 1, n_threads) - first;
    return (fs_tiles){.first = first,
                      .end = run ? n_tiles(n_features, n_classes) - 1 : first,
                      .run = run,
                      .apart = n};
}

/* The packed floats of a tile; returns how many. */
static ptrdiff_t tile_floats(ptrdiff_t n_features, ptrdiff_t n_classes, ptrdiff_t tile,
                             ptrdiff_t *offset) {
    const ptrdiff_t n_vectors = feature_vectors(n_features), n_blocks = class_blocks(n_classes);
    if (tile == n_tiles(n_features, n_classes) - 1) {
        *offset = packed_bias_offset(n_features, n_classes);
        return round_up(n_classes, FS_LANES);
    }
    const ptrdiff_t c = tile % n_blocks, f = tile / n_blocks * FS_WIDER;
    const ptrdiff_t k = first_class(c, n_classes), n = first_class(c + 1, n_classes) - k;
    *offset = (k * n_vectors + f * n) * FS_LANES;
    return min_of(FS_WIDER, n_vectors - f) * n * FS_LANES;
}

/* The first feature of a tile. */
static ptrdiff_t tile_features(ptrdiff_t n_classes, ptrdiff_t tile) {
    return tile / class_blocks(n_classes) * FS_WIDER * FS_LANES;
}

/* A tile, (vectors, n, FS_LANES), and its place in grad_weight (K, D): where that begins, how many
 * vectors and classes there are, and the floats of the last vector. */
typedef struct {
    ptrdiff_t first, n_vectors, n, n_last;
} tile_place;

static tile_place place_of(ptrdiff_t n_features, ptrdiff_t n_classes, ptrdiff_t tile) {
    const ptrdiff_t c = tile % class_blocks(n_classes), k = first_class(c, n_classes);
    const ptrdiff_t f = tile_features(n_classes, tile), rest = n_features - f;
    const ptrdiff_t n_vectors = min_of(FS_WIDER, feature_vectors(rest));
    return (tile_place){.first = k * n_features + f,
                        .n_vectors = n_vectors,
                        .n = first_class(c + 1, n_classes) - k,
                        .n_last = min_of(FS_LANES, rest - (n_vectors - 1) * FS_LANES)};
}

static void store_tile(const float *grad, ptrdiff_t n_features, ptrdiff_t n_classes, ptrdiff_t tile,
                       float *grad_weight, float *grad_bias) {
    if (tile == n_tiles(n_features, n_classes) - 1) {
        memcpy(grad_bias, grad, (size_t)n_classes * sizeof(float));
        return;
    }
    const tile_place t = place_of(n_features, n_classes, tile);
    for (ptrdiff_t k = 0; k < t.n; k++) {
        float *to = grad_weight + t.first + k * n_features;
        for (ptrdiff_t i = 0; i + 1 < t.n_vectors; i++)
            v_store(to + i * FS_LANES, v_load(grad + (i * t.n + k) * FS_LANES));
        const ptrdiff_t last = t.n_vectors - 1;
        memcpy(to + last * FS_LANES, grad + (last * t.n + k) * FS_LANES,
               (size_t)t.n_last * sizeof(float));
    }
}

/* Not of the bias's tile. */
static void load_tile(const float *grad_weight, ptrdiff_t n_features, ptrdiff_t n_classes,
                      ptrdiff_t tile, float *grad) {
    const tile_place t = place_of(n_features, n_classes, tile);
    for (ptrdiff_t k = 0; k < t.n; k++) {
        const float *from = grad_weight + t.first + k * n_features;
        for (ptrdiff_t i = 0; i + 1 < t.n_vectors; i++)
            v_store(grad + (i * t.n + k) * FS_LANES, v_load(from + i * FS_LANES));
        const ptrdiff_t last = t.n_vectors - 1;
        float *to = grad + (last * t.n + k) * FS_LANES;
        v_store(to, (vf){0});
        memcpy(to, from + last * FS_LANES, (size_t)t.n_last * sizeof(float));
    }
}

static int by_panels(ptrdiff_t n_classes) { return class_blocks(n_classes) >= PANEL_CLASS_BLOCKS; }

static int is_whole(ptrdiff_t n_features, ptrdiff_t n_classes, ptrdiff_t tile) {
    return tile_features(n_classes, tile) + PANEL_FLOATS <= n_features;
}

/* What backward_vectors does not fetch of the next rows: from vector f on, to the line of the last
 * byte. */
FS_INLINE void fetch_ends(const block *b, const char *const *next, ptrdiff_t n_next, ptrdiff_t f,
                          const int source) {
    const ptrdiff_t from = f * FS_LANES * (source == UINT8_ROWS ? 1 : (int)sizeof(float));
    for (ptrdiff_t r = 0; r < n_next; r++) {
        for (ptrdiff_t i = from; i < b->row_bytes; i += LINE) v_prefetch(next[r] + i);
        v_prefetch(next[r] + b->row_bytes - 1);
    }
}

FS_INLINE void backward(const block *b, ptrdiff_t tile, float *grad, fs_onto onto,
                        const int source) {
    const ptrdiff_t n_blocks = class_blocks(b->n_classes);
    const ptrdiff_t c = tile % n_blocks, f = tile / n_blocks * FS_WIDER;
    const ptrdiff_t k = first_class(c, b->n_classes);
    const float *residual = b->z + k * FS_BLOCK_ROWS;
    const ptrdiff_t fetched = rows_of_block(b, b->n_next_forward);
    const ptrdiff_t n_each = next_rows(b->n_rows - fetched, b->n_classes);
    const ptrdiff_t next_row = fetched + c * n_each;
    const ptrdiff_t n_next = next_row < b->n_rows ? n_each : 0;
    const char *const *next = b->next + next_row;
    if (f + FS_WIDER >= b->n_vectors)
        fetch_ends(b, next, n_next, f + FS_WIDER > b->n_full ? f : b->n_full, source);
    switch (first_class(c + 1, b->n_classes) - k) {
#define BACKWARD(n)                                                                                \
case n:                                                                                            \
    backward_tile(b, residual, grad, f, onto, next, n_next, n, source);                            \
    break;
        FS_FOR_CLASSES(BACKWARD)
    }
}

/* The next panel's features lie apart, a few lines in each row, which the CPU does not foresee: each
 * pass over the panel fetches a line of each row's panel_bytes, until all are. With two threads a
 * step of 256 rows takes 24% less at K = 16, D = 4096, 16% at D = 2048, 3 to 6% at K = 100 (Zen 4). */
FS_INLINE void backward_panel(const fs_rooms *rooms, float *panel, ptrdiff_t tile, float *grad,
                              fs_onto onto, ptrdiff_t panel_bytes, const int source) {
    const block *b = block_in(rooms, 0);
    const ptrdiff_t n_blocks = class_blocks(b->n_classes);
    const ptrdiff_t c = tile % n_blocks, k = first_class(c, b->n_classes);
    const float *residual = b->z + k * FS_BLOCK_ROWS;
    const ptrdiff_t f = tile / n_blocks * FS_WIDER;
    ptrdiff_t ahead[2];
    for (int pass = 0; pass < 2; pass++) {
        const ptrdiff_t line = (2 * c + pass) * LINE, next = (f / FS_WIDER + 1) * panel_bytes;
        ahead[pass] =
            f + 2 * FS_WIDER <= b->n_full && line < panel_bytes ? next_line(next + line) : -1;
    }
    switch (first_class(c + 1, b->n_classes) - k) {
#define BACKWARD_PANEL(n)                                                                          \
case n:                                                                                            \
    panel_tile(rooms, panel, residual, grad, f, onto, ahead, n, source);                           \
    break;
        FS_FOR_CLASSES(BACKWARD_PANEL)
    }
}

static void add_bias_gradient(const block *b, float *grad_bias, fs_onto onto) {
    for (ptrdiff_t k = 0; k < round_up(b->n_classes, FS_LANES); k++) {
        const float g = k < b->n_classes ? b->grad_bias[k] : 0.0f;
        grad_bias[k] = onto != FS_ONTO_NOTHING ? grad_bias[k] + g : g;
    }
}

#endif
