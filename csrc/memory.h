/* memory.h: the buffers of a call. */
#ifndef FS_MEMORY_H
#define FS_MEMORY_H

#include <stddef.h>

/* At least n bytes aligned to FS_ALIGN, uninitialised; NULL if there is no memory. Any thread. */
void *fs_take_memory(size_t n);
void fs_give_back_memory(void *memory);

#endif
