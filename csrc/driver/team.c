/* team.c: persistent worker threads, and how they and the caller share a call. Over 300 lines: who
 * may read and write what, and when, is to be seen in one place.
 *
 * Design
 *  a) A call is a row of phases, and a phase is a number of items. Each item has an owner, but any
 *     thread may claim it. An owner claims its items from the first one on. A thread without items
 *     claims those of others from the last one on. So a caller never waits for a worker that has
 *     not begun, because it sleeps or has no core: the caller does these items itself.
 *  b) The thread that does the last item of a phase begins the next one. So nobody waits for the
 *     caller either.
 *  c) The unclaimed items of a thread are one word in memory, changed by compare-and-swap. A
 *     thread that succeeds holds an item, and the phase cannot end before it has done that. So it
 *     may read all that belongs to the call until then; a thread that holds no item reads none of
 *     it. A thread that comes late, even in another call, finds either items that are to be done
 *     or none.
 *  d) Waiting has three stages: spin, yield, sleep on a condition variable. A thread does not spin
 *     where another was last seen on the same core: Linux may leave two threads on one core for
 *     long.
 *  e) There are no more threads than cores. Measured slower: more. What a thread computes for
 *     another one that has no core is not in that one's cache.
 *  f) There is one team. A second Python thread that calls while the team works runs its call
 *     alone. The bits are the same.
 *  g) Beside PyTorch the threads may be PyTorch's own (fs_borrow_threads). These spin between its
 *     operations, and would take half of a core from ours. A call on them ends when all of them
 *     have come.
 *  h) After a fork the child has no workers. The team is built anew at its next call. A child
 *     borrows no threads any more: GNU's OpenMP hangs where a child asks for them.
 */
#include "team.h"

#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "cores.h"

enum {
    SPINS = 2000, /* within a call */
    IDLE_SPINS =
        10000, /* between calls: longer than PyTorch's autograd takes between two of them */
    YIELDS = 200,
};

/* The unclaimed items [first, end) of a thread, and the number of threads of the call, in one
 * word. */
typedef uint64_t items;
static const items FINISHED = UINT64_MAX; /* in the place of the caller's: the call is complete */

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

typedef struct {
    pthread_mutex_t in_use; /* held by the caller whom the team works for */
    int n_workers;
    /* of the call, to be read by threads that hold an item of it */
    fs_work work;
    unsigned number; /* of the call */
    fenv_t rounding; /* the caller's, for all: a thread that flushes subnormals gives other bits */
    fs_cores cores;
    int64_t looked_at_cores;
    pthread_t caller;
    member members[FS_MAX_THREADS]; /* 0 is the caller */
    _Alignas(FS_ALIGN) atomic_int n_threads;
    atomic_int n_joined;                   /* borrowed threads that have come */
    _Alignas(FS_ALIGN) atomic_int n_to_do; /* items of the phase that are not done */
} team;

static team own = {.in_use = PTHREAD_MUTEX_INITIALIZER};
static team borrowed = {.in_use = PTHREAD_MUTEX_INITIALIZER};

static int beyond_cores; /* whether a call may have more threads than cores */

void fs_allow_threads_beyond_cores(int allowed) { beyond_cores = allowed; }

static _Thread_local fs_lender lender; /* for the calls of this thread; without one: our own */
static int may_borrow = 1;

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Notes the core that a thread of ours is on. Returns whether another of the first n was last seen
 * there. */
static int shares_core(int thread, int n) {
    const int core = fs_current_core() + 1;
    if (core == 0) return 0;
    if (atomic_load_explicit(&own.members[thread].core, memory_order_relaxed) != core)
        atomic_store_explicit(&own.members[thread].core, core, memory_order_relaxed);
    for (int i = 0; i < n; i++)
        if (i != thread && atomic_load_explicit(&own.members[i].core, memory_order_relaxed) == core)
            return 1;
    return 0;
}

/* ---- waiting ---- */

/* Whether there are items of this member's, or the call is complete. */
static int has_news(member *m) {
    const items now = atomic_load(&m->unclaimed);
    return !is_empty(now) || now == FINISHED;
}

/* Whether the caller's call has items that are not done. */
static int is_open(team *t) { return atomic_load(&t->members[0].unclaimed) != FINISHED; }

