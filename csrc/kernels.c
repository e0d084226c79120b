/* kernels.c: rows -> logits -> softmax and loss -> gradient; update; predict. Over 300 lines, as it
 * holds every function of the table, which share one layout and one block of rows.
 *
 * Compiled once per ISA. Everything is static but the table at the end: a function that the linker
 * shared between two ISAs would be an illegal instruction on the older CPU. No threads, no malloc.
 *
 * Design
 *  a) Rows are taken in blocks of at most FS_BLOCK_ROWS, so that the backward pass finds them in
 *     L2 where the forward pass left them.
 *  b) A register block is FS_CLASSES classes x FS_WIDE rows (forward) or vectors of features
 *     (backward). Measured on Zen 4: 4 x 5 takes 9.6 ms of arithmetic an epoch where 2 x 10 takes
 *     10.7, as the weight of a class block stays in L1 and is read half as often.
 *  c) Logits are held transposed, (K, FS_BLOCK_ROWS): rows in lanes, so the softmax needs no
 *     horizontal operation, and the backward pass finds a row's residuals at constant offsets.
 *  d) Rows are not padded by the caller. What is left of a row after its last full vector is
 *     copied, zero-padded, into `tail`; the last row stands in for those that FS_WIDE rows lack,
 *     with residual zero.
 *  e) The CPU's own prefetcher does not foresee rows in random order: the forward pass prefetches
 *     the rows PREFETCH_ROWS ahead, line by line, the backward pass the first rows of the next
 *     block.
 */
#include <math.h>

#include "exp.h"
#include "fastsoftmax.h"
#include "vec.h"

enum {
    PREFETCH_ROWS = 8,   /* ahead in the forward pass; 4 to 24 are alike */
    PREFETCH_NEXT = 16,  /* rows of the next block, fetched in the backward pass */
    FORWARD_FEATURES = 1024,
    LINE = 64,           /* bytes of a cache line */
};

_Static_assert(FS_CLASSES * FS_WIDE * FS_LANES <= FS_TILE_FLOATS, "a tile is a register block");

/* A block of rows and the room to work on it; the arrays follow it in memory. */
typedef struct {
    const char *row[FS_BLOCK_ROWS + PREFETCH_NEXT]; /* then the rows to prefetch */
    int32_t target[FS_BLOCK_ROWS];
    ptrdiff_t n_rows;
    ptrdiff_t n_classes;
    ptrdiff_t n_full;    /* full vectors of a row */
    ptrdiff_t n_vectors; /* n_full, and one more where a tail is left */
    float *z;            /* (K, FS_BLOCK_ROWS): logits, then residuals */
    float *tail;         /* (FS_BLOCK_ROWS, FS_LANES) */
    float *grad_bias;    /* (K,) sums of the residuals, before z is scaled */
} block;

