# cython: language_level=3, boundscheck=False, freethreading_compatible=True
# cython: binding=True, embedsignature=False
"""The C backend: the memory of checked arrays, handed to csrc/ with the GIL released.

Over 300 lines, as it repeats the declarations of fastsoftmax.h, and every signature of the contract.
"""

import os

import numpy as np

from . import checks
from .loss import Sums
from .threads import check_num_threads, threads_for

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, int64_t

name = "cython"

cdef extern from "fastsoftmax.h" nogil:
    ctypedef enum fs_row_type:
        FS_FLOAT32
        FS_UINT8
    int FS_OK
    ctypedef struct fs_criterion:
        const float *class_weight
        const float *sample_weight
        const float *probabilities
        float label_smoothing
    ctypedef struct fs_rows:
        const void *x
        fs_row_type row_type
        float scale
        float grad_scale
        const int32_t *target
        const fs_criterion *criterion
        const int64_t *order
        Py_ssize_t n_rows
        Py_ssize_t n_features
        Py_ssize_t n_classes
    ctypedef struct fs_sgd:
        float lr, momentum, dampening, weight_decay
        float bias_weight_decay
        int nesterov
        int first_step
    ctypedef struct fs_sums:
        double loss
        double weight
        int64_t correct
        int64_t counted
    ctypedef struct fs_params:
        float *weight
        float *bias
        float *velocity_weight
        float *velocity_bias
    ctypedef struct fs_kernels:
        const char *isa
        void (*exp)(const float *x, float *out, Py_ssize_t n)
        void (*log)(const float *x, float *out, Py_ssize_t n)
    int fs_n_built()
    const fs_kernels *fs_built(int i)
    int fs_supported(int i)
    int fs_train_epoch(const fs_kernels *kernels, const fs_rows *rows, Py_ssize_t batch_size,
                       const fs_params *params, const fs_sgd *sgd, int num_threads,
                       fs_sums *sums)
    int fs_loss_and_grad(const fs_kernels *kernels, const fs_rows *rows, const float *weight,
                         const float *bias, int num_threads, float *grad_weight,
                         float *grad_bias, float *grad_input, fs_sums *sums)
    void fs_sgd_update(const fs_kernels *kernels, const fs_params *params,
                       const float *grad_weight, const float *grad_bias, Py_ssize_t n_features,
                       Py_ssize_t n_classes, double total_weight, const fs_sgd *sgd)
    int fs_evaluate(const fs_kernels *kernels, const fs_rows *rows, const float *weight,
                    const float *bias, int num_threads, float *losses, fs_sums *sums)
    int fs_predict_logits(const fs_kernels *kernels, const fs_rows *rows, const float *weight,
                          const float *bias, int num_threads, float *logits)
    int fs_softmax(const fs_kernels *kernels, const float *logits, Py_ssize_t n_rows,
                   Py_ssize_t n_classes, int log, int num_threads, float *out)


# ---- which kernels ----

cdef const fs_kernels *kernels = NULL


def built_isas():
    """Names of the instruction sets that kernels were built for, slowest first."""
    return [fs_built(i).isa.decode() for i in range(fs_n_built())]


def supported_isas():
    """Names of those that this CPU can run, slowest first."""
    return [fs_built(i).isa.decode() for i in range(fs_n_built()) if fs_supported(i)]


def selected_isa():
    """Name of the instruction set whose kernels are in use."""
    return kernels.isa.decode()


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
        raise RuntimeError(f"FASTSOFTMAX_ISA={isa!r} is unknown, expected one of {built_isas()}")
    if isa not in supported:
        raise RuntimeError(f"FASTSOFTMAX_ISA={isa!r} is not for this CPU, which runs {supported}")
    kernels = fs_built(built_isas().index(isa))


select_isa(os.environ.get("FASTSOFTMAX_ISA") or None)


# ---- from arrays to structs ----

cdef void *to_read(array) except? NULL:
    """Where the memory of a checked array begins; the array must outlive its use.

    A typed view would check its dtype and shape once more, and takes three times as long.
    """
    return memory_of(array, PyBUF_SIMPLE)


cdef void *to_write(array) except? NULL:
    return memory_of(array, PyBUF_WRITABLE)


cdef void *memory_of(array, int flags) except? NULL:
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, flags)
    PyBuffer_Release(&view)
    return view.buf


cdef int fill_rows(fs_rows *rows, x, order, scale, Py_ssize_t n_classes) except -1:
    """The arrays must outlive `rows`; without an order the rows come in their own."""
    rows.n_rows, rows.n_features = x.shape
    rows.n_classes = n_classes
    rows.scale = checks.row_scale(scale)
    rows.grad_scale = 1.0
    rows.target = rows.criterion = rows.order = NULL
    rows.row_type = FS_UINT8 if x.itemsize == 1 else FS_FLOAT32
    rows.x = to_read(x)
    if order is not None:
        rows.n_rows = order.shape[0]
        rows.order = <const int64_t *> to_read(order)
    return 0


