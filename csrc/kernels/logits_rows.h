/* logits_rows.h: rows -> logits, where there are few classes for many features.
 *
 * A kernel keeps in registers the sums of FS_WIDE rows x the classes of one group, each sum in
 * lanes over the features. At the end the lanes of each are added up. The features are taken in
 * ranges, so that the weight of a class group stays in L1 while the rows of all blocks pass.
 */
#ifndef FS_LOGITS_ROWS_H
#define FS_LOGITS_ROWS_H

#include "prefetch.h"
#include "thresholds.h"

/* acc (n, wide) += w (n, FS_LANES) times a vector of features of each of `wide` rows */
FS_INLINE void multiply(vf *acc, const vf *x, const float *w, const int n, const int wide) {
    for (int k = 0; k < n; k++) {
        const vf wk = v_keep(v_load(w + k * FS_LANES));
        for (int i = 0; i < wide; i++) acc[k * wide + i] = v_fma(x[i], wk, acc[k * wide + i]);
    }
}

/* z (n, FS_BLOCK_ROWS) = or += rows . w, for the n classes of a group and the vectors [first,
 * last) of features: w is (n_vectors, n, FS_LANES). After the last ones z = bias + scale * z.
 * Meanwhile n_next rows are fetched, `shift` vectors after where the kernel is. n and is_uint8 are
 * constants where this is inlined. */
FS_INLINE void group_logits(const block *b, const float *w, const float *bias, float scale,
                            float *z, ptrdiff_t first, ptrdiff_t last, const char *const *next,
                            ptrdiff_t n_next, ptrdiff_t shift, const int n, const int is_uint8) {
    const int vector_bytes = vector_bytes_of(is_uint8);
    /* with few classes more rows: so few sums would wait for one another */
    const int wide = n <= FS_CLASSES / 2 ? 2 * FS_WIDE : FS_WIDE;
    const int per_line = FS_LINE / vector_bytes;
    const ptrdiff_t w_vector = n * FS_LANES, last_full = min_of(last, b->n_full);
    for (ptrdiff_t r = 0; r < b->n_rows; r += wide) {
        const char *const *row = b->row + r;
        const ptrdiff_t next_first = r * n_next / FS_BLOCK_ROWS;
        const ptrdiff_t next_last = (r + wide) * n_next / FS_BLOCK_ROWS;
        vf acc[FS_CLASSES * FS_WIDE], x[2 * FS_WIDE];
        for (int i = 0; i < n * wide; i++) acc[i] = (vf){0};

        ptrdiff_t f = first;
        for (; f + per_line <= last_full; f += per_line) {
            for (ptrdiff_t i = next_first; i < next_last; i++)
                v_prefetch(next[i] + (f + shift) * vector_bytes);
            for (int j = 0; j < per_line; j++) {
                for (int i = 0; i < wide; i++) x[i] = load_features(row[i], f + j, is_uint8);
                multiply(acc, x, w + (f + j) * w_vector, n, wide);
            }
        }
        /* rows seldom begin with a line, so they end in one more */
        for (ptrdiff_t i = next_first; i < next_last; i++)
            v_prefetch(next[i] + min_of((last + shift) * vector_bytes, b->row_bytes) - 1);
        for (; f < last_full; f++) {
            for (int i = 0; i < wide; i++) x[i] = load_features(row[i], f, is_uint8);
            multiply(acc, x, w + f * w_vector, n, wide);
        }
        if (f < last) {
            for (int i = 0; i < wide; i++) x[i] = v_load(b->tail + (r + i) * FS_LANES);
            multiply(acc, x, w + f * w_vector, n, wide);
        }

        v_sum_each(acc, n * wide);
        FS_UNROLL
        for (int i = 0; i < n * wide; i += 2)
            v_store_pair(z + i / wide * FS_BLOCK_ROWS + r + i % wide, acc[i / FS_LANES],
                         i % FS_LANES, first > 0);
    }
    if (last == b->n_vectors)
        for (int k = 0; k < n; k++)
            for (ptrdiff_t r = 0; r < b->n_rows; r += FS_LANES) {
                float *zk = z + k * FS_BLOCK_ROWS + r;
                v_store(zk, v_fma(v_set(scale), v_load(zk), v_set(bias[k])));
            }
}

/* z of each block = logits of its rows, for the class groups [c_first, c_end). Meanwhile what
 * comes next is fetched: the rows of the next block; beside the last of several blocks the next
 * range of the first block's features. */
FS_INLINE void logits_by_rows(const fs_problem *problem, const fs_workspaces *workspaces,
                              ptrdiff_t c_first, ptrdiff_t c_end, const int is_uint8) {
    const fs_shape shape = problem->weights.shape;
    const ptrdiff_t n_classes = shape.n_classes, n_vectors = feature_vectors(shape.n_features);
    const float *packed = problem->weights.packed, *bias = packed + packed_bias_offset(shape);
    const float scale = problem->rows->scale;
    const ptrdiff_t most = (is_uint8 ? LOGITS_FEATURES_UINT8 : LOGITS_FEATURES) / FS_LANES;
    const ptrdiff_t n_ranges = (n_vectors + most - 1) / most;
    for (ptrdiff_t range = 0; range < n_ranges; range++) {
        const ptrdiff_t first = n_vectors * range / n_ranges;
        const ptrdiff_t last = n_vectors * (range + 1) / n_ranges;
        const int is_last = last == n_vectors;
        for (ptrdiff_t c = c_first; c < c_end; c++) {
            const ptrdiff_t k = first_class(c, n_classes), n = first_class(c + 1, n_classes) - k;
            const float *w = packed + k * n_vectors * FS_LANES;
            for (ptrdiff_t i = 0; i < workspaces->n; i++) {
                const block *b = block_in(workspaces, i);
                float *z = b->z + k * FS_BLOCK_ROWS;
                const int ends_range = workspaces->n > 1 && i + 1 == workspaces->n;
                const ptrdiff_t shift = ends_range ? (is_last ? 0 : last) - first : 0;
                const ptrdiff_t nth = c - c_first;
                /* several blocks pass before the second group comes, so the first one fetches
                 * all */
                const ptrdiff_t n_each =
                    workspaces->n > 1 ? b->n_next_logits : next_rows(b->n_next_logits, n_classes);
                const ptrdiff_t n_next = (nth + 1) * n_each <= b->n_next_logits ? n_each : 0;
                const char *const *next =
                    (ends_range && !is_last ? block_in(workspaces, 0)->row : b->next) +
                    nth * rows_of_block(b, n_next);
                switch (n) {
#define GROUP_LOGITS(n)                                                                            \
case n:                                                                                            \
    group_logits(b, w, bias + k, scale, z, first, last, next, n_next, shift, n, is_uint8);         \
    break;
                    FS_FOR_CLASSES(GROUP_LOGITS)
#undef GROUP_LOGITS
                }
            }
        }
    }
}

#endif
