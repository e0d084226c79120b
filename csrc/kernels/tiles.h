/* tiles.h: how the gradient is cut into tiles, and where each has its place.
 *
 * A tile is one class group x FS_WIDER vectors of features, or fewer vectors at the end of a row.
 * Its floats follow one another in the packed layout: (vectors, classes, FS_LANES). Tiles are
 * counted class group by class group within the same features, which so stay in L1. The last tile
 * is the bias.
 */
#ifndef FS_TILES_H
#define FS_TILES_H

#include "layout.h"

enum { TILE_FEATURES = FS_WIDER * FS_LANES }; /* of a whole tile */

_Static_assert(FS_CLASSES * FS_WIDER * FS_LANES <= FS_TILE_FLOATS, "what a tile can have");

static ptrdiff_t n_tiles(fs_shape shape) {
    return divide_up(feature_vectors(shape.n_features), FS_WIDER) * class_groups(shape.n_classes) +
           1;
}

/* The first tile of a thread, where each has as many vectors of features as every other. The last
 * tiles may have fewer vectors than the others, so as many tiles would not be as much work. */
static ptrdiff_t first_tile(fs_shape shape, int thread, int n_threads) {
    const ptrdiff_t n_vectors = feature_vectors(shape.n_features);
    const ptrdiff_t n_groups = class_groups(shape.n_classes);
    if (thread == n_threads) return n_tiles(shape) - 1;
    const ptrdiff_t whole = n_vectors / FS_WIDER * n_groups, rest = n_vectors % FS_WIDER;
    const ptrdiff_t before = n_vectors * n_groups * thread / n_threads;
    return before < whole * FS_WIDER ? before / FS_WIDER
                                     : whole + (before - whole * FS_WIDER) / rest;
}

static fs_tiles thread_tiles(fs_shape shape, int by_classes, int thread, int n_threads) {
    const ptrdiff_t n = class_groups(shape.n_classes);
    if (!by_classes) {
        const ptrdiff_t first = first_tile(shape, thread, n_threads);
        const ptrdiff_t end = first_tile(shape, thread + 1, n_threads);
        return (fs_tiles){.first = first, .end = end, .run = end - first, .apart = end - first};
    }
    const ptrdiff_t first = thread_group(n, thread, n_threads);
    const ptrdiff_t run = thread_group(n, thread + 1, n_threads) - first;
    return (fs_tiles){
        .first = first, .end = run ? n_tiles(shape) - 1 : first, .run = run, .apart = n};
}

/* How many floats a tile has, and where they begin in the packed layout. */
static ptrdiff_t tile_floats(fs_shape shape, ptrdiff_t tile, ptrdiff_t *offset) {
    const ptrdiff_t n_classes = shape.n_classes, n_groups = class_groups(n_classes);
    const ptrdiff_t n_vectors = feature_vectors(shape.n_features);
    if (tile == n_tiles(shape) - 1) {
        *offset = packed_bias_offset(shape);
        return round_up(n_classes, FS_LANES);
    }
    const ptrdiff_t c = tile % n_groups, f = tile / n_groups * FS_WIDER;
    const ptrdiff_t k = first_class(c, n_classes), n = first_class(c + 1, n_classes) - k;
    *offset = (k * n_vectors + f * n) * FS_LANES;
    return min_of(FS_WIDER, n_vectors - f) * n * FS_LANES;
}

/* The first feature of a tile. */
static ptrdiff_t tile_features(ptrdiff_t n_classes, ptrdiff_t tile) {
    return tile / class_groups(n_classes) * TILE_FEATURES;
}

/* The place of a tile in an array (K, D): where it begins, its vectors and classes, and how many
 * floats of the last vector there are. */
typedef struct {
    ptrdiff_t first, n_vectors, n, n_last;
} tile_place;

static tile_place place_of(fs_shape shape, ptrdiff_t tile) {
    const ptrdiff_t n_features = shape.n_features, n_classes = shape.n_classes;
    const ptrdiff_t c = tile % class_groups(n_classes), k = first_class(c, n_classes);
    const ptrdiff_t f = tile_features(n_classes, tile), rest = n_features - f;
    const ptrdiff_t n_vectors = min_of(FS_WIDER, feature_vectors(rest));
    return (tile_place){.first = k * n_features + f,
                        .n_vectors = n_vectors,
                        .n = first_class(c + 1, n_classes) - k,
                        .n_last = min_of(FS_LANES, rest - (n_vectors - 1) * FS_LANES)};
}

/* A tile to its place in grad_weight (K, D) or grad_bias (K,). */
static void store_tile(const float *grad, fs_shape shape, ptrdiff_t tile, float *grad_weight,
                       float *grad_bias) {
    if (tile == n_tiles(shape) - 1) {
        memcpy(grad_bias, grad, (size_t)shape.n_classes * sizeof(float));
        return;
    }
    const tile_place t = place_of(shape, tile);
    for (ptrdiff_t k = 0; k < t.n; k++) {
        float *to = grad_weight + t.first + k * shape.n_features;
        for (ptrdiff_t i = 0; i + 1 < t.n_vectors; i++)
            v_store(to + i * FS_LANES, v_load(grad + (i * t.n + k) * FS_LANES));
        const ptrdiff_t last = t.n_vectors - 1;
        memcpy(to + last * FS_LANES, grad + (last * t.n + k) * FS_LANES,
               (size_t)t.n_last * sizeof(float));
    }
}

/* The reverse, but not of the bias. */
static void load_tile(const float *grad_weight, fs_shape shape, ptrdiff_t tile, float *grad) {
    const tile_place t = place_of(shape, tile);
    for (ptrdiff_t k = 0; k < t.n; k++) {
        const float *from = grad_weight + t.first + k * shape.n_features;
        for (ptrdiff_t i = 0; i + 1 < t.n_vectors; i++)
            v_store(grad + (i * t.n + k) * FS_LANES, v_load(from + i * FS_LANES));
        const ptrdiff_t last = t.n_vectors - 1;
        float *to = grad + (last * t.n + k) * FS_LANES;
        v_store(to, (vf){0});
        memcpy(to, from + last * FS_LANES, (size_t)t.n_last * sizeof(float));
    }
}

/* Whether a tile has FS_WIDER full vectors of features. */
static int is_whole(fs_shape shape, ptrdiff_t tile) {
    return tile_features(shape.n_classes, tile) + TILE_FEATURES <= shape.n_features;
}

#endif
