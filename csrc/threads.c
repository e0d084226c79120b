/* threads.c: persistent worker threads, and how they and the caller share a call.
 *
 * Design
 *  a) A call is a row of phases, and a phase is a number of items. Each item has an owner, but any
 *     thread may claim it: the owner takes his items from the first one on, and who has none left
 *     takes those of others from the last one on. So a caller never waits for a thread that has not
 *     begun, be it asleep or without a core: he does its items himself.
 *  b) Who does the last item of a phase begins the next one. Nobody waits for the caller either.
 *  c) What of a thread's items is unclaimed is one word in memory, changed by compare-and-swap. Who
 *     succeeds holds an item of a phase that cannot end before he has done it, so all that belongs to
 *     the call may be read until then; and is not read by anybody who holds none. A thread that comes
 *     late, even in another call, finds either items that are to be done or none.
 *  d) Waiting has three stages: spin, yield, sleep on a condition variable. Who finds another thread
 *     last seen on its own core does not spin: Linux may leave two threads on one core for long.
 *  e) No more threads than cores: what a thread does for another one that has no core is not in its
 *     cache. An epoch of 12 ms took 20 with 4 threads on 2 cores.
 *  f) One team. A second Python thread that calls while the team works runs its own call alone:
 *     the bits are the same.
 *  g) After a fork the child has no workers; the team is built anew at its next call.
 */
#define _GNU_SOURCE /* sched_getcpu, sched_getaffinity */
#include "threads.h"

#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    SPINS = 2000,       /* within a call */
    IDLE_SPINS = 10000, /* between calls, some 0.3 ms: a step of 256 rows by PyTorch's autograd
                           takes 133 us, 168 where the workers have gone to sleep meanwhile */
    YIELDS = 200,
    LOOK_MS = 10, /* how often a call looks which cores the process may use */
};

/* The items [first, end) of a thread that nobody has claimed, and the threads of the call. */
typedef uint64_t items;
static const items FINISHED = UINT64_MAX; /* the caller's, when the call is complete */

static items items_of(int n_threads, int n) { return (items)n_threads << 32 | (items)n; }
static int threads_of(items i) { return (int)(i >> 32); }
static int first_of(items i) { return (int)(i >> 16 & 0xffff); }
static int end_of(items i) { return (int)(i & 0xffff); }
static items without_first(items i) { return i + (1 << 16); }
static items without_last(items i) { return i - 1; }
static int is_empty(items i) { return first_of(i) >= end_of(i); }

typedef struct {
    _Alignas(FS_ALIGN) _Atomic(items) unclaimed;
    atomic_int asleep;
    pthread_mutex_t lock; /* guards going to sleep */
    pthread_cond_t woken;
    pthread_t id;                       /* of a worker */
    _Alignas(FS_ALIGN) atomic_int core; /* where it was last seen, plus 1 */
} member;

static struct {
    pthread_mutex_t in_use; /* held by the caller whom the team works for */
    int n_workers;
    /* of the call, for who holds an item of it */
    fs_work work;
    unsigned number;
    fenv_t
        rounding; /* the caller's, for all: one thread that flushes subnormals gives other bits */
    member members[FS_MAX_THREADS]; /* 0 is whoever calls */
    _Alignas(FS_ALIGN) atomic_int n_threads;
    _Alignas(FS_ALIGN) atomic_int n_to_do; /* items of the phase that are not done */
} team = {.in_use = PTHREAD_MUTEX_INITIALIZER};

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Notes the core that a thread is on; whether another of the first n was last seen there. */
static int shares_core(int thread, int n) {
#if defined(__linux__)
    const int core = sched_getcpu() + 1; /* 0: not to be had */
    if (core <= 0) return 0;
    if (atomic_load_explicit(&team.members[thread].core, memory_order_relaxed) != core)
        atomic_store_explicit(&team.members[thread].core, core, memory_order_relaxed);
    for (int i = 0; i < n; i++)
        if (i != thread &&
            atomic_load_explicit(&team.members[i].core, memory_order_relaxed) == core)
            return 1;
#else
    (void)thread, (void)n;
#endif
    return 0;
}

int64_t fs_milliseconds(void) {
    struct timespec now;
#if defined(__linux__)
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now); /* 6 ns; some ms coarse */
#else
    clock_gettime(CLOCK_MONOTONIC, &now);
#endif
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- which cores ---- */

static int beyond_cores; /* whether a call may have more threads than cores */

void fs_allow_threads_beyond_cores(int allowed) { beyond_cores = allowed; }

/* Those that the process may use; none where that is not to be had. */
typedef struct {
    int n;
#if defined(__linux__)
    cpu_set_t set;
#endif
} core_set;

