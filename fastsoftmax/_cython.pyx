# cython: language_level=3, boundscheck=False, freethreading_compatible=True
# cython: binding=True, embedsignature=False
"""The C backend: typed views of checked arrays, handed to csrc/ with the GIL released.

Over 300 lines, as it repeats the declarations of fastsoftmax.h, and every signature of the contract.
"""

import os

import numpy as np

from . import checks
from .loss import Sums
from .threads import check_num_threads, threads_for

from libc.stdint cimport int32_t, int64_t, uint8_t

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

cdef int fill_rows(fs_rows *rows, x, const int64_t[::1] order, scale,
                   Py_ssize_t n_classes) except -1:
    """The arrays must outlive `rows`; without an order the rows come in their own."""
    cdef const float[:, ::1] x_float32
    cdef const uint8_t[:, ::1] x_uint8
    rows.n_rows, rows.n_features = x.shape
    rows.n_classes = n_classes
    rows.scale = checks.row_scale(scale)
    rows.grad_scale = 1.0
    rows.x = rows.target = rows.criterion = rows.order = NULL
    if x.dtype == np.uint8:
        rows.row_type = FS_UINT8
        x_uint8 = x
        if rows.n_rows:
            rows.x = &x_uint8[0, 0]
    else:
        rows.row_type = FS_FLOAT32
        x_float32 = x
        if rows.n_rows:
            rows.x = &x_float32[0, 0]
    if order is not None:
        rows.n_rows = order.shape[0]
        if rows.n_rows:
            rows.order = &order[0]
    return 0


cdef int fill_terms(fs_rows *rows, fs_criterion *criterion, terms) except -1:
    """Targets and what weighs them, checks.LossTerms, which must outlive `rows`."""
    cdef const int32_t[::1] target = terms.target
    cdef const float[::1] class_weight = terms.class_weight
    cdef const float[::1] sample_weight = terms.sample_weight
    cdef const float[:, ::1] probabilities = terms.probabilities
    if target is not None and target.shape[0]:
        rows.target = &target[0]
    if terms.plain:
        return 0
    rows.criterion = criterion
    criterion.class_weight = criterion.sample_weight = criterion.probabilities = NULL
    criterion.label_smoothing = terms.label_smoothing
    if class_weight is not None:
        criterion.class_weight = &class_weight[0]
    if sample_weight is not None and sample_weight.shape[0]:
        criterion.sample_weight = &sample_weight[0]
    if probabilities is not None and probabilities.shape[0]:
        criterion.probabilities = &probabilities[0, 0]
    return 0


cdef int fill_params(fs_params *params, float[:, ::1] weight, float[::1] bias,
                     velocity) except -1:
    """The arrays must outlive `params`; velocity is that of checks.velocity_of."""
    cdef float[:, ::1] velocity_weight
    cdef float[::1] velocity_bias
    params.weight = &weight[0, 0]
    params.bias = &bias[0]
    params.velocity_weight = NULL
    params.velocity_bias = NULL
    if velocity is not None:
        velocity_weight, velocity_bias = velocity[0], velocity[1]
        params.velocity_weight = &velocity_weight[0, 0]
        params.velocity_bias = &velocity_bias[0]
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
    cdef float[:, ::1] gi
    cdef float *gi_pointer = NULL
    if grad_input is not None:
        gi = checks.output("grad_input", grad_input, x.shape, weight.dtype)
        gi_pointer = &gi[0, 0]
    grad_weight, grad_bias = np.empty_like(weight), np.empty_like(bias)
    cdef const float[:, ::1] w = weight
    cdef const float[::1] b = bias
    cdef float[:, ::1] gw = grad_weight
    cdef float[::1] gb = grad_bias
    with nogil:
        status = fs_loss_and_grad(kernels, &rows, &w[0, 0], &b[0], threads, &gw[0, 0], &gb[0],
                                  gi_pointer, &sums)
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
    cdef const float[:, ::1] gw = grad_weight
    cdef const float[::1] gb = grad_bias
    cdef Py_ssize_t n_classes = weight.shape[0], n_features = weight.shape[1]
    fill_params(&params, weight, bias, moments)
    with nogil:
        fs_sgd_update(kernels, &params, &gw[0, 0], &gb[0], n_features, n_classes, total,
                      &settings)
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
    cdef float[::1] out
    cdef float *out_pointer = NULL
    if losses is not None:
        out = checks.output("losses", losses, x.shape[:1], weight.dtype)
        if rows.n_rows:
            out_pointer = &out[0]
    cdef const float[:, ::1] w = weight
    cdef const float[::1] b = bias
    with nogil:
        status = fs_evaluate(kernels, &rows, &w[0, 0], &b[0], threads, out_pointer, &sums)
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
    cdef const float[:, ::1] w = weight
    cdef const float[::1] b = bias
    cdef float[:, ::1] out = logits
    if rows.n_rows == 0:
        return logits
    with nogil:
        status = fs_predict_logits(kernels, &rows, &w[0, 0], &b[0], threads, &out[0, 0])
    check(status)
    return logits


def softmax(logits, *, num_threads=None):
    return _softmax(logits, False, num_threads)


def log_softmax(logits, *, num_threads=None):
    return _softmax(logits, True, num_threads)


cdef _softmax(logits, bint log, num_threads):
    cdef int status, threads
    check_num_threads(num_threads)
    cdef const float[:, ::1] z = checks.logits_matrix(logits)
    threads = threads_for(num_threads, 16 * logits.size)  # as long as an exp takes
    result = np.empty_like(logits)
    cdef float[:, ::1] out = result
    if z.shape[0] == 0:
        return result
    with nogil:
        status = fs_softmax(kernels, &z[0, 0], z.shape[0], z.shape[1], log, threads, &out[0, 0])
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
