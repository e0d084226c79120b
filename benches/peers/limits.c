/* Two limits of the machine, measured with two (or more) threads: how fast it can read float32
 * rows in a given order, and how fast it can multiply and add. Compiled at bench time with
 * -march=native; no part of the package. Both return a number that proves the work was done. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__AVX512F__)
enum { VECTOR_BYTES = 64 };
#elif defined(__AVX__)
enum { VECTOR_BYTES = 32 };
#else
enum { VECTOR_BYTES = 16 };
#endif
typedef float vec __attribute__((vector_size(VECTOR_BYTES)));
typedef float unaligned_vec __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
enum { LANES = VECTOR_BYTES / 4, MAX_THREADS = 64 };

typedef struct {
    const float *rows;    /* (n_rows, n_features) */
    const int64_t *order; /* this thread's row numbers */
    ptrdiff_t n, n_features;
    float multiplier;
    double result;
} job;

static double sum_lanes(vec v) {
    double sum = 0;
    for (int lane = 0; lane < LANES; lane++) sum += v[lane];
    return sum;
}

/* The sum of all elements of the rows. Each row costs one add per vector: far below what the
 * memory can deliver, so the memory is what is timed. Four sums hide the latency of the add. */
static void *read_rows(void *argument) {
    job *j = argument;
    const ptrdiff_t d = j->n_features, ahead = 2;
    j->result = 0;
    for (ptrdiff_t i = 0; i < j->n; i++) {
        const float *row = j->rows + j->order[i] * d;
        const float *next = j->rows + j->order[i + ahead < j->n ? i + ahead : i] * d;
        vec sums[4] = {{0}};
        ptrdiff_t f = 0;
        for (; f + 4 * LANES <= d; f += 4 * LANES) {
            for (int u = 0; u < 4; u++) {
                __builtin_prefetch(next + f + u * LANES, 0, 2);
                sums[u] += *(const unaligned_vec *)(row + f + u * LANES);
            }
        }
        double tail = 0;
        for (; f < d; f++) tail += row[f];
        j->result += tail + sum_lanes((sums[0] + sums[1]) + (sums[2] + sums[3]));
    }
    return NULL;
}

/* n rounds of 16 independent vectors of `x = x * 1 + 1`: each multiply-add adds one to each lane,
 * so the sum of the lanes counts them, exactly while n < 2^24. 16 chains hide the latency of two
 * FMA units. The multiplier comes at run time, or the compiler would drop the multiplication. */
static void *multiply_add(void *argument) {
    job *j = argument;
    const vec one = (vec){0} + j->multiplier;
    vec x[16];
    for (int c = 0; c < 16; c++) x[c] = (vec){0} + (float)c;
    for (ptrdiff_t i = 0; i < j->n; i++)
        for (int c = 0; c < 16; c++) x[c] = x[c] * one + one;
    j->result = 0;
    for (int c = 0; c < 16; c++) j->result += sum_lanes(x[c] - (float)c);
    return NULL;
}

/* Starts a thread on the given one of the CPUs that this process may use. Left to the scheduler, new
 * threads may share a CPU for some milliseconds, and the limit would not be one. */
static void start(pthread_t *thread, int cpu_index, void *(*work)(void *), job *j) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
#ifdef __linux__
    cpu_set_t allowed, one;
    CPU_ZERO(&one);
    sched_getaffinity(0, sizeof allowed, &allowed);
    cpu_index %= CPU_COUNT(&allowed);
    for (int cpu = 0, seen = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && seen++ == cpu_index) CPU_SET(cpu, &one);
    pthread_attr_setaffinity_np(&attributes, sizeof one, &one);
#endif
    pthread_create(thread, &attributes, work, j);
    pthread_attr_destroy(&attributes);
}

static double run(void *(*work)(void *), job *jobs, int n_threads) {
    pthread_t threads[MAX_THREADS];
    double result = 0;
    for (int t = 0; t < n_threads; t++) start(&threads[t], t, work, &jobs[t]);
    for (int t = 0; t < n_threads; t++) {
        pthread_join(threads[t], NULL);
        result += jobs[t].result;
    }
    return result;
}

double limit_read(const float *rows, const int64_t *order, ptrdiff_t n_rows, ptrdiff_t n_features,
                  int n_threads) {
    job jobs[MAX_THREADS];
    for (int t = 0; t < n_threads; t++) {
        const ptrdiff_t start = n_rows * t / n_threads, stop = n_rows * (t + 1) / n_threads;
        jobs[t] = (job){
            .rows = rows, .order = order + start, .n = stop - start, .n_features = n_features};
    }
    return run(read_rows, jobs, n_threads);
}

double limit_fma(double flop, float multiplier, int n_threads) {
    job jobs[MAX_THREADS];
    const ptrdiff_t n = (ptrdiff_t)(flop / (2.0 * 16 * LANES * n_threads));
    for (int t = 0; t < n_threads; t++) jobs[t] = (job){.n = n, .multiplier = multiplier};
    return run(multiply_add, jobs, n_threads);
}
