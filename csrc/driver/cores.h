/* cores.h: which cores the process may use, and a clock. */
#ifndef FS_CORES_H
#define FS_CORES_H

#include <pthread.h>
#include <sched.h>
#include <stdint.h>

/* None where that is not to be had: then there is no mask to keep to. */
typedef struct {
    int n;
#if defined(__linux__)
    cpu_set_t set;
#endif
} fs_cores;

/* Milliseconds of a clock that only goes forward. */
int64_t fs_milliseconds(void);

/* Looks again where the last look is 10 ms old; whether they have changed. */
int fs_look_at_cores(fs_cores *cores, int64_t *looked_at);

/* The core that this thread is on, or -1. */
int fs_current_core(void);

/* Binds a thread to these cores, but for one of them, unless that is -1 or the only one. */
void fs_keep_to_cores(pthread_t thread, const fs_cores *cores, int but);

#endif
