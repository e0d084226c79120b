# The end of cython.pyx: the usual loss and its gradients for tensors, where they lie.
#
# DLPack's C functions (https://dmlc.github.io/dlpack/latest/c_api.html) tell in one call where a
# tensor lies, its dtype and its shape. To ask PyTorch for each of these, or to make an array of each
# tensor, takes longer than the kernels do for 256 rows of 784 features (measurements: adapter).

from libc.float cimport FLT_MAX
from libc.math cimport HUGE_VAL, NAN, copysign, fabs
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from cpython.pycapsule cimport PyCapsule_GetPointer

from ..threads import worthwhile


# ---- DLPack 1: the part of dlpack.h that is used ----

cdef enum:
    DL_CPU = 1
    DL_INT = 0
    DL_FLOAT = 2

cdef struct dl_device:
    int32_t type
    int32_t id

cdef struct dl_dtype:
    uint8_t code
    uint8_t bits
    uint16_t lanes

cdef struct dl_tensor:
    void *data
    dl_device device
    int32_t ndim
    dl_dtype dtype
    int64_t *shape
    int64_t *strides
    uint64_t byte_offset

cdef struct dl_exchange:
    uint32_t major_version
    uint32_t minor_version
    void *older
    void *allocate
    void *managed_from_object
    void *managed_to_object
    int (*tensor_from_object)(void *object, dl_tensor *out) except -1
    void *stream


# ---- tensors ----

cdef class TensorKernels:
    """The kernels for the tensors of a library that exports DLPack's C functions.

    Parameters
    ----------
    exchange : capsule
        The library's ``__dlpack_c_exchange_api__``.
    types : tuple of two types
        The types of tensors that are taken; their subclasses are not.
    empty_like : callable
        Makes a new tensor of the dtype and shape of another.
    scalar : tensor, shape ()
        float32: what the loss is made like.
    parallel, max_threads : int
        As of `borrow_threads`.
    """

    cdef const dl_exchange *exchange
    cdef object tensor_type, parameter_type, empty_like, scalar
    cdef fs_lender lender

    def __cinit__(self, exchange, types, empty_like, scalar, size_t parallel, size_t max_threads):
        self.exchange = <const dl_exchange *> PyCapsule_GetPointer(exchange, "dlpack_exchange_api")
        if self.exchange.major_version != 1 or self.exchange.tensor_from_object == NULL:
            raise ValueError(
                f"expected DLPack 1.3, got {self.exchange.major_version}."
                f"{self.exchange.minor_version}"
            )
        self.tensor_type, self.parameter_type = types
        self.empty_like, self.scalar = empty_like, scalar
        self.lender.parallel = <fs_parallel> <void *> parallel
        self.lender.max_threads = <fs_max_threads> <void *> max_threads

    def loss_and_grads(self, input, linear_weight, linear_bias, target, ignore_index, bint mean,
                       num_threads, needed=None):
        """The loss of integer targets, and its gradients for input, weight and bias.

        Those that are `needed`, three bools, or where that is None those of the tensors that
        require one.

        Returns
        -------
        loss, (grad_input, grad_weight, grad_bias) : tensors, or None for a gradient that is not
            needed, or for all of them; or just None where a tensor is not float32 (int32 or int64
            for targets), contiguous and on the CPU, a shape does not fit, or a target is no class.
        """
        cdef int32_t *classes = NULL
        try:
            return self._loss_and_grads(input, linear_weight, linear_bias, target, ignore_index,
                                        mean, num_threads, needed, &classes)
        except (BufferError, OverflowError, RuntimeError):
            return None  # a tensor without memory of the usual kind, an index beyond int64
        finally:
            free(classes)

    cdef _loss_and_grads(self, input, linear_weight, linear_bias, target, int64_t ignore_index,
                         bint mean, num_threads, needed, int32_t **classes):
        cdef dl_tensor x, w, b, y, result
        if not (self.sees(linear_weight, 2, &w) and self.sees(input, 2, &x)
                and self.sees(target, 1, &y)
                and (linear_bias is None or self.sees(linear_bias, 1, &b))):
            return None
        cdef Py_ssize_t n = x.shape[0], d = x.shape[1], k = w.shape[0], n_kept
        if not (n > 0 and d > 0 and k > 1 and w.shape[1] == d and y.shape[0] == n
                and is_float32(&x) and is_float32(&w) and is_integer(&y)
                and (linear_bias is None or (b.shape[0] == k and is_float32(&b)))):
            return None
        # in the memory of such a view are the negated numbers
        if (input.is_neg() or linear_weight.is_neg()
                or (linear_bias is not None and linear_bias.is_neg())):
            return None
        # in the place of a bias that is not there, and of its gradient
        classes[0] = <int32_t *> calloc(n + 2 * k, sizeof(int32_t))
        if classes[0] == NULL:
            check(FS_NO_MEMORY)
        cdef float *no_bias = <float *> classes[0] + n
        n_kept = copy_classes(&y, n, k, ignore_index, classes[0])
        if n_kept < 0:
            return None

        cdef bint needs_input, needs_weight, needs_bias
        if needed is None:
            needs_input = input.requires_grad
            needs_weight = linear_weight.requires_grad
            needs_bias = linear_bias is not None and linear_bias.requires_grad
        else:
            needs_input, needs_weight, needs_bias = needed
        cdef bint needs_any = needs_input or needs_weight or needs_bias
        cdef fs_gradients gradients
        gradients.input = NULL
        gradients.bias = no_bias + k
        gradients.scale = 1.0 / n_kept if mean and n_kept > 0 else 1.0
        loss = self.empty_like(self.scalar)
        grad_input = grad_weight = grad_bias = None
        if needs_input:
            grad_input = self.empty_like(input)
            gradients.input = self.memory_of(grad_input, 2)
        if needs_any:
            grad_weight = self.empty_like(linear_weight)
            gradients.weight = self.memory_of(grad_weight, 2)
        if needs_any and linear_bias is not None:
            grad_bias = self.empty_like(linear_bias)
            gradients.bias = self.memory_of(grad_bias, 1)

        cdef fs_rows rows
        rows.x, rows.row_type, rows.scale, rows.order = x.data, FS_FLOAT32, 1, NULL
        rows.n_rows, rows.n_features = n, d
        cdef fs_loss of_rows
        of_rows.target, of_rows.plain, of_rows.label_smoothing = classes[0], n_kept == n, 0
        of_rows.class_weight = of_rows.sample_weight = of_rows.probabilities = NULL
        cdef fs_params params
        params.weight = <float *> w.data
        params.bias = no_bias if linear_bias is None else <float *> b.data
        params.velocity_weight = params.velocity_bias = NULL
        params.shape.n_features, params.shape.n_classes = d, k
        cdef int threads = worthwhile(num_threads, n * d * k), status
        cdef fs_sums sums
        cdef fs_lender nobody
        nobody.parallel = NULL
        nobody.max_threads = NULL
        with nogil:
            fs_borrow_threads(self.lender)
            if needs_any:
                status = fs_loss_and_grad(kernels, &rows, &of_rows, &params, threads, False,
                                          &gradients, &sums)
            else:
                status = fs_evaluate(kernels, &rows, &of_rows, &params, threads, NULL, &sums)
            fs_borrow_threads(nobody)
        check(status)
        self.memory_of(loss, 0)[0] = mean_of(sums.loss, n_kept if mean else 1)
        if not needs_any:
            return loss, None
        return loss, (grad_input, grad_weight if needs_weight else None,
                      grad_bias if needs_bias else None)

    cdef float *memory_of(self, tensor, int ndim) except NULL:
        """Of a new tensor."""
        cdef dl_tensor seen
        if not self.sees(tensor, ndim, &seen):
            raise BufferError("a new tensor is not like another")
        return <float *> seen.data

    cdef bint sees(self, tensor, int ndim, dl_tensor *out) except -1:
        """Whether it is a contiguous tensor of these types on the CPU; it must outlive `out`."""
        cdef Py_ssize_t stride = 1
        cdef int i
        if type(tensor) is not self.tensor_type and type(tensor) is not self.parameter_type:
            return False
        self.exchange.tensor_from_object(<void *> tensor, out)
        if out.device.type != DL_CPU or out.ndim != ndim or out.data == NULL:
            return False
        for i in range(ndim - 1, -1, -1):
            if out.strides[i] != stride and out.shape[i] > 1:
                return False
            stride *= out.shape[i]
        out.data = <char *> out.data + out.byte_offset
        return True


