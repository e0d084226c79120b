/* cores.h: which cores the process may use, and a clock. */
#ifndef FS_CORES_H
#define FS_CORES_H

#include <pthread.h>
#include <sched.h>
#include <stdint.h>

/* The cores that the process may use; none where the system does not tell. */
typedef struct {
    int n;
#if defined(__linux__)
    cpu_set_t set;
#endif
} fs_cores;

/* Milliseconds of a clock that only goes forward. */
int64_t fs_milliseconds(void);

/* Looks which cores there are, unless it did so a moment ago. Returns whether they have changed. */
int fs_look_at_cores(fs_cores *cores, int64_t *looked_at);

/* The core that this thread is on, or -1. */
int fs_current_core(void);

/* Binds a thread to these cores without `but`, which may be -1; or to all, if `but` is the only
 * one. */
void fs_keep_to_cores(pthread_t thread, const fs_cores *cores, int but);

#endif
