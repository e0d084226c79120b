/* thresholds.h: the numbers by which the kernels choose how to work, in one table.
 *
 * They depend on the ISA, by FS_LANES and FS_CLASSES; those of the driver are in
 * driver/thresholds.h. All but by_classes are part of the result, as they decide in which order
 * floats are added.
 */
#ifndef FS_KERNEL_THRESHOLDS_H
#define FS_KERNEL_THRESHOLDS_H

#include "layout.h"

enum {
    /* Features at a time in logits_rows.h. The weight of a class group for them has to stay in an
     * L1 of 32 KB while rows pass: 20 KB beside float32 rows, 32 KB beside uint8 rows. Measured
     * slower: more, as they are missed behind the rows that come from memory; fewer, as there are
     * more sums over lanes. */
    LOGITS_FEATURES = (20 << 10) / (int)sizeof(float) / FS_CLASSES,
    LOGITS_FEATURES_UINT8 = (32 << 10) / (int)sizeof(float) / FS_CLASSES,

    /* Features transposed at a time in logits_columns.h. Measured slower: half as many. */
    COLUMN_FEATURES = 256,

    /* Class groups from which on gradient.h copies features into a panel. */
    PANEL_CLASS_GROUPS = 2,

    /* Classes whose weight input_gradient.h has in a panel at a time: at most 32 KB. */
    INPUT_CLASSES = 128,
};

/* Whether logits are computed by logits_columns.h. To transpose a feature of a row was measured to
 * cost a FS_LANES-th of a sum over lanes. By rows there is such a sum for each logit and each
 * LOGITS_FEATURES. */
static int by_columns(fs_shape shape) {
    const ptrdiff_t n_ranges = divide_up(shape.n_features, LOGITS_FEATURES);
    return shape.n_classes * n_ranges * FS_LANES >= shape.n_features;
}

/* Whether threads share the classes, instead of the rows. It pays where the rows are so few that
 * reading them all takes less than getting the weight from the core that updated it. No thread may
 * have more than 5/4 of its share of the class groups. Where all have the same share it pays for
 * more rows. */
static int by_classes(ptrdiff_t n_rows, ptrdiff_t n_classes, int n_threads) {
    const ptrdiff_t n = class_groups(n_classes), most = divide_up(n, n_threads);
    return n_threads > 1 && 4 * most * n_threads <= 5 * n &&
           n_rows <= (n % n_threads == 0 ? 2 * n_classes : n_classes);
}

/* Whether features are copied into a panel for the gradient. */
static int by_panels(ptrdiff_t n_classes) { return class_groups(n_classes) >= PANEL_CLASS_GROUPS; }

#endif
