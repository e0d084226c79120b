/* thresholds.h: where the kernels change from one way to another, and how much they take at a time.
 * They depend on the ISA; those of the driver are in driver/thresholds.h.
 */
#ifndef FS_KERNEL_THRESHOLDS_H
#define FS_KERNEL_THRESHOLDS_H

#include "layout.h"

enum {
    /* logits_rows.h: features at a time. A class group's weight for them has to stay in an L1 of 32 KB
     * while rows pass, beside the float32 rows that come from memory; uint8 rows leave more room. */
    LOGITS_FEATURES = (20 << 10) / (int)sizeof(float) / FS_CLASSES,
    LOGITS_FEATURES_UINT8 = (32 << 10) / (int)sizeof(float) / FS_CLASSES,
    /* logits_columns.h: features transposed at a time. */
    COLUMN_FEATURES = 256,
    /* gradient.h: class groups from which on features are copied into a panel. */
    PANEL_CLASS_GROUPS = 2,
    /* input_gradient.h: classes whose weight is in a panel at a time, 32 KB. */
    INPUT_CLASSES = 128,
};

/* To transpose a feature of a row costs a 16th of what the horizontal sum of a logit does, where FS_LANES
 * is 16; and there is one sum for each LOGITS_FEATURES. */
static int by_columns(fs_shape shape) {
    const ptrdiff_t n_sums = (shape.n_features + LOGITS_FEATURES - 1) / LOGITS_FEATURES;
    return shape.n_classes * n_sums * FS_LANES >= shape.n_features;
}

/* Threads share the classes, instead of the rows, where the rows are so few that to read them all takes
 * less than to fetch the weight from the core that updated it. No thread may have much more classes
 * than another: at most 5/4 of the mean, and for the more rows none. */
static int by_classes(ptrdiff_t n_rows, ptrdiff_t n_classes, int n_threads) {
    const ptrdiff_t n = class_groups(n_classes), most = (n + n_threads - 1) / n_threads;
    return n_threads > 1 && 4 * most * n_threads <= 5 * n &&
           n_rows <= (n % n_threads == 0 ? 2 * n_classes : n_classes);
}

static int by_panels(ptrdiff_t n_classes) { return class_groups(n_classes) >= PANEL_CLASS_GROUPS; }

#endif
