/* thresholds.h: the numbers by which the driver chooses a plan, in one table. Those that depend on the
 * ISA are in kernels/thresholds.h.
 *
 * A number marked * is part of the result: it decides in which order floats are added, and other
 * backends have it too. The others may be changed without a change of bits.
 */
#ifndef FS_DRIVER_THRESHOLDS_H
#define FS_DRIVER_THRESHOLDS_H

enum {
    /* ---- how a batch is cut into chunks: chunks.h ---- */
    LEAST_CHUNKS = 4,   /* * of a small batch: more of them would have too few rows to be fast */
    FS_MAX_CHUNKS = 64, /* * of any batch; hence the most threads that can share its rows */
    CHUNK_ROWS = 16,    /* * of a chunk, at least: fewer are not worth a thread's while */

    /* ---- by rows or by tiles: fs_is_by_tiles ---- */
    TILES_FROM = 256 << 10, /* * bytes of packed parameters from which on a step is by tiles */

    /* ---- by tiles: how many rows are a span, whose residuals are held at a time ---- */
    SPAN_ROWS = 1024,       /* * at most, */
    SPAN_LOGITS = 16 << 20, /* * but no more than so many logits, */
    SPAN_BYTES = 8 << 20,   /* * and rows of so many bytes, which all tiles read once, */
    LEAST_SPAN_ROWS = 256,  /* * unless they are of so few rows */

    /* ---- how much of a phase is an item ---- */
    ITEM_CHUNKS = 4,    /* by tiles: chunks, at most, whose residuals are computed at a time */
    ITEMS_OF_TILES = 4, /* of each thread: where it begins late, others take the last ones */

    /* ---- by rows: how the partial gradients are added up ---- */
    REDUCE_UNIT = 64,     /* floats, of which each thread has whole ones */
    REDUCE_FLOATS = 1024, /* reduced and updated at a time, to stay in L1 */

    /* ---- how often the caller's `interrupted` is asked ---- */
    ASK_MS = 50,
};

#endif
