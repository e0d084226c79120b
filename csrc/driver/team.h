/* team.h: a team of persistent threads that claim the items of one phase after another. */
#ifndef FS_TEAM_H
#define FS_TEAM_H

#include "fastsoftmax.h"
#include "thresholds.h"

enum { FS_MAX_THREADS = FS_MAX_CHUNKS }; /* more threads than chunks would have no rows */

/* One piece of a phase. Each is meant for one thread, its owner, whose cache has what it needs; but
 * whoever has nothing left of his own may do it. */
typedef struct {
    int owner;
    int index;  /* among the owner's items of this phase */
    int thread; /* who does it: 0, the caller, to n_threads - 1 */
    int n_threads;
    int next_owner,
        next_index; /* what he will most likely do after it; or -1: none of this phase */
} fs_item;

/* What a call does. A result must not depend on who does an item, on the order of the items of a
 * phase, nor on n_threads: where another caller has the team, or the system gives no more threads,
 * there are fewer than were asked for. */
typedef struct {
    void (*do_item)(void *context, fs_item item);
    /* Called when all items of a phase are done, and at first, while nobody works: begins the next
     * phase and writes how many items each thread owns; 0 where the call is complete. */
    int (*next_phase)(void *context, int n_threads, int *n_items);
    void *context;
} fs_work;

/* Runs all phases on at most n_threads threads, the caller's among them, and no more than there are
 * cores. The caller waits for a thread only where that has begun an item. */
void fs_team_run(int n_threads, const fs_work *work);

#endif
