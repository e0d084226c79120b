/* prefetch.h: which lines of the next rows a kernel fetches while it works on a block.
 *
 * The CPU's own prefetcher does not foresee rows in random order. So while a block is worked on,
 * the rows of the next one are fetched to L2, one line at a time and evenly. By rows, half of them
 * are fetched with the logits and half with the gradient, shared by the first two class groups
 * where there are two. By tiles, all of them are fetched with the logits, by the first class
 * group. Measured slower: each row fetched some rows ahead, or to L1; all of them with the logits,
 * or with the gradient; none.
 */
#ifndef FS_PREFETCH_H
#define FS_PREFETCH_H

#include "block.h"

/* Where to fetch what lies from byte `from` of a row on, line by line and before it is needed.
 * NumPy's rows begin 16 bytes after a line does, so what begins at `from` ends in the line after,
 * which else comes too late. */
FS_INLINE ptrdiff_t next_line(ptrdiff_t from) { return from + FS_LINE - 1; }

/* As many rows of a block as n are of FS_BLOCK_ROWS: a block may have fewer. */
FS_INLINE ptrdiff_t rows_of_block(const block *b, ptrdiff_t n) {
    return n * b->n_rows / FS_BLOCK_ROWS;
}

/* How many of n rows each of the first two class groups fetches. */
FS_INLINE ptrdiff_t next_rows(ptrdiff_t n, ptrdiff_t n_classes) {
    return n / min_of(2, class_groups(n_classes));
}

/* Fetches n_next rows from byte `from` on, to the line of the last byte. */
FS_INLINE void fetch_ends(const block *b, const char *const *next, ptrdiff_t n_next,
                          ptrdiff_t from) {
    for (ptrdiff_t r = 0; r < n_next; r++) {
        for (ptrdiff_t i = from; i < b->row_bytes; i += FS_LINE) v_prefetch(next[r] + i);
        v_prefetch(next[r] + b->row_bytes - 1);
    }
}

/* Fetches the vectors [first, last) of the next class group: too short a run for the CPU's own
 * prefetcher. */
FS_INLINE void fetch_next_group(const float *packed, ptrdiff_t n_vectors, ptrdiff_t n_classes,
                                ptrdiff_t c, ptrdiff_t first, ptrdiff_t last) {
    if (c + 1 == class_groups(n_classes)) return;
    const ptrdiff_t k = first_class(c + 1, n_classes), n = first_class(c + 2, n_classes) - k;
    const float *next = packed + (k * n_vectors + first * n) * FS_LANES;
    for (ptrdiff_t i = 0; i < (last - first) * n * FS_LANES; i += FS_LINE / (int)sizeof(float))
        v_prefetch(next + i);
}

#endif
