/* layout.h: the packed parameters, [class group][feature vector][class][lane], then the bias.
 *
 * One pointer with constant offsets walks them. Lanes and classes that do not exist are zero, and
 * stay zero, as their gradient is zero.
 */
#ifndef FS_LAYOUT_H
#define FS_LAYOUT_H

#include "kernels.h"
#include "vec.h"

static ptrdiff_t feature_vectors(ptrdiff_t n_features) {
    return (n_features + FS_LANES - 1) / FS_LANES;
}

/* Classes come in groups of at most FS_CLASSES, as equal as they can be, larger ones first. */
static ptrdiff_t class_groups(ptrdiff_t n_classes) {
    return (n_classes + FS_CLASSES - 1) / FS_CLASSES;
}

/* The first class of a group, and the end of the group before. */
static ptrdiff_t first_class(ptrdiff_t group, ptrdiff_t n_classes) {
    const ptrdiff_t n_groups = class_groups(n_classes);
    return group * (n_classes / n_groups) + min_of(group, n_classes % n_groups);
}

/* Where threads share n class groups: the first group of a thread. */
static ptrdiff_t thread_group(ptrdiff_t n, int thread, int n_threads) {
    return n * thread / n_threads;
}

static ptrdiff_t packed_bias_offset(fs_shape shape) {
    return shape.n_classes * feature_vectors(shape.n_features) * FS_LANES;
}

static ptrdiff_t packed_size(fs_shape shape) {
    return packed_bias_offset(shape) + round_up(shape.n_classes, FS_LANES);
}

static void pack(const float *weight, const float *bias, fs_shape shape, float *packed) {
    const ptrdiff_t n_classes = shape.n_classes, n_features = shape.n_features;
    const ptrdiff_t n_vectors = feature_vectors(n_features);
    const ptrdiff_t n_full = n_features / FS_LANES, rest = n_features % FS_LANES;
    for (ptrdiff_t c = 0; c < class_groups(n_classes); c++) {
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
    float *packed_bias = packed + packed_bias_offset(shape);
    for (ptrdiff_t k = 0; k < round_up(n_classes, FS_LANES); k++)
        packed_bias[k] = k < n_classes ? bias[k] : 0.0f;
}

static void unpack(const float *packed, fs_shape shape, float *weight, float *bias) {
    const ptrdiff_t n_classes = shape.n_classes, n_features = shape.n_features;
    const ptrdiff_t n_vectors = feature_vectors(n_features);
    const ptrdiff_t n_full = n_features / FS_LANES, rest = n_features % FS_LANES;
    for (ptrdiff_t c = 0; c < class_groups(n_classes); c++) {
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
    memcpy(bias, packed + packed_bias_offset(shape), (size_t)n_classes * sizeof(float));
}

#endif
