/* update.h: a gradient -> the updated parameters; and the sum of two partial gradients.
 *
 * `updated` is the whole rule of an update. All plans, and a call without a plan, come to it.
 */
#ifndef FS_UPDATE_H
#define FS_UPDATE_H

#include "prefetch.h"
#include "tiles.h"

/* sum[0:n] += other[0:n], n a multiple of a vector. */
static void add(float *sum, const float *other, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i += FS_LANES)
        v_store(sum + i, v_load(sum + i) + v_load(other + i));
}

/* The penalties of the weight, or of the bias. */
typedef struct {
    float weight_decay;
    float shrinkage; /* lr * l1: by so much an element comes nearer to 0 */
} penalties;

FS_INLINE penalties penalties_of(const fs_step_settings *s, int is_bias) {
    if (is_bias) return (penalties){s->bias_weight_decay, 0.0f};
    return (penalties){s->weight_decay, s->lr * s->l1};
}

/* The proximal step of L1, soft thresholding: sign(w) * max(|w| - shrinkage, 0). NaN stays NaN. */
FS_INLINE vf shrunk(vf w, float shrinkage) {
    const vf by = v_set(shrinkage), zero_or_nan = v_fma(w, v_set(0.0f), v_set(0.0f));
    return v_select(w > by, w - by, v_select(w < -by, w + by, zero_or_nan));
}

/* What becomes of a vector w of parameters with the gradient g, and of its velocity v, which is
 * NULL without momentum. The rule is that of torch.optim.SGD, then w is shrunk:
 *     g += weight_decay * w
 *     v = momentum * v + (1 - dampening) * g, at the first step v = g
 *     w -= lr * (nesterov ? g + momentum * v : v) */
FS_INLINE vf updated(vf w, vf g, vf *v, float grad_scale, penalties penalty,
                     const fs_step_settings *s) {
    g = g * grad_scale;
    if (penalty.weight_decay != 0.0f) g = v_fma(v_set(penalty.weight_decay), w, g);
    if (v) {
        *v = s->first_step ? g : v_fma(v_set(s->momentum), *v, (1.0f - s->dampening) * g);
        g = s->nesterov ? v_fma(v_set(s->momentum), *v, g) : *v;
    }
    w = v_fma(v_set(-s->lr), g, w);
    return penalty.shrinkage == 0.0f ? w : shrunk(w, penalty.shrinkage);
}

/* Updates n parameters, a multiple of a vector. velocity may be NULL. */
FS_INLINE void update_vectors(float *param, const float *grad, float *velocity, ptrdiff_t n,
                              float grad_scale, penalties penalty, const fs_step_settings *s) {
    if (!velocity)
        for (ptrdiff_t i = 0; i < n; i += FS_LANES)
            v_store(param + i,
                    updated(v_load(param + i), v_load(grad + i), NULL, grad_scale, penalty, s));
    else
        for (ptrdiff_t i = 0; i < n; i += FS_LANES) {
            vf v = v_load(velocity + i);
            v_store(param + i,
                    updated(v_load(param + i), v_load(grad + i), &v, grad_scale, penalty, s));
            v_store(velocity + i, v);
        }
}

/* Updates any number of parameters. What is left after the last full vector goes through the same
 * vector code, so that the bits do not depend on the layout. */
FS_INLINE void update_floats(float *param, const float *grad, float *velocity, ptrdiff_t n,
                             float grad_scale, penalties penalty, const fs_step_settings *s) {
    const ptrdiff_t n_full = n / FS_LANES * FS_LANES;
    update_vectors(param, grad, velocity, n_full, grad_scale, penalty, s);
    if (n_full < n) {
        float w[FS_LANES] = {0}, g[FS_LANES] = {0}, v[FS_LANES] = {0};
        const size_t rest = (size_t)(n - n_full) * sizeof(float);
        memcpy(w, param + n_full, rest);
        memcpy(g, grad + n_full, rest);
        if (velocity) memcpy(v, velocity + n_full, rest);
        update_vectors(w, g, velocity ? v : NULL, FS_LANES, grad_scale, penalty, s);
        memcpy(param + n_full, w, rest);
        if (velocity) memcpy(velocity + n_full, v, rest);
    }
}

static void update(float *param, const float *grad, float *velocity, ptrdiff_t n, float grad_scale,
                   int is_bias, const fs_step_settings *settings) {
    const fs_step_settings s = *settings; /* a copy, which the compiler keeps in registers */
    update_floats(param, grad, velocity, n, grad_scale, penalties_of(&s, is_bias), &s);
}

/* Updates the parameters of one tile where they are, in weight (K, D) or bias (K,). */
static void update_tile(const fs_params *params, const float *grad, ptrdiff_t tile,
                        float grad_scale, const fs_step_settings *settings) {
    const fs_shape shape = params->shape;
    if (tile == n_tiles(shape) - 1) {
        update(params->bias, grad, params->velocity_bias, shape.n_classes, grad_scale, 1, settings);
        return;
    }
    const fs_step_settings s = *settings;
    const penalties penalty = penalties_of(&s, 0);
    const tile_place t = place_of(shape, tile);
    for (ptrdiff_t k = 0; k < t.n; k++) {
        const ptrdiff_t at = t.first + k * shape.n_features, last = (t.n_vectors - 1) * FS_LANES;
        float *param = params->weight + at;
        float *velocity = params->velocity_weight ? params->velocity_weight + at : NULL;
        const float *grad_k = grad + k * FS_LANES;
        for (ptrdiff_t i = 0; i < last; i += FS_LANES)
            update_vectors(param + i, grad_k + i * t.n, velocity ? velocity + i : NULL, FS_LANES,
                           grad_scale, penalty, &s);
        update_floats(param + last, grad_k + last * t.n, velocity ? velocity + last : NULL,
                      t.n_last, grad_scale, penalty, &s);
    }
}

/* Fetches the weight that update_tile will change. */
static void fetch_tile(const fs_params *params, ptrdiff_t tile) {
    if (tile == n_tiles(params->shape) - 1) return;
    const tile_place t = place_of(params->shape, tile);
    for (ptrdiff_t k = 0; k < t.n; k++) {
        const char *from = (const char *)(params->weight + t.first + k * params->shape.n_features);
        for (ptrdiff_t i = 0; i < TILE_FEATURES * (ptrdiff_t)sizeof(float); i += FS_LINE)
            v_prefetch(from + next_line(i));
    }
}

#endif