static ptrdiff_t min_of(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static ptrdiff_t round_up(ptrdiff_t n, ptrdiff_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}
static ptrdiff_t feature_vectors(ptrdiff_t n_features) {
    return (n_features + FS_LANES - 1) / FS_LANES;
}

/* ---- the packed layout ---- */

/* Classes come in blocks of at most FS_CLASSES, as equal as they can be, larger ones first. */
static ptrdiff_t class_blocks(ptrdiff_t n_classes) {
    return (n_classes + FS_CLASSES - 1) / FS_CLASSES;
}

/* The first class of a class block; that of the next one is where it ends. */
static ptrdiff_t first_class(ptrdiff_t class_block, ptrdiff_t n_classes) {
    const ptrdiff_t n_blocks = class_blocks(n_classes);
    return class_block * (n_classes / n_blocks) + min_of(class_block, n_classes % n_blocks);
}

static ptrdiff_t packed_bias_offset(ptrdiff_t n_features, ptrdiff_t n_classes) {
    return n_classes * feature_vectors(n_features) * FS_LANES;
}

static ptrdiff_t packed_size(ptrdiff_t n_features, ptrdiff_t n_classes) {
    return packed_bias_offset(n_features, n_classes) + round_up(n_classes, FS_LANES);
}

static void pack(const float *weight, const float *bias, ptrdiff_t n_features,
                 ptrdiff_t n_classes, float *packed) {
    const ptrdiff_t n_vectors = feature_vectors(n_features);
    const ptrdiff_t n_full = n_features / FS_LANES, rest = n_features % FS_LANES;
    for (ptrdiff_t c = 0; c < class_blocks(n_classes); c++) {
        const ptrdiff_t k0 = first_class(c, n_classes), size = first_class(c + 1, n_classes) - k0;
        for (ptrdiff_t k = 0; k < size; k++) {
            const float *from = weight + (k0 + k) * n_features;
            float *to = packed + (k0 * n_vectors + k) * FS_LANES;
            for (ptrdiff_t f = 0; f < n_full; f++)
                v_store(to + f * size * FS_LANES, v_load(from + f * FS_LANES));
            if (rest) {
                float *last = to + n_full * size * FS_LANES;
                v_store(last, (vf){0});
                memcpy(last, from + n_full * FS_LANES, (size_t)rest * sizeof(float));
            }
        }
    }
    float *packed_bias = packed + packed_bias_offset(n_features, n_classes);
    for (ptrdiff_t k = 0; k < round_up(n_classes, FS_LANES); k++)
        packed_bias[k] = k < n_classes ? bias[k] : 0.0f;
}

static void unpack(const float *packed, ptrdiff_t n_features, ptrdiff_t n_classes, float *weight,
                   float *bias) {
    const ptrdiff_t n_vectors = feature_vectors(n_features);
    const ptrdiff_t n_full = n_features / FS_LANES, rest = n_features % FS_LANES;
    for (ptrdiff_t c = 0; c < class_blocks(n_classes); c++) {
        const ptrdiff_t k0 = first_class(c, n_classes), size = first_class(c + 1, n_classes) - k0;
        for (ptrdiff_t k = 0; k < size; k++) {
            const float *from = packed + (k0 * n_vectors + k) * FS_LANES;
            float *to = weight + (k0 + k) * n_features;
            for (ptrdiff_t f = 0; f < n_full; f++)
                v_store(to + f * FS_LANES, v_load(from + f * size * FS_LANES));
            memcpy(to + n_full * FS_LANES, from + n_full * size * FS_LANES,
                   (size_t)rest * sizeof(float));
        }
    }
    memcpy(bias, packed + packed_bias_offset(n_features, n_classes),
           (size_t)n_classes * sizeof(float));
}

/* ---- blocks of rows ---- */

static size_t room_bytes(ptrdiff_t n_features, ptrdiff_t n_classes) {
    (void)n_features;
    return (size_t)round_up(sizeof(block), FS_ALIGN) +
           sizeof(float) * (size_t)(FS_BLOCK_ROWS * (n_classes + FS_LANES) +
                                    round_up(n_classes, FS_ALIGN / sizeof(float)));
}

static block *new_block(void *room, ptrdiff_t n_features, ptrdiff_t n_classes) {
    block *b = room;
    b->n_classes = n_classes;
    b->n_full = n_features / FS_LANES;
    b->n_vectors = feature_vectors(n_features);
    b->z = (float *)((char *)room + round_up(sizeof(block), FS_ALIGN));
    b->tail = b->z + n_classes * FS_BLOCK_ROWS;
    b->grad_bias = b->tail + FS_BLOCK_ROWS * FS_LANES;
    return b;
}

static block *block_in(const fs_rooms *rooms, ptrdiff_t i) {
    return (block *)(void *)(rooms->first + (size_t)i * rooms->stride);
}

FS_INLINE const char *row_at(const fs_rows *rows, ptrdiff_t position) {
    const ptrdiff_t index = rows->order ? (ptrdiff_t)rows->order[position] : position;
    const ptrdiff_t size = rows->row_type == FS_UINT8 ? 1 : sizeof(float);
    return (const char *)rows->x + index * rows->n_features * size;
}

FS_INLINE vf load_features(const char *row, ptrdiff_t vector, const int is_uint8) {
    return is_uint8 ? v_load_u8((const uint8_t *)row + vector * FS_LANES)
                    : v_load((const float *)(const void *)row + vector * FS_LANES);
}

/* Takes the rows at [begin, end) into the block; those from `next` on are to be prefetched. */
static void take_rows(block *b, const fs_rows *rows, ptrdiff_t begin, ptrdiff_t end,
                      ptrdiff_t next) {
    const ptrdiff_t n = b->n_rows = end - begin, padded = round_up(n, FS_WIDE);
    for (ptrdiff_t r = 0; r < n; r++) b->row[r] = row_at(rows, begin + r);
    for (ptrdiff_t r = n; r < padded; r++) b->row[r] = b->row[n - 1];
    for (ptrdiff_t i = 0; i < PREFETCH_NEXT; i++)
        b->row[padded + i] =
            next >= 0 ? row_at(rows, min_of(next + i, rows->n_rows - 1)) : b->row[n - 1];

    if (rows->target) {
        if (rows->order)
            for (ptrdiff_t r = 0; r < n; r++) b->target[r] = rows->target[rows->order[begin + r]];
        else
            memcpy(b->target, rows->target + begin, (size_t)n * sizeof(int32_t));
    }

    if (b->n_vectors > b->n_full) {
        const ptrdiff_t first = b->n_full * FS_LANES, rest = rows->n_features - first;
        for (ptrdiff_t r = 0; r < padded; r++) {
            float *tail = b->tail + r * FS_LANES;
            v_store(tail, (vf){0});
            if (rows->row_type == FS_UINT8)
                for (ptrdiff_t i = 0; i < rest; i++) tail[i] = (uint8_t)b->row[r][first + i];
            else
                memcpy(tail, (const float *)(const void *)b->row[r] + first,
                       (size_t)rest * sizeof(float));
        }
    }
}

/* ---- forward ---- */

/* acc (n, FS_WIDE) += w (n, FS_LANES) times a vector of features of each of FS_WIDE rows */
FS_INLINE void multiply(vf *acc, const vf *x, const float *w, const int n) {
    for (int k = 0; k < n; k++) {
        const vf wk = v_load(w + k * FS_LANES);
        for (int i = 0; i < FS_WIDE; i++) acc[k * FS_WIDE + i] = v_fma(x[i], wk, acc[k * FS_WIDE + i]);
    }
}

/* z (n, FS_BLOCK_ROWS) = bias, or what it is, + scale * rows . w over the vectors [first, last) of
 * features, for the n classes of one class block: w is (n_vectors, n, FS_LANES). n and is_uint8 are
 * constants where this is inlined. */
FS_INLINE void forward_block(const block *b, const float *w, const float *bias, float scale,
                             float *z, ptrdiff_t first, ptrdiff_t last, const int n,
                             const int is_uint8) {
    const int vector_bytes = FS_LANES * (is_uint8 ? 1 : (int)sizeof(float));
    const int per_line = LINE / vector_bytes;
    const ptrdiff_t w_vector = n * FS_LANES, last_full = min_of(last, b->n_full);
    for (ptrdiff_t r = 0; r < b->n_rows; r += FS_WIDE) {
        const char *const *row = b->row + r, *const *ahead = row + PREFETCH_ROWS;
        vf acc[FS_CLASSES * FS_WIDE], x[FS_WIDE];
        for (int i = 0; i < n * FS_WIDE; i++) acc[i] = (vf){0};

        ptrdiff_t f = first;
        for (; f + per_line <= last_full; f += per_line) {
            for (int i = 0; i < FS_WIDE; i++) v_prefetch(ahead[i] + f * vector_bytes);
            for (int j = 0; j < per_line; j++) {
                for (int i = 0; i < FS_WIDE; i++) x[i] = load_features(row[i], f + j, is_uint8);
                multiply(acc, x, w + (f + j) * w_vector, n);
            }
        }
        for (; f < last_full; f++) {
            for (int i = 0; i < FS_WIDE; i++) x[i] = load_features(row[i], f, is_uint8);
            multiply(acc, x, w + f * w_vector, n);
        }
        if (f < last) {
            for (int i = 0; i < FS_WIDE; i++) x[i] = v_load(b->tail + (r + i) * FS_LANES);
            multiply(acc, x, w + f * w_vector, n);
        }

        float sums[FS_CLASSES * FS_WIDE + FS_LANES]; /* (n, FS_WIDE) */
        v_sum_each(acc, n * FS_WIDE);
        for (int i = 0; i * FS_LANES < n * FS_WIDE; i++) v_store(sums + i * FS_LANES, acc[i]);
        for (int k = 0; k < n; k++)
            for (int i = 0; i < FS_WIDE; i++) {
                float *zk = z + k * FS_BLOCK_ROWS + r + i;
                *zk = scale * sums[k * FS_WIDE + i] + (first == 0 ? bias[k] : *zk);
            }
    }
}

/* z of each room = logits of its rows, padded to FS_WIDE. Features in ranges of FORWARD_FEATURES:
 * the weight's part of a range and class block stays in L1 while the rows of all rooms pass. */
FS_INLINE void forward(const fs_rooms *rooms, const fs_rows *rows, const float *packed,
                       const int is_uint8) {
    const ptrdiff_t n_classes = rows->n_classes, n_vectors = feature_vectors(rows->n_features);
    const float *bias = packed + packed_bias_offset(rows->n_features, n_classes);
    const ptrdiff_t step = FORWARD_FEATURES / FS_LANES;
    for (ptrdiff_t first = 0; first < n_vectors; first += step) {
        const ptrdiff_t last = min_of(first + step, n_vectors);
        for (ptrdiff_t c = 0; c < class_blocks(n_classes); c++) {
            const ptrdiff_t k = first_class(c, n_classes), n = first_class(c + 1, n_classes) - k;
            const float *w = packed + k * n_vectors * FS_LANES;
            for (ptrdiff_t i = 0; i < rooms->n; i++) {
                const block *b = block_in(rooms, i);
                float *z = b->z + k * FS_BLOCK_ROWS;
                switch (n) {
#define FORWARD(n)                                                                         \
    case n:                                                                                \
        forward_block(b, w, bias + k, rows->scale, z, first, last, n, is_uint8); \
        break;
                    FORWARD(1) FORWARD(2) FORWARD(3) FORWARD(4) FORWARD(5)
#undef FORWARD
                }
            }
        }
    }
}

static void compute_logits(const fs_rooms *rooms, const fs_rows *rows, const float *packed) {
    if (rows->row_type == FS_UINT8)
        forward(rooms, rows, packed, 1);
    else
        forward(rooms, rows, packed, 0);
}

/* ---- softmax and loss ---- */

/* Zeroes z's columns from n_rows up to the next full vector, whose lanes are computed too. */
static void pad_columns(block *b) {
    const ptrdiff_t padded = round_up(b->n_rows, FS_LANES);
    for (ptrdiff_t k = 0; k < b->n_classes; k++)
        for (ptrdiff_t r = b->n_rows; r < padded; r++) b->z[k * FS_BLOCK_ROWS + r] = 0.0f;
}

/* The largest logit of FS_LANES rows from column r on, and the first class that has it. */
FS_INLINE vf row_max(const block *b, ptrdiff_t r, vi *argmax) {
    vf max = v_load(b->z + r);
    vi index = {0};
    for (ptrdiff_t k = 1; k < b->n_classes; k++) {
        const vf zk = v_load(b->z + k * FS_BLOCK_ROWS + r);
        const vi larger = zk > max;
        max = v_select(larger, zk, max);
        index = v_selecti(larger, v_seti((int32_t)k), index);
    }
    *argmax = index;
    return max;
}

/* sum += term, with the rounding error carried along (Kahan): thousands of classes are added. */
FS_INLINE void add_compensated(vf *sum, vf *error, vf term) {
    const vf corrected = term - *error, next = *sum + corrected;
    *error = (next - *sum) - corrected;
    *sum = next;
}

/* sum over classes of exp(z - max), for FS_LANES rows from column r on; each term is kept in z's
 * place if `keep`, a constant. */
FS_INLINE vf sum_of_exp(block *b, ptrdiff_t r, vf max, const int keep) {
    vf sum = {0}, error = {0};
    for (ptrdiff_t k = 0; k < b->n_classes; k++) {
        float *zk = b->z + k * FS_BLOCK_ROWS + r;
        const vf e = v_exp(v_load(zk) - max);
        if (keep) v_store(zk, e);
        add_compensated(&sum, &error, e);
    }
    return sum;
}

/* Adds loss = max + log(sum(exp(z - max))) - z[target] of FS_LANES rows to sums. NaN and infinite
 * logits give a NaN loss: NaN - max, or infinity - infinity, is in the sum. */
static void add_losses(const block *b, ptrdiff_t r, vf max, vi argmax, vf sum, const float *z_target,
                       fs_sums *sums) {
    const vf loss = (max - v_load(z_target)) + v_log(sum);
    const ptrdiff_t n = min_of(FS_LANES, b->n_rows - r);
    for (ptrdiff_t i = 0; i < n; i++) {
        sums->loss += (double)loss[i];
        sums->correct += argmax[i] == b->target[r + i] && !isnan(loss[i]);
    }
}

static void gather_target_logits(const block *b, ptrdiff_t r, float *z_target) {
    for (ptrdiff_t i = 0; i < FS_LANES; i++)
        z_target[i] = r + i < b->n_rows ? b->z[b->target[r + i] * FS_BLOCK_ROWS + r + i] : 0.0f;
}

/* Logits -> losses. */
static void block_loss(block *b, fs_sums *sums) {
    pad_columns(b);
    for (ptrdiff_t r = 0; r < b->n_rows; r += FS_LANES) {
        float z_target[FS_LANES];
        gather_target_logits(b, r, z_target);
        vi argmax;
        const vf max = row_max(b, r, &argmax);
        add_losses(b, r, max, argmax, sum_of_exp(b, r, max, 0), z_target, sums);
    }
}

/* z becomes softmax(z) in FS_LANES columns from r on; returns the sum of exponentials. */
FS_INLINE vf softmax_columns(block *b, ptrdiff_t r, vf max) {
    const vf sum = sum_of_exp(b, r, max, 1);
    const vf inverse = 1.0f / sum;
    for (ptrdiff_t k = 0; k < b->n_classes; k++) {
        float *zk = b->z + k * FS_BLOCK_ROWS + r;
        v_store(zk, v_load(zk) * inverse);
    }
    return sum;
}

/* Logits -> losses, and residuals: z = scale * (softmax(z) - onehot(target)), 0 in the padding
 * columns; grad_bias. */
static void block_loss_and_residuals(block *b, float scale, fs_sums *sums) {
    pad_columns(b);
    for (ptrdiff_t r = 0; r < b->n_rows; r += FS_LANES) {
        float z_target[FS_LANES];
        gather_target_logits(b, r, z_target);
        vi argmax;
        const vf max = row_max(b, r, &argmax);
        const vf sum = softmax_columns(b, r, max);
        add_losses(b, r, max, argmax, sum, z_target, sums);
    }
    for (ptrdiff_t r = 0; r < b->n_rows; r++) b->z[b->target[r] * FS_BLOCK_ROWS + r] -= 1.0f;
    pad_columns(b);
    for (ptrdiff_t k = 0; k < b->n_classes; k++) {
        float *zk = b->z + k * FS_BLOCK_ROWS;
        vf sum = {0};
        for (ptrdiff_t r = 0; r < b->n_rows; r += FS_LANES) {
            const vf d = v_load(zk + r);
            sum += d;
            v_store(zk + r, d * scale);
        }
        v_sum_each(&sum, 1);
        b->grad_bias[k] = sum[0];
    }
}

/* ---- backward ---- */

/* acc (n, width) += residuals of one row times `width` vectors of its features */
FS_INLINE void multiply_outer(vf *acc, const vf *x, const float *residual, const int n,
                              const int width) {
    for (int k = 0; k < n; k++) {
        const vf d = v_set(residual[k * FS_BLOCK_ROWS]);
        for (int i = 0; i < width; i++) acc[k * width + i] = v_fma(d, x[i], acc[k * width + i]);
    }
}

/* grad (width, n, FS_LANES) = or += residual (n, FS_BLOCK_ROWS) . `width` vectors from f on, or the
 * tails. n, width and the flags but `accumulate` are constants where this is inlined. */
FS_INLINE void backward_vectors(const block *b, const float *residual, float *grad, ptrdiff_t f,
                                int accumulate, int prefetch, const int n, const int width,
                                const int is_uint8, const int is_tail) {
    const int vector_bytes = FS_LANES * (is_uint8 ? 1 : (int)sizeof(float));
    const int lines = width * vector_bytes > LINE ? width * vector_bytes / LINE : 1;
    const ptrdiff_t n_padded = round_up(b->n_rows, FS_WIDE);
    const ptrdiff_t n_prefetch = prefetch ? PREFETCH_NEXT * lines : 0;
    const char *const *ahead = b->row + n_padded;
    vf acc[FS_CLASSES * FS_WIDE], x[FS_WIDE];
    for (int k = 0; k < n; k++)
        for (int i = 0; i < width; i++)
            acc[k * width + i] = accumulate ? v_load(grad + (i * n + k) * FS_LANES) : (vf){0};
    for (ptrdiff_t r = 0; r < n_padded; r++) {
        if (width == FS_WIDE && r < n_prefetch) /* a line at a time: bursts lose */
            v_prefetch(ahead[r / lines] + f * vector_bytes + r % lines * LINE);
        for (int i = 0; i < width; i++)
            x[i] = is_tail ? v_load(b->tail + r * FS_LANES)
                           : load_features(b->row[r], f + i, is_uint8);
        multiply_outer(acc, x, residual + r, n, width);
    }
    for (int k = 0; k < n; k++)
        for (int i = 0; i < width; i++) v_store(grad + (i * n + k) * FS_LANES, acc[k * width + i]);
}

/* A tile of the gradient: one class block x FS_WIDE vectors of features from f on, or what is left
 * of them: grad is (FS_WIDE, n, FS_LANES). */
FS_INLINE void backward_tile(const block *b, const float *residual, float *grad, ptrdiff_t f,
                             int accumulate, int prefetch, const int n, const int is_uint8) {
    if (f + FS_WIDE <= b->n_full) {
        backward_vectors(b, residual, grad, f, accumulate, prefetch, n, FS_WIDE, is_uint8, 0);
        return;
    }
    for (; f < b->n_full; f++, grad += n * FS_LANES)
        backward_vectors(b, residual, grad, f, accumulate, 0, n, 1, is_uint8, 0);
    if (f < b->n_vectors)
        backward_vectors(b, residual, grad, f, accumulate, 0, n, 1, is_uint8, 1);
}

/* Tiles are counted class block by class block within each FS_WIDE vectors of features, which so
 * stay in L1; one more tile is the bias. */
static ptrdiff_t n_tiles(ptrdiff_t n_features, ptrdiff_t n_classes) {
    return (feature_vectors(n_features) + FS_WIDE - 1) / FS_WIDE * class_blocks(n_classes) + 1;
}

/* The packed floats of a tile; returns how many. */
static ptrdiff_t tile_floats(ptrdiff_t n_features, ptrdiff_t n_classes, ptrdiff_t tile,
                             ptrdiff_t *offset) {
    const ptrdiff_t n_vectors = feature_vectors(n_features), n_blocks = class_blocks(n_classes);
    if (tile == n_tiles(n_features, n_classes) - 1) {
        *offset = packed_bias_offset(n_features, n_classes);
        return round_up(n_classes, FS_LANES);
    }
    const ptrdiff_t c = tile % n_blocks, f = tile / n_blocks * FS_WIDE;
    const ptrdiff_t k = first_class(c, n_classes), n = first_class(c + 1, n_classes) - k;
    *offset = (k * n_vectors + f * n) * FS_LANES;
    return min_of(FS_WIDE, n_vectors - f) * n * FS_LANES;
}

FS_INLINE void backward(const block *b, ptrdiff_t tile, float *grad, int accumulate,
                        const int is_uint8) {
    const ptrdiff_t n_blocks = class_blocks(b->n_classes);
    const ptrdiff_t c = tile % n_blocks, f = tile / n_blocks * FS_WIDE;
    const ptrdiff_t k = first_class(c, b->n_classes);
    const float *residual = b->z + k * FS_BLOCK_ROWS;
    switch (first_class(c + 1, b->n_classes) - k) {
#define BACKWARD(n)                                                             \
    case n:                                                                     \
        backward_tile(b, residual, grad, f, accumulate, c == 0, n, is_uint8); \
        break;
        BACKWARD(1) BACKWARD(2) BACKWARD(3) BACKWARD(4) BACKWARD(5)
#undef BACKWARD
    }
}

static void add_bias_gradient(const block *b, float *grad_bias, int accumulate) {
    for (ptrdiff_t k = 0; k < round_up(b->n_classes, FS_LANES); k++) {
        const float g = k < b->n_classes ? b->grad_bias[k] : 0.0f;
        grad_bias[k] = accumulate ? grad_bias[k] + g : g;
    }
}

/* ---- the table's functions over rows [begin, end) ---- */

static void residuals(const fs_rows *rows, const float *packed, ptrdiff_t begin, ptrdiff_t end,
                      ptrdiff_t block_rows, ptrdiff_t next, const fs_rooms *rooms,
                      fs_sums *sums) {
    for (ptrdiff_t i = 0; i < rooms->n; i++) {
        const ptrdiff_t r = begin + i * block_rows, stop = min_of(r + block_rows, end);
        block *b = new_block(block_in(rooms, i), rows->n_features, rows->n_classes);
        take_rows(b, rows, r, stop, stop < end ? stop : next);
    }
    compute_logits(rooms, rows, packed);
    for (ptrdiff_t i = 0; i < rooms->n; i++)
        block_loss_and_residuals(block_in(rooms, i), rows->scale, &sums[i]);
}

static void gradient(const fs_rows *rows, const fs_rooms *rooms, ptrdiff_t tile, int accumulate,
                     float *grad) {
    const int is_bias = tile == n_tiles(rows->n_features, rows->n_classes) - 1;
    for (ptrdiff_t i = 0; i < rooms->n; i++) {
        const block *b = block_in(rooms, i);
        const int add = accumulate || i > 0;
        if (is_bias)
            add_bias_gradient(b, grad, add);
        else if (rows->row_type == FS_UINT8)
            backward(b, tile, grad, add, 1);
        else
            backward(b, tile, grad, add, 0);
    }
}

static void loss(const fs_rows *rows, const float *packed, ptrdiff_t begin, ptrdiff_t end,
                 void *room, fs_sums *sums) {
    const fs_rooms only = {.first = room, .n = 1};
    block *b = new_block(room, rows->n_features, rows->n_classes);
    *sums = (fs_sums){0};
    for (ptrdiff_t r = begin; r < end; r += FS_BLOCK_ROWS) {
        const ptrdiff_t stop = min_of(r + FS_BLOCK_ROWS, end);
        take_rows(b, rows, r, stop, stop < end ? stop : -1);
        compute_logits(&only, rows, packed);
        block_loss(b, sums);
    }
}

static void logits(const fs_rows *rows, const float *packed, ptrdiff_t begin, ptrdiff_t end,
                   void *room, float *out) {
    const fs_rooms only = {.first = room, .n = 1};
    block *b = new_block(room, rows->n_features, rows->n_classes);
    for (ptrdiff_t r = begin; r < end; r += FS_BLOCK_ROWS) {
        const ptrdiff_t stop = min_of(r + FS_BLOCK_ROWS, end);
        take_rows(b, rows, r, stop, stop < end ? stop : -1);
        compute_logits(&only, rows, packed);
        for (ptrdiff_t i = 0; i < b->n_rows; i++)
            for (ptrdiff_t k = 0; k < b->n_classes; k++)
                out[(r + i) * b->n_classes + k] = b->z[k * FS_BLOCK_ROWS + i];
    }
}

static void softmax(const float *logits, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t n_classes,
                    int log, void *room, float *out) {
    block *b = new_block(room, 0, n_classes);
    for (ptrdiff_t r = begin; r < end; r += FS_BLOCK_ROWS) {
        b->n_rows = min_of(FS_BLOCK_ROWS, end - r);
        for (ptrdiff_t i = 0; i < b->n_rows; i++)
            for (ptrdiff_t k = 0; k < n_classes; k++)
                b->z[k * FS_BLOCK_ROWS + i] = logits[(r + i) * n_classes + k];
        pad_columns(b);
        for (ptrdiff_t i = 0; i < b->n_rows; i += FS_LANES) {
            vi argmax;
            const vf max = row_max(b, i, &argmax);
            if (!log) {
                softmax_columns(b, i, max);
                continue;
            }
            const vf log_sum = v_log(sum_of_exp(b, i, max, 0));
            for (ptrdiff_t k = 0; k < n_classes; k++) {
                float *zk = b->z + k * FS_BLOCK_ROWS + i;
                v_store(zk, (v_load(zk) - max) - log_sum);
            }
        }
        for (ptrdiff_t i = 0; i < b->n_rows; i++)
            for (ptrdiff_t k = 0; k < n_classes; k++)
                out[(r + i) * n_classes + k] = b->z[k * FS_BLOCK_ROWS + i];
    }
}

/* ---- over parameters ---- */

static void reduce(float *partials, ptrdiff_t stride, ptrdiff_t n_partials, ptrdiff_t begin,
                   ptrdiff_t end) {
    for (ptrdiff_t apart = 1; apart < n_partials; apart *= 2)
        for (ptrdiff_t c = 0; c + apart < n_partials; c += 2 * apart) {
            float *sum = partials + c * stride;
            const float *other = sum + apart * stride;
            for (ptrdiff_t i = begin; i < end; i += FS_LANES)
                v_store(sum + i, v_load(sum + i) + v_load(other + i));
        }
}

/* g += weight_decay * w;  v = momentum * v + (1 - dampening) * g, at the first step v = g;
 * w -= lr * (nesterov ? g + momentum * v : v). Source: torch.optim.SGD. */
FS_INLINE vf updated(vf w, vf g, vf *v, float grad_scale, float weight_decay, const fs_sgd *s) {
    g = g * grad_scale;
    if (weight_decay != 0.0f) g = v_fma(v_set(weight_decay), w, g);
    if (v) {
        *v = s->first_step ? g : v_fma(v_set(s->momentum), *v, (1.0f - s->dampening) * g);
        g = s->nesterov ? v_fma(v_set(s->momentum), *v, g) : *v;
    }
    return v_fma(v_set(-s->lr), g, w);
}

static void update(float *param, const float *grad, float *velocity, ptrdiff_t n, float grad_scale,
                   float weight_decay, const fs_sgd *sgd) {
    const ptrdiff_t n_full = n / FS_LANES * FS_LANES;
    if (!velocity)
        for (ptrdiff_t i = 0; i < n_full; i += FS_LANES)
            v_store(param + i, updated(v_load(param + i), v_load(grad + i), NULL, grad_scale,
                                       weight_decay, sgd));
    else
        for (ptrdiff_t i = 0; i < n_full; i += FS_LANES) {
            vf v = v_load(velocity + i);
            v_store(param + i, updated(v_load(param + i), v_load(grad + i), &v, grad_scale,
                                       weight_decay, sgd));
            v_store(velocity + i, v);
        }
    if (n_full < n) { /* by the same vector code, so that the bits do not depend on the layout */
        float w[FS_LANES] = {0}, g[FS_LANES] = {0}, v[FS_LANES] = {0};
        const size_t rest = (size_t)(n - n_full) * sizeof(float);
        memcpy(w, param + n_full, rest);
        memcpy(g, grad + n_full, rest);
        if (velocity) memcpy(v, velocity + n_full, rest);
        update(w, g, velocity ? v : NULL, FS_LANES, grad_scale, weight_decay, sgd);
        memcpy(param + n_full, w, rest);
        if (velocity) memcpy(velocity + n_full, v, rest);
    }
}

/* ---- exp.h over arrays ---- */

#define OVER_ARRAY(name, function)                                   \
    static void name(const float *x, float *out, ptrdiff_t n) {      \
        for (ptrdiff_t i = 0; i < n; i += FS_LANES) {                \
            float lanes[FS_LANES] = {0};                             \
            const size_t bytes = sizeof(float) * (size_t)min_of(FS_LANES, n - i); \
            memcpy(lanes, x + i, bytes);                             \
            v_store(lanes, function(v_load(lanes)));                 \
            memcpy(out + i, lanes, bytes);                           \
        }                                                            \
    }
OVER_ARRAY(exp_array, v_exp)
OVER_ARRAY(log_array, v_log)

extern const fs_kernels FS_KERNELS;
const fs_kernels FS_KERNELS = {
    .isa = FS_ISA_NAME,
    .packed_size = packed_size,
    .packed_bias_offset = packed_bias_offset,
    .room_bytes = room_bytes,
    .pack = pack,
    .unpack = unpack,
    .n_tiles = n_tiles,
    .tile_floats = tile_floats,
    .residuals = residuals,
    .gradient = gradient,
    .loss = loss,
    .logits = logits,
    .softmax = softmax,
    .reduce = reduce,
    .update = update,
    .exp = exp_array,
    .log = log_array,
};
