/* update.h: two partial gradients -> their sum; a gradient -> the updated parameters. */
#ifndef FS_UPDATE_H
#define FS_UPDATE_H

#include "layout.h"

static void add(float *sum, const float *other, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i += FS_LANES)
        v_store(sum + i, v_load(sum + i) + v_load(other + i));
}

/* g += weight_decay * w;  v = momentum * v + (1 - dampening) * g, at the first step v = g;
 * w -= lr * (nesterov ? g + momentum * v : v). Source: torch.optim.SGD. */
FS_INLINE vf updated(vf w, vf g, vf *v, float grad_scale, float weight_decay, const fs_sgd *s) {
    g = g * grad_scale;
    if (weight_decay != 0.0f) g = v_fma(v_set(weight_decay), w, g);
    if (v) {
        *v = s->first_step ? g : v_fma(v_set(s->momentum), *v, (1.0f - s->dampening) * g);
        g = s->nesterov ? v_fma(v_set(s->momentum), *v, g) : *v;
    }
    return v_fma(v_set(-s->lr), g, w);
}

static void update(float *param, const float *grad, float *velocity, ptrdiff_t n, float grad_scale,
                   float weight_decay, const fs_sgd *sgd) {
    const ptrdiff_t n_full = n / FS_LANES * FS_LANES;
    if (!velocity)
        for (ptrdiff_t i = 0; i < n_full; i += FS_LANES)
            v_store(param + i, updated(v_load(param + i), v_load(grad + i), NULL, grad_scale,
                                       weight_decay, sgd));
    else
        for (ptrdiff_t i = 0; i < n_full; i += FS_LANES) {
            vf v = v_load(velocity + i);
            v_store(param + i, updated(v_load(param + i), v_load(grad + i), &v, grad_scale,
                                       weight_decay, sgd));
            v_store(velocity + i, v);
        }
    if (n_full < n) { /* by the same vector code, so that the bits do not depend on the layout */
        float w[FS_LANES] = {0}, g[FS_LANES] = {0}, v[FS_LANES] = {0};
        const size_t rest = (size_t)(n - n_full) * sizeof(float);
        memcpy(w, param + n_full, rest);
        memcpy(g, grad + n_full, rest);
        if (velocity) memcpy(v, velocity + n_full, rest);
        update(w, g, velocity ? v : NULL, FS_LANES, grad_scale, weight_decay, sgd);
        memcpy(param + n_full, w, rest);
        if (velocity) memcpy(velocity + n_full, v, rest);
    }
}

#endif
