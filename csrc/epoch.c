/* epoch.c: whole passes over the rows, in parallel, by the functions of one table of kernels.
 * Over 300 lines, as each entry point of fastsoftmax.h needs its few lines of set-up here.
 *
 * Design
 *  a) A batch is cut into chunks of rows by a fixed rule (chunks.h). Chunk c belongs to a thread
 *     by c alone; what it computes has a place of its own.
 *  b) A step has two phases with a barrier after each. By rows: every thread computes the partial
 *     gradients of its chunks; then each reduces its slice of them over all chunks, in tree order,
 *     and updates that slice of the parameters. By tiles: every thread computes the residuals of
 *     its chunks; then each computes its tiles of the gradient, over all rows in order, and updates
 *     them. In no phase do two threads write one place.
 *  c) By rows, a row is fetched by one core only; by tiles, no partial gradient goes through
 *     memory. Hence the rule, is_large: tiles where the weight is large.
 *  d) Parameters are packed once per call and unpacked once: a whole epoch is one call.
 *  e) Nothing is written to the caller's arrays before everything that can fail has succeeded.
 */

#include "chunks.h"
#include "fastsoftmax.h"
#include "memory.h"
#include "threads.h"

enum {
    SLICE = 64,             /* floats, of which each thread reduces whole ones */
    REDUCE_FLOATS = 1024,   /* reduced and updated at a time, to stay in L1 */
    TILES_FROM = 128 << 10, /* bytes of parameters */
    LINE_FLOATS = 16,       /* of a cache line */
    SPAN_ROWS = 1024,       /* whose residuals are held at a time, by tiles, at most, */
    SPAN_LOGITS = 16 << 20, /* but no more than so many of them, */
    LEAST_SPAN_ROWS = 256,  /* unless they are of so few rows, */
    GROUP_ROOMS = 4,        /* of which a thread computes those of so many rooms at a time */
};

static int is_large(ptrdiff_t packed_size) {
    return packed_size * (ptrdiff_t)sizeof(float) >= TILES_FROM;
}

/* ---- what a call works on ---- */

typedef struct {
    const fs_kernels *kernels;
    const fs_rows *rows;
    int num_threads;
    ptrdiff_t packed_size, bias_offset;
    size_t room_bytes; /* a multiple of FS_ALIGN */
    char *rooms;       /* one for each thread; by tiles, for each chunk of a span */
    float *packed;     /* (packed_size,) parameters, or NULL: the caller's are read */
    fs_weights weights;
    ptrdiff_t scratch_floats;
    float *scratch; /* (num_threads, scratch_floats) */

    /* loss_and_grad and train_epoch */
    float *velocity;  /* (packed_size,) or NULL */
    float *partials;  /* (chunks, packed_size); by tiles (packed_size,), NULL where not needed */
    float *bias_tile; /* by tiles: the gradient of the bias */
    int by_tiles;
    ptrdiff_t span_rows;
    fs_sums chunk_sums[FS_MAX_CHUNKS];
    ptrdiff_t batch_size;
    fs_sgd sgd;
    fs_sums step_sums, sums;
    /* loss_and_grad's: where tiles go, (K, D) and (K,); (n_rows, D), or NULL */
    float *grad_weight, *grad_bias, *grad_input;

    float *losses; /* evaluate: (n_rows,) or NULL */
    float *out;    /* predict_logits, softmax */
    const float *logits;
    int log;
} pass;

/* Room for a buffer of n bytes at *end, which moves on. A first round with base NULL measures. */
static void *place(char *base, size_t *end, size_t n) {
    char *p = base ? base + *end : NULL;
    *end += (n + FS_ALIGN - 1) / FS_ALIGN * FS_ALIGN;
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
}

/* What a pass is for: by what it needs. */
typedef enum { TRAIN, LOSS_AND_GRAD, FORWARD } purpose;

/* All buffers of a pass in one allocation, which the caller gives back, and the parameters packed
 * or where they are; NULL if there is no memory. */
