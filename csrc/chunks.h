/* chunks.h: how a batch is cut into chunks of rows: by the batch alone, never by the threads. */
#ifndef FS_CHUNKS_H
#define FS_CHUNKS_H

#include "fastsoftmax.h"

enum {
    CHUNK_ROWS = 16,   /* at least: fewer are not worth a thread's while */
    BATCH_CHUNKS = 4,  /* of a small batch, by rows: each costs a partial gradient */
    SPAN_CHUNKS = 4,   /* of a small span, by tiles */
    CLASSES_ROWS = 32, /* of a chunk, at least, where threads share the classes */
};

static ptrdiff_t min_of(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static ptrdiff_t max_of(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }
static ptrdiff_t divide_up(ptrdiff_t a, ptrdiff_t b) { return (a + b - 1) / b; }

typedef struct {
    ptrdiff_t n, rows; /* n chunks of `rows` rows, the last with what is left */
} chunks;

/* At least `least` chunks of nearly equal size, as long as they have least_rows rows, and as many
 * more as it takes for them to have no more than a block, but at most FS_MAX_CHUNKS. */
static chunks chunks_of_at_least(ptrdiff_t least, ptrdiff_t least_rows, ptrdiff_t n_rows) {
    const ptrdiff_t n = min_of(max_of(least, divide_up(n_rows, FS_BLOCK_ROWS)), FS_MAX_CHUNKS);
    ptrdiff_t rows =
        max_of(least_rows, divide_up(divide_up(n_rows, n), 4) * 4); /* kernels take 4 */
    if (rows > FS_BLOCK_ROWS) rows = divide_up(rows, FS_BLOCK_ROWS) * FS_BLOCK_ROWS;
    return (chunks){.n = divide_up(n_rows, rows), .rows = rows};
}

static chunks chunks_of(ptrdiff_t n_rows) {
    return chunks_of_at_least(BATCH_CHUNKS, CHUNK_ROWS, n_rows);
}
static chunks chunks_of_span(ptrdiff_t n_rows, int by_classes) {
    return chunks_of_at_least(SPAN_CHUNKS, by_classes ? CLASSES_ROWS : CHUNK_ROWS, n_rows);
}

/* The most chunks that a batch, or a span, of at most n_rows rows can have: rounding may give a
 * smaller one more of them than a larger one. */
static ptrdiff_t most_chunks(ptrdiff_t n_rows) {
    return min_of(divide_up(n_rows, CHUNK_ROWS), FS_MAX_CHUNKS);
}

/* The first of the chunks that belong to a thread; those of thread t end where t + 1's begin. */
static ptrdiff_t first_chunk(chunks c, int thread, int n_threads) {
    return c.n * thread / n_threads;
}

#endif
