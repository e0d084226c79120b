/* plan.c: the plan by which a call works, and its buffers.
 *
 * A step is computed in one of two ways. By rows, each chunk of the batch has a partial gradient
 * of its own, and a row is fetched by one core only. By tiles, each tile of the gradient goes
 * through all rows in order, and no partial gradient goes through memory. Tiles pay where the
 * weight is large. They also pay where there are fewer rows than classes: threads can share the
 * classes then.
 */
#include "plan.h"

#include "memory.h"

static int is_large(ptrdiff_t packed_size) {
    return packed_size * (ptrdiff_t)sizeof(float) >= TILES_FROM;
}

int fs_is_by_tiles(const fs_kernels *kernels, fs_shape shape, ptrdiff_t n_rows) {
    return is_large(kernels->packed_size(shape)) ||
           (n_rows < shape.n_classes && kernels->by_panels(shape.n_classes));
}

static ptrdiff_t span_rows_of(const fs_rows *rows, ptrdiff_t n_classes) {
    const ptrdiff_t row_bytes = max_of(1, feature_bytes(rows, rows->n_features));
    const ptrdiff_t most =
        min_of(SPAN_ROWS, min_of(SPAN_LOGITS / n_classes, SPAN_BYTES / row_bytes));
    return max_of(LEAST_SPAN_ROWS, most / FS_BLOCK_ROWS * FS_BLOCK_ROWS);
}

/* Which buffers the plan needs, and how many. */
typedef struct {
    ptrdiff_t n_workspaces, n_partials;
    int packed, velocity;
} needs;

/* Places a buffer of n bytes at base + *end, and moves *end behind it. Where base is NULL, it only
 * measures. */
static void *place(char *base, size_t *end, size_t n) {
    char *p = base ? base + *end : NULL;
    const size_t size = (n + FS_ALIGN - 1) / FS_ALIGN * FS_ALIGN + FS_GAP;
    if (p) FS_FORBID(p + n, size - n);
    *end += size;
    return p;
}

/* Places all buffers, and returns how many bytes they take. */
static size_t place_buffers(plan *p, char *base, needs need) {
    const size_t packed_bytes = sizeof(float) * (size_t)p->packed_size;
    size_t end = 0;
    p->workspaces = place(base, &end, p->workspace_bytes * (size_t)need.n_workspaces);
    p->packed = need.packed ? place(base, &end, packed_bytes) : NULL;
    p->velocity = need.velocity ? place(base, &end, packed_bytes) : NULL;
    p->partials =
        need.n_partials ? place(base, &end, packed_bytes * (size_t)need.n_partials) : NULL;
    p->bias_tile = place(base, &end, packed_bytes - sizeof(float) * (size_t)p->bias_offset);
    p->scratch = place(base, &end, sizeof(float) * (size_t)(p->num_threads * p->scratch_floats));
    p->notes = place(base, &end, sizeof(thread_notes) * (size_t)p->num_threads);
    return end;
}

int fs_make_plan(plan *p, purpose what, const fs_kernels *kernels, const fs_rows *rows,
                 const fs_loss *loss, const fs_params *params, ptrdiff_t batch_size,
                 int num_threads) {
    const fs_shape shape = params->shape;
    const ptrdiff_t batch = min_of(batch_size, rows->n_rows);
    *p = (plan){.kernels = kernels, .batch_size = batch};
    p->packed_size = kernels->packed_size(shape);
    p->bias_offset = kernels->packed_bias_offset(shape);
    p->workspace_bytes =
        (size_t)round_up((ptrdiff_t)kernels->workspace_bytes(shape.n_classes), FS_ALIGN);
    p->span_rows = span_rows_of(rows, shape.n_classes);

    const ptrdiff_t rest = what == TRAIN ? rows->n_rows % batch : 0, last = rest ? rest : batch;
    const int may_be_by_tiles = what == TRAIN || what == LOSS_AND_GRAD;
    const int by_rows = !may_be_by_tiles || !fs_is_by_tiles(kernels, shape, batch);
    /* where the others are by rows, the last one may be by tiles, having fewer rows */
    const int by_tiles = may_be_by_tiles && fs_is_by_tiles(kernels, shape, last);
    const ptrdiff_t chunks_of_span = most_chunks(min_of(batch, p->span_rows));
    /* a thread without a chunk is not woken: that takes as long as a small batch */
    p->num_threads =
        (int)max_of(1, min_of(num_threads, by_rows ? chunks_of(batch).n : FS_MAX_THREADS));
    p->scratch_floats =
        by_tiles
            ? kernels->scratch_floats(shape, min_of(chunks_of_span, ITEM_CHUNKS), chunks_of_span)
            : kernels->scratch_floats(shape, 1, 0);

    /* A packed copy is read once for each span, and updated in the order of its layout. For one
     * span alone the copy of a large weight takes longer than it saves. */
    const int many_spans = what == TRAIN && rows->n_rows > min_of(batch, p->span_rows);
    needs need = {.n_workspaces =
                      max_of(by_rows ? p->num_threads : 0, by_tiles ? chunks_of_span : 0)};
    need.n_partials = what == LOGITS_ONLY      ? 0
                      : what == CHUNK_PARTIALS ? p->num_threads
                      : by_rows                ? most_chunks(batch)
                                               : what == TRAIN && batch > p->span_rows;
    need.packed = params->weight && (many_spans || what == CHUNK_PARTIALS ||
                                     !is_large(p->packed_size) || !kernels->by_columns(shape));
    need.velocity = need.packed && what == TRAIN && params->velocity_weight;

    p->memory = fs_take_memory(place_buffers(p, NULL, need));
    if (!p->memory) return FS_NO_MEMORY;
    place_buffers(p, p->memory, need);
    for (int i = 0; i < p->num_threads; i++) p->notes[i].phase = -1;
    if (need.packed) kernels->pack(params->weight, params->bias, shape, p->packed);
    if (need.velocity)
        kernels->pack(params->velocity_weight, params->velocity_bias, shape, p->velocity);
    p->problem = (fs_problem){
        .rows = rows,
        .loss = loss,
        .weights = {p->packed, params->weight, params->bias, shape},
        .grad_scale = 1,
    };
    return FS_OK;
}

void fs_end_plan(plan *p) { fs_give_back_memory(p->memory); }