static void *new_pass(pass *p, purpose what, const fs_kernels *kernels, const fs_rows *rows,
                      int num_threads, ptrdiff_t batch_size, const float *weight, const float *bias,
                      int velocity) {
    const ptrdiff_t d = rows->n_features, k = rows->n_classes;
    const ptrdiff_t batch = min_of(batch_size, rows->n_rows);
    *p = (pass){.kernels = kernels, .rows = rows, .batch_size = batch};
    p->packed_size = kernels->packed_size(d, k);
    p->bias_offset = kernels->packed_bias_offset(d, k);
    p->room_bytes = (kernels->room_bytes(k) + FS_ALIGN - 1) / FS_ALIGN * FS_ALIGN;
    p->by_tiles = what != FORWARD && is_large(p->packed_size);
    p->span_rows =
        max_of(LEAST_SPAN_ROWS, min_of(SPAN_ROWS, SPAN_LOGITS / k / FS_BLOCK_ROWS * FS_BLOCK_ROWS));
    const ptrdiff_t n_chunks = most_chunks(p->by_tiles ? min_of(batch, p->span_rows) : batch);
    p->num_threads = (int)max_of(1, p->by_tiles ? num_threads : min_of(num_threads, n_chunks));
    const ptrdiff_t n_rooms = p->by_tiles ? n_chunks : p->num_threads;
    const ptrdiff_t n_partials = what == FORWARD ? 0
                                 : !p->by_tiles  ? n_chunks
                                                 : what == TRAIN && batch > p->span_rows;
    p->scratch_floats = p->by_tiles
                            ? kernels->scratch_floats(d, k, min_of(n_rooms, GROUP_ROOMS), n_rooms)
                            : kernels->scratch_floats(d, k, 1, 0);
    const int packed =
        weight && (what == TRAIN || !is_large(p->packed_size) || !kernels->by_columns(d, k));
    size_t bytes = 0;
    place_buffers(p, NULL, &bytes, n_rooms, packed, n_partials, velocity);
    char *memory = fs_take_memory(bytes);
    if (!memory) return NULL;
    bytes = 0;
    place_buffers(p, memory, &bytes, n_rooms, packed, n_partials, velocity);
    if (packed) kernels->pack(weight, bias, d, k, p->packed);
    p->weights = (fs_weights){.packed = p->packed, .weight = weight, .bias = bias};
    return memory;
}

/* The sums of all chunks, in the order of the chunks. */
static void add_sums(fs_sums *to, const fs_sums *sums, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i++) {
        to->loss += sums[i].loss;
        to->weight += sums[i].weight;
        to->correct += sums[i].correct;
        to->counted += sums[i].counted;
    }
}

/* Adds what n chunks weigh, in their order: as each thread does for itself, to scale the gradient. */
static double add_weights(const pass *p, double weight, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i++) weight += p->chunk_sums[i].weight;
    return weight;
}

/* Of a mean over rows of that weight. */
static float grad_scale_of(double weight) { return 1.0f / (weight != 0 ? (float)weight : 1.0f); }

static void input_gradient(const pass *p, const fs_rooms *rooms, ptrdiff_t begin) {
    if (p->grad_input)
        p->kernels->input_gradient(p->rows, p->weights.weight, rooms,
                                   p->grad_input + begin * p->rows->n_features);
}

static fs_rooms rooms_of(const pass *p, ptrdiff_t first, ptrdiff_t n) {
    return (fs_rooms){p->rooms + (size_t)first * p->room_bytes, p->room_bytes, n};
}

static float *scratch_of(const pass *p, fs_member m) {
    return p->scratch + m.thread * p->scratch_floats;
}

/* ---- a step by rows ---- */

