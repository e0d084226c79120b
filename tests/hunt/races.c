/* races.c: every entry point of fastsoftmax.h by 1 to 5 threads, for races.py.
 *
 *     races ROUNDS [fork]
 *
 * Two callers at once, who take turns at having the team, each with problems by rows, by tiles and by
 * classes. What they get must have the bits of one thread; any other ends the program with 1. With
 * "fork" each round is also run in a child, whose team is a new one.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fastsoftmax.h"

enum { MOST_THREADS = 5 };

typedef struct {
    ptrdiff_t n_rows, n_features, n_classes, batch_size; /* N, D, K */
    fs_row_type row_type;
} shape;

/* By rows; rows of bytes; few rows beside the classes, by tiles; of a large weight; by classes. */
static const shape shapes[] = {
    {700, 50, 10, 200, FS_FLOAT32}, {300, 37, 13, 128, FS_UINT8},   {150, 37, 40, 30, FS_FLOAT32},
    {140, 784, 90, 70, FS_FLOAT32}, {80, 3300, 20, 40, FS_FLOAT32},
};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

static const fs_kernels *kernels;
static uint64_t expected[N_SHAPES];

static void *new_array(ptrdiff_t n, size_t size) {
    void *array = calloc((size_t)n, size);
    if (!array) abort();
    return array;
}

static unsigned next_random(unsigned *state) { return *state = *state * 1664525u + 1013904223u; }

/* (n,) in [-0.5, 0.5) */
static float *new_floats(ptrdiff_t n, unsigned seed) {
    float *array = new_array(n, sizeof(float));
    for (ptrdiff_t i = 0; i < n; i++)
        array[i] = (float)(next_random(&seed) >> 8) / (float)(1 << 24) - 0.5f;
    return array;
}

static uint64_t hash(uint64_t h, const void *memory, size_t n) {
    for (size_t i = 0; i < n; i++) h = (h ^ ((const unsigned char *)memory)[i]) * 1099511628211u;
    return h;
}

static uint64_t hash_floats(uint64_t h, const float *array, ptrdiff_t n) {
    return hash(h, array, sizeof(float) * (size_t)n);
}

static uint64_t hash_sums(uint64_t h, const fs_sums *s) {
    h = hash(hash(h, &s->loss, sizeof s->loss), &s->total_weight, sizeof s->total_weight);
    h = hash(h, &s->entropy, sizeof s->entropy);
    return hash(hash(h, &s->correct, sizeof s->correct), &s->counted, sizeof s->counted);
}

static void check(int status) {
    if (status != FS_OK) abort();
}

static int not_interrupted(void) { return 0; }

/* Of all that the entry points give for this shape: two epochs in a random order with momentum; loss
 * and gradients, with the entropy; partial gradients of chunks; losses; logits; softmax. */