static core_set cores; /* as they were when a call last looked */
static int64_t cores_looked_at;

static void keep_to(pthread_t id, const core_set *c) {
#if defined(__linux__)
    if (c->n > 0) pthread_setaffinity_np(id, sizeof c->set, &c->set);
#else
    (void)id, (void)c;
#endif
}

/* Where the cores have changed the workers follow, which would keep the mask of the thread that made
 * them. */
static void look_at_cores(void) {
#if defined(__linux__)
    core_set now;
    const int64_t ms = fs_milliseconds();
    if (cores.n > 0 && ms < cores_looked_at + LOOK_MS) return;
    cores_looked_at = ms;
    if (sched_getaffinity(getpid(), sizeof now.set, &now.set) != 0) return;
    if (cores.n > 0 && CPU_EQUAL(&now.set, &cores.set)) return;
    now.n = CPU_COUNT(&now.set);
    cores = now;
    for (int i = 1; i <= team.n_workers; i++) keep_to(team.members[i].id, &cores);
#endif
}

/* Leaves the core that the caller is on to him: Linux wakes a worker there where others are busy too.
 * Beside the spinning threads of a BLAS a pass over 60,000 rows takes 14 ms so, not 20. */
static void leave_callers_core(int thread, core_set c) {
#if defined(__linux__)
    const int core = atomic_load_explicit(&team.members[0].core, memory_order_relaxed) - 1;
    if (core < 0 || c.n < 2 || !CPU_ISSET(core, &c.set)) return;
    CPU_CLR(core, &c.set);
    keep_to(team.members[thread].id, &c);
#else
    (void)thread, (void)c;
#endif
}

/* ---- waiting ---- */

static int has_news(member *m) {
    const items now = atomic_load(&m->unclaimed);
    return !is_empty(now) || now == FINISHED;
}

/* Whether the caller's call has items that are not done. */
static int is_open(void) { return atomic_load(&team.members[0].unclaimed) != FINISHED; }

/* Until there are items of this thread's, or its call is complete. */
static void wait_for_news(int thread, int n_threads) {
    member *const m = &team.members[thread];
    const int spins = shares_core(thread, n_threads) ? 0 : IDLE_SPINS;
    for (int i = 0; i < spins && !(i >= SPINS && is_open()); i++) {
        if (has_news(m)) return;
        relax();
    }
    for (int i = 0; i < YIELDS; i++) {
        if (has_news(m)) return;
        sched_yield();
    }
    pthread_mutex_lock(&m->lock);
    for (;;) {
        atomic_store(&m->asleep, 1); /* before the news are looked for once more: see tell() */
        if (has_news(m)) break;
        pthread_cond_wait(&m->woken, &m->lock);
    }
    atomic_store(&m->asleep, 0);
    pthread_mutex_unlock(&m->lock);
}

static void tell(member *m, items news) {
    /* before `asleep` is read: one of the two sides sees the other */
    atomic_store(&m->unclaimed, news);
    if (!atomic_load(&m->asleep) || !atomic_exchange(&m->asleep, 0)) return;
    pthread_mutex_lock(&m->lock);
    pthread_cond_signal(&m->woken);
    pthread_mutex_unlock(&m->lock);
}

/* ---- items ---- */

/* Called by whoever has done the last item of a phase, the call being his until he tells of more. */
static void begin_next_phase(int n_threads) {
    int n_items[FS_MAX_THREADS], total = 0;
    while (total == 0) {
        if (!team.work.next_phase(team.work.context, n_threads, n_items)) {
            tell(&team.members[0], FINISHED);
            return;
        }
        for (int i = 0; i < n_threads; i++) total += n_items[i];
    }
    atomic_store_explicit(&team.n_to_do, total, memory_order_relaxed);
    for (int i = n_threads - 1; i >= 0; i--)
        if (n_items[i] > 0) tell(&team.members[i], items_of(n_threads, n_items[i]));
}

/* What a thread will do when it has none of its own left: the last item of the next thread, if that has
 * not begun. Were it busy it would most likely do them all itself. */
static void foresee_stealing(fs_item *item) {
    const int owner = (item->thread + 1) % item->n_threads;
    const items seen = atomic_load_explicit(&team.members[owner].unclaimed, memory_order_relaxed);
    if (owner == item->thread || is_empty(seen) || first_of(seen) > 0) return;
    item->next_owner = owner;
    item->next_index = end_of(seen) - 1;
}

