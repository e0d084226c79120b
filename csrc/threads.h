/* threads.h: a team of persistent threads. */
#ifndef FS_THREADS_H
#define FS_THREADS_H

typedef struct {
    int thread; /* 0, the caller, to n_threads - 1 */
    int n_threads;
} fs_member;

/* Runs work(context, member) on n_threads threads, the caller's among them, and returns when all
 * have. With fewer threads to be had (another caller has the team, the system gives no more), it
 * runs on fewer: a result must not depend on n_threads. */
void fs_team_run(int n_threads, void (*work)(void *context, fs_member member), void *context);

/* Waits until every member of the running team has come here. */
void fs_team_barrier(fs_member member);

#endif
