/* logits_columns.h: rows -> logits, where there are many classes.
 *
 * The rows are transposed first, so that each lane has a row. Then each logit is a lane's own sum,
 * and none has to be added up over lanes, as logits_rows.h has to. The class groups share one
 * transposition, so it pays where there are a few of them. COLUMN_FEATURES are transposed at a
 * time.
 */
#ifndef FS_LOGITS_COLUMNS_H
#define FS_LOGITS_COLUMNS_H

#include "prefetch.h"
#include "thresholds.h"

enum {
    /* Rows whose transposed features lie side by side: those of one pass, so that it reads memory
     * in its order. Measured slower: all rows of the block. */
    COLUMN_ROWS = FS_WIDE * FS_LANES,
    /* A pass of a class group fetches one line in FETCH_EVERY features: FETCH_LINES of each row. */
    FETCH_EVERY = 4,
    FETCH_LINES = COLUMN_FEATURES / FETCH_EVERY / COLUMN_ROWS,
};

/* columns (rows / COLUMN_ROWS, COLUMN_FEATURES, COLUMN_ROWS) = the vectors [first, last) of
 * features of the block's rows. Where rows are missing to fill a vector, the last row stands in
 * for them. Beside each FS_LANES rows the next ones are fetched; beside the last ones the rows
 * `after`, from vector after_first on. */
FS_INLINE void transpose_rows(const block *b, ptrdiff_t first, ptrdiff_t last,
                              const char *const *after, ptrdiff_t after_first, float *columns,
                              const int is_uint8) {
    const int vector_bytes = vector_bytes_of(is_uint8);
    for (ptrdiff_t r = 0; r < b->n_rows; r += FS_LANES) {
        const int is_last = r + FS_LANES >= b->n_rows;
        const char *const *next = is_last ? after : b->row + r + FS_LANES;
        const ptrdiff_t ahead = is_last ? (after_first - first) * vector_bytes : 0;
        float *to = columns + r / COLUMN_ROWS * COLUMN_ROWS * COLUMN_FEATURES + r % COLUMN_ROWS;
        for (ptrdiff_t f = first; f < last; f++, to += FS_LANES * COLUMN_ROWS) {
            if (f * vector_bytes % FS_LINE == 0)
                for (int i = 0; i < FS_LANES; i++) v_prefetch(next[i] + f * vector_bytes + ahead);
            vf v[FS_LANES];
            FS_UNROLL
            for (int i = 0; i < FS_LANES; i++) {
                const ptrdiff_t row = r + v_transposed_lane(i);
                v[i] = f < b->n_full ? load_features(b->row[row], f, is_uint8)
                                     : v_load(b->tail + row * FS_LANES);
            }
            v_transpose(v);
            FS_UNROLL
            for (int i = 0; i < FS_LANES; i++) v_store(to + i * COLUMN_ROWS, v[i]);
        }
    }
}

/* z (n, wide vectors of rows) = bias + scale * columns . w, for the n classes of a group and
 * n_vectors vectors of features: w is (n_vectors, n, FS_LANES). Where bias is NULL, z takes its
 * place. Meanwhile lines of each row are fetched, from `ahead` bytes on, or none where ahead < 0.
 * wide and n are constants where this is inlined. */
FS_INLINE void columns_vectors(const float *columns, const float *w, ptrdiff_t n_vectors,
                               const float *bias, float scale, float *z, const char *const *row,
                               ptrdiff_t ahead, const int wide, const int n) {
    vf acc[FS_CLASSES * FS_WIDE] = {0};
    ptrdiff_t fetched = 0;
    for (const float *end = w + n_vectors * n * FS_LANES; w < end; w += n * FS_LANES)
        for (int lane = 0; lane < FS_LANES; lane++, columns += COLUMN_ROWS) {
            if (lane % FETCH_EVERY == 0 && ahead >= 0) {
                v_prefetch(row[fetched % (wide * FS_LANES)] + ahead +
                           fetched / (wide * FS_LANES) * FS_LINE);
                fetched++;
            }
            /* not an array, which GCC would keep in memory */
            const vf x0 = v_load(columns), x1 = wide > 1 ? v_load(columns + FS_LANES) : x0;
            for (int k = 0; k < n; k++) {
                const vf wk = v_set(w[k * FS_LANES + lane]);
                vf *sum = acc + k * wide;
                sum[0] = v_fma(x0, wk, sum[0]);
                if (wide > 1) sum[1] = v_fma(x1, wk, sum[1]);
            }
        }
    FS_UNROLL
    for (int i = 0; i < n * wide; i++) {
        float *zk = z + i / wide * FS_BLOCK_ROWS + i % wide * FS_LANES;
        v_store(zk, v_fma(v_set(scale), acc[i], bias ? v_set(bias[i / wide]) : v_load(zk)));
    }
}

typedef void columns_function(const float *columns, const float *w, ptrdiff_t n_vectors,
                              const float *bias, float scale, float *z, const char *const *row,
                              ptrdiff_t ahead);

/* One function for each n and width. Inlined into one large function, GCC keeps some of the sums in
 * memory. */
#define COLUMNS_WIDE(n, wide)                                                                      \
    static __attribute__((noinline)) void columns_##n##_##wide(                                    \
        const float *columns, const float *w, ptrdiff_t n_vectors, const float *bias, float scale, \
        float *z, const char *const *row, ptrdiff_t ahead) {                                       \
        columns_vectors(columns, w, n_vectors, bias, scale, z, row, ahead, wide, n);               \
    }
