# cython: language_level=3, boundscheck=False, freethreading_compatible=True
# cython: binding=True, embedsignature=False
"""The C backend: the memory of checked nouns, handed to csrc/ with the GIL released.

Over 300 lines, as it repeats the declarations of fastsoftmax.h.
"""

import os
from threading import current_thread, main_thread

import numpy as np

from ..problem import Sums

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int32_t, int64_t

name = "cython"

cdef object new = tuple.__new__, Sums_ = Sums

FLOATS = (np.dtype(np.float32),)

cdef extern from "fastsoftmax.h" nogil:
    ctypedef enum fs_row_type:
        FS_FLOAT32
        FS_UINT8
    int FS_OK
    int FS_NO_MEMORY
    int FS_INTERRUPTED
    ctypedef struct fs_rows:
        const void *x
        fs_row_type row_type
        float scale
        const int64_t *order
        Py_ssize_t n_rows
        Py_ssize_t n_features
    ctypedef struct fs_loss:
        const int32_t *target
        bint plain
        const float *class_weight
        const float *sample_weight
        const float *probabilities
        float label_smoothing
    ctypedef struct fs_shape:
        Py_ssize_t n_features
        Py_ssize_t n_classes
    ctypedef struct fs_params:
        float *weight
        float *bias
        float *velocity_weight
        float *velocity_bias
        fs_shape shape
    ctypedef struct fs_step_settings:
        float lr, momentum, dampening
        float weight_decay, bias_weight_decay
        float l1
        bint nesterov
        bint first_step
        const double *lr_of_steps
    ctypedef struct fs_sums:
        double loss
        double entropy
        double total_weight
        int64_t correct
        int64_t counted
    ctypedef struct fs_gradients:
        float *weight
        float *bias
        float *input
        float scale
    ctypedef int (*fs_interrupted)() noexcept nogil
    ctypedef struct fs_kernels:
        pass
    int fs_n_built()
    const fs_kernels *fs_built(int i)
    int fs_supported(int i)
    const char *fs_isa(const fs_kernels *kernels)
    ctypedef void (*fs_parallel)(void (*work)(void *) noexcept, void *data, unsigned n_threads,
                                 unsigned flags) noexcept
    ctypedef int (*fs_max_threads)() noexcept
    ctypedef struct fs_lender:
        fs_parallel parallel
        fs_max_threads max_threads
    void fs_borrow_threads(fs_lender lender)
    void fs_allow_threads_beyond_cores(int allowed)
    int fs_train_epoch(const fs_kernels *kernels, const fs_rows *rows, const fs_loss *loss,
                       const fs_params *params, const fs_step_settings *settings,
                       Py_ssize_t batch_size, int num_threads, fs_interrupted interrupted,
                       fs_sums *sums)
    int fs_loss_and_grad(const fs_kernels *kernels, const fs_rows *rows, const fs_loss *loss,
                         const fs_params *params, int num_threads, bint entropy,
                         const fs_gradients *gradients, fs_sums *sums)
    Py_ssize_t fs_n_chunks(Py_ssize_t n_rows)
    Py_ssize_t fs_chunk_rows(Py_ssize_t n_rows)
    int fs_chunk_partials(const fs_kernels *kernels, const fs_rows *rows, const fs_loss *loss,
                          const fs_params *params, int num_threads, float *grad_weight,
                          float *grad_bias, fs_sums *sums)
    bint fs_is_by_tiles(const fs_kernels *kernels, fs_shape shape, Py_ssize_t n_rows)
    void fs_sgd_update(const fs_kernels *kernels, const fs_params *params,
                       const float *grad_weight, const float *grad_bias, double total_weight,
                       const fs_step_settings *settings)
    int fs_evaluate(const fs_kernels *kernels, const fs_rows *rows, const fs_loss *loss,
                    const fs_params *params, int num_threads, float *losses, fs_sums *sums)
    int fs_predict_logits(const fs_kernels *kernels, const fs_rows *rows,
                          const fs_params *params, int num_threads, float *logits)
    int fs_softmax(const fs_kernels *kernels, const float *logits, Py_ssize_t n_rows,
                   Py_ssize_t n_classes, int log, int num_threads, float *out)
    void fs_exp(const fs_kernels *kernels, const float *x, float *out, Py_ssize_t n)
    void fs_log(const fs_kernels *kernels, const float *x, float *out, Py_ssize_t n)


cdef extern from *:
    """
    /* The one symbol beside PyInit_cython that is seen from outside: by it threadpoolctl knows
       this library from others of the name. */
    #if defined(__GNUC__)
    __attribute__((visibility("default")))
    #endif
    const char fastsoftmax_threads = 1;
    """


# ---- which kernels ----

cdef const fs_kernels *kernels = NULL


def built_isas():
    """Names of the instruction sets that kernels were built for, slowest first."""
    return [fs_isa(fs_built(i)).decode() for i in range(fs_n_built())]


def supported_isas():
    """Names of those that this CPU can run, slowest first."""
    return [fs_isa(fs_built(i)).decode() for i in range(fs_n_built()) if fs_supported(i)]


