/* layout.h: the packed parameters, [class block][feature vector][class][lane], then the bias.
 *
 * One pointer with constant offsets walks them. Lanes and classes that do not exist are zero, and
 * stay so: their gradient is zero.
 */
#ifndef FS_LAYOUT_H
#define FS_LAYOUT_H

#include "fastsoftmax.h"
#include "vec.h"

static ptrdiff_t min_of(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static ptrdiff_t round_up(ptrdiff_t n, ptrdiff_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}
static ptrdiff_t feature_vectors(ptrdiff_t n_features) {
    return (n_features + FS_LANES - 1) / FS_LANES;
}

/* Classes come in blocks of at most FS_CLASSES, as equal as they can be, larger ones first. */
static ptrdiff_t class_blocks(ptrdiff_t n_classes) {
    return (n_classes + FS_CLASSES - 1) / FS_CLASSES;
}

/* The first class of a class block; that of the next one is where it ends. */
static ptrdiff_t first_class(ptrdiff_t class_block, ptrdiff_t n_classes) {
    const ptrdiff_t n_blocks = class_blocks(n_classes);
    return class_block * (n_classes / n_blocks) + min_of(class_block, n_classes % n_blocks);
}

/* The rule: threads share the classes, instead of the rows and features, where rows are so few that to
 * read them all takes less than to have the weight from the core that updated it; which pays for more
 * rows where no thread has more classes than another. On Zen 4 a step of 32 rows so takes 7 to 17%
 * less at K = 16, D >= 2048, 10% less at K = 100, D = 784, and one of 64 rows 5% less. One of 256 rows
 * would take 3% more there, and one of 96 at K = 50, in 3 and 2 class blocks, 12%. */
static int by_classes(ptrdiff_t n_rows, ptrdiff_t n_classes, int n_threads) {
    const ptrdiff_t n = class_blocks(n_classes), most = (n + n_threads - 1) / n_threads;
    return n_threads > 1 && 4 * most * n_threads <= 5 * n &&
           n_rows <= (n % n_threads == 0 ? 2 * n_classes : n_classes);
}

/* The first of n class blocks that is then a thread's. */
static ptrdiff_t thread_block(ptrdiff_t n, int thread, int n_threads) {
    return n * thread / n_threads;
}

static ptrdiff_t packed_bias_offset(ptrdiff_t n_features, ptrdiff_t n_classes) {
    return n_classes * feature_vectors(n_features) * FS_LANES;
}

static ptrdiff_t packed_size(ptrdiff_t n_features, ptrdiff_t n_classes) {
    return packed_bias_offset(n_features, n_classes) + round_up(n_classes, FS_LANES);
}

static void pack(const float *weight, const float *bias, ptrdiff_t n_features, ptrdiff_t n_classes,
                 float *packed) {
    const ptrdiff_t n_vectors = feature_vectors(n_features);
    const ptrdiff_t n_full = n_features / FS_LANES, rest = n_features % FS_LANES;
    for (ptrdiff_t c = 0; c < class_blocks(n_classes); c++) {
        const ptrdiff_t k0 = first_class(c, n_classes), size = first_class(c + 1, n_classes) - k0;
        for (ptrdiff_t k = 0; k < size; k++) {
            const float *from = weight + (k0 + k) * n_features;
            float *to = packed + (k0 * n_vectors + k) * FS_LANES;
            for (ptrdiff_t f = 0; f < n_full; f++)
                v_store(to + f * size * FS_LANES, v_load(from + f * FS_LANES));
            if (rest) {
                float *last = to + n_full * size * FS_LANES;
                v_store(last, (vf){0});
                memcpy(last, from + n_full * FS_LANES, (size_t)rest * sizeof(float));
            }
        }
    }
    float *packed_bias = packed + packed_bias_offset(n_features, n_classes);
    for (ptrdiff_t k = 0; k < round_up(n_classes, FS_LANES); k++)
        packed_bias[k] = k < n_classes ? bias[k] : 0.0f;
}

static void unpack(const float *packed, ptrdiff_t n_features, ptrdiff_t n_classes, float *weight,
                   float *bias) {
    const ptrdiff_t n_vectors = feature_vectors(n_features);
    const ptrdiff_t n_full = n_features / FS_LANES, rest = n_features % FS_LANES;
    for (ptrdiff_t c = 0; c < class_blocks(n_classes); c++) {
        const ptrdiff_t k0 = first_class(c, n_classes), size = first_class(c + 1, n_classes) - k0;
        for (ptrdiff_t k = 0; k < size; k++) {
            const float *from = packed + (k0 * n_vectors + k) * FS_LANES;
            float *to = weight + (k0 + k) * n_features;
            for (ptrdiff_t f = 0; f < n_full; f++)
                v_store(to + f * FS_LANES, v_load(from + f * size * FS_LANES));
            memcpy(to + n_full * FS_LANES, from + n_full * size * FS_LANES,
                   (size_t)rest * sizeof(float));
        }
    }
    memcpy(bias, packed + packed_bias_offset(n_features, n_classes),
           (size_t)n_classes * sizeof(float));
}

#endif