/* Partial gradients of this thread's chunks of the batch [begin, begin + n_rows). */
static void partials_phase(pass *p, fs_member m, ptrdiff_t begin, ptrdiff_t n_rows) {
    const fs_kernels *const k = p->kernels;
    const chunks c = chunks_of(n_rows);
    const ptrdiff_t end = begin + n_rows, stop = first_chunk(c, m.thread + 1, m.n_threads);
    const ptrdiff_t n_tiles = k->n_tiles(p->rows->n_features, p->rows->n_classes);
    const fs_rooms room = rooms_of(p, m.thread, 1);

    /* where this thread's rows of the next batch begin, to be prefetched */
    ptrdiff_t next_batch = -1;
    const ptrdiff_t next_rows = min_of(p->batch_size, p->rows->n_rows - end);
    if (next_rows > 0) {
        const chunks next = chunks_of(next_rows);
        next_batch = end + first_chunk(next, m.thread, m.n_threads) * next.rows;
    }

    for (ptrdiff_t i = first_chunk(c, m.thread, m.n_threads); i < stop; i++) {
        const ptrdiff_t first = begin + i * c.rows, last = min_of(first + c.rows, end);
        p->chunk_sums[i] = (fs_sums){0};
        for (ptrdiff_t r = first; r < last; r += FS_BLOCK_ROWS) {
            const ptrdiff_t r_stop = min_of(r + FS_BLOCK_ROWS, last);
            const fs_next next = {.first = r_stop < last || i + 1 < stop ? r_stop : next_batch,
                                  .n_forward = FS_BLOCK_ROWS / 2};
            k->residuals(p->rows, &p->weights, r, r_stop, FS_BLOCK_ROWS, next, &room,
                         scratch_of(p, m), &p->chunk_sums[i]);
            for (ptrdiff_t tile = 0; tile < n_tiles; tile++) {
                ptrdiff_t offset;
                k->tile_floats(p->rows->n_features, p->rows->n_classes, tile, &offset);
                k->gradient(p->rows, &room, NULL, tile, r > first,
                            p->partials + i * p->packed_size + offset);
            }
            input_gradient(p, &room, r);
        }
    }
}

/* This thread's slice of the packed parameters. */
static void slice_of(const pass *p, fs_member m, ptrdiff_t *begin, ptrdiff_t *end) {
    const ptrdiff_t n = divide_up(p->packed_size, SLICE);
    *begin = n * m.thread / m.n_threads * SLICE;
    *end = min_of(n * (m.thread + 1) / m.n_threads * SLICE, p->packed_size);
}

static void update_range(pass *p, const float *grad, ptrdiff_t begin, ptrdiff_t end,
                         float grad_scale, float weight_decay) {
    if (begin < end)
        p->kernels->update(p->packed + begin, grad, p->velocity ? p->velocity + begin : NULL,
                           end - begin, grad_scale, weight_decay, &p->sgd);
}

static void reduce_phase(pass *p, fs_member m, ptrdiff_t n_rows, int update) {
    const ptrdiff_t n_partials = chunks_of(n_rows).n;
    const float grad_scale = grad_scale_of(add_weights(p, 0.0, n_partials));
    ptrdiff_t begin, end;
    slice_of(p, m, &begin, &end);
    for (ptrdiff_t i = begin; i < end; i += REDUCE_FLOATS) {
        const ptrdiff_t stop = min_of(i + REDUCE_FLOATS, end);
        p->kernels->reduce(p->partials, p->packed_size, n_partials, i, stop);
        if (update) {
            const ptrdiff_t bias = p->bias_offset;
            const ptrdiff_t in_bias = max_of(i, bias);
            update_range(p, p->partials + i, i, min_of(stop, bias), grad_scale,
                         p->sgd.weight_decay);
            update_range(p, p->partials + in_bias, in_bias, stop, grad_scale,
                         p->sgd.bias_weight_decay);
        }
    }
}

/* ---- a step by tiles ---- */

/* This thread's tiles of the gradient over the rows of a span. In training each is used to update as
 * soon as it has all rows of the batch, and is stored only where these are of several spans. */
