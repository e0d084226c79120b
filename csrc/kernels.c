/* kernels.c: rows -> logits -> softmax and loss -> gradient; update; predict.
 *
 * Compiled once per ISA. Everything is static but the table at the end: a function that the linker
 * shared between two ISAs would be an illegal instruction on the older CPU. No threads, no malloc.
 *
 * Design
 *  a) Rows are taken in blocks of at most FS_BLOCK_ROWS (block.h), so that the backward pass finds
 *     them in L2 where the forward pass left them.
 *  b) A register block is FS_CLASSES classes x FS_WIDE rows (forward.h), or 5 classes x FS_WIDER
 *     vectors of features (backward.h). Measured on Emerald Rapids at K = 10: forward 10 x 2 takes
 *     10% less than 5 x 4, as a row is converted half as often and w stays in registers (v_keep);
 *     backward 5 x 4 takes 9% less than 10 x 2.
 *  c) Logits are held transposed (softmax.h), so that the backward pass finds a row's residuals at
 *     constant offsets from one pointer.
 */
#include "backward.h"
#include "columns.h"
#include "criterion.h"
#include "forward.h"
#include "input.h"
#include "softmax.h"
#include "update.h"

/* ---- the table's functions over rows [begin, end) ---- */

/* Logits of the rows from `begin` on -> losses, and residuals if they are asked for. */
static void compute_loss(block *b, const fs_rows *rows, ptrdiff_t begin, int residuals_too,
                         float *losses, fs_sums *sums) {
    if (rows->criterion) {
        weigh_rows(b, rows, begin, sums);
        weighted_loss(b, rows->criterion, residuals_too, losses, sums);
    } else {
        block_loss(b, residuals_too, losses, sums);
    }
    if (residuals_too) finish_residuals(b, rows->scale, rows->grad_scale);
}

static ptrdiff_t scratch_floats(ptrdiff_t n_features, ptrdiff_t n_classes, ptrdiff_t n_logits,
                                ptrdiff_t n_gradient) {
    const ptrdiff_t columns = by_columns(n_features, n_classes) ? n_logits * COLUMN_FEATURES : 0;
    const ptrdiff_t panel = by_panels(n_classes) ? n_gradient * PANEL_FLOATS : 0;
    return FS_BLOCK_ROWS * (columns > panel ? columns : panel);
}

/* Logits of the rows in rooms, for the class blocks [c_first, c_end). */
static void compute_logits(const fs_rows *rows, const fs_weights *weights, const fs_rooms *rooms,
                           ptrdiff_t c_first, ptrdiff_t c_end, float *scratch) {
    if (by_columns(rows->n_features, rows->n_classes))
        forward_columns(rooms, rows, weights, c_first, c_end, scratch);
    else if (rows->row_type == FS_UINT8)
        forward(rooms, rows, weights->packed, c_first, c_end, 1);
    else
        forward(rooms, rows, weights->packed, c_first, c_end, 0);
}

static void take(const fs_rows *rows, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t block_rows,
                 fs_next next, const fs_rooms *rooms) {
    for (ptrdiff_t i = 0; i < rooms->n; i++) {
        const ptrdiff_t r = begin + i * block_rows, stop = min_of(r + block_rows, end);
        block *b = new_block(block_in(rooms, i), rows->n_features, rows->n_classes);
        take_rows(b, rows, r, stop, stop < end ? stop : next.first, next.n_forward);
    }
}

static void share_logits(const fs_rows *rows, const fs_weights *weights, const fs_rooms *rooms,
                         int thread, int n_threads, float *scratch) {
    const ptrdiff_t n = class_blocks(rows->n_classes);
    compute_logits(rows, weights, rooms, thread_block(n, thread, n_threads),
                   thread_block(n, thread + 1, n_threads), scratch);
}

static void finish(const fs_rows *rows, ptrdiff_t begin, ptrdiff_t block_rows,
                   const fs_rooms *rooms, fs_sums *sums) {
    for (ptrdiff_t i = 0; i < rooms->n; i++)
        compute_loss(block_in(rooms, i), rows, begin + i * block_rows, 1, NULL, &sums[i]);
}

static void residuals(const fs_rows *rows, const fs_weights *weights, ptrdiff_t begin,
                      ptrdiff_t end, ptrdiff_t block_rows, fs_next next, const fs_rooms *rooms,
                      float *scratch, fs_sums *sums) {
    take(rows, begin, end, block_rows, next, rooms);
    share_logits(rows, weights, rooms, 0, 1, scratch);
    finish(rows, begin, block_rows, rooms, sums);
}

static void gradient(const fs_rows *rows, const fs_rooms *rooms, float *panel, int fill,
                     ptrdiff_t tile, fs_onto onto, float *grad) {
    const int is_bias = tile == n_tiles(rows->n_features, rows->n_classes) - 1;
    const int is_uint8 = rows->row_type == FS_UINT8;
    if (panel && is_whole(rows->n_features, rows->n_classes, tile)) {
        const ptrdiff_t panel_bytes = feature_bytes(rows, PANEL_FLOATS);
        if (!fill)
            backward_panel(rooms, panel, tile, grad, onto, panel_bytes, PANEL);
        else if (is_uint8)
            backward_panel(rooms, panel, tile, grad, onto, panel_bytes, UINT8_ROWS);
        else
            backward_panel(rooms, panel, tile, grad, onto, panel_bytes, FLOAT32_ROWS);
        return;
    }
    for (ptrdiff_t i = 0; i < rooms->n; i++) {
        const block *b = block_in(rooms, i);
        const fs_onto onto_i = i > 0 ? FS_ONTO_SUMS : onto;
        if (is_bias)
            add_bias_gradient(b, grad, onto_i);
        else if (is_uint8)
            backward(b, tile, grad, onto_i, UINT8_ROWS);
        else
            backward(b, tile, grad, onto_i, FLOAT32_ROWS);
    }
}

