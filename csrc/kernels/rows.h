/* rows.h: what a row is: float32 or uint8 features, at a position in the order.
 *
 * A kernel that reads features takes the row type as a constant, is_uint8, and is compiled for
 * both.
 */
#ifndef FS_ROWS_H
#define FS_ROWS_H

#include "layout.h"

FS_INLINE ptrdiff_t index_at(const fs_rows *rows, ptrdiff_t position) {
    return rows->order ? (ptrdiff_t)rows->order[position] : position;
}

FS_INLINE const char *row_at(const fs_rows *rows, ptrdiff_t position) {
    return (const char *)rows->x + index_at(rows, position) * feature_bytes(rows, rows->n_features);
}

/* Bytes of a vector of features. */
FS_INLINE int vector_bytes_of(const int is_uint8) {
    return FS_LANES * (is_uint8 ? 1 : (int)sizeof(float));
}

/* A full vector of features. */
FS_INLINE vf load_features(const char *row, ptrdiff_t vector, const int is_uint8) {
    return is_uint8 ? v_load_u8((const uint8_t *)row + vector * FS_LANES)
                    : v_load((const float *)(const void *)row + vector * FS_LANES);
}

/* tail (FS_LANES,) = the features from `first` on, fewer than a vector, and zeros. */
FS_INLINE void load_tail(float *tail, const fs_rows *rows, const char *row, ptrdiff_t first) {
    const ptrdiff_t n = rows->n_features - first;
    v_store(tail, (vf){0});
    if (rows->row_type == FS_UINT8)
        for (ptrdiff_t i = 0; i < n; i++) tail[i] = (uint8_t)row[first + i];
    else
        memcpy(tail, (const float *)(const void *)row + first, (size_t)n * sizeof(float));
}

#endif
