# cython: language_level=3, boundscheck=False, freethreading_compatible=True
# cython: binding=True, embedsignature=False
"""The C backend: the memory of checked arrays, handed to csrc/ with the GIL released.

Over 300 lines, as it repeats the declarations of fastsoftmax.h, and every signature of the contract,
and sees by itself which arrays `checks` need not be asked about.
"""

import os
from threading import current_thread, main_thread

import numpy as np

from .. import checks
from ..problem import Sums
from ..settings import CrossEntropy
from ..threads import threads_for

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release,
    PyObject_GetBuffer)
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int32_t, int64_t

name = "cython"

cdef extern from "fastsoftmax.h" nogil:
    ctypedef enum fs_row_type:
        FS_FLOAT32
        FS_UINT8
    int FS_OK
    int FS_NO_MEMORY
    int FS_INTERRUPTED
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
    ctypedef int (*fs_interrupted)() noexcept nogil
    ctypedef struct fs_kernels:
        const char *isa
        void (*exp)(const float *x, float *out, Py_ssize_t n)
        void (*log)(const float *x, float *out, Py_ssize_t n)
    int fs_n_built()
    const fs_kernels *fs_built(int i)
    int fs_supported(int i)
    ctypedef void (*fs_parallel)(void (*work)(void *) noexcept, void *data, unsigned n_threads,
                                 unsigned flags) noexcept
    ctypedef int (*fs_max_threads)() noexcept
    ctypedef struct fs_lender:
        fs_parallel parallel
        fs_max_threads max_threads
    void fs_borrow_threads(fs_lender lender)
    void fs_allow_threads_beyond_cores(int allowed)
    int fs_train_epoch(const fs_kernels *kernels, const fs_rows *rows, Py_ssize_t batch_size,
                       const fs_params *params, const fs_sgd *sgd, int num_threads,
                       fs_interrupted interrupted, fs_sums *sums)
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
        raise ValueError(f"FASTSOFTMAX_ISA={isa!r} is unknown, expected one of {built_isas()}")
    if isa not in supported:
        raise ValueError(f"FASTSOFTMAX_ISA={isa!r} is not for this CPU, which runs {supported}")
    kernels = fs_built(built_isas().index(isa))


select_isa(os.environ.get("FASTSOFTMAX_ISA") or None)


# ---- arrays that are as they should be ----
#
# `checks` alone says what is wrong, or makes right what it can; it takes 3 us. These see in 0.2 us
# that nothing is wrong with arrays of the usual kind, and leave it to `checks` otherwise.

cdef struct seen:
    const void *data
    Py_ssize_t n  # the length of a vector, the rows of a matrix
    Py_ssize_t n_columns
    char kind  # as in the struct module; 0 if it is not one native number
    Py_ssize_t itemsize


cdef bint see(array, int ndim, bint writeable, seen *s) except -1:
    """Whether it is a C-contiguous ndarray of so many dimensions, which must outlive `s`."""
    cdef Py_buffer view
    if type(array) is not np.ndarray:
        return False
    try:
        PyObject_GetBuffer(
            array, &view,
            PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | (PyBUF_WRITABLE if writeable else PyBUF_SIMPLE))
    except (BufferError, ValueError):
        return False
    cdef bint fits = view.ndim == ndim
    if fits:
        s.data = view.buf
        s.n = view.shape[0]
        s.n_columns = view.shape[1] if ndim > 1 else 1
        s.kind = view.format[0] if view.format[0] and not view.format[1] else 0
        s.itemsize = view.itemsize
    PyBuffer_Release(&view)
    return fits


cdef tuple checked_parameters(weight, bias, bint writeable=False):
    cdef seen w, b
    if (see(weight, 2, writeable, &w) and w.kind == c"f" and w.n >= 2 and w.n_columns >= 1
            and see(bias, 1, writeable, &b) and b.kind == c"f" and b.n == w.n):
        return weight, bias
    return checks.parameters(weight, bias, writeable=writeable)


cdef checked_rows(x, Py_ssize_t n_features):
    cdef seen s
    if see(x, 2, False, &s) and (s.kind == c"f" or s.kind == c"B") and s.n_columns == n_features:
        return x
    return checks.rows(x, n_features)


cdef checked_terms(target, criterion, sample_weight, x, weight):
    """checks.Loss, or its target alone where that is all there is."""
    if sample_weight is None and (criterion is None or (
            type(criterion) is CrossEntropy and criterion.class_weight is None
            and criterion.label_smoothing == 0 and criterion.ignore_index < 0)):
        classes = classes_of(target, x.shape[0], weight.shape[0])
        if classes is not None:
            return classes
    return checks.loss_terms(target, criterion, sample_weight, x, weight)


