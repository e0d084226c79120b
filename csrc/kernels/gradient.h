/* gradient.h: residuals and rows -> a tile of the gradient of the weight or the bias.
 *
 * A kernel keeps the sums of a tile in registers while the rows pass: FS_FEW_CLASSES classes x
 * FS_WIDER vectors of features at once. A tile of more classes takes two passes over the rows. The
 * residuals of a row lie at constant distances from one pointer, as the logits are held
 * transposed.
 *
 * The features come from one of two places: from the rows of one block, after which the sums are
 * stored; or from a panel, a copy of the features of one tile, row after row, where the sums stay
 * in registers from block to block. A panel pays where several class groups read the same features.
 * Without it, rows that lie a power of two apart would push one another out of the cache.
 */
#ifndef FS_GRADIENT_H
#define FS_GRADIENT_H

#include "prefetch.h"
#include "thresholds.h"
#include "tiles.h"

/* acc (n, width) += residuals of one row times `width` vectors of its features */
FS_INLINE void multiply_outer(vf *acc, const vf *x, const float *residual, const int n,
                              const int width) {
    for (int k = 0; k < n; k++) {
        const vf d = v_set(residual[k * FS_BLOCK_ROWS]);
        for (int i = 0; i < width; i++) acc[k * width + i] = v_fma(d, x[i], acc[k * width + i]);
    }
}

/* Where features come from: the rows, the tails of the rows, or a panel. */
enum { FLOAT32_ROWS, UINT8_ROWS, TAILS, PANEL };

/* Vector f + i of row r, from any source but a panel. */
FS_INLINE vf load_from(const block *b, ptrdiff_t r, ptrdiff_t f, int i, const int source) {
    return source == TAILS ? v_load(b->tail + r * FS_LANES)
                           : load_features(b->row[r], f + i, source == UINT8_ROWS);
}

/* acc (n, width) = grad where sums go on, or else 0. grad has `classes` classes for each vector of
 * features, of which n are summed. */
FS_INLINE void load_gradient(vf *acc, const float *grad, ptrdiff_t classes, fs_onto onto,
                             const int n, const int width) {
    for (int k = 0; k < n; k++)
        for (int i = 0; i < width; i++)
            acc[k * width + i] =
                onto == FS_ONTO_SUMS ? v_load(grad + (i * classes + k) * FS_LANES) : (vf){0};
}

/* grad = acc, or grad + acc where it is a complete tile. */
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

/* grad (width, n of `classes`, FS_LANES) = or += residual (n, FS_BLOCK_ROWS) . rows of one block,
 * for `width` vectors of features from f on. Meanwhile the same features of n_next rows are
 * fetched. n, width and source are constants where this is inlined. */
FS_INLINE void row_vectors(const block *b, const float *residual, float *grad, ptrdiff_t classes,
                           ptrdiff_t f, fs_onto onto, const char *const *next, ptrdiff_t n_next,
                           const int n, const int width, const int source) {
    const int vector_bytes = vector_bytes_of(source == UINT8_ROWS);
    const int lines = width * vector_bytes > FS_LINE ? width * vector_bytes / FS_LINE : 1;
    const ptrdiff_t n_padded = round_up(b->n_gradient, FS_WIDE), n_prefetch = n_next * lines;
    vf acc[FS_CLASSES * FS_WIDE], x[FS_WIDER];
    load_gradient(acc, grad, classes, onto, n, width);
    for (ptrdiff_t r = 0; r < n_padded; r++) {
        if (width > 1 && r < n_prefetch) /* one at a time: bursts were measured slower */
            v_prefetch(next[r / lines] + f * vector_bytes + r % lines * FS_LINE);
        for (int i = 0; i < width; i++) x[i] = load_from(b, r, f, i, source);
        multiply_outer(acc, x, residual + r, n, width);
    }
    store_gradient(acc, grad, classes, onto, n, width);
}

/* The same for the rows of all blocks. Their features are in the panel, (rows, FS_WIDER,
 * FS_LANES), or are copied there from `source`. `residual` is in the first block. Meanwhile one
 * line is fetched of each row, `ahead` bytes into it, or none where ahead < 0. */
