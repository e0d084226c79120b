/* chunks.h: how a batch is cut into chunks of rows: by the batch alone, never by the threads. */
#ifndef FS_CHUNKS_H
#define FS_CHUNKS_H

#include "kernels.h"
#include "team.h"
#include "thresholds.h"

typedef struct {
    ptrdiff_t n, rows; /* n chunks of `rows` rows, the last with what is left */
} chunks;

/* The most chunks that a batch of at most n_rows rows can have: enough for none to be more than a
 * block, but at least LEAST_CHUNKS and at most FS_MAX_CHUNKS. */
static inline ptrdiff_t most_chunks(ptrdiff_t n_rows) {
    return min_of(max_of(LEAST_CHUNKS, divide_up(n_rows, FS_BLOCK_ROWS)), FS_MAX_CHUNKS);
}

/* As many chunks as that, of nearly equal size. There are fewer where rounding makes them larger:
 * to a multiple of the rows that kernels take at once, to whole blocks, to CHUNK_ROWS at least. */
static inline chunks chunks_of(ptrdiff_t n_rows) {
    ptrdiff_t rows = round_up(divide_up(n_rows, most_chunks(n_rows)), 4);
    if (rows > FS_BLOCK_ROWS) rows = round_up(rows, FS_BLOCK_ROWS);
    rows = max_of(CHUNK_ROWS, rows);
    return (chunks){.n = divide_up(n_rows, rows), .rows = rows};
}

/* ---- which thread has which chunk ---- */

/* The first chunk of a thread, and the end of those of the thread before. */
static inline ptrdiff_t first_chunk(chunks c, int thread, int n_threads) {
    return c.n * thread / n_threads;
}

/* How many chunks are a thread's. */
static inline int n_chunks_of(chunks c, int thread, int n_threads) {
    return (int)(first_chunk(c, thread + 1, n_threads) - first_chunk(c, thread, n_threads));
}

/* Where an item is a chunk: its index, and that of the chunk which the thread does next, or -1. */
static inline ptrdiff_t chunk_of_item(chunks c, fs_item item) {
    return first_chunk(c, item.owner, item.n_threads) + item.index;
}
static inline ptrdiff_t next_chunk(chunks c, fs_item item) {
    return item.next_owner < 0 ? -1
                               : first_chunk(c, item.next_owner, item.n_threads) + item.next_index;
}

#endif
