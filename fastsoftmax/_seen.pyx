# cython: language_level=3, boundscheck=False, freethreading_compatible=True
# cython: binding=True, embedsignature=False
"""Sees at a glance that arrays of the usual kind are as they should be.

`checks` asks here first. Where the answer is no, nothing is wrong yet: `checks` alone makes right
what it can, and says what is wrong with the rest.
"""

import numpy as np

from .problem import Loss, Params, Rows

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release,
    PyObject_GetBuffer)
from libc.float cimport FLT_MAX
from libc.stdint cimport int32_t, int64_t

cdef object new = tuple.__new__  # a NamedTuple's own looks for defaults
cdef object Rows_ = Rows, Loss_ = Loss, Params_ = Params, ndarray = np.ndarray


cdef struct seen:
    const char *data
    Py_ssize_t size  # bytes
    Py_ssize_t n  # the length of a vector, the rows of a matrix
    Py_ssize_t n_columns
    char kind  # as in the struct module; 0 if it is not one native number
    Py_ssize_t itemsize


cdef bint see(array, int ndim, bint writeable, seen *s) except -1:
    """Whether it is a C-contiguous ndarray of so many dimensions, which must outlive `s`."""
    cdef Py_buffer view
    if type(array) is not ndarray:
        return False
    try:
        PyObject_GetBuffer(
            array, &view,
            PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | (PyBUF_WRITABLE if writeable else PyBUF_SIMPLE))
    except (BufferError, ValueError):
        return False
    cdef bint fits = view.ndim == ndim
    if fits:
        s.data = <const char *> view.buf
        s.size = view.len
        s.n = view.shape[0]
        s.n_columns = view.shape[1] if ndim > 1 else 1
        s.kind = view.format[0] if view.format[0] and not view.format[1] else 0
        s.itemsize = view.itemsize
    PyBuffer_Release(&view)
    return fits


cdef bint see_parameters(weight, bias, bint writeable, seen *w, seen *b) except -1:
    return (see(weight, 2, writeable, w) and w.kind == c"f" and w.n >= 2 and w.n_columns >= 1
            and see(bias, 1, writeable, b) and b.kind == c"f" and b.n == w.n)


cdef bint see_rows(x, Py_ssize_t n_features, seen *s) except -1:
    return (see(x, 2, False, s) and (s.kind == c"f" or s.kind == c"B")
            and s.n_columns == n_features)


cdef bint apart(const seen *a, const seen *b) noexcept:
    """Whether they share no memory."""
    return a.data + a.size <= b.data or b.data + b.size <= a.data


cdef classes_of(target, Py_ssize_t n_rows, Py_ssize_t n_classes, seen *s):
    """(n_rows,) int32 in [0, n_classes), if `target` is that or int64; or else None."""
    if not see(target, 1, False, s) or s.n != n_rows or s.kind not in b"ilq":
        return None
    cdef const int32_t *narrow = <const int32_t *> s.data
    cdef const int64_t *wide = <const int64_t *> s.data
    cdef bint in_range = True
    cdef seen copy
    cdef int32_t *out
    cdef Py_ssize_t i
    if s.itemsize == sizeof(int32_t):
        for i in range(n_rows):
            in_range &= 0 <= narrow[i] < n_classes
        return target if in_range else None
    if s.itemsize != sizeof(int64_t):
        return None
    classes = np.empty(n_rows, np.int32)
    see(classes, 1, True, &copy)
    out = <int32_t *> copy.data
    for i in range(n_rows):
        in_range &= 0 <= wide[i] < n_classes
        out[i] = <int32_t> wide[i]
    return classes if in_range else None


def parameters(weight, bias, bint writeable):
    """Whether they are (K, D) and (K,) of float32, K >= 2."""
    cdef seen w, b
    return see_parameters(weight, bias, writeable, &w, &b)


def rows(x, Py_ssize_t n_features):
    """Whether they are (N, D) of float32 or uint8."""
    cdef seen s
    return see_rows(x, n_features, &s)


def classes(target, Py_ssize_t n_rows, Py_ssize_t n_classes):
    """`target` as (n_rows,) int32, if it is integers in [0, n_classes); or else None."""
    cdef seen s
    return classes_of(target, n_rows, n_classes, &s)


def problem(x, target, weight, bias, scale, bint writeable):
    """Rows, Loss and Params, if all is well and the targets are classes; or else None.

    Where the parameters are to be written to, they share no memory with the others.
    """
    cdef seen w, b, r, t
    if not (see_parameters(weight, bias, writeable, &w, &b)
            and see_rows(x, w.n_columns, &r) and r.n >= 1
            and type(scale) is float and -FLT_MAX <= <double> scale <= FLT_MAX):
        return None
    classes = classes_of(target, r.n, w.n, &t)
    if classes is None or writeable and not (
            apart(&w, &b) and apart(&w, &r) and apart(&w, &t) and apart(&b, &r)
            and apart(&b, &t)):
        return None
    return (new(Rows_, (x, scale, None)), new(Loss_, (classes, None, None, None, 0.0, True, 0)),
            new(Params_, (weight, bias, None, None)))


def share_no_memory(written, read):
    """Whether contiguous arrays that are written to share none with one another, nor with those
    that are read; None is no array."""
    cdef seen spans[16]
    cdef Py_buffer view
    cdef int n = 0, n_written = 0, i, j
    for arrays in (written, read):
        for array in arrays:
            if array is not None:
                PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
                spans[n].data, spans[n].size = <const char *> view.buf, view.len
                PyBuffer_Release(&view)
                n += 1
        if arrays is written:
            n_written = n
    for i in range(n_written):
        for j in range(i + 1, n):
            if not apart(&spans[i], &spans[j]):
                return False
    return True
