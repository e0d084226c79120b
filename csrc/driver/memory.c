/* memory.c: one buffer that was given back is kept for the next call.
 *
 * The first touch of new memory is slow, as the system maps it page by page. Measured slower: new
 * memory for each call.
 */
#include "memory.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "fastsoftmax.h"

enum { MOST_KEPT = FS_GAP ? 0 : 64 << 20 }; /* bytes */

typedef struct {
    _Alignas(FS_ALIGN) size_t n; /* bytes that follow */
} header;

static _Atomic(header *) kept;

void *fs_take_memory(size_t n) {
    header *h = atomic_exchange(&kept, NULL);
    if (h && h->n < n) {
        free(h);
        h = NULL;
    }
    if (!h) {
        n = (n + FS_ALIGN - 1) / FS_ALIGN * FS_ALIGN;
        h = aligned_alloc(FS_ALIGN, sizeof(header) + n);
        if (!h) return NULL;
        h->n = n;
    }
    return h + 1;
}

void fs_give_back_memory(void *memory) {
    header *h = (header *)memory - 1;
    free(h->n > MOST_KEPT ? h : atomic_exchange(&kept, h));
}