static void loss(const fs_rows *rows, const fs_weights *weights, ptrdiff_t begin, ptrdiff_t end,
                 ptrdiff_t next, void *room, float *scratch, float *losses, fs_sums *sums) {
    const fs_rooms only = {.first = room, .n = 1};
    block *b = new_block(room, rows->n_features, rows->n_classes);
    *sums = (fs_sums){0};
    for (ptrdiff_t r = begin; r < end; r += FS_BLOCK_ROWS) {
        const ptrdiff_t stop = min_of(r + FS_BLOCK_ROWS, end);
        take_rows(b, rows, r, stop, stop < end ? stop : next, FS_BLOCK_ROWS);
        share_logits(rows, weights, &only, 0, 1, scratch);
        compute_loss(b, rows, r, 0, losses ? losses + r : NULL, sums);
    }
}

static void logits(const fs_rows *rows, const fs_weights *weights, ptrdiff_t begin, ptrdiff_t end,
                   ptrdiff_t next, void *room, float *scratch, float *out) {
    const fs_rooms only = {.first = room, .n = 1};
    block *b = new_block(room, rows->n_features, rows->n_classes);
    for (ptrdiff_t r = begin; r < end; r += FS_BLOCK_ROWS) {
        const ptrdiff_t stop = min_of(r + FS_BLOCK_ROWS, end);
        take_rows(b, rows, r, stop, stop < end ? stop : next, FS_BLOCK_ROWS);
        share_logits(rows, weights, &only, 0, 1, scratch);
        for (ptrdiff_t i = 0; i < b->n_rows; i++)
            for (ptrdiff_t k = 0; k < b->n_classes; k++)
                out[(r + i) * b->n_classes + k] = b->z[k * FS_BLOCK_ROWS + i];
    }
}

static void softmax(const float *logits, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t n_classes,
                    int log, void *room, float *out) {
    block *b = new_block(room, 0, n_classes);
    for (ptrdiff_t r = begin; r < end; r += FS_BLOCK_ROWS) {
        b->n_rows = min_of(FS_BLOCK_ROWS, end - r);
        for (ptrdiff_t i = 0; i < b->n_rows; i++)
            for (ptrdiff_t k = 0; k < n_classes; k++)
                b->z[k * FS_BLOCK_ROWS + i] = logits[(r + i) * n_classes + k];
        pad_columns(b);
        for (ptrdiff_t i = 0; i < b->n_rows; i += FS_LANES) {
            vi argmax;
            const vf max = row_max(b, i, &argmax);
            if (!log) {
                softmax_columns(b, i, max, v_set(1.0f), TO_READ);
                continue;
            }
            const vf log_sum = v_log(sum_of_exp(b, i, max, NOT_KEPT));
            for (ptrdiff_t k = 0; k < n_classes; k++) {
                float *zk = b->z + k * FS_BLOCK_ROWS + i;
                v_store(zk, (v_load(zk) - max) - log_sum);
            }
        }
        for (ptrdiff_t i = 0; i < b->n_rows; i++)
            for (ptrdiff_t k = 0; k < n_classes; k++)
                out[(r + i) * n_classes + k] = b->z[k * FS_BLOCK_ROWS + i];
    }
}

/* ---- exp.h over arrays ---- */

#define OVER_ARRAY(name, function)                                                                 \
    static void name(const float *x, float *out, ptrdiff_t n) {                                    \
        for (ptrdiff_t i = 0; i < n; i += FS_LANES) {                                              \
            float lanes[FS_LANES] = {0};                                                           \
            const size_t bytes = sizeof(float) * (size_t)min_of(FS_LANES, n - i);                  \
            memcpy(lanes, x + i, bytes);                                                           \
            v_store(lanes, function(v_load(lanes)));                                               \
            memcpy(out + i, lanes, bytes);                                                         \
        }                                                                                          \
    }
OVER_ARRAY(exp_array, v_exp)
OVER_ARRAY(log_array, v_log)

extern const fs_kernels FS_KERNELS;
const fs_kernels FS_KERNELS = {
    .isa = FS_ISA_NAME,
    .packed_size = packed_size,
    .packed_bias_offset = packed_bias_offset,
    .room_bytes = room_bytes,
    .pack = pack,
    .unpack = unpack,
    .n_tiles = n_tiles,
    .thread_tiles = thread_tiles,
    .tile_floats = tile_floats,
    .scratch_floats = scratch_floats,
    .by_columns = by_columns,
    .residuals = residuals,
    .by_classes = by_classes,
    .take = take,
    .share_logits = share_logits,
    .finish = finish,
    .tile_features = tile_features,
    .by_panels = by_panels,
    .gradient = gradient,
    .store_tile = store_tile,
    .load_tile = load_tile,
    .update_tile = update_tile,
    .fetch_tile = fetch_tile,
    .input_gradient = input_gradient,
    .loss = loss,
    .logits = logits,
    .softmax = softmax,
    .add = add,
    .update = update,
    .exp = exp_array,
    .log = log_array,
};
