/* chunks.h: how a batch is cut into chunks of rows: by the batch alone, never by the threads. */
#ifndef FS_CHUNKS_H
#define FS_CHUNKS_H

#include "fastsoftmax.h"

enum {
    CHUNK_ROWS = 16,  /* at least: fewer are not worth a thread's while */
    LEAST_CHUNKS = 4, /* of a small batch: more of them would have too few rows to be fast */
};

static inline ptrdiff_t min_of(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static inline ptrdiff_t max_of(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }
static inline ptrdiff_t divide_up(ptrdiff_t a, ptrdiff_t b) { return (a + b - 1) / b; }

typedef struct {
    ptrdiff_t n, rows; /* n chunks of `rows` rows, the last with what is left */
} chunks;

/* The most chunks that a batch of at most n_rows rows can have: LEAST_CHUNKS, and as many more as it
 * takes for them to have no more than a block, but at most FS_MAX_CHUNKS. */
static inline ptrdiff_t most_chunks(ptrdiff_t n_rows) {
    return min_of(max_of(LEAST_CHUNKS, divide_up(n_rows, FS_BLOCK_ROWS)), FS_MAX_CHUNKS);
}

/* That many of nearly equal size; fewer where they would have fewer than CHUNK_ROWS rows, or where
 * rounding makes them larger. */
static inline chunks chunks_of(ptrdiff_t n_rows) {
    ptrdiff_t rows = divide_up(divide_up(n_rows, most_chunks(n_rows)), 4) * 4; /* kernels take 4 */
    if (rows > FS_BLOCK_ROWS) rows = divide_up(rows, FS_BLOCK_ROWS) * FS_BLOCK_ROWS;
    rows = max_of(CHUNK_ROWS, rows);
    return (chunks){.n = divide_up(n_rows, rows), .rows = rows};
}

/* The first of the chunks that belong to a thread; those of thread t end where t + 1's begin. */
static inline ptrdiff_t first_chunk(chunks c, int thread, int n_threads) {
    return c.n * thread / n_threads;
}

#endif
