/* threads.c: persistent worker threads, and the barrier between the phases of a step.
 *
 * Design
 *  a) Waiting has three stages: spin, yield, sleep on a condition variable. A barrier costs well
 *     under a microsecond while all threads run, and a thread without a core gives way. Who finds
 *     another member last seen on its own core does not spin at all: Linux may leave two threads on
 *     one core for long, and each hand-over then costs all the spins. Measured on 2 cores, an epoch
 *     of 12 ms: with 4 threads 19 ms instead of 39, with 8 threads 24 instead of 92, beside a busy
 *     process 25 instead of 46.
 *  b) A thread waits for a word in memory to change. Each worker has a word of its own that says
 *     "go", so a call wakes those it needs and no others.
 *  c) One team. A second Python thread that calls while the team works runs its own call alone:
 *     the bits are the same.
 *  d) After a fork the child has no workers; the team is built anew at its next call.
 */
#define _GNU_SOURCE /* sched_getcpu */
#include "threads.h"

#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "fastsoftmax.h"

enum {
    SPINS = 2000,       /* between the phases of a step */
    IDLE_SPINS = 10000, /* between calls, some 0.3 ms: a step of 256 rows by PyTorch's autograd
                           takes 133 us, 168 where the workers have gone to sleep meanwhile */
    YIELDS = 200,
    MAX_WORKERS = FS_MAX_CHUNKS - 1, /* more threads than chunks would have no rows */
};

/* A word that some threads watch and others change; a cache line of its own. */
typedef struct {
    _Alignas(FS_ALIGN) atomic_uint value;
    atomic_uint sleepers;
    pthread_cond_t woken;
} watched;

static struct {
    pthread_mutex_t in_use; /* held by the caller whom the team works for */
    pthread_mutex_t sleep;  /* guards going to sleep */
    int n_workers;
    void (*work)(void *, fs_member);
    void *context;
    int n_threads;
    /* the caller's, for all: one thread that flushes subnormals gives other bits */
    fenv_t rounding;
    watched go[MAX_WORKERS]; /* counts the calls to worker i */
    watched passed;          /* counts the barriers that all have reached */
    struct {
        _Alignas(FS_ALIGN) atomic_int value;
    } core[MAX_WORKERS + 1]; /* where each member was last seen */
    _Alignas(FS_ALIGN) atomic_int arrived;
} team = {
    .in_use = PTHREAD_MUTEX_INITIALIZER,
    .sleep = PTHREAD_MUTEX_INITIALIZER,
    .passed = {.woken = PTHREAD_COND_INITIALIZER},
};

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Notes the core that a member is on; whether another of the first n was last seen there. */
static int shares_core(int thread, int n) {
#if defined(__linux__)
    const int core = sched_getcpu() + 1; /* 0: not seen, or not to be had */
    if (core <= 0) return 0;
    if (atomic_load_explicit(&team.core[thread].value, memory_order_relaxed) != core)
        atomic_store_explicit(&team.core[thread].value, core, memory_order_relaxed);
    for (int i = 0; i < n; i++)
        if (i != thread && atomic_load_explicit(&team.core[i].value, memory_order_relaxed) == core)
            return 1;
#else
    (void)thread, (void)n;
#endif
    return 0;
}

static unsigned wait_for_change(watched *w, unsigned old, int spins) {
    unsigned now;
    for (int i = 0; i < spins; i++) {
        if ((now = atomic_load_explicit(&w->value, memory_order_acquire)) != old) return now;
        relax();
    }
    for (int i = 0; i < YIELDS; i++) {
        if ((now = atomic_load_explicit(&w->value, memory_order_acquire)) != old) return now;
        sched_yield();
    }
    pthread_mutex_lock(&team.sleep);
    atomic_fetch_add(&w->sleepers, 1); /* before the value is read once more: see change() */
    while ((now = atomic_load(&w->value)) == old) pthread_cond_wait(&w->woken, &team.sleep);
    atomic_fetch_sub(&w->sleepers, 1);
    pthread_mutex_unlock(&team.sleep);
    return now;
}

static void change(watched *w) {
    /* before sleepers is read: one of the two sides sees the other */
    atomic_fetch_add(&w->value, 1);
    if (atomic_load(&w->sleepers) == 0) return;
    pthread_mutex_lock(&team.sleep);
    pthread_cond_broadcast(&w->woken);
    pthread_mutex_unlock(&team.sleep);
}

void fs_team_barrier(fs_member member) {
    if (member.n_threads == 1) return;
    const unsigned old = atomic_load_explicit(&team.passed.value, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&team.arrived, 1, memory_order_acq_rel) == member.n_threads - 1) {
        atomic_store_explicit(&team.arrived, 0, memory_order_relaxed);
        change(&team.passed);
    } else {
        const int spins = shares_core(member.thread, member.n_threads) ? 0 : SPINS;
        wait_for_change(&team.passed, old, spins);
    }
}

static void *worker_main(void *arg) {
    const int worker = (int)(intptr_t)arg;
    unsigned seen = 0;
    for (;;) {
        const int spins = shares_core(worker + 1, 1) ? 0 : IDLE_SPINS; /* with the caller */
        seen = wait_for_change(&team.go[worker], seen, spins);
        const fs_member member = {.thread = worker + 1, .n_threads = team.n_threads};
        fesetenv(&team.rounding);
        team.work(team.context, member);
        fs_team_barrier(member);
    }
    return NULL;
}

static void forget_team(void) {
    pthread_mutex_init(&team.in_use, NULL);
    pthread_mutex_init(&team.sleep, NULL);
    team.n_workers = 0;
    memset(team.go, 0, sizeof team.go);
    memset(team.core, 0, sizeof team.core);
    memset(&team.passed, 0, sizeof team.passed);
    pthread_cond_init(&team.passed.woken, NULL);
    atomic_store(&team.arrived, 0);
}

/* Starts workers until there are n, or the system refuses. Signals stay with the caller's threads. */
static void grow_team(int n) {
    static int fork_is_handled;
    if (!fork_is_handled) fork_is_handled = pthread_atfork(NULL, NULL, forget_team) == 0;
    if (!fork_is_handled) return;

    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (team.n_workers < n) {
        pthread_t thread;
        pthread_cond_init(&team.go[team.n_workers].woken, NULL);
        if (pthread_create(&thread, NULL, worker_main, (void *)(intptr_t)team.n_workers) != 0)
            break;
        pthread_detach(thread);
        team.n_workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void fs_team_run(int n_threads, void (*work)(void *, fs_member), void *context) {
    if (n_threads > MAX_WORKERS + 1) n_threads = MAX_WORKERS + 1;
    if (n_threads <= 1 || pthread_mutex_trylock(&team.in_use) != 0) {
        work(context, (fs_member){.thread = 0, .n_threads = 1});
        return;
    }
    if (team.n_workers < n_threads - 1) grow_team(n_threads - 1);
    if (n_threads > team.n_workers + 1) n_threads = team.n_workers + 1;

    team.work = work;
    team.context = context;
    fegetenv(&team.rounding);
    team.n_threads = n_threads;
    for (int i = 0; i < n_threads - 1; i++) change(&team.go[i]);
    const fs_member member = {.thread = 0, .n_threads = n_threads};
    shares_core(0, 0);
    work(context, member);
    fs_team_barrier(member);
    pthread_mutex_unlock(&team.in_use);
}