static uint64_t work(const shape *s, int num_threads) {
    const ptrdiff_t n = s->n_rows, d = s->n_features, k = s->n_classes;
    float *x = new_floats(n * d, 1), *weight = new_floats(k * d, 2), *bias = new_floats(k, 3);
    float *velocity_weight = new_floats(k * d, 4), *velocity_bias = new_floats(k, 5);
    float *grad_weight = new_floats(k * d, 6), *grad_bias = new_floats(k, 7);
    float *grad_input = new_floats(n * d, 8), *losses = new_floats(n, 9);
    const ptrdiff_t n_chunks = fs_n_chunks(n);
    float *partial_weight = new_floats(n_chunks * k * d, 13);
    float *partial_bias = new_floats(n_chunks * k, 14);
    fs_sums *chunk_sums = new_array(n_chunks, sizeof *chunk_sums);
    float *logits = new_floats(n * k, 10), *softmax = new_floats(n * k, 11);
    int32_t *target = new_array(n, sizeof *target);
    int64_t *order = new_array(n, sizeof *order);
    unsigned seed = 12;
    for (ptrdiff_t i = 0; i < n; i++) {
        target[i] = (int32_t)((next_random(&seed) >> 8) % (unsigned)k);
        order[i] = (int64_t)((next_random(&seed) >> 8) % (unsigned)n);
    }
    fs_rows rows = {.x = x, .row_type = s->row_type, .scale = 1, .n_rows = n, .n_features = d};
    if (s->row_type == FS_UINT8) rows.scale = 1.0f / 255;
    const fs_loss loss = {.target = target, .plain = 1};
    const fs_params params = {weight, bias, velocity_weight, velocity_bias, {d, k}};
    const fs_gradients gradients = {grad_weight, grad_bias, grad_input, 1};
    fs_step_settings settings = {
        .lr = 0.1f, .momentum = 0.9f, .weight_decay = 0.01f, .first_step = 1};
    fs_sums sums;
    uint64_t h = 14695981039346656037u;

    rows.order = order;
    for (int epoch = 0; epoch < 2; epoch++, settings.first_step = 0) {
        check(fs_train_epoch(kernels, &rows, &loss, &params, &settings, s->batch_size, num_threads,
                             not_interrupted, &sums));
        h = hash_sums(h, &sums);
    }
    rows.order = NULL;
    check(fs_loss_and_grad(kernels, &rows, &loss, &params, num_threads, 1, &gradients, &sums));
    h = hash_sums(h, &sums);
    check(fs_chunk_partials(kernels, &rows, &loss, &params, num_threads, partial_weight,
                            partial_bias, chunk_sums));
    for (ptrdiff_t i = 0; i < n_chunks; i++) h = hash_sums(h, &chunk_sums[i]);
    check(fs_evaluate(kernels, &rows, &loss, &params, num_threads, losses, &sums));
    h = hash_sums(h, &sums);
    check(fs_predict_logits(kernels, &rows, &params, num_threads, logits));
    check(fs_softmax(kernels, logits, n, k, 1, num_threads, softmax));

    const struct {
        float *array;
        ptrdiff_t n;
    } all[] = {
        {weight, k * d},
        {bias, k},
        {velocity_weight, k * d},
        {velocity_bias, k},
        {grad_weight, k * d},
        {grad_bias, k},
        {grad_input, n * d},
        {partial_weight, n_chunks * k * d},
        {partial_bias, n_chunks * k},
        {losses, n},
        {logits, n * k},
        {softmax, n * k},
        {x, 0},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        h = hash_floats(h, all[i].array, all[i].n);
        free(all[i].array);
    }
    free(chunk_sums);
    free(target);
    free(order);
    return h;
}

static void *caller(void *seed_of_it) {
    unsigned seed = *(unsigned *)seed_of_it;
    for (int i = 0; i < N_SHAPES; i++)
        for (int num_threads = 1; num_threads <= MOST_THREADS; num_threads++) {
            const int which = (int)((next_random(&seed) >> 8) % N_SHAPES);
            if (work(&shapes[which], num_threads) != expected[which]) {
                fprintf(stderr, "races: other bits: shape %d, %d threads\n", which, num_threads);
                exit(1);
            }
        }
    return NULL;
}

static void one_round(unsigned seed) {
    unsigned seeds[2] = {seed, seed + 1};
    pthread_t other;
    if (pthread_create(&other, NULL, caller, &seeds[1]) != 0) abort();
    caller(&seeds[0]);
    pthread_join(other, NULL);
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    kernels = fs_built(0);
    fs_allow_threads_beyond_cores(1);
    for (int i = 0; i < N_SHAPES; i++) expected[i] = work(&shapes[i], 1);
    for (unsigned round = 0; round < (unsigned)atoi(argv[1]); round++) {
        one_round(2 * round);
        if (argc < 3) continue;
        const pid_t child = fork();
        if (child == 0) {
            one_round(2 * round);
            _exit(0);
        }
        int status;
        if (child < 0 || waitpid(child, &status, 0) < 0 || status != 0) {
            fprintf(stderr, "races: the child of round %u ended with %d\n", round, status);
            return 1;
        }
    }
    return 0;
}