cdef classes_of(target, Py_ssize_t n_rows, Py_ssize_t n_classes):
    """(n_rows,) int32 in [0, n_classes), if they are that or int64; or else None."""
    cdef seen s
    if not see(target, 1, False, &s) or s.n != n_rows or s.kind not in b"ilq":
        return None
    cdef const int32_t *narrow = <const int32_t *> s.data
    cdef const int64_t *wide = <const int64_t *> s.data
    cdef bint in_range = True
    cdef int32_t *out
    cdef Py_ssize_t i
    if s.itemsize == sizeof(int32_t):
        for i in range(n_rows):
            in_range &= 0 <= narrow[i] < n_classes
        return target if in_range else None
    if s.itemsize != sizeof(int64_t):
        return None
    classes = np.empty(n_rows, np.int32)
    out = <int32_t *> to_write(classes)
    for i in range(n_rows):
        in_range &= 0 <= wide[i] < n_classes
        out[i] = <int32_t> wide[i]
    return classes if in_range else None


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
    """What checked_terms returned, which must outlive `rows`."""
    if type(terms) is np.ndarray:
        rows.target = <const int32_t *> to_read(terms)
        return 0
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


# ---- memory that must not overlap ----

cdef struct span:
    const char *begin
    Py_ssize_t size


cdef span span_of(const void *begin, Py_ssize_t n, Py_ssize_t itemsize) noexcept:
    cdef span s
    s.begin = <const char *> begin
    s.size = n * itemsize if begin != NULL else 0
    return s


cdef bint overlap(const span *spans, int n_written, int n) noexcept:
    """Whether the first n_written of n spans overlap one another or the rest."""
    cdef int i, j
    for i in range(n_written):
        for j in range(i + 1, n):
            if (spans[i].begin < spans[j].begin + spans[j].size
                    and spans[j].begin < spans[i].begin + spans[i].size):
                return True
    return False


cdef int add_read(span *spans, const fs_rows *rows, Py_ssize_t n_rows) noexcept:
    """What is read of n_rows in memory; returns how many spans."""
    cdef const fs_criterion *c = rows.criterion
    cdef Py_ssize_t itemsize = 1 if rows.row_type == FS_UINT8 else sizeof(float)
    spans[0] = span_of(rows.x, n_rows * rows.n_features, itemsize)
    spans[1] = span_of(rows.target, n_rows, sizeof(int32_t))
    spans[2] = span_of(rows.order, rows.n_rows, sizeof(int64_t))
    if c == NULL:
        return 3
    spans[3] = span_of(c.sample_weight, n_rows, sizeof(float))
    spans[4] = span_of(c.probabilities, n_rows * rows.n_classes, sizeof(float))
    return 5


cdef bint overlap_in_training(const fs_rows *rows, const fs_params *params,
                              Py_ssize_t n_rows) noexcept:
    cdef span spans[9]
    cdef Py_ssize_t k = rows.n_classes, size = k * rows.n_features
    cdef int n = 4
    spans[0] = span_of(params.weight, size, sizeof(float))
    spans[1] = span_of(params.bias, k, sizeof(float))
    spans[2] = span_of(params.velocity_weight, size, sizeof(float))
    spans[3] = span_of(params.velocity_bias, k, sizeof(float))
    n += add_read(spans + n, rows, n_rows)
    return overlap(spans, 4, n)


cdef bint overlap_with_result(const fs_rows *rows, const void *weight, const void *bias,
                              const void *result, Py_ssize_t n) noexcept:
    """Whether n floats of a result overlap what is read: n_rows of each, in their own order."""
    cdef span spans[8]
    spans[0] = span_of(result, n, sizeof(float))
    spans[1] = span_of(weight, rows.n_classes * rows.n_features, sizeof(float))
    spans[2] = span_of(bias, rows.n_classes, sizeof(float))
    return overlap(spans, 1, 3 + add_read(spans + 3, rows, rows.n_rows))


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


cdef sums_of(const fs_sums *sums, terms):
    result = Sums(sums.loss, sums.correct, sums.weight, sums.counted)
    return result if type(terms) is np.ndarray else terms.unscaled(result)


cdef int check(int status) except -1:
    global interruption
    if status == FS_INTERRUPTED:
        error, interruption = interruption, None
        raise error
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


# ---- the contract of backends.py ----