def selected_isa():
    """Name of the instruction set whose kernels are in use."""
    return fs_isa(kernels).decode()


def select_isa(isa=None):
    """Uses the kernels of that name from now on, or with None the fastest of `supported_isas`.

    Not to be called while another thread is in a kernel.
    """
    global kernels
    supported = supported_isas()
    if not supported:
        raise RuntimeError(f"this CPU can run none of the kernels built: {built_isas()}")
    if isa is None:
        isa = supported[-1]
    if isa not in built_isas():
        raise ValueError(f"FASTSOFTMAX_ISA={isa!r} is unknown, expected one of {built_isas()}")
    if isa not in supported:
        raise ValueError(f"FASTSOFTMAX_ISA={isa!r} is not for this CPU, which runs {supported}")
    kernels = fs_built(built_isas().index(isa))


select_isa(os.environ.get("FASTSOFTMAX_ISA") or None)


# ---- from nouns to structs, which the arrays must outlive ----

cdef void *memory_of(array, int flags) except? NULL:
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, flags)
    PyBuffer_Release(&view)
    return view.buf


cdef void *to_read(array) except? NULL:
    """Where the memory of a checked array begins; NULL for None.

    A typed view would check its dtype and shape once more, and takes three times as long.
    """
    return NULL if array is None else memory_of(array, PyBUF_SIMPLE)


cdef void *to_write(array) except? NULL:
    return NULL if array is None else memory_of(array, PyBUF_WRITABLE)


cdef int fill_rows(fs_rows *rows, noun) except -1:
    x, scale, order = <tuple> noun
    rows.x = to_read(x)
    rows.n_features = x.shape[1]
    rows.row_type = FS_UINT8 if x.itemsize == 1 else FS_FLOAT32
    rows.scale = scale
    rows.order = <const int64_t *> to_read(order)
    rows.n_rows = x.shape[0] if order is None else order.shape[0]
    return 0


cdef int fill_loss(fs_loss *loss, noun) except -1:
    target, probabilities, class_weight, sample_weight, label_smoothing, plain, _ = <tuple> noun
    loss.target = <const int32_t *> to_read(target)
    loss.plain = plain
    loss.class_weight = <const float *> to_read(class_weight)
    loss.sample_weight = <const float *> to_read(sample_weight)
    loss.probabilities = <const float *> to_read(probabilities)
    loss.label_smoothing = label_smoothing
    return 0


cdef int fill_params(fs_params *params, noun, bint writeable) except -1:
    weight, bias, velocity_weight, velocity_bias = <tuple> noun
    cdef int flags = PyBUF_WRITABLE if writeable else PyBUF_SIMPLE
    params.shape.n_classes, params.shape.n_features = weight.shape
    params.weight = <float *> memory_of(weight, flags)
    params.bias = <float *> memory_of(bias, flags)
    params.velocity_weight = <float *> to_write(velocity_weight)
    params.velocity_bias = <float *> to_write(velocity_bias)
    return 0


cdef int fill_settings(fs_step_settings *s, noun) except -1:
    (s.lr, s.momentum, s.dampening, s.nesterov, s.weight_decay, s.bias_weight_decay, s.l1,
     s.first_step, lr_of_steps) = <tuple> noun
    s.lr_of_steps = <const double *> to_read(lr_of_steps if len(lr_of_steps) else None)
    return 0


cdef sums_of(const fs_sums *sums):
    # a NamedTuple's own __new__ takes three times as long
    return new(Sums_, (sums.loss, sums.correct, sums.total_weight, sums.counted))


cdef int check(int status) except -1:
    if status != FS_OK:
        raise MemoryError("no memory for the buffers of the kernels")
    return 0


cdef interruption = None  # what a signal's handler has raised during a call of the main thread


cdef int interrupted() noexcept nogil:
    global interruption
    with gil:
        try:
            PyErr_CheckSignals()
        except BaseException as error:
            interruption = error
            return True
    return False


# ---- the functions of Kernels, in contract.py ----

def loss_and_grad(rows, loss, params, int num_threads, *, float grad_scale=1.0, grad_input=None,
                  bint entropy=False):
    cdef fs_rows r
    cdef fs_loss l
    cdef fs_params p
    cdef fs_gradients gradients
    cdef fs_sums sums
    cdef int status
    fill_rows(&r, rows)
    fill_loss(&l, loss)
    fill_params(&p, params, False)
    grad_weight, grad_bias = np.empty_like(params[0]), np.empty_like(params[1])
    gradients.weight = <float *> to_write(grad_weight)
    gradients.bias = <float *> to_write(grad_bias)
    gradients.input = <float *> to_write(grad_input)
    gradients.scale = grad_scale
    with nogil:
        status = fs_loss_and_grad(kernels, &r, &l, &p, num_threads, entropy, &gradients, &sums)
    check(status)
    return sums_of(&sums), grad_weight, grad_bias, sums.entropy


