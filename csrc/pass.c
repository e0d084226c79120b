/* pass.c: the buffers of a call, and the plan by which it works.
 *
 * By rows each chunk has a partial gradient of its own, and a row is fetched by one core only; by
 * tiles no partial gradient goes through memory. Hence the rule, fs_by_tiles: tiles where the weight is
 * large, or where rows are few beside the classes, which threads can share then.
 *
 * On Zen 4, two threads: with 128 to 256 KB of weight a step of 256 rows takes 3 to 20% less by rows,
 * one of all rows 25% less at K = 10, D = 4096. With less weight a step of 32 rows takes 9 to 22% less
 * by tiles at K = 64 to 200, and as long at K = 48 and 32; one of 64 rows 12% less at K = 200.
 */
#include "pass.h"

#include "memory.h"

enum {
    TILES_FROM = 256 << 10, /* bytes of parameters */
    SPAN_ROWS = 1024,       /* whose residuals are held at a time, by tiles, at most, */
    SPAN_LOGITS = 16 << 20, /* but no more than so many of them, */
    SPAN_BYTES = 8 << 20,   /* and rows of so many bytes, which are read once for all tiles, */
    LEAST_SPAN_ROWS = 256,  /* unless they are of so few rows */
};

static int is_large(ptrdiff_t packed_size) {
    return packed_size * (ptrdiff_t)sizeof(float) >= TILES_FROM;
}

int fs_by_tiles(const pass *p, ptrdiff_t n_rows) {
    const ptrdiff_t n_classes = p->rows->n_classes;
    return is_large(p->packed_size) || (n_rows < n_classes && p->kernels->by_panels(n_classes));
}

/* At D = 4096 a step of 8,192 rows takes 14% less at K = 16, 10% at K = 10, than in spans of 16 MB of
 * rows, and as long at K = 100 (Zen 4). */
static ptrdiff_t span_rows_of(const fs_rows *rows) {
    const ptrdiff_t row_bytes =
        rows->n_features * (rows->row_type == FS_UINT8 ? 1 : (ptrdiff_t)sizeof(float));
    const ptrdiff_t most =
        min_of(SPAN_ROWS, min_of(SPAN_LOGITS / rows->n_classes, SPAN_BYTES / max_of(1, row_bytes)));
    return max_of(LEAST_SPAN_ROWS, most / FS_BLOCK_ROWS * FS_BLOCK_ROWS);
}

/* Room for a buffer of n bytes at *end, which moves on. A first round with base NULL measures. */
static void *place(char *base, size_t *end, size_t n) {
    char *p = base ? base + *end : NULL;
    const size_t size = (n + FS_ALIGN - 1) / FS_ALIGN * FS_ALIGN + FS_GAP;
    if (p) FS_FORBID(p + n, size - n);
    *end += size;
    return p;
}

static void place_buffers(pass *p, char *base, size_t *end, ptrdiff_t n_rooms, int packed,
                          ptrdiff_t n_partials, int velocity) {
    const size_t packed_bytes = sizeof(float) * (size_t)p->packed_size;
    p->rooms = place(base, end, p->room_bytes * (size_t)n_rooms);
    p->packed = packed ? place(base, end, packed_bytes) : NULL;
    p->velocity = velocity ? place(base, end, packed_bytes) : NULL;
    p->partials = n_partials ? place(base, end, packed_bytes * (size_t)n_partials) : NULL;
    p->bias_tile = place(base, end, packed_bytes - sizeof(float) * (size_t)p->bias_offset);
    p->scratch = place(base, end, sizeof(float) * (size_t)(p->num_threads * p->scratch_floats));
    p->memories = place(base, end, sizeof(memory_of_thread) * (size_t)p->num_threads);
}

void *fs_new_pass(pass *p, purpose what, const fs_kernels *kernels, const fs_rows *rows,
                  int num_threads, ptrdiff_t batch_size, const float *weight, const float *bias,
                  int velocity) {
    const ptrdiff_t d = rows->n_features, k = rows->n_classes;
    const ptrdiff_t batch = min_of(batch_size, rows->n_rows);
    *p = (pass){.kernels = kernels, .rows = rows, .batch_size = batch};
    p->packed_size = kernels->packed_size(d, k);
    p->bias_offset = kernels->packed_bias_offset(d, k);
    p->room_bytes = (kernels->room_bytes(k) + FS_ALIGN - 1) / FS_ALIGN * FS_ALIGN;
    p->span_rows = span_rows_of(rows);
    const ptrdiff_t rest = what == TRAIN ? rows->n_rows % batch : 0, last = rest ? rest : batch;
    const int by_rows = what == FORWARD || !fs_by_tiles(p, batch);
    const int by_tiles = what != FORWARD && fs_by_tiles(p, last); /* where not all, the last step */
    const ptrdiff_t n_chunks = most_chunks(batch);
    const ptrdiff_t n_in_span = most_chunks(min_of(batch, p->span_rows));
    /* by rows, who has no chunk of a batch is not woken: 3 us of a small one */
    p->num_threads =
        (int)max_of(1, min_of(num_threads, by_rows ? chunks_of(batch).n : FS_MAX_THREADS));
    const ptrdiff_t n_rooms = max_of(by_rows ? p->num_threads : 0, by_tiles ? n_in_span : 0);
    const ptrdiff_t n_partials = what == FORWARD ? 0
                                 : by_rows       ? n_chunks
                                                 : what == TRAIN && batch > p->span_rows;
    p->scratch_floats =
        by_tiles ? kernels->scratch_floats(d, k, min_of(n_in_span, GROUP_ROOMS), n_in_span)
                 : kernels->scratch_floats(d, k, 1, 0);
    /* In training a copy is read once for each span and updated in the order of its layout. For one
     * span alone it does not pay: a step of 256 rows at K = 1000, D = 4096 takes 13% less without. */
    const int in_spans = what == TRAIN && rows->n_rows > min_of(batch, p->span_rows);
    const int packed =
        weight && (in_spans || !is_large(p->packed_size) || !kernels->by_columns(d, k));
    size_t bytes = 0;
    place_buffers(p, NULL, &bytes, n_rooms, packed, n_partials, packed && velocity);
    char *memory = fs_take_memory(bytes);
    if (!memory) return NULL;
    bytes = 0;
    place_buffers(p, memory, &bytes, n_rooms, packed, n_partials, packed && velocity);
    for (int i = 0; i < p->num_threads; i++) p->memories[i].phase = -1;
    if (packed) kernels->pack(weight, bias, d, k, p->packed);
    p->weights = (fs_weights){.packed = p->packed, .weight = weight, .bias = bias};
    return memory;
}