static void wait_for_news(int thread, int n_threads) {
    member *const m = &own.members[thread];
    const int spins = shares_core(thread, n_threads) ? 0 : IDLE_SPINS;
    for (int i = 0; i < spins && !(i >= SPINS && is_open(&own)); i++) {
        if (has_news(m)) return;
        relax();
    }
    for (int i = 0; i < YIELDS; i++) {
        if (has_news(m)) return;
        sched_yield();
    }
    pthread_mutex_lock(&m->lock);
    for (;;) {
        atomic_store(&m->asleep, 1); /* before it looks for news once more: see tell() */
        if (has_news(m)) break;
        pthread_cond_wait(&m->woken, &m->lock);
    }
    atomic_store(&m->asleep, 0);
    pthread_mutex_unlock(&m->lock);
}

static void tell(member *m, items news) {
    /* before it reads `asleep`, so that one of the two sides sees the other */
    atomic_store(&m->unclaimed, news);
    if (!atomic_load(&m->asleep) || !atomic_exchange(&m->asleep, 0)) return;
    pthread_mutex_lock(&m->lock);
    pthread_cond_signal(&m->woken);
    pthread_mutex_unlock(&m->lock);
}

/* ---- items ---- */

/* Called by the thread that has done the last item of a phase. The call is its own until it tells
 * of more items. */
static void begin_next_phase(team *t, int n_threads) {
    int n_items[FS_MAX_THREADS], total = 0;
    while (total == 0) {
        if (!t->work.next_phase(t->work.context, n_threads, n_items)) {
            tell(&t->members[0], FINISHED);
            return;
        }
        for (int i = 0; i < n_threads; i++) total += n_items[i];
    }
    atomic_store_explicit(&t->n_to_do, total, memory_order_relaxed);
    for (int i = n_threads - 1; i >= 0; i--)
        if (n_items[i] > 0) tell(&t->members[i], items_of(n_threads, n_items[i]));
}

/* Notes what a thread without items will do next: the last item of the next thread, if that has not
 * begun. A thread that has begun will most likely do all its items itself. */
static void foresee_stealing(team *t, fs_item *item) {
    const int owner = (item->thread + 1) % item->n_threads;
    const items seen = atomic_load_explicit(&t->members[owner].unclaimed, memory_order_relaxed);
    if (owner == item->thread || is_empty(seen) || first_of(seen) > 0) return;
    item->next_owner = owner;
    item->next_index = end_of(seen) - 1;
}

/* Claims an item of the owner's for this thread. Returns whether there was one. */
static int claim(team *t, int owner, int thread, fs_item *item) {
    _Atomic(items) *const unclaimed = &t->members[owner].unclaimed;
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
        if (is_own && is_empty(rest)) foresee_stealing(t, item);
        return 1;
    }
    return 0;
}

/* Claims one of this thread's own items, or else one of any other's. */
static int claim_any(team *t, int thread, fs_item *item) {
    if (claim(t, thread, thread, item)) return 1;
    const int n_threads = atomic_load_explicit(&t->n_threads, memory_order_relaxed);
    for (int i = 1; i < n_threads; i++)
        if (claim(t, (thread + i) % n_threads, thread, item)) return 1;
    return 0;
}

static void do_claimed(team *t, fs_item item) {
    t->work.do_item(t->work.context, item);
    if (atomic_fetch_sub_explicit(&t->n_to_do, 1, memory_order_acq_rel) == 1)
        begin_next_phase(t, item.n_threads);
}

static void *worker_main(void *arg) {
    const int thread = (int)(intptr_t)arg;
    unsigned number = 0; /* of the call that it has last had an item of */
    fs_cores cores = {0};
    fs_item item;
    for (;;) {
        /* Where all cores are busy, Linux wakes a worker on the caller's core. Without this, calls
         * beside the spinning threads of a BLAS were measured slower (measurements: blas-spins). */
        if (shares_core(thread, 1))
            fs_keep_to_cores(pthread_self(), &cores, atomic_load(&own.members[0].core) - 1);
        wait_for_news(thread, atomic_load_explicit(&own.n_threads, memory_order_relaxed));
        while (claim_any(&own, thread, &item)) {
            if (number != own.number) {
                number = own.number;
                cores = own.cores;
                fesetenv(&own.rounding);
            }
            do_claimed(&own, item);
        }
    }
    return NULL;
}

/* ---- the team ---- */

static int fork_is_handled;