cdef int fill_terms(fs_rows *rows, fs_criterion *criterion, terms) except -1:
    """Targets and what weighs them, checks.LossTerms, which must outlive `rows`."""
    if terms.target is not None:
        rows.target = <const int32_t *> to_read(terms.target)
    if terms.plain:
        return 0
    rows.criterion = criterion
    criterion.class_weight = criterion.sample_weight = criterion.probabilities = NULL
    criterion.label_smoothing = terms.label_smoothing
    if terms.class_weight is not None:
        criterion.class_weight = <const float *> to_read(terms.class_weight)
    if terms.sample_weight is not None:
        criterion.sample_weight = <const float *> to_read(terms.sample_weight)
    if terms.probabilities is not None:
        criterion.probabilities = <const float *> to_read(terms.probabilities)
    return 0


cdef int fill_params(fs_params *params, weight, bias, velocity) except -1:
    """The arrays must outlive `params`; velocity is that of checks.velocity_of."""
    params.weight = <float *> to_write(weight)
    params.bias = <float *> to_write(bias)
    params.velocity_weight = NULL
    params.velocity_bias = NULL
    if velocity is not None:
        params.velocity_weight = <float *> to_write(velocity[0])
        params.velocity_bias = <float *> to_write(velocity[1])
    return 0


cdef fs_sgd sgd_struct(sgd, velocity):
    cdef fs_sgd s
    s.lr = sgd.lr
    s.momentum = sgd.momentum
    s.dampening = sgd.dampening
    s.weight_decay = sgd.weight_decay
    s.bias_weight_decay = sgd.weight_decay if sgd.decay_bias else 0.0
    s.nesterov = sgd.nesterov
    s.first_step = velocity is not None and not velocity[2]
    return s


cdef sums_of(const fs_sums *sums):
    return Sums(sums.loss, sums.correct, sums.weight, sums.counted)


cdef int check(int status) except -1:
    if status != FS_OK:
        raise MemoryError("no memory for the buffers of the kernels")
    return 0


# ---- the contract of backends.py ----

def loss_and_grad(x, target, weight, bias, *, criterion=None, sample_weight=None, scale=1.0,
                  num_threads=None, grad_scale=1.0, grad_input=None):
    cdef fs_rows rows
    cdef fs_criterion c
    cdef fs_sums sums
    cdef int status, threads
    check_num_threads(num_threads)
    weight, bias = checks.parameters(weight, bias)
    x = checks.rows(x, weight.shape[1])
    checks.not_empty(x.shape[0])
    terms = checks.loss_terms(target, criterion, sample_weight, x, weight)
    fill_rows(&rows, x, None, scale, weight.shape[0])
    rows.grad_scale = checks.finite("grad_scale", grad_scale)
    fill_terms(&rows, &c, terms)
    threads = threads_for(num_threads, rows.n_rows * weight.size)
    cdef void *gi = NULL
    if grad_input is not None:
        gi = to_write(checks.output("grad_input", grad_input, x.shape, weight.dtype))
    grad_weight, grad_bias = np.empty_like(weight), np.empty_like(bias)
    cdef const void *w = to_read(weight)
    cdef const void *b = to_read(bias)
    cdef void *gw = to_write(grad_weight)
    cdef void *gb = to_write(grad_bias)
    with nogil:
        status = fs_loss_and_grad(kernels, &rows, <const float *> w, <const float *> b, threads,
                                  <float *> gw, <float *> gb, <float *> gi, &sums)
    check(status)
    return sums.loss, grad_weight, grad_bias


def sgd_update(weight, bias, grad_weight, grad_bias, total_weight, sgd, velocity=None):
    cdef fs_params params
    weight, bias = checks.parameters(weight, bias, writeable=True)
    grad_weight, grad_bias = checks.parameters(
        grad_weight, grad_bias, names=("grad_weight", "grad_bias"), shape=weight.shape)
    moments = checks.velocity_of(sgd, velocity, weight)
    cdef double total = checks.positive("total_weight", total_weight)
    cdef fs_sgd settings = sgd_struct(sgd, moments)
    cdef const void *gw = to_read(grad_weight)
    cdef const void *gb = to_read(grad_bias)
    cdef Py_ssize_t n_classes = weight.shape[0], n_features = weight.shape[1]
    fill_params(&params, weight, bias, moments)
    with nogil:
        fs_sgd_update(kernels, &params, <const float *> gw, <const float *> gb, n_features,
                      n_classes, total, &settings)
    if moments is not None:
        velocity.started = True


def train_step(x, target, weight, bias, sgd, velocity=None, *, criterion=None,
               sample_weight=None, scale=1.0, num_threads=None):
    return _train(x, target, None, None, weight, bias, sgd, velocity, criterion, sample_weight,
                  scale, num_threads)


