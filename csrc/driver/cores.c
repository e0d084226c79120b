/* cores.c: which cores the process may use, and a clock. */
#define _GNU_SOURCE /* sched_getaffinity, sched_getcpu */
#include "cores.h"

#include <time.h>
#include <unistd.h>

enum { LOOK_MS = 10 }; /* between two looks at the cores */

int64_t fs_milliseconds(void) {
    struct timespec now;
#if defined(__linux__)
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now); /* exact to some ms only, but much faster */
#else
    clock_gettime(CLOCK_MONOTONIC, &now);
#endif
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#if defined(__linux__)

int fs_look_at_cores(fs_cores *cores, int64_t *looked_at) {
    fs_cores now;
    const int64_t ms = fs_milliseconds();
    if (cores->n > 0 && ms < *looked_at + LOOK_MS) return 0;
    *looked_at = ms;
    /* the mask of the first thread is that of the process; a caller may have a mask of its own */
    if (sched_getaffinity(getpid(), sizeof now.set, &now.set) != 0) return 0;
    if (cores->n > 0 && CPU_EQUAL(&now.set, &cores->set)) return 0;
    now.n = CPU_COUNT(&now.set);
    *cores = now;
    return 1;
}

int fs_current_core(void) { return sched_getcpu(); }

void fs_keep_to_cores(pthread_t thread, const fs_cores *cores, int but) {
    if (cores->n == 0) return;
    cpu_set_t set = cores->set;
    if (but >= 0 && cores->n > 1) CPU_CLR(but, &set);
    pthread_setaffinity_np(thread, sizeof set, &set);
}

#else

int fs_look_at_cores(fs_cores *cores, int64_t *looked_at) {
    (void)cores, (void)looked_at;
    return 0;
}

int fs_current_core(void) { return -1; }

void fs_keep_to_cores(pthread_t thread, const fs_cores *cores, int but) {
    (void)thread, (void)cores, (void)but;
}

#endif