/* Whether this thread has claimed an item of the owner's. */
static int claim(int owner, int thread, fs_item *item) {
    _Atomic(items) *const unclaimed = &team.members[owner].unclaimed;
    items seen = atomic_load_explicit(unclaimed, memory_order_acquire);
    while (!is_empty(seen) && thread < threads_of(seen)) {
        const int is_own = owner == thread;
        const items rest = is_own ? without_first(seen) : without_last(seen);
        if (!atomic_compare_exchange_weak_explicit(unclaimed, &seen, rest, memory_order_acq_rel,
                                                   memory_order_acquire))
            continue;
        *item = (fs_item){.owner = owner,
                          .index = is_own ? first_of(seen) : end_of(rest),
                          .thread = thread,
                          .n_threads = threads_of(seen),
                          .next_owner = is_empty(rest) ? -1 : owner,
                          .next_index = is_own ? first_of(rest) : end_of(rest) - 1};
        if (is_own && is_empty(rest)) foresee_stealing(item);
        return 1;
    }
    return 0;
}

/* One of this thread's own items, or else of any other's. */
static int claim_any(int thread, fs_item *item) {
    if (claim(thread, thread, item)) return 1;
    const int n_threads = atomic_load_explicit(&team.n_threads, memory_order_relaxed);
    for (int i = 1; i < n_threads; i++)
        if (claim((thread + i) % n_threads, thread, item)) return 1;
    return 0;
}

static void do_claimed(fs_item item) {
    team.work.do_item(team.work.context, item);
    if (atomic_fetch_sub_explicit(&team.n_to_do, 1, memory_order_acq_rel) == 1)
        begin_next_phase(item.n_threads);
}

static void *worker_main(void *arg) {
    const int thread = (int)(intptr_t)arg;
    unsigned number = 0; /* of the call that it has last had an item of */
    core_set allowed = {0};
    fs_item item;
    for (;;) {
        if (shares_core(thread, 1)) leave_callers_core(thread, allowed);
        wait_for_news(thread, atomic_load_explicit(&team.n_threads, memory_order_relaxed));
        while (claim_any(thread, &item)) {
            if (number != team.number) {
                number = team.number;
                allowed = cores;
                fesetenv(&team.rounding);
            }
            do_claimed(item);
        }
    }
    return NULL;
}

/* ---- the team ---- */

static void forget_team(void) {
    memset(&team, 0, sizeof team);
    pthread_mutex_init(&team.in_use, NULL);
}

/* Starts workers until there are n, or the system refuses. Signals stay with the caller's threads. */
static void grow_team(int n) {
    static int fork_is_handled;
    if (!fork_is_handled) fork_is_handled = pthread_atfork(NULL, NULL, forget_team) == 0;
    if (!fork_is_handled) return;

    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (team.n_workers == 0) {
        pthread_mutex_init(&team.members[0].lock, NULL);
        pthread_cond_init(&team.members[0].woken, NULL);
    }
    while (team.n_workers < n) {
        const int thread = team.n_workers + 1;
        member *const m = &team.members[thread];
        pthread_mutex_init(&m->lock, NULL);
        pthread_cond_init(&m->woken, NULL);
        if (pthread_create(&m->id, NULL, worker_main, (void *)(intptr_t)thread) != 0) break;
        pthread_detach(m->id);
        keep_to(m->id, &cores);
        team.n_workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void run_alone(const fs_work *work) {
    int n_items;
    while (work->next_phase(work->context, 1, &n_items))
        for (int i = 0; i < n_items; i++)
            work->do_item(work->context, (fs_item){.index = i,
                                                   .n_threads = 1,
                                                   .next_owner = i + 1 < n_items ? 0 : -1,
                                                   .next_index = i + 1});
}

void fs_team_run(int n_threads, const fs_work *work) {
    if (n_threads > FS_MAX_THREADS) n_threads = FS_MAX_THREADS;
    if (n_threads <= 1 || pthread_mutex_trylock(&team.in_use) != 0) {
        run_alone(work);
        return;
    }
    look_at_cores();
    if (cores.n > 0 && n_threads > cores.n && !beyond_cores) n_threads = cores.n;
    if (team.n_workers < n_threads - 1) grow_team(n_threads - 1);
    if (n_threads > team.n_workers + 1) n_threads = team.n_workers + 1;

    member *const caller = &team.members[0];
    team.work = *work;
    team.number++;
    atomic_store_explicit(&team.n_threads, n_threads, memory_order_relaxed);
    fegetenv(&team.rounding);
    shares_core(0, 0);
    atomic_store_explicit(&caller->unclaimed, 0, memory_order_relaxed);
    begin_next_phase(n_threads);
    while (atomic_load_explicit(&caller->unclaimed, memory_order_acquire) != FINISHED) {
        fs_item item;
        if (claim_any(0, &item))
            do_claimed(item);
        else
            wait_for_news(0, n_threads);
    }
    pthread_mutex_unlock(&team.in_use);
}