def train_epoch(x, target, order, batch_size, weight, bias, sgd, velocity=None, *,
                criterion=None, sample_weight=None, scale=1.0, num_threads=None):
    batch_size = checks.positive_int("batch_size", batch_size)
    return _train(x, target, order, batch_size, weight, bias, sgd, velocity, criterion,
                  sample_weight, scale, num_threads)


cdef _train(x, target, order, batch_size, weight, bias, sgd, velocity, criterion, sample_weight,
            scale, num_threads):
    cdef fs_rows rows
    cdef fs_criterion c
    cdef fs_params params
    cdef fs_sums sums
    cdef int status, threads
    check_num_threads(num_threads)
    weight, bias = checks.parameters(weight, bias, writeable=True)
    x = checks.rows(x, weight.shape[1])
    terms = checks.loss_terms(target, criterion, sample_weight, x, weight)
    order = checks.row_order(order, x.shape[0])
    checks.not_empty(x.shape[0] if order is None else order.shape[0])
    moments = checks.velocity_of(sgd, velocity, weight)
    fill_rows(&rows, x, order, scale, weight.shape[0])
    fill_terms(&rows, &c, terms)
    fill_params(&params, weight, bias, moments)
    cdef fs_sgd settings = sgd_struct(sgd, moments)
    cdef Py_ssize_t n_batch = min(batch_size or rows.n_rows, rows.n_rows)
    threads = threads_for(num_threads, n_batch * weight.size)
    with nogil:
        status = fs_train_epoch(kernels, &rows, n_batch, &params, &settings, threads, &sums)
    check(status)
    if moments is not None:
        velocity.started = True
    return sums_of(&sums)


def evaluate(x, target, weight, bias, *, criterion=None, sample_weight=None, scale=1.0,
             num_threads=None, losses=None):
    cdef fs_rows rows
    cdef fs_criterion c
    cdef fs_sums sums
    cdef int status, threads
    check_num_threads(num_threads)
    weight, bias = checks.parameters(weight, bias)
    x = checks.rows(x, weight.shape[1])
    terms = checks.loss_terms(target, criterion, sample_weight, x, weight)
    fill_rows(&rows, x, None, scale, weight.shape[0])
    fill_terms(&rows, &c, terms)
    threads = threads_for(num_threads, rows.n_rows * weight.size)
    cdef void *out = NULL
    if losses is not None:
        out = to_write(checks.output("losses", losses, x.shape[:1], weight.dtype))
    cdef const void *w = to_read(weight)
    cdef const void *b = to_read(bias)
    with nogil:
        status = fs_evaluate(kernels, &rows, <const float *> w, <const float *> b, threads,
                             <float *> out, &sums)
    check(status)
    return sums_of(&sums)


def predict_logits(x, weight, bias, *, scale=1.0, num_threads=None):
    cdef fs_rows rows
    cdef int status, threads
    check_num_threads(num_threads)
    weight, bias = checks.parameters(weight, bias)
    x = checks.rows(x, weight.shape[1])
    fill_rows(&rows, x, None, scale, weight.shape[0])
    threads = threads_for(num_threads, rows.n_rows * weight.size)
    logits = np.empty((x.shape[0], weight.shape[0]), np.float32)
    cdef const void *w = to_read(weight)
    cdef const void *b = to_read(bias)
    cdef void *out = to_write(logits)
    if rows.n_rows == 0:
        return logits
    with nogil:
        status = fs_predict_logits(kernels, &rows, <const float *> w, <const float *> b, threads,
                                   <float *> out)
    check(status)
    return logits


def softmax(logits, *, num_threads=None):
    return _softmax(logits, False, num_threads)


def log_softmax(logits, *, num_threads=None):
    return _softmax(logits, True, num_threads)


cdef _softmax(logits, bint log, num_threads):
    cdef int status, threads
    check_num_threads(num_threads)
    logits = checks.logits_matrix(logits)
    threads = threads_for(num_threads, 16 * logits.size)  # as long as an exp takes
    result = np.empty_like(logits)
    cdef Py_ssize_t n_rows = logits.shape[0], n_classes = logits.shape[1]
    cdef const void *z = to_read(logits)
    cdef void *out = to_write(result)
    if n_rows == 0:
        return result
    with nogil:
        status = fs_softmax(kernels, <const float *> z, n_rows, n_classes, log, threads,
                            <float *> out)
    check(status)
    return result


# ---- exp.h, for its tests ----

def _exp(const float[::1] x):
    result = np.empty(x.shape[0], np.float32)
    cdef float[::1] out = result
    kernels.exp(&x[0], &out[0], x.shape[0])
    return result


def _log(const float[::1] x):
    result = np.empty(x.shape[0], np.float32)
    cdef float[::1] out = result
    kernels.log(&x[0], &out[0], x.shape[0])
    return result
