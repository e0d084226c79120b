/* block.h: a block of at most FS_BLOCK_ROWS rows, and the room in which it is worked on.
 *
 * Rows are not padded by the caller. What is left of a row after its last full vector is copied,
 * zero-padded, into `tail`; the last row stands in for those that FS_WIDE rows lack, with residual
 * zero.
 *
 * The CPU's own prefetcher does not foresee rows in random order. So while a block is worked on,
 * the rows of the next one are fetched to L2, one line at a time and evenly: half of them forward,
 * half backward, shared by the first two class blocks where there are two; by tiles all of them
 * forward, by the first one. An epoch of float32 rows took 13.1 ms on Zen 4; 14.7 where each row
 * was fetched 8 rows ahead, 16.8 where it was fetched to L1. On Emerald Rapids a block takes 24 us;
 * 25 to 27 as these, 28 where all were fetched forward, 32 where all were fetched backward, 38 with
 * no prefetch.
 */
#ifndef FS_BLOCK_H
#define FS_BLOCK_H

#include "layout.h"

enum { LINE = 64 }; /* bytes of a cache line */

/* A block of rows and the room to work on it; the arrays follow it in memory. */
typedef struct {
    const char *row[FS_BLOCK_ROWS];
    const char *next[FS_BLOCK_ROWS]; /* rows to prefetch meanwhile, */
    ptrdiff_t n_next_forward;        /* so many of them in the forward pass */
    int32_t target[FS_BLOCK_ROWS];
    /* with a criterion (criterion.h): coefficients of the target and of every class */
    float own[FS_BLOCK_ROWS], every[FS_BLOCK_ROWS];
    const float *probabilities[FS_BLOCK_ROWS];
    ptrdiff_t n_rows;
    ptrdiff_t n_backward; /* of the backward pass: n_rows, or 0 where none counts for anything */
    ptrdiff_t row_bytes;
    ptrdiff_t n_classes;
    ptrdiff_t n_full;    /* full vectors of a row */
    ptrdiff_t n_vectors; /* n_full, and one more where a tail is left */
    float *z;            /* (K, FS_BLOCK_ROWS): logits, then residuals */
    float *tail;         /* (FS_BLOCK_ROWS, FS_LANES) */
    float *grad_bias;    /* (K,) sums of the residuals, before z is scaled */
} block;

/* Where to fetch what lies from byte `from` of a row on, line by line and before it is needed: NumPy's
 * rows begin 16 bytes after a line does, and so what begins at `from` ends in the line after. Where that
 * one came too late, a step of all rows took 14 to 33% longer at K = 16, D = 4096, 8% at K = 100 (Zen 4). */
FS_INLINE ptrdiff_t next_line(ptrdiff_t from) { return from + LINE - 1; }

/* As many rows of a block as n are of FS_BLOCK_ROWS. An epoch of the book's rows in batches of 128, whose
 * blocks have 32, takes 28% less than where half of the next ones were not fetched (Zen 4). */
FS_INLINE ptrdiff_t rows_of_block(const block *b, ptrdiff_t n) {
    return n * b->n_rows / FS_BLOCK_ROWS;
}

/* How many of n rows each of the first two class blocks fetches. */
FS_INLINE ptrdiff_t next_rows(ptrdiff_t n, ptrdiff_t n_classes) {
    return n / min_of(2, class_blocks(n_classes));
}

static size_t room_bytes(ptrdiff_t n_classes) {
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

FS_INLINE ptrdiff_t index_at(const fs_rows *rows, ptrdiff_t position) {
    return rows->order ? (ptrdiff_t)rows->order[position] : position;
}

/* Bytes of n features. */
FS_INLINE ptrdiff_t feature_bytes(const fs_rows *rows, ptrdiff_t n) {
    return rows->row_type == FS_UINT8 ? n : n * (ptrdiff_t)sizeof(float);
}

FS_INLINE const char *row_at(const fs_rows *rows, ptrdiff_t position) {
    return (const char *)rows->x + index_at(rows, position) * feature_bytes(rows, rows->n_features);
}

FS_INLINE vf load_features(const char *row, ptrdiff_t vector, const int is_uint8) {
    return is_uint8 ? v_load_u8((const uint8_t *)row + vector * FS_LANES)
                    : v_load((const float *)(const void *)row + vector * FS_LANES);
}

/* Takes the rows at [begin, end) into the block. As many from `next` on are to be prefetched,
 * n_next_forward of FS_BLOCK_ROWS in the forward pass; next < 0: none, but the last row again. */
static void take_rows(block *b, const fs_rows *rows, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t next,
                      ptrdiff_t n_next_forward) {
    b->n_next_forward = n_next_forward;
    b->row_bytes = feature_bytes(rows, rows->n_features);
    const ptrdiff_t n = b->n_rows = b->n_backward = end - begin, padded = round_up(n, FS_LANES);
    for (ptrdiff_t r = 0; r < n; r++) b->row[r] = row_at(rows, begin + r);
    for (ptrdiff_t r = n; r < padded; r++) b->row[r] = b->row[n - 1];
    for (ptrdiff_t r = 0; r < FS_BLOCK_ROWS; r++)
        b->next[r] = next >= 0 ? row_at(rows, min_of(next + min_of(r, n - 1), rows->n_rows - 1))
                               : b->row[n - 1];

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

#endif