/* Called in the child of a fork. */
static void forget_team(void) {
    memset(&own, 0, sizeof own);
    pthread_mutex_init(&own.in_use, NULL);
    lender = (fs_lender){0};
    may_borrow = 0;
}

static int handle_forks(void) {
    if (!fork_is_handled) fork_is_handled = pthread_atfork(NULL, NULL, forget_team) == 0;
    return fork_is_handled;
}

/* Starts workers until there are n, or the system refuses. They take no signals, which stay with
 * the caller's threads. */
static void grow_team(int n) {
    if (!handle_forks()) return;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (own.n_workers == 0) {
        pthread_mutex_init(&own.members[0].lock, NULL);
        pthread_cond_init(&own.members[0].woken, NULL);
    }
    while (own.n_workers < n) {
        const int thread = own.n_workers + 1;
        member *const m = &own.members[thread];
        pthread_mutex_init(&m->lock, NULL);
        pthread_cond_init(&m->woken, NULL);
        if (pthread_create(&m->id, NULL, worker_main, (void *)(intptr_t)thread) != 0) break;
        pthread_detach(m->id);
        fs_keep_to_cores(m->id, &own.cores, -1);
        own.n_workers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* How many threads of ours a call has: no more than there are cores and can be started. */
static int threads_of_ours(int n_threads) {
    /* a worker would keep the mask that it began with */
    if (fs_look_at_cores(&own.cores, &own.looked_at_cores))
        for (int i = 1; i <= own.n_workers; i++)
            fs_keep_to_cores(own.members[i].id, &own.cores, -1);
    if (own.cores.n > 0 && n_threads > own.cores.n && !beyond_cores) n_threads = own.cores.n;
    if (own.n_workers < n_threads - 1) grow_team(n_threads - 1);
    return n_threads <= own.n_workers + 1 ? n_threads : own.n_workers + 1;
}

static void begin_call(team *t, int n_threads, const fs_work *work) {
    t->work = *work;
    t->number++;
    t->caller = pthread_self();
    fegetenv(&t->rounding);
    atomic_store_explicit(&t->n_threads, n_threads, memory_order_relaxed);
    atomic_store_explicit(&t->n_joined, 0, memory_order_relaxed);
    atomic_store_explicit(&t->members[0].unclaimed, 0, memory_order_relaxed);
    begin_next_phase(t, n_threads);
}

static void run_on_own(int n_threads, const fs_work *work) {
    fs_item item;
    n_threads = threads_of_ours(n_threads);
    shares_core(0, 0);
    begin_call(&own, n_threads, work);
    while (is_open(&own)) {
        if (claim_any(&own, 0, &item))
            do_claimed(&own, item);
        else
            wait_for_news(0, n_threads);
    }
}

/* What each borrowed thread runs. The caller is one of them. */
static void help(void *unused) {
    (void)unused;
    team *const t = &borrowed;
    const int is_caller = pthread_equal(pthread_self(), t->caller);
    const int thread = is_caller ? 0 : 1 + atomic_fetch_add(&t->n_joined, 1);
    if (thread >= atomic_load(&t->n_threads)) return;
    fenv_t before;
    fs_item item;
    fegetenv(&before);
    fesetenv(&t->rounding);
    for (int idle = 0; is_open(t);) {
        if (claim_any(t, thread, &item)) {
            do_claimed(t, item);
            idle = 0;
        } else if (++idle > SPINS) {
            sched_yield();
        } else {
            relax();
        }
    }
    fesetenv(&before);
}

static void run_on_borrowed(int n_threads, const fs_work *work) {
    /* asked for fewer than it has, the lender would end the others, and start them anew later */
    const int most = lender.max_threads();
    begin_call(&borrowed, n_threads, work);
    lender.parallel(help, NULL, (unsigned)(n_threads > most ? n_threads : most), 0);
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
    const int borrows = lender.parallel != NULL;
    team *const t = borrows ? &borrowed : &own;
    if (n_threads > FS_MAX_THREADS) n_threads = FS_MAX_THREADS;
    if (n_threads <= 1 || pthread_mutex_trylock(&t->in_use) != 0) {
        run_alone(work);
        return;
    }
    (borrows ? run_on_borrowed : run_on_own)(n_threads, work);
    pthread_mutex_unlock(&t->in_use);
}

void fs_borrow_threads(fs_lender from) {
    if (from.parallel == NULL || (may_borrow && handle_forks())) lender = from;
}