static void tiles_phase(pass *p, fs_member m, const fs_rooms *rooms, int accumulate, int update,
                        float grad_scale) {
    const fs_kernels *const k = p->kernels;
    const ptrdiff_t d = p->rows->n_features, n_classes = p->rows->n_classes;
    const ptrdiff_t n = k->n_tiles(d, n_classes);
    _Alignas(FS_ALIGN) float tile_grad[FS_TILE_FLOATS];
    float *panel = k->by_panels(n_classes) ? scratch_of(p, m) : NULL;
    ptrdiff_t in_panel = -1;
    const ptrdiff_t stop = n * (m.thread + 1) / m.n_threads;
    for (ptrdiff_t tile = n * m.thread / m.n_threads; tile < stop; tile++) {
        ptrdiff_t offset;
        const ptrdiff_t size = k->tile_floats(d, n_classes, tile, &offset);
        const int is_bias = offset == p->bias_offset;
        float *grad = is_bias ? p->bias_tile : p->partials ? p->partials + offset : tile_grad;
        if (p->grad_weight && accumulate && !is_bias)
            k->load_tile(p->grad_weight, d, n_classes, tile, grad);
        if (panel && !is_bias && k->tile_features(n_classes, tile) != in_panel) {
            k->gather(p->rows, rooms, tile, panel);
            in_panel = k->tile_features(n_classes, tile);
        }
        if (update && tile + 1 < stop) { /* what comes next lies too far for the CPU to foresee */
            ptrdiff_t next;
            const ptrdiff_t n_floats = k->tile_floats(d, n_classes, tile + 1, &next);
            for (ptrdiff_t i = 0; i < n_floats; i += LINE_FLOATS)
                __builtin_prefetch(p->packed + next + i, 1, 2);
        }
        k->gradient(p->rows, rooms, is_bias ? NULL : panel, tile, accumulate, grad);
        if (update)
            update_range(p, grad, offset, offset + size, grad_scale,
                         is_bias ? p->sgd.bias_weight_decay : p->sgd.weight_decay);
        if (p->grad_weight) k->store_tile(grad, d, n_classes, tile, p->grad_weight, p->grad_bias);
    }
}

/* The rule: threads share the classes, instead of the rows, where these are so few that to read them
 * all takes less than to read the weight does. Measured on Emerald Rapids, K = 1000: a step of 32 rows
 * takes 17 to 25% less, one of 256 rows 3 to 5% less where D is 784 or more, 2 to 7% more at 64; at
 * K = 100 one of 32 takes 6 to 14% less, one of 64 as long. */
static int by_classes(const pass *p, ptrdiff_t n_rows) {
    return p->num_threads > 1 && n_rows <= GROUP_ROOMS * FS_BLOCK_ROWS &&
           3 * n_rows <= p->rows->n_classes;
}

/* Residuals of this thread's chunks of the rows [begin, end). */
static void share_rows(pass *p, fs_member m, chunks c, ptrdiff_t begin, ptrdiff_t end) {
    const ptrdiff_t stop = first_chunk(c, m.thread + 1, m.n_threads);
    for (ptrdiff_t i = first_chunk(c, m.thread, m.n_threads); i < stop; i += GROUP_ROOMS) {
        const ptrdiff_t n = min_of(GROUP_ROOMS, stop - i), first = begin + i * c.rows;
        const fs_rooms group = rooms_of(p, i, n);
        const ptrdiff_t last = min_of(first + n * c.rows, end);
        const fs_next next = {.first = i + n < stop ? last : -1, .n_forward = FS_BLOCK_ROWS};
        for (ptrdiff_t j = i; j < i + n; j++) p->chunk_sums[j] = (fs_sums){0};
        p->kernels->residuals(p->rows, &p->weights, first, last, c.rows, next, &group,
                              scratch_of(p, m), &p->chunk_sums[i]);
        input_gradient(p, &group, first);
    }
}

/* The same, where each thread computes the logits of its classes for all rows, and so reads its part
 * of the weight only. */
static void share_classes(pass *p, fs_member m, chunks c, ptrdiff_t begin, ptrdiff_t end) {
    const fs_kernels *const k = p->kernels;
    const ptrdiff_t mine = first_chunk(c, m.thread, m.n_threads);
    const ptrdiff_t n = first_chunk(c, m.thread + 1, m.n_threads) - mine;
    const fs_rooms rooms = rooms_of(p, mine, n), all = rooms_of(p, 0, c.n);
    const ptrdiff_t first = begin + mine * c.rows;
    k->take(p->rows, first, min_of(first + n * c.rows, end), c.rows,
            (fs_next){.first = -1, .n_forward = FS_BLOCK_ROWS}, &rooms);
    fs_team_barrier(m);
    k->share_logits(p->rows, &p->weights, &all, m.thread, m.n_threads, scratch_of(p, m));
    fs_team_barrier(m);
    for (ptrdiff_t i = mine; i < mine + n; i++) p->chunk_sums[i] = (fs_sums){0};
    k->finish(p->rows, first, c.rows, &rooms, &p->chunk_sums[mine]);
    input_gradient(p, &rooms, first);
}

