/* memory.h: the buffers of a call. */
#ifndef FS_MEMORY_H
#define FS_MEMORY_H

#include <stddef.h>

/* AddressSanitizer, where it is on, tells of a use of the bytes between the buffers of a call, and of
 * a buffer after the call: nothing is kept for the next one. */
#if defined(__SANITIZE_ADDRESS__)
#    include <sanitizer/asan_interface.h>
enum { FS_GAP = 64 };
#    define FS_FORBID(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#else
enum { FS_GAP = 0 };
#    define FS_FORBID(p, n) ((void)(p), (void)(n))
#endif

/* At least n bytes aligned to FS_ALIGN, uninitialised; NULL if there is no memory. Any thread. */
void *fs_take_memory(size_t n);
void fs_give_back_memory(void *memory);

#endif