def chunk_partials(rows, loss, params, int num_threads):
    cdef fs_rows r
    cdef fs_loss l
    cdef fs_params p
    cdef int status
    fill_rows(&r, rows)
    fill_loss(&l, loss)
    fill_params(&p, params, False)
    cdef Py_ssize_t n_chunks = fs_n_chunks(r.n_rows), i
    grad_weight = np.empty((n_chunks, p.shape.n_classes, p.shape.n_features), np.float32)
    grad_bias = np.empty((n_chunks, p.shape.n_classes), np.float32)
    of_chunks = np.empty(n_chunks * sizeof(fs_sums), np.uint8)
    cdef fs_sums *sums = <fs_sums *> to_write(of_chunks)
    cdef float *gw = <float *> to_write(grad_weight)
    cdef float *gb = <float *> to_write(grad_bias)
    with nogil:
        status = fs_chunk_partials(kernels, &r, &l, &p, num_threads, gw, gb, sums)
    check(status)
    return [sums_of(&sums[i]) for i in range(n_chunks)], grad_weight, grad_bias


def sgd_update(params, grad_weight, grad_bias, double total_weight, settings):
    cdef fs_params p
    cdef fs_step_settings s
    cdef const float *gw = <const float *> to_read(grad_weight)
    cdef const float *gb = <const float *> to_read(grad_bias)
    fill_params(&p, params, True)
    fill_settings(&s, settings)
    with nogil:
        fs_sgd_update(kernels, &p, gw, gb, total_weight, &s)


def train(rows, loss, params, settings, Py_ssize_t batch_size, int num_threads):
    global interruption
    cdef fs_rows r
    cdef fs_loss l
    cdef fs_params p
    cdef fs_step_settings s
    cdef fs_sums sums
    cdef int status
    cdef fs_interrupted ask = NULL
    fill_rows(&r, rows)
    fill_loss(&l, loss)
    fill_params(&p, params, True)
    fill_settings(&s, settings)
    # one step is too short to be asked; the main thread has the signals
    if batch_size < r.n_rows and current_thread() is main_thread():
        ask = interrupted
    with nogil:
        status = fs_train_epoch(kernels, &r, &l, &p, &s, batch_size, num_threads, ask, &sums)
    error = None
    if status == FS_INTERRUPTED:
        error, interruption = interruption, None
    else:
        check(status)
    return sums_of(&sums), error


def evaluate(rows, loss, params, int num_threads, losses=None):
    cdef fs_rows r
    cdef fs_loss l
    cdef fs_params p
    cdef fs_sums sums
    cdef int status
    cdef float *out = <float *> to_write(losses)
    fill_rows(&r, rows)
    fill_loss(&l, loss)
    fill_params(&p, params, False)
    with nogil:
        status = fs_evaluate(kernels, &r, &l, &p, num_threads, out, &sums)
    check(status)
    return sums_of(&sums)


def predict_logits(rows, params, int num_threads):
    cdef fs_rows r
    cdef fs_params p
    cdef int status
    fill_rows(&r, rows)
    fill_params(&p, params, False)
    logits = np.empty((r.n_rows, p.shape.n_classes), np.float32)
    cdef float *out = <float *> to_write(logits)
    if r.n_rows == 0:
        return logits
    with nogil:
        status = fs_predict_logits(kernels, &r, &p, num_threads, out)
    check(status)
    return logits


def softmax(logits, bint log, int num_threads):
    cdef int status
    cdef Py_ssize_t n_rows = logits.shape[0], n_classes = logits.shape[1]
    result = np.empty_like(logits)
    cdef const float *z = <const float *> to_read(logits)
    cdef float *out = <float *> to_write(result)
    if n_rows == 0:
        return result
    with nogil:
        status = fs_softmax(kernels, z, n_rows, n_classes, log, num_threads, out)
    check(status)
    return result


# ---- for fastsoftmax.torch ----

def borrow_threads(size_t parallel, size_t max_threads):
    """From now on calls of this Python thread run on the threads of an OpenMP library, given by the
    addresses of its GOMP_parallel and omp_get_max_threads; by 0, 0 on our own."""
    cdef fs_lender lender
    lender.parallel = <fs_parallel> <void *> parallel
    lender.max_threads = <fs_max_threads> <void *> max_threads
    fs_borrow_threads(lender)


# ---- for tests ----

def _allow_threads_beyond_cores(bint allowed):
    fs_allow_threads_beyond_cores(allowed)


def _chunks_of(Py_ssize_t n_rows):
    return fs_n_chunks(n_rows), fs_chunk_rows(n_rows)


def _is_by_tiles(Py_ssize_t n_rows, Py_ssize_t n_features, Py_ssize_t n_classes):
    cdef fs_shape shape
    shape.n_features, shape.n_classes = n_features, n_classes
    return fs_is_by_tiles(kernels, shape, n_rows)


def _exp(const float[::1] x):
    result = np.empty(x.shape[0], np.float32)
    cdef float[::1] out = result
    fs_exp(kernels, &x[0], &out[0], x.shape[0])
    return result


def _log(const float[::1] x):
    result = np.empty(x.shape[0], np.float32)
    cdef float[::1] out = result
    fs_log(kernels, &x[0], &out[0], x.shape[0])
    return result


include "tensors.pxi"
