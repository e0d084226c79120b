/* thresholds.h: the numbers by which the driver chooses how to work, in one table.
 *
 * A * marks a number that is part of the result, as it decides in which order floats are added. The
 * others may be changed without a change of bits. Other backends have numbers of their own. The
 * numbers that depend on the ISA are in kernels/thresholds.h.
 */
#ifndef FS_DRIVER_THRESHOLDS_H
#define FS_DRIVER_THRESHOLDS_H

enum {
    /* How a batch is cut into chunks (chunks.h). */
    LEAST_CHUNKS = 4,   /* * of a small batch; more would have too few rows to be fast */
    FS_MAX_CHUNKS = 64, /* * of any batch; no more threads than that can share its rows */
    CHUNK_ROWS = 16,    /* * of a chunk, at least; fewer are not worth waking a thread */

    /* Whether a step is by rows or by tiles (fs_is_by_tiles). It is also by tiles where it has
     * fewer rows than classes, and these are several class groups. */
    TILES_FROM = 256 << 10, /* * bytes of packed parameters from which on it is by tiles */

    /* How many rows a span has in a step by tiles: the least of the first three, as whole blocks,
     * but no less than the last. */
    SPAN_ROWS = 1024,       /* * rows, whose residuals are held at a time */
    SPAN_LOGITS = 16 << 20, /* * logits of these rows */
    SPAN_BYTES = 8 << 20,   /* * bytes of these rows, which every tile reads once */
    LEAST_SPAN_ROWS = 256,  /* * rows */

    /* How much of a phase is an item. */
    ITEM_CHUNKS = 4,    /* chunks of RESIDUALS, at most, which are computed together */
    ITEMS_OF_TILES = 4, /* of a thread in TILES; where it begins late, others take the last ones */

    /* How partial gradients are added up in a step by rows. */
    REDUCE_UNIT = 64,     /* floats; each thread has a multiple of them */
    REDUCE_FLOATS = 1024, /* floats added up and updated at a time, so that they stay in L1 */

    ASK_MS = 50, /* how often the caller's `interrupted` is asked */
};

#endif
