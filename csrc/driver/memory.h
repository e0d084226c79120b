/* memory.h: the buffers of a call. */
#ifndef FS_MEMORY_H
#define FS_MEMORY_H

#include <stddef.h>

/* Where AddressSanitizer is on, there is a gap after each buffer of a call, whose use it reports,
 * and no memory is kept for the next call, so that it reports a use after the call. */
#if defined(__SANITIZE_ADDRESS__)
#    include <sanitizer/asan_interface.h>
enum { FS_GAP = 64 };
#    define FS_FORBID(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#else
enum { FS_GAP = 0 };
#    define FS_FORBID(p, n) ((void)(p), (void)(n))
#endif

/* At least n bytes, aligned to FS_ALIGN and uninitialised, or NULL. Any thread may call it. */
void *fs_take_memory(size_t n);
void fs_give_back_memory(void *memory);

#endif
