/* team.h: a team of persistent threads that claim the items of one phase after another. */
#ifndef FS_TEAM_H
#define FS_TEAM_H

#include "fastsoftmax.h"
#include "thresholds.h"

enum { FS_MAX_THREADS = FS_MAX_CHUNKS }; /* more threads than chunks would have no rows */

/* One piece of a phase. It is meant for one thread, its owner, whose cache has what it needs. A
 * thread that has none of its own left may do it, too. */
typedef struct {
    int owner;
    int index;  /* among the owner's items of this phase */
    int thread; /* that does it, of n_threads; the caller is 0 */
    int n_threads;
    int next_owner,
        next_index; /* what it will most likely do next; an owner of -1: none in this phase */
} fs_item;

/* What a call does. Its result must not depend on which thread does an item, on the order of the
 * items of a phase, or on n_threads. There may be fewer threads than were asked for: the system
 * may give no more, or another caller may have the team. */
typedef struct {
    void (*do_item)(void *context, fs_item item);
    /* Begins the next phase and writes how many items each thread owns, or returns 0: the call is
     * complete. It is called at first, and when all items of a phase are done. Nobody works
     * then. */
    int (*next_phase)(void *context, int n_threads, int *n_items);
    void *context;
} fs_work;

/* Runs all phases, on no more than n_threads threads and no more than there are cores. The caller's
 * thread is one of them. It waits for another one only while that does an item. */
void fs_team_run(int n_threads, const fs_work *work);

#endif