static void step_by_tiles(pass *p, fs_member m, ptrdiff_t begin, ptrdiff_t n_rows, int update) {
    double weight = 0;
    for (ptrdiff_t done = 0; done < n_rows; done += p->span_rows) {
        const ptrdiff_t first = begin + done, last = first + min_of(p->span_rows, n_rows - done);
        const chunks c = chunks_of(last - first);
        const fs_rooms rooms = rooms_of(p, 0, c.n);
        (by_classes(p, last - first) ? share_classes : share_rows)(p, m, c, first, last);
        fs_team_barrier(m);
        weight = add_weights(p, weight, c.n);
        tiles_phase(p, m, &rooms, done > 0, update && last == begin + n_rows,
                    grad_scale_of(weight));
        if (m.thread == 0) add_sums(&p->step_sums, p->chunk_sums, c.n);
        fs_team_barrier(m);
    }
}

/* ---- the entry points ---- */

static void step_by_rows(pass *p, fs_member m, ptrdiff_t begin, ptrdiff_t n_rows, int update) {
    partials_phase(p, m, begin, n_rows);
    fs_team_barrier(m);
    reduce_phase(p, m, n_rows, update);
    if (m.thread == 0) add_sums(&p->step_sums, p->chunk_sums, chunks_of(n_rows).n);
    fs_team_barrier(m);
}

static void step(pass *p, fs_member m, ptrdiff_t begin, ptrdiff_t n_rows, int update) {
    (p->by_tiles ? step_by_tiles : step_by_rows)(p, m, begin, n_rows, update);
    if (m.thread == 0) {
        p->sgd.first_step = 0;
        add_sums(&p->sums, &p->step_sums, 1); /* step by step, as a loop of calls would */
        p->step_sums = (fs_sums){0};
    }
}

static void train_work(void *context, fs_member m) {
    pass *p = context;
    for (ptrdiff_t begin = 0; begin < p->rows->n_rows; begin += p->batch_size)
        step(p, m, begin, min_of(p->batch_size, p->rows->n_rows - begin), 1);
}

int fs_train_epoch(const fs_kernels *kernels, const fs_rows *rows, ptrdiff_t batch_size,
                   const fs_params *params, const fs_sgd *sgd, int num_threads, fs_sums *sums) {
    pass p;
    void *memory = new_pass(&p, TRAIN, kernels, rows, num_threads, batch_size, params->weight,
                            params->bias, params->velocity_weight != NULL);
    if (!memory) return FS_NO_MEMORY;
    p.sgd = *sgd;
    const ptrdiff_t d = rows->n_features, k = rows->n_classes;
    if (p.velocity) kernels->pack(params->velocity_weight, params->velocity_bias, d, k, p.velocity);
    fs_team_run(p.num_threads, train_work, &p);
    kernels->unpack(p.packed, d, k, params->weight, params->bias);
    if (p.velocity)
        kernels->unpack(p.velocity, d, k, params->velocity_weight, params->velocity_bias);
    *sums = p.sums;
    fs_give_back_memory(memory);
    return FS_OK;
}

static void loss_and_grad_work(void *context, fs_member m) {
    pass *p = context;
    step(p, m, 0, p->rows->n_rows, 0);
}

int fs_loss_and_grad(const fs_kernels *kernels, const fs_rows *rows, const float *weight,
                     const float *bias, int num_threads, float *grad_weight, float *grad_bias,
                     float *grad_input, fs_sums *sums) {
    pass p;
    void *memory =
        new_pass(&p, LOSS_AND_GRAD, kernels, rows, num_threads, rows->n_rows, weight, bias, 0);
    if (!memory) return FS_NO_MEMORY;
    p.grad_weight = grad_weight;
    p.grad_bias = grad_bias;
    p.grad_input = grad_input;
    fs_team_run(p.num_threads, loss_and_grad_work, &p);
    if (!p.by_tiles)
        kernels->unpack(p.partials, rows->n_features, rows->n_classes, grad_weight, grad_bias);
    *sums = p.sums;
    fs_give_back_memory(memory);
    return FS_OK;
}

