/* table.c: the table of the kernels of one ISA; compiled once per ISA.
 *
 * Everything in this folder is static but the table: a function that the linker shared between two
 * ISAs would be an illegal instruction on the older CPU.
 */
#include "gradient.h"
#include "input_gradient.h"
#include "residuals.h"
#include "update.h"

static ptrdiff_t scratch_floats(fs_shape shape, ptrdiff_t n_logits, ptrdiff_t n_gradient) {
    const ptrdiff_t columns = by_columns(shape) ? n_logits * COLUMN_FEATURES : 0;
    const ptrdiff_t panel = by_panels(shape.n_classes) ? n_gradient * TILE_FEATURES : 0;
    return FS_BLOCK_ROWS * max_of(columns, panel);
}

extern const fs_kernels FS_KERNELS;
const fs_kernels FS_KERNELS = {
    .isa = FS_ISA_NAME,
    .packed_size = packed_size,
    .packed_bias_offset = packed_bias_offset,
    .pack = pack,
    .unpack = unpack,
    .workspace_bytes = workspace_bytes,
    .scratch_floats = scratch_floats,
    .by_columns = by_columns,
    .by_classes = by_classes,
    .by_panels = by_panels,
    .residuals = residuals,
    .take = take,
    .share_logits = share_logits,
    .finish = finish,
    .n_tiles = n_tiles,
    .thread_tiles = thread_tiles,
    .tile_floats = tile_floats,
    .tile_features = tile_features,
    .gradient = gradient,
    .input_gradient = input_gradient,
    .store_tile = store_tile,
    .load_tile = load_tile,
    .add = add,
    .update = update,
    .update_tile = update_tile,
    .fetch_tile = fetch_tile,
    .evaluate = evaluate,
    .logits = logits,
    .softmax = softmax,
    .exp = exp_array,
    .log = log_array,
};