def loss_and_grad(x, target, weight, bias, *, criterion=None, sample_weight=None, scale=1.0,
                  num_threads=None, grad_scale=1.0, grad_input=None):
    cdef fs_rows rows
    cdef fs_criterion c
    cdef fs_sums sums
    cdef int status, threads
    weight, bias = checked_parameters(weight, bias)
    x = checked_rows(x, weight.shape[1])
    checks.not_empty(x.shape[0])
    terms = checked_terms(target, criterion, sample_weight, x, weight)
    fill_rows(&rows, x, None, scale, weight.shape[0])
    rows.grad_scale = checks.finite("grad_scale", grad_scale)
    fill_terms(&rows, &c, terms)
    threads = threads_for(num_threads, rows.n_rows * weight.size)
    cdef void *gi = NULL
    cdef const void *w = to_read(weight)
    cdef const void *b = to_read(bias)
    if grad_input is not None:
        gi = to_write(checks.output("grad_input", grad_input, x.shape, weight.dtype))
        if overlap_with_result(&rows, w, b, gi, rows.n_rows * rows.n_features):
            checks.no_overlap_with_result("grad_input", grad_input, x, terms, weight, bias)
    grad_weight, grad_bias = np.empty_like(weight), np.empty_like(bias)
    cdef void *gw = to_write(grad_weight)
    cdef void *gb = to_write(grad_bias)
    with nogil:
        status = fs_loss_and_grad(kernels, &rows, <const float *> w, <const float *> b, threads,
                                  <float *> gw, <float *> gb, <float *> gi, &sums)
    check(status)
    if type(terms) is not np.ndarray:
        terms.unscale(grad_weight, grad_bias, grad_input)
    return sums_of(&sums, terms).loss, grad_weight, grad_bias


def sgd_update(weight, bias, grad_weight, grad_bias, total_weight, sgd, velocity=None):
    cdef fs_params params
    weight, bias = checked_parameters(weight, bias, True)
    grad_weight, grad_bias = checks.parameters(
        grad_weight, grad_bias, names=("grad_weight", "grad_bias"), shape=weight.shape)
    moments = checks.velocity_of(sgd, velocity, weight)
    cdef double total = checks.total_weight(total_weight)
    checks.no_overlap_in_update(weight, bias, grad_weight, grad_bias, moments)
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
    weight, bias = checked_parameters(weight, bias, True)
    x = checked_rows(x, weight.shape[1])
    terms = checked_terms(target, criterion, sample_weight, x, weight)
    order = checks.row_order(order, x.shape[0])
    checks.not_empty(x.shape[0] if order is None else order.shape[0])
    moments = checks.velocity_of(sgd, velocity, weight)
    fill_rows(&rows, x, order, scale, weight.shape[0])
    fill_terms(&rows, &c, terms)
    fill_params(&params, weight, bias, moments)
    if overlap_in_training(&rows, &params, rows.n_rows if order is None else x.shape[0]):
        checks.no_overlap_in_training(x, terms, order, weight, bias, moments)
    cdef fs_sgd settings = sgd_struct(sgd, moments)
    cdef Py_ssize_t n_batch = min(batch_size or rows.n_rows, rows.n_rows)
    threads = threads_for(num_threads, n_batch * weight.size)
    cdef fs_interrupted ask = NULL
    if batch_size is not None and current_thread() is main_thread():  # which has the signals
        ask = interrupted
    with nogil:
        status = fs_train_epoch(kernels, &rows, n_batch, &params, &settings, threads,
                                ask, &sums)
    if moments is not None and status != FS_NO_MEMORY:
        velocity.started = True
    check(status)
    return sums_of(&sums, terms)


def evaluate(x, target, weight, bias, *, criterion=None, sample_weight=None, scale=1.0,
             num_threads=None, losses=None):
    cdef fs_rows rows
    cdef fs_criterion c
    cdef fs_sums sums
    cdef int status, threads
    weight, bias = checked_parameters(weight, bias)
    x = checked_rows(x, weight.shape[1])
    terms = checked_terms(target, criterion, sample_weight, x, weight)
    fill_rows(&rows, x, None, scale, weight.shape[0])
    fill_terms(&rows, &c, terms)
    threads = threads_for(num_threads, rows.n_rows * weight.size)
    cdef void *out = NULL
    cdef const void *w = to_read(weight)
    cdef const void *b = to_read(bias)
    if losses is not None:
        out = to_write(checks.output("losses", losses, x.shape[:1], weight.dtype))
        if overlap_with_result(&rows, w, b, out, rows.n_rows):
            checks.no_overlap_with_result("losses", losses, x, terms, weight, bias)
    with nogil:
        status = fs_evaluate(kernels, &rows, <const float *> w, <const float *> b, threads,
                             <float *> out, &sums)
    check(status)
    if losses is not None and type(terms) is not np.ndarray:
        terms.unscale(losses)
    return sums_of(&sums, terms)


def predict_logits(x, weight, bias, *, scale=1.0, num_threads=None):
    cdef fs_rows rows
    cdef int status, threads
    weight, bias = checked_parameters(weight, bias)
    x = checked_rows(x, weight.shape[1])
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