void fs_sgd_update(const fs_kernels *kernels, const fs_params *params, const float *grad_weight,
                   const float *grad_bias, ptrdiff_t n_features, ptrdiff_t n_classes,
                   double total_weight, const fs_sgd *sgd) {
    const float grad_scale = grad_scale_of(total_weight);
    kernels->update(params->weight, grad_weight, params->velocity_weight, n_classes * n_features,
                    grad_scale, sgd->weight_decay, sgd);
    kernels->update(params->bias, grad_bias, params->velocity_bias, n_classes, grad_scale,
                    sgd->bias_weight_decay, sgd);
}

/* Calls `one` for each of this thread's chunks of all rows. */
static void for_each_chunk(pass *p, fs_member m,
                           void (*one)(pass *, fs_member m, void *room, ptrdiff_t chunk,
                                       ptrdiff_t begin, ptrdiff_t end)) {
    const chunks c = chunks_of(p->rows->n_rows);
    void *room = p->rooms + (size_t)m.thread * p->room_bytes;
    for (ptrdiff_t i = first_chunk(c, m.thread, m.n_threads);
         i < first_chunk(c, m.thread + 1, m.n_threads); i++)
        one(p, m, room, i, i * c.rows, min_of((i + 1) * c.rows, p->rows->n_rows));
}

static void evaluate_chunk(pass *p, fs_member m, void *room, ptrdiff_t chunk, ptrdiff_t begin,
                           ptrdiff_t end) {
    p->kernels->loss(p->rows, &p->weights, begin, end, room, scratch_of(p, m), p->losses,
                     &p->chunk_sums[chunk]);
}

static void evaluate_work(void *p, fs_member m) { for_each_chunk(p, m, evaluate_chunk); }

int fs_evaluate(const fs_kernels *kernels, const fs_rows *rows, const float *weight,
                const float *bias, int num_threads, float *losses, fs_sums *sums) {
    pass p;
    void *memory = new_pass(&p, FORWARD, kernels, rows, num_threads, rows->n_rows, weight, bias, 0);
    if (!memory) return FS_NO_MEMORY;
    p.losses = losses;
    fs_team_run(p.num_threads, evaluate_work, &p);
    add_sums(&p.sums, p.chunk_sums, chunks_of(rows->n_rows).n);
    *sums = p.sums;
    fs_give_back_memory(memory);
    return FS_OK;
}

static void logits_chunk(pass *p, fs_member m, void *room, ptrdiff_t chunk, ptrdiff_t begin,
                         ptrdiff_t end) {
    (void)chunk;
    p->kernels->logits(p->rows, &p->weights, begin, end, room, scratch_of(p, m), p->out);
}

static void logits_work(void *p, fs_member m) { for_each_chunk(p, m, logits_chunk); }

int fs_predict_logits(const fs_kernels *kernels, const fs_rows *rows, const float *weight,
                      const float *bias, int num_threads, float *logits) {
    pass p;
    void *memory = new_pass(&p, FORWARD, kernels, rows, num_threads, rows->n_rows, weight, bias, 0);
    if (!memory) return FS_NO_MEMORY;
    p.out = logits;
    fs_team_run(p.num_threads, logits_work, &p);
    fs_give_back_memory(memory);
    return FS_OK;
}

static void softmax_chunk(pass *p, fs_member m, void *room, ptrdiff_t chunk, ptrdiff_t begin,
                          ptrdiff_t end) {
    (void)chunk;
    (void)m;
    p->kernels->softmax(p->logits, begin, end, p->rows->n_classes, p->log, room, p->out);
}

static void softmax_work(void *p, fs_member m) { for_each_chunk(p, m, softmax_chunk); }

int fs_softmax(const fs_kernels *kernels, const float *logits, ptrdiff_t n_rows,
               ptrdiff_t n_classes, int log, int num_threads, float *out) {
    const fs_rows rows = {.n_rows = n_rows, .n_classes = n_classes};
    pass p;
    void *memory = new_pass(&p, FORWARD, kernels, &rows, num_threads, n_rows, NULL, NULL, 0);
    if (!memory) return FS_NO_MEMORY;
    p.logits = logits;
    p.log = log;
    p.out = out;
    fs_team_run(p.num_threads, softmax_work, &p);
    fs_give_back_memory(memory);
    return FS_OK;
}