#define COLUMNS(n) COLUMNS_WIDE(n, 1) COLUMNS_WIDE(n, 2)
FS_FOR_CLASSES(COLUMNS)

#define COLUMNS_OF(n) {columns_##n##_1, columns_##n##_2},
static columns_function *const columns_of[FS_CLASSES][FS_WIDE] = {FS_FOR_CLASSES(COLUMNS_OF)};

/* to (last - first, n, FS_LANES) = the vectors [first, last) of weight (K, D), for n classes from
 * k on, padded with zeros. Meanwhile those of the next n classes are fetched. */
static void pack_classes(const float *weight, fs_shape shape, ptrdiff_t k, ptrdiff_t n,
                         ptrdiff_t first, ptrdiff_t last, float *to) {
    const ptrdiff_t n_features = shape.n_features;
    for (ptrdiff_t i = 0; i < n; i++) {
        const float *from = weight + (k + i) * n_features;
        const float *next = weight + min_of(k + n + i, shape.n_classes - 1) * n_features;
        for (ptrdiff_t f = first; f < last; f++) {
            float *vector = to + ((f - first) * n + i) * FS_LANES;
            const ptrdiff_t rest = n_features - f * FS_LANES;
            v_prefetch(next + f * FS_LANES);
            if (rest >= FS_LANES) {
                v_store(vector, v_load(from + f * FS_LANES));
            } else {
                v_store(vector, (vf){0});
                memcpy(vector, from + f * FS_LANES, (size_t)rest * sizeof(float));
            }
        }
    }
}

/* z of each block = logits of its rows, for the class groups [c_first, c_end). columns is scratch,
 * (blocks, FS_BLOCK_ROWS, COLUMN_FEATURES). Of each COLUMN_FEATURES first all rows are transposed,
 * then all class groups pass. These fetch the next features of the rows, evenly. Measured slower:
 * to fetch them all beside the transposition. */
static void logits_by_columns(const fs_problem *problem, const fs_workspaces *workspaces,
                              ptrdiff_t c_first, ptrdiff_t c_end, float *columns) {
    const fs_rows *const rows = problem->rows;
    const fs_weights *const weights = &problem->weights;
    const fs_shape shape = weights->shape;
    const float *packed = weights->packed;
    _Alignas(FS_ALIGN) float group_w[COLUMN_FEATURES * FS_CLASSES];
    const ptrdiff_t n_classes = shape.n_classes, n_vectors = feature_vectors(shape.n_features);
    const float *bias = packed ? packed + packed_bias_offset(shape) : weights->bias;
    const ptrdiff_t step = COLUMN_FEATURES / FS_LANES,
                    block_columns = COLUMN_FEATURES * FS_BLOCK_ROWS;
    const ptrdiff_t range_bytes = feature_bytes(rows, COLUMN_FEATURES);
    for (ptrdiff_t first = 0; first < n_vectors; first += step) {
        const ptrdiff_t last = min_of(first + step, n_vectors);
        for (ptrdiff_t i = 0; i < workspaces->n; i++) {
            const block *b = block_in(workspaces, i);
            const int is_last_block = i + 1 == workspaces->n, is_last = last == n_vectors;
            const char *const *after = !is_last_block ? block_in(workspaces, i + 1)->row
                                       : !is_last     ? block_in(workspaces, 0)->row
                                                      : b->next;
            const ptrdiff_t after_first = !is_last_block ? first : !is_last ? last : 0;
            float *to = columns + i * block_columns;
            if (rows->row_type == FS_UINT8)
                transpose_rows(b, first, last, after, after_first, to, 1);
            else
                transpose_rows(b, first, last, after, after_first, to, 0);
        }
        for (ptrdiff_t c = c_first; c < c_end; c++) {
            const ptrdiff_t k = first_class(c, n_classes), n = first_class(c + 1, n_classes) - k;
            const float *w = group_w, *bias_k = first == 0 ? bias + k : NULL;
            const ptrdiff_t line = (c - c_first) * FETCH_LINES * FS_LINE;
            const ptrdiff_t ahead = last < n_vectors && line < range_bytes
                                        ? next_line(feature_bytes(rows, last * FS_LANES) + line)
                                        : -1;
            if (packed) {
                w = packed + (k * n_vectors + first * n) * FS_LANES;
                fetch_next_group(packed, n_vectors, n_classes, c, first, last);
            } else {
                pack_classes(weights->weight, shape, k, n, first, last, group_w);
            }
            for (ptrdiff_t i = 0; i < workspaces->n; i++) {
                const block *b = block_in(workspaces, i);
                const ptrdiff_t n_lanes = round_up(b->n_rows, FS_LANES);
                for (ptrdiff_t r = 0; r < n_lanes; r += COLUMN_ROWS)
                    columns_of[n - 1][min_of((n_lanes - r) / FS_LANES, FS_WIDE) - 1](
                        columns + i * block_columns + r * COLUMN_FEATURES, w, last - first, bias_k,
                        rows->scale, b->z + k * FS_BLOCK_ROWS + r, b->row + r, ahead);
            }
        }
    }
}

#endif
