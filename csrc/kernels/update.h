/* update.h: two partial gradients -> their sum; a gradient -> the updated parameters. */
#ifndef FS_UPDATE_H
#define FS_UPDATE_H

#include "prefetch.h"
#include "tiles.h"

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

/* g += weight_decay * w;  v = momentum * v + (1 - dampening) * g, at the first step v = g;
 * w -= lr * (nesterov ? g + momentum * v : v). Source: torch.optim.SGD. Then w is shrunk. */
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

/* Of n parameters, a multiple of a vector. */
FS_INLINE void update_vectors(float *param, const float *grad, float *velocity, ptrdiff_t n,
                              float grad_scale, penalties penalty,
                              const fs_step_settings *settings) {
    if (!velocity)
        for (ptrdiff_t i = 0; i < n; i += FS_LANES)
            v_store(param + i, updated(v_load(param + i), v_load(grad + i), NULL, grad_scale,
                                       penalty, settings));
    else
        for (ptrdiff_t i = 0; i < n; i += FS_LANES) {
            vf v = v_load(velocity + i);
            v_store(param + i, updated(v_load(param + i), v_load(grad + i), &v, grad_scale, penalty,
                                       settings));
            v_store(velocity + i, v);
        }
}

static void update(float *param, const float *grad, float *velocity, ptrdiff_t n, float grad_scale,
                   int is_bias, const fs_step_settings *settings) {
    const penalties penalty = penalties_of(settings, is_bias);
    const ptrdiff_t n_full = n / FS_LANES * FS_LANES;
    update_vectors(param, grad, velocity, n_full, grad_scale, penalty, settings);
    if (n_full < n) { /* by the same vector code, so that the bits do not depend on the layout */
        float w[FS_LANES] = {0}, g[FS_LANES] = {0}, v[FS_LANES] = {0};
        const size_t rest = (size_t)(n - n_full) * sizeof(float);
        memcpy(w, param + n_full, rest);
        memcpy(g, grad + n_full, rest);
        if (velocity) memcpy(v, velocity + n_full, rest);
        update_vectors(w, g, velocity ? v : NULL, FS_LANES, grad_scale, penalty, settings);
        memcpy(param + n_full, w, rest);
        if (velocity) memcpy(velocity + n_full, v, rest);
    }
}

static void update_tile(const fs_params *params, const float *grad, ptrdiff_t tile,
                        float grad_scale, const fs_step_settings *settings) {
    const fs_shape shape = params->shape;
    if (tile == n_tiles(shape) - 1) {
        update(params->bias, grad, params->velocity_bias, shape.n_classes, grad_scale, 1, settings);
        return;
    }
    const tile_place t = place_of(shape, tile);
    const penalties penalty = penalties_of(settings, 0);
    for (ptrdiff_t k = 0; k < t.n; k++) {
        const ptrdiff_t at = t.first + k * shape.n_features, last = (t.n_vectors - 1) * FS_LANES;
        float *param = params->weight + at;
        float *velocity = params->velocity_weight ? params->velocity_weight + at : NULL;
        const float *grad_k = grad + k * FS_LANES;
        for (ptrdiff_t i = 0; i < last; i += FS_LANES)
            update_vectors(param + i, grad_k + i * t.n, velocity ? velocity + i : NULL, FS_LANES,
                           grad_scale, penalty, settings);
        update(param + last, grad_k + last * t.n, velocity ? velocity + last : NULL, t.n_last,
               grad_scale, 0, settings);
    }
}

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