FS_INLINE void panel_vectors(const fs_workspaces *workspaces, float *panel, const float *residual,
                             float *grad, ptrdiff_t classes, ptrdiff_t f, fs_onto onto,
                             ptrdiff_t ahead, const int n, const int width, const int source) {
    vf acc[FS_CLASSES * FS_WIDE], x[FS_WIDER];
    load_gradient(acc, grad, classes, onto, n, width);
    for (ptrdiff_t i = 0; i < workspaces->n; i++, residual += workspaces->stride / sizeof(float)) {
        const block *b = block_in(workspaces, i);
        const ptrdiff_t n_padded = round_up(b->n_gradient, FS_WIDE);
        for (ptrdiff_t r = 0; r < n_padded; r++, panel += TILE_FEATURES) {
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

/* A tile from the rows of one block: the n classes of a group x FS_WIDER vectors of features from
 * f on, grad (FS_WIDER, n, FS_LANES), or what is left of them at the end of a row. Of two passes
 * each takes half of the classes, which needs the fewest loads. Of uint8 rows each takes half of
 * the vectors, so that no feature is converted twice. */
FS_INLINE void row_tile(const block *b, const float *residual, float *grad, ptrdiff_t f,
                        fs_onto onto, const char *const *next, ptrdiff_t n_next, const int n,
                        const int source) {
    const int first = n > FS_FEW_CLASSES ? (n + 1) / 2 : n;
    if (f + FS_WIDER > b->n_full) {
        for (; f < b->n_full; f++, grad += n * FS_LANES)
            row_vectors(b, residual, grad, n, f, onto, NULL, 0, n, 1, source);
        if (f < b->n_vectors) row_vectors(b, residual, grad, n, f, onto, NULL, 0, n, 1, TAILS);
    } else if (first == n) {
        row_vectors(b, residual, grad, n, f, onto, next, n_next, n, FS_WIDER, source);
    } else if (source == UINT8_ROWS) {
        row_vectors(b, residual, grad, n, f, onto, next, n_next, n, FS_WIDE, source);
        row_vectors(b, residual, grad + FS_WIDE * n * FS_LANES, n, f + FS_WIDE, onto, NULL, 0, n,
                    FS_WIDE, source);
    } else {
        const ptrdiff_t half = n_next / 2;
        row_vectors(b, residual, grad, n, f, onto, next, half, first, FS_WIDER, source);
        row_vectors(b, residual + first * FS_BLOCK_ROWS, grad + first * FS_LANES, n, f, onto,
                    next + half, n_next - half, n - first, FS_WIDER, source);
    }
}

/* A whole tile from the panel, which the first pass fills where source != PANEL. ahead[0] and
 * ahead[1] are of the two passes. */
FS_INLINE void panel_tile(const fs_workspaces *workspaces, float *panel, const float *residual,
                          float *grad, ptrdiff_t f, fs_onto onto, const ptrdiff_t *ahead,
                          const int n, const int source) {
    const int first = n > FS_FEW_CLASSES ? (n + 1) / 2 : n;
    panel_vectors(workspaces, panel, residual, grad, n, f, onto, ahead[0], first, FS_WIDER, source);
    if (first < n)
        panel_vectors(workspaces, panel, residual + first * FS_BLOCK_ROWS, grad + first * FS_LANES,
                      n, f, onto, ahead[1], n - first, FS_WIDER, PANEL);
}

/* A tile from the rows of one block. Meanwhile its share of the next rows is fetched: what the
 * logits have left of them, by the tiles of the first two class groups. */
FS_INLINE void block_gradient(const block *b, ptrdiff_t tile, float *grad, fs_onto onto,
                              const int source) {
    const ptrdiff_t n_groups = class_groups(b->n_classes);
    const ptrdiff_t c = tile % n_groups, f = tile / n_groups * FS_WIDER;
    const ptrdiff_t k = first_class(c, b->n_classes);
    const float *residual = b->z + k * FS_BLOCK_ROWS;
    const ptrdiff_t fetched = rows_of_block(b, b->n_next_logits);
    const ptrdiff_t n_each = next_rows(b->n_rows - fetched, b->n_classes);
    const ptrdiff_t next_row = fetched + c * n_each;
    const ptrdiff_t n_next = next_row < b->n_rows ? n_each : 0;
    const char *const *next = b->next + next_row;
    if (f + FS_WIDER >= b->n_vectors)
        fetch_ends(b, next, n_next,
                   (f + FS_WIDER > b->n_full ? f : b->n_full) *
                       vector_bytes_of(source == UINT8_ROWS));
    switch (first_class(c + 1, b->n_classes) - k) {
#define ROW_TILE(n)                                                                                \
case n:                                                                                            \
    row_tile(b, residual, grad, f, onto, next, n_next, n, source);                                 \
    break;
        FS_FOR_CLASSES(ROW_TILE)
    }
}

/* A tile from the panel. The features of the next panel are a few lines in each row, which the CPU
 * does not foresee. So each pass fetches one line of each row, until all panel_bytes are
 * fetched. */
FS_INLINE void panel_gradient(const fs_workspaces *workspaces, float *panel, ptrdiff_t tile,
                              float *grad, fs_onto onto, ptrdiff_t panel_bytes, const int source) {
    const block *b = block_in(workspaces, 0);
    const ptrdiff_t n_groups = class_groups(b->n_classes);
    const ptrdiff_t c = tile % n_groups, k = first_class(c, b->n_classes);
    const float *residual = b->z + k * FS_BLOCK_ROWS;
    const ptrdiff_t f = tile / n_groups * FS_WIDER;
    ptrdiff_t ahead[2];
    for (int pass = 0; pass < 2; pass++) {
        const ptrdiff_t line = (2 * c + pass) * FS_LINE, next = (f / FS_WIDER + 1) * panel_bytes;
        ahead[pass] =
            f + 2 * FS_WIDER <= b->n_full && line < panel_bytes ? next_line(next + line) : -1;
    }
    switch (first_class(c + 1, b->n_classes) - k) {
#define PANEL_TILE(n)                                                                              \
case n:                                                                                            \
    panel_tile(workspaces, panel, residual, grad, f, onto, ahead, n, source);                      \
    break;
        FS_FOR_CLASSES(PANEL_TILE)
    }
}

/* The last tile, from the sums that finish_residuals has left. */
static void add_bias_gradient(const block *b, float *grad_bias, fs_onto onto) {
    for (ptrdiff_t k = 0; k < round_up(b->n_classes, FS_LANES); k++) {
        const float g = k < b->n_classes ? b->grad_bias[k] : 0.0f;
        grad_bias[k] = onto != FS_ONTO_NOTHING ? grad_bias[k] + g : g;
    }
}

static void gradient(const fs_problem *problem, const fs_workspaces *workspaces, float *panel,
                     int fill, ptrdiff_t tile, fs_onto onto, float *grad) {
    const fs_shape shape = problem->weights.shape;
    const int is_bias = tile == n_tiles(shape) - 1;
    const int is_uint8 = problem->rows->row_type == FS_UINT8;
    if (panel && is_whole(shape, tile)) {
        const ptrdiff_t panel_bytes = feature_bytes(problem->rows, TILE_FEATURES);
        if (!fill)
            panel_gradient(workspaces, panel, tile, grad, onto, panel_bytes, PANEL);
        else if (is_uint8)
            panel_gradient(workspaces, panel, tile, grad, onto, panel_bytes, UINT8_ROWS);
        else
            panel_gradient(workspaces, panel, tile, grad, onto, panel_bytes, FLOAT32_ROWS);
        return;
    }
    for (ptrdiff_t i = 0; i < workspaces->n; i++) {
        const block *b = block_in(workspaces, i);
        const fs_onto onto_i = i > 0 ? FS_ONTO_SUMS : onto;
        if (is_bias)
            add_bias_gradient(b, grad, onto_i);
        else if (is_uint8)
            block_gradient(b, tile, grad, onto_i, UINT8_ROWS);
        else
            block_gradient(b, tile, grad, onto_i, FLOAT32_ROWS);
    }
}

#endif