cdef bint is_float32(const dl_tensor *t) noexcept nogil:
    return t.dtype.code == DL_FLOAT and t.dtype.bits == 32 and t.dtype.lanes == 1


cdef bint is_integer(const dl_tensor *t) noexcept nogil:
    """Of a type that copy_classes knows."""
    return (t.dtype.code == DL_INT and (t.dtype.bits == 32 or t.dtype.bits == 64)
            and t.dtype.lanes == 1)


cdef Py_ssize_t copy_classes(const dl_tensor *target, Py_ssize_t n, Py_ssize_t n_classes,
                             int64_t ignore_index, int32_t *classes) noexcept nogil:
    """classes (n,) = target (n,), or -1 where that is ignored.

    How many are not ignored; or -1, if one of these is not in [0, n_classes).
    """
    cdef const int32_t *narrow = <const int32_t *> target.data
    cdef const int64_t *wide = <const int64_t *> target.data
    cdef Py_ssize_t i, n_kept = 0
    cdef bint is_narrow = target.dtype.bits == 32, in_range = True, kept
    cdef int64_t one
    for i in range(n):
        one = narrow[i] if is_narrow else wide[i]
        kept = one != ignore_index
        in_range &= not kept or 0 <= one < n_classes
        classes[i] = <int32_t> one if kept else -1
        n_kept += kept
    return n_kept if in_range else -1


cdef float mean_of(double total, Py_ssize_t n) noexcept nogil:
    """``total / n`` in float32: NaN where n is 0, infinite where float32 ends."""
    cdef double mean = total / n if n > 0 else NAN
    return <float> (copysign(HUGE_VAL, mean) if fabs(mean) > FLT_MAX else mean)
