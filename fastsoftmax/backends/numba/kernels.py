"""The fused step in Numba: what csrc/ does, in Python that is compiled at its first use.

Over 300 lines, as the file that a driver is in is what its compiled code is kept for: if a kernel
of another file changed, Numba would not know.

Letters: N rows, D features, K classes; a block is at most BLOCK_ROWS rows.

Design
 a) Rows are gathered, as float32, into a block that stays in L2, and no other kernel knows their
    type. `train_by_rows` reads float32 rows where they lie: the kernels take rows and an order.
 b) In a block logits are (K, BLOCK_ROWS): rows are in lanes, so that nothing in the softmax is
    horizontal.
 c) Classes are taken CLASSES at a time, so that an element loaded serves several products. Where
    K is no multiple, the last class stands in for those that lack, and what comes of that is in
    rows from K on, which nobody reads.
 d) A driver exists twice, over prange and over range, and both call the same kernels. These are
    never inlined: LLVM decides on vectors and on fused multiply-adds for each inlined copy anew,
    and copies would differ in their last bits. Drivers call them one after the other, as LLVM
    also compiles a kernel anew for each that calls it.
 e) Of fast-math only `reassoc`, where a sum over features or rows may be reordered to be a vector,
    and `contract`, which fuses a product and a sum. NaN and infinity stay what they are.
 f) While the gradient of a block is computed, the rows of the next one are fetched: 4 ms of 25
    (AMD Zen 4). That takes three things: to L2, not L1 (which gains nothing); the last line of a
    row too (1.5 ms), as rows do not begin with a line; not during the logits (1.4 ms more time).
 g) Measured to gain nothing, therefore not done: blocks of 16 or 32 rows; fetching rows 2 ahead of
    the one that is gathered (3% more time); vectors of 512 bits, where LLVM takes 256: uint8 rows
    3% less time, float32 rows 7% more (Intel with AVX-512); in the gradient 392 features at a
    time, that they stay in L1: 12.3 us where it is 10.8.
 h) The chunks are those of csrc/chunks.h, and what is added in which order depends on them alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numba import config, njit
from numba.extending import intrinsic

from ...checks import Array

BLOCK_ROWS = 64
BLOCK_FEATURES = 1024  # of a block: 256 KB, in an L2 of 512 KB
CACHE_LINE = 64  # bytes
CLASSES = 5  # taken at a time
VECTOR = 16  # numbers: the longest of any CPU
CHUNK_ROWS = 16  # at least
MAX_CHUNKS = 64
LEAST_CHUNKS = 4  # of a small batch
SPAN_ROWS = 1024  # whose residuals are held at a time, by tiles
TILE_FEATURES = 64
TILES_FROM = 128 << 10  # bytes of weight

# Called by the drivers alone: what would call it from Python takes long to compile
kernel = partial(njit, no_cpython_wrapper=True, no_cfunc_wrapper=True)

SUM = {"reassoc", "contract"}
FUSE = {"contract"}


class Settings(NamedTuple):
    """Of an update: those of SGDSettings, weight_decay for the weight and for the bias."""

    lr: float
    momentum: float
    dampening: float
    nesterov: bool
    weight_decay: float
    bias_weight_decay: float


class Terms(NamedTuple):
    """Those of checks.Loss, where an array that there is not is empty."""

    target: Array  # (N,), -1 where the row is ignored
    probabilities: Array  # (N, K), instead of target
    class_weight: Array  # (K,)
    sample_weight: Array  # (N,)
    label_smoothing: float
    plain: bool


class Rows(NamedTuple):
    """Some rows, where they lie or gathered."""

    x: Array  # (N, D)
    order: Array  # (N,), or (0,) where they are taken as they come


class Room(NamedTuple):
    """What a task works in."""

    block: Array  # (BLOCK_ROWS, width), rows
    z: Array  # (K, BLOCK_ROWS), logits, then residuals
    coefficients: Array  # (K, BLOCK_ROWS), of each class in the loss; (0, 0) where all is plain
    rows: Array  # (5, BLOCK_ROWS): largest logit, sum of exponentials, of coefficients, errors
    distance: Array  # (BLOCK_ROWS,), of the target's logit from the largest, in double
    classes: Array  # (2, BLOCK_ROWS): the first of the largest logit, the target


def by_tiles(n_classes: int, n_features: int) -> bool:
    """Whether partial gradients would cost more than they gain: the choice of csrc/pass.c."""
    return n_classes * n_features * 4 >= TILES_FROM or n_features > BLOCK_FEATURES


if config.DISABLE_JIT:

    def never_inlined() -> None:
        pass

    def prefetch(a: Array, i: int) -> None:
        pass

else:

    @intrinsic
    def never_inlined(typingctx: Any) -> Any:
        """A statement that keeps LLVM from inlining the function that it stands in."""
        from numba import types

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.function.attributes.add("noinline")
            return context.get_dummy_value()

        return types.void(), codegen

    @intrinsic
    def prefetch(typingctx: Any, a: Any, i: Any) -> Any:
        """Fetches the cache line of a[i], of a contiguous array (n,), and does not wait."""
        from llvmlite import ir
        from numba import types
        from numba.core import cgutils
        from numba.np.arrayobj import make_array

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            address, number = ir.PointerType(ir.IntType(8)), ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [address, number, number, number])
            llvm = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
            element = builder.gep(make_array(a)(context, builder, args[0]).data, [args[1]])
            read, to_l2, data = number(0), number(2), number(1)
            builder.call(llvm, [builder.bitcast(element, address), read, to_l2, data])
            return context.get_dummy_value()

        return types.void(a, types.intp), codegen


@kernel
def divide_up(a: int, b: int) -> int:
    return (a + b - 1) // b


@kernel
def most_chunks(n_rows: int) -> int:
    """That a batch of at most n_rows can have."""
    n: int = min(max(LEAST_CHUNKS, divide_up(n_rows, BLOCK_ROWS)), MAX_CHUNKS)
    return n


@kernel
def chunks_of(n_rows: int) -> tuple[int, int]:
    """How many chunks n_rows are cut into, and their rows; the last has what is left."""
    n = most_chunks(n_rows)
    rows = max(CHUNK_ROWS, divide_up(divide_up(n_rows, n), 4) * 4)
    if rows > BLOCK_ROWS:
        rows = divide_up(rows, BLOCK_ROWS) * BLOCK_ROWS
    return divide_up(n_rows, rows), rows


# ---- exp ----

LOWEST = np.float32(-87.33654)  # log(2**-126): below it exp has but subnormals
LOG2_E = np.float32(1.44269504)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
TO_INTEGER = np.float32(12582912.0)  # 1.5 * 2**23: adding it rounds to an integer
P0, P1 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3)
P2, P3 = np.float32(8.3334519073e-3), np.float32(4.1665795894e-2)
P4, P5 = np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
ZERO, ONE = np.float32(0), np.float32(1)
TINY = 2.0**-126  # the least that float32 has in all its digits


@kernel(fastmath=FUSE)
def exp(x: Any) -> Any:
    """e**x as csrc/exp.h has it: at most 1.1 ULP for -87.33 <= x <= 88; 0 below; NaN stays NaN.

    Cephes (S. Moshier): x = n log 2 + r, and a polynomial in r. No branch, and no call: a loop
    over it becomes vectors, which a loop over math.exp does not.
    """
    above = x if x > LOWEST else LOWEST  # NaN is not
    n = (above * LOG2_E + TO_INTEGER) - TO_INTEGER
    r = (above - n * LN2_HIGH) - n * LN2_LOW
    p = ((((P0 * r + P1) * r + P2) * r + P3) * r + P4) * r + P5
    p = (p * (r * r) + r) + ONE
    # 2**n, by its exponent field
    result = p * np.int32((np.int32(n) + 127) << 23).view(np.float32)
    return result if x >= LOWEST else (ZERO if x < LOWEST else x)


# ---- a block of rows ----


@kernel
def fill(a: Array, value: Any) -> None:
    for i in range(a.shape[0]):
        a[i] = value


@kernel
def aligned(size: int) -> Array:
    """An array (size,), from the begin of a cache line on: vectors of 512 bits amid two lines cost
    twice. Numba's own begin at 32 bytes, NumPy's at 16."""
    a = np.empty(size + CACHE_LINE // 4, np.float32)
    skipped = -a.ctypes.data % CACHE_LINE // 4
    return a[skipped : skipped + size]


@kernel
def index_of(order: Array, i: int) -> int:
    """The i-th row in an order; an empty one takes them as they come."""
    index: int = order[i] if order.shape[0] > 0 else i
    return index


@kernel
def row_of(rows: Rows, i: int) -> Array:
    row: Array = rows.x[index_of(rows.order, i)]
    return row


@kernel
def fetch(rows: Rows, i: int, begin: int, end: int) -> None:
    """Asks for features [begin, end) of the i-th row in an order, if there is one, to be in L2
    when their turn comes. Rows as they come are left to the CPU's own prefetcher."""
    if i < rows.order.shape[0] and begin < end:
        row = row_of(rows, i)
        for f in range(begin, end, CACHE_LINE // row.itemsize):
            prefetch(row, f)
        prefetch(row, end - 1)  # in one line more, where rows do not begin with a line


@kernel
def gather(rows: Rows, begin: int, end: int, f: int, block: Array) -> None:
    """block (BLOCK_ROWS, width) = features from f on of the rows [begin, end), as float32."""
    width = min(block.shape[1], rows.x.shape[1] - f)
    for r in range(end - begin):
        row, to = row_of(rows, begin + r)[f : f + width], block[r]
        for i in range(width):
            to[i] = np.float32(row[i])


@kernel(fastmath=SUM)
def add_products(
    rows: Rows, begin: int, end: int, scale: Any, weight: Array, f: int, z: Array
) -> None:  # fmt: skip
    """z (K, n) += scale * weight (K, D) . rows [begin, end).T, where the features of rows are
    those from f on.

    CLASSES classes and 2 rows in one loop: 7 loads for 10 products. 1 row: 19 us where it is 12. 4
    rows: 9.6 us where it is 10.7 with 32 vector registers, but 15.2 where it is 9.9 with 16.
    """
    never_inlined()
    last = weight.shape[0] - 1
    width = min(rows.x.shape[1], weight.shape[1] - f)
    for k in range(0, last + 1, CLASSES):
        w0, w1 = weight[k][f : f + width], weight[min(k + 1, last)][f : f + width]
        w2, w3 = weight[min(k + 2, last)][f : f + width], weight[min(k + 3, last)][f : f + width]
        w4 = weight[min(k + 4, last)][f : f + width]
        for r in range(0, end - begin, 2):
            x, y = row_of(rows, begin + r), row_of(rows, min(begin + r + 1, end - 1))
            x0 = x1 = x2 = x3 = x4 = y0 = y1 = y2 = y3 = y4 = ZERO
            for i in range(width):
                x0 += x[i] * w0[i]
                x1 += x[i] * w1[i]
                x2 += x[i] * w2[i]
                x3 += x[i] * w3[i]
                x4 += x[i] * w4[i]
                y0 += y[i] * w0[i]
                y1 += y[i] * w1[i]
                y2 += y[i] * w2[i]
                y3 += y[i] * w3[i]
                y4 += y[i] * w4[i]
            for j, sums in enumerate(((x0, y0), (x1, y1), (x2, y2), (x3, y3), (x4, y4))):
                z[k + j, r] += scale * sums[0]
                z[k + j, r + 1] += scale * sums[1]


@kernel
def start_at(bias: Array, n: int, z: Array) -> None:
    """z (K, n) = the bias of each class."""
    for k in range(z.shape[0]):
        fill(z[k][:n], bias[k] if k < bias.shape[0] else ZERO)


@kernel
def logits(
    rows: Rows, begin: int, end: int, scale: Any, weight: Array, bias: Array, room: Room,
) -> None:  # fmt: skip
    """z (K, n) = scale * weight . rows [begin, end) + bias, of rows that are gathered,
    BLOCK_FEATURES at a time; n counts the rows of padding."""
    never_inlined()
    block = Rows(room.block, rows.order[:0])
    start_at(bias, divide_up(end - begin, 4) * 4, room.z)
    for f in range(0, rows.x.shape[1], block.x.shape[1]):
        gather(rows, begin, end, f, room.block)
        add_products(block, 0, end - begin, scale, weight, f, room.z)


@kernel
def maxima(z: Array, n: int, n_classes: int, largest: Array, best: Array) -> None:
    """largest (n,) = the largest logit of each column of z (K, n), best (n,) = the first class
    that has it."""
    never_inlined()
    for r in range(n):
        largest[r], best[r] = z[0, r], 0
    for k in range(1, n_classes):
        for r in range(n):
            larger = z[k, r] > largest[r]
            largest[r] = z[k, r] if larger else largest[r]
            best[r] = np.int32(k) if larger else best[r]


@kernel
def exponentials(z: Array, n: int, n_classes: int, rows: Array) -> None:
    """z (K, n) becomes exp(z - rows[0]), the largest of each column; rows[1] = their sum."""
    never_inlined()
    largest, total, error = rows[0], rows[1], rows[3]
    for r in range(n):
        total[r], error[r] = ZERO, ZERO
    for k in range(n_classes):
        for r in range(n):
            z[k, r] = exp(z[k, r] - largest[r])
            # the error of the sum is carried along (Kahan): there may be thousands of classes
            term = z[k, r] - error[r]
            following = total[r] + term
            error[r] = (following - total[r]) - term
            total[r] = following


# ---- the loss of a block of rows: sum(c * (largest - z)) + sum(c) * log(sum(exp(z - largest))),
# where c is the coefficient of each class, onehot(target) where all is plain


@kernel
def weigh(
    terms: Terms, order: Array, begin: int, end: int, n: int, n_classes: int, room: Room,
    sums: Array,
) -> None:  # fmt: skip
    """Coefficients and targets of the rows [begin, end), 0 and none in the padding up to n; adds
    what the rows weigh, and their number, to sums. A row whose coefficients are all 0 counts for
    nothing: it is not of that number, and has no target."""
    never_inlined()
    c, every, counts, label = room.coefficients, room.rows[2], room.rows[3], room.classes[1]
    hard = terms.probabilities.size == 0
    smoothing = np.float32(terms.label_smoothing / n_classes)
    remaining = np.float32(1 - terms.label_smoothing)
    for r in range(n):
        every[r], counts[r], label[r] = ZERO, ZERO, -1
    for r in range(end - begin):
        row = index_of(order, begin + r)
        every[r] = terms.sample_weight[row] if terms.sample_weight.size > 0 else ONE
        if hard:
            label[r] = terms.target[row]
        else:
            q, first = terms.probabilities[row], 0
            for k in range(n_classes):
                c[k, r] = remaining * q[k] + smoothing
                first = k if q[k] > q[first] else first
            label[r] = first
        if label[r] < 0:
            every[r] = ZERO
    if not hard:
        for k in range(n_classes):
            for r in range(end - begin, n):
                c[k, r] = ZERO  # what lies there may be NaN
    for k in range(n_classes):
        weight = terms.class_weight[k] if terms.class_weight.size > 0 else ONE
        for r in range(n):
            c[k, r] = every[r] * ((smoothing if hard else c[k, r]) * weight)
            counts[r] = ONE if c[k, r] != ZERO else counts[r]
    for r in range(end - begin):
        if label[r] >= 0:
            weight = every[r]
            if hard:
                if terms.class_weight.size > 0:
                    weight *= terms.class_weight[label[r]]
                c[label[r], r] += remaining * weight
            sums[2] += np.float64(weight)
            if counts[r] != ZERO or c[label[r], r] != ZERO:
                sums[3] += 1.0
            else:
                label[r] = -1


@kernel
def weighted_distances(n: int, n_classes: int, room: Room) -> None:
    """distance (n,) = sum(c * (largest - z)), rows[2] = sum(c), both compensated. A class of
    coefficient 0 has no part in it, be its logit -infinity."""
    never_inlined()
    z, c, largest = room.z, room.coefficients, room.rows[0]
    below, all_c, error, below_error = room.rows[1], room.rows[2], room.rows[3], room.rows[4]
    for r in range(n):
        below[r] = below_error[r] = all_c[r] = error[r] = ZERO
    for k in range(n_classes):
        for r in range(n):
            term = c[k, r] - error[r]
            following = all_c[r] + term
            error[r] = (following - all_c[r]) - term
            all_c[r] = following
            term = (c[k, r] * (largest[r] - z[k, r]) if c[k, r] != ZERO else ZERO) - below_error[r]
            following = below[r] + term
            lost = (following - below[r]) - term
            below_error[r] = lost if lost == lost else ZERO  # an infinite sum remains one
            below[r] = following
    for r in range(n):
        room.distance[r] = np.float64(below[r])


@kernel
def losses(
    terms: Terms, order: Array, begin: int, end: int, n_classes: int, room: Room, out: Array,
    sums: Array,
) -> None:  # fmt: skip
    """Of the rows [begin, end), whose logits are in the room: adds to sums (4,) the losses, in
    double, the number of correct predictions, the weight and the number; the loss of each into
    out (N,), unless that is (0,). z is left as by `exponentials`; rows[2] = sum(c)."""
    never_inlined()
    n = divide_up(end - begin, 4) * 4
    z, largest, total, all_c = room.z, room.rows[0], room.rows[1], room.rows[2]
    best, label, distance = room.classes[0], room.classes[1], room.distance
    maxima(z, n, n_classes, largest, best)
    if terms.plain:
        for r in range(end - begin):
            label[r], all_c[r] = terms.target[index_of(order, begin + r)], ONE
            distance[r] = np.float64(largest[r]) - np.float64(z[label[r], r])
        sums[2] += np.float64(end - begin)
        sums[3] += np.float64(end - begin)
    else:
        weigh(terms, order, begin, end, n, n_classes, room, sums)
        weighted_distances(n, n_classes, room)
    exponentials(z, n, n_classes, room.rows)
    loss, correct = 0.0, 0
    for r in range(end - begin):
        row_loss = distance[r]
        if all_c[r] != ZERO:
            row_loss += np.float64(all_c[r]) * math.log(np.float64(total[r]))
        loss += row_loss
        if best[r] == label[r] and row_loss == row_loss:  # NaN is not, and no right prediction
            correct += 1
        if out.shape[0] > 0:
            out[begin + r] = np.float32(row_loss)
    sums[0] += loss
    sums[1] += np.float64(correct)


@kernel
def residuals(
    n_rows: int, room: Room, plain: bool, scale: Any, grad_bias: Array, taken: Array
) -> None:  # fmt: skip
    """After `losses`, z becomes sum(c) * softmax(z) - c, 0 in the padding, is added up in
    grad_bias (K,), and takes the scale of the rows. Where a row counts for nothing, z is 0, and
    taken (n,), of which row the features are taken for the gradient, is one that counts, as 0
    times NaN would be NaN; -1 where none does."""
    never_inlined()
    z, factor, label = room.z, room.rows[3], room.classes[1]
    n = divide_up(n_rows, 4) * 4
    other = 0
    if not plain:
        while other < n_rows and label[other] < 0:
            other += 1
        if other == n_rows:
            other = -1
    for r in range(n):
        taken[r] = r if r < n_rows and (plain or label[r] >= 0) else other
        factor[r] = room.rows[2, r] / room.rows[1, r] if r < n_rows else ZERO
    for k in range(grad_bias.shape[0]):
        for r in range(n):
            z[k, r] *= factor[r]
    if plain:
        for r in range(n_rows):
            z[label[r], r] -= ONE
    else:
        for k in range(grad_bias.shape[0]):
            for r in range(n):
                z[k, r] = z[k, r] - room.coefficients[k, r] if label[r] >= 0 else ZERO
    for k in range(grad_bias.shape[0]):
        total = ZERO
        for r in range(n):
            total += z[k, r]
            z[k, r] *= scale
        grad_bias[k] += total


@kernel
def softmax_rows(x: Array, log: bool, z: Array, rows: Array, best: Array, out: Array) -> None:
    """out (n, K) = softmax of logits x (n, K), or its logarithm. What is too small for `exp` is
    computed anew: people read it."""
    never_inlined()
    n, n_classes = x.shape
    for r in range(n):
        for k in range(n_classes):
            z[k, r] = x[r, k]
    maxima(z, n, n_classes, rows[0], best)
    exponentials(z, n, n_classes, rows)
    for r in range(n):
        largest, total = np.float64(rows[0, r]), rows[1, r]
        log_total = math.log(np.float64(total))
        for k in range(n_classes):
            if log:
                out[r, k] = np.float32((np.float64(x[r, k]) - largest) - log_total)
            elif z[k, r] != ZERO:
                out[r, k] = z[k, r] / total
            else:
                out[r, k] = np.float32(math.exp(np.float64(x[r, k]) - largest) / np.float64(total))


@kernel(fastmath=SUM)
def add_gradient(
    rows: Rows, begin: int, end: int, taken: Array, z: Array, grad: Array, source: Rows, ahead: int
) -> None:  # fmt: skip
    """grad (K, width) += z (K, n) . rows [begin, end), of as many features, each of them the one
    that `residuals` says is taken. Meanwhile as many rows of the source, from `ahead` on, are
    fetched.

    CLASSES classes and 4 rows in one loop: 9 loads and 5 stores for 20 products. 1 class and 8
    rows: 20 us where it is 14. Whole VECTORs have a loop of their own: in one that may leave a
    rest LLVM keeps 9 of the 20 factors in memory, 10.8 us where it is 9.3. To leave the rest
    alone to a second loop: 16.5 us, as it brings them back; by rows, 44% more for 30 features.
    """
    never_inlined()
    n_classes, width = grad.shape
    whole, n_rows = width // VECTOR * VECTOR, end - begin if taken[0] >= 0 else 0
    for k in range(0, n_classes, CLASSES):
        g0, g1, g2, g3, g4 = grad[k], grad[k + 1], grad[k + 2], grad[k + 3], grad[k + 4]
        fetched, to_fetch = width * k // n_classes, width * (k + CLASSES) // n_classes
        for r in range(0, n_rows, 4):
            if ahead + r < source.order.shape[0]:
                for i in range(r, r + 4):
                    fetch(source, ahead + i, fetched, to_fetch)
            x0, x1 = row_of(rows, begin + taken[r]), row_of(rows, begin + taken[r + 1])
            x2, x3 = row_of(rows, begin + taken[r + 2]), row_of(rows, begin + taken[r + 3])
            a0, a1, a2, a3 = z[k, r], z[k, r + 1], z[k, r + 2], z[k, r + 3]
            b0, b1, b2, b3 = z[k + 1, r], z[k + 1, r + 1], z[k + 1, r + 2], z[k + 1, r + 3]
            c0, c1, c2, c3 = z[k + 2, r], z[k + 2, r + 1], z[k + 2, r + 2], z[k + 2, r + 3]
            d0, d1, d2, d3 = z[k + 3, r], z[k + 3, r + 1], z[k + 3, r + 2], z[k + 3, r + 3]
            e0, e1, e2, e3 = z[k + 4, r], z[k + 4, r + 1], z[k + 4, r + 2], z[k + 4, r + 3]
            if whole == width:
                for i in range(whole):
                    p, q, s, t = x0[i], x1[i], x2[i], x3[i]
                    g0[i] += a0 * p + a1 * q + a2 * s + a3 * t
                    g1[i] += b0 * p + b1 * q + b2 * s + b3 * t
                    g2[i] += c0 * p + c1 * q + c2 * s + c3 * t
                    g3[i] += d0 * p + d1 * q + d2 * s + d3 * t
                    g4[i] += e0 * p + e1 * q + e2 * s + e3 * t
            else:
                for i in range(width):
                    p, q, s, t = x0[i], x1[i], x2[i], x3[i]
                    g0[i] += a0 * p + a1 * q + a2 * s + a3 * t
                    g1[i] += b0 * p + b1 * q + b2 * s + b3 * t
                    g2[i] += c0 * p + c1 * q + c2 * s + c3 * t
                    g3[i] += d0 * p + d1 * q + d2 * s + d3 * t
                    g4[i] += e0 * p + e1 * q + e2 * s + e3 * t


@kernel(fastmath=FUSE)
def input_gradient(z: Array, taken: Array, weight: Array, grad: Array) -> None:
    """grad (n, D) = z (K, n).T . weight (K, D), and 0 of a row that counts for nothing, be the
    weight infinite."""
    never_inlined()
    last = weight.shape[0] - 1
    for r in range(grad.shape[0]):
        fill(grad[r], ZERO)
    for k in range(0, last + 1, CLASSES):
        w0, w1, w2 = weight[k], weight[min(k + 1, last)], weight[min(k + 2, last)]
        w3, w4 = weight[min(k + 3, last)], weight[min(k + 4, last)]
        for r in range(grad.shape[0]):
            a0, a1 = z[k, r], z[k + 1, r] if k + 1 <= last else ZERO
            a2 = z[k + 2, r] if k + 2 <= last else ZERO
            a3 = z[k + 3, r] if k + 3 <= last else ZERO
            a4 = z[k + 4, r] if k + 4 <= last else ZERO
            g = grad[r]
            for i in range(g.shape[0]):
                g[i] += a0 * w0[i] + a1 * w1[i] + a2 * w2[i] + a3 * w3[i] + a4 * w4[i]
    for r in range(grad.shape[0]):
        if taken[r] != r:
            fill(grad[r], ZERO)


# ---- sums, gradients and parameters ----


@kernel
def copy(a: Array, to: Array) -> None:
    for i in range(to.shape[0]):
        to[i] = a[i]


@kernel
def add(a: Array, to: Array) -> None:
    for i in range(to.shape[0]):
        to[i] += a[i]


@kernel
def add_sums(sums_of: Array, n: int, to: Array) -> None:
    """to (4,) += sums_of[0] + sums_of[1] + ..., of n, in that order."""
    for i in range(to.shape[0]):
        total = sums_of[0, i]
        for c in range(1, n):
            total += sums_of[c, i]
        to[i] += total


@kernel
def reduce(partials: Array, n: int, begin: int, end: int) -> None:
    """partials[0] = the sum of partials[:n], as a balanced tree, at [begin, end) of (n, size)."""
    never_inlined()
    apart = 1
    while apart < n:
        for c in range(0, n - apart, 2 * apart):
            add(partials[c + apart][begin:end], partials[c][begin:end])
        apart *= 2


@kernel
def update(
    w: Array, grad: Array, v: Array, total_weight: float, weight_decay: float, sgd: Settings,
    first: bool,
) -> None:  # fmt: skip
    """One update of w (n,) by the gradient (n,) of a summed loss, over the weight of its rows, or
    1 where that is none; v is (n,), or (0,) without momentum.

    No fast-math: a slice of a parameter has the bits that the whole has.
    """
    never_inlined()
    grad_scale = ONE / (np.float32(total_weight) if abs(total_weight) >= TINY else ONE)
    decay = np.float32(weight_decay)
    lr, momentum = np.float32(sgd.lr), np.float32(sgd.momentum)
    undamped = ONE - np.float32(sgd.dampening)
    for i in range(w.shape[0]):
        g = grad[i] * grad_scale
        if decay != ZERO:
            g += decay * w[i]
        if v.shape[0] > 0:
            v[i] = g if first else momentum * v[i] + undamped * g
            g = g + momentum * v[i] if sgd.nesterov else v[i]
        w[i] -= lr * g


# ---- drivers: `loop` is prange or range; Numba wants such a loop in the function that it is given

Loop = Callable[[int], Any]


def train_by_rows(loop: Loop, direct: bool = False) -> Callable[..., None]:
    """A chunk at a time: its residuals, and its partial gradient while its rows are in L2, and
    those of the task's next chunk on their way there. `direct`: rows are float32, and read where
    they lie. sums (5,) += the sums of each step, as a loop of calls would, and their number."""

    def train(
        x, target, probabilities, class_weight, sample_weight, label_smoothing, plain, order,
        scale, batch_size, weight, bias, v_weight, v_bias, sgd, first, grad_weight, grad_bias,
        grad_input, sums, n_tasks,
    ):  # fmt: skip
        terms = Terms(target, probabilities, class_weight, sample_weight, label_smoothing, plain)
        source, in_order = Rows(x, order), order[:0]
        n_rows = order.shape[0] if order.shape[0] > 0 else x.shape[0]
        n_classes, n_features = weight.shape
        size = n_classes * n_features
        padded = divide_up(n_classes, CLASSES) * CLASSES
        most = most_chunks(batch_size)
        shape = (n_tasks, 0 if direct else BLOCK_ROWS, n_features)
        blocks = aligned(shape[0] * shape[1] * shape[2]).reshape(shape)
        zs = np.empty((n_tasks, padded, BLOCK_ROWS), np.float32)
        coefficients = np.empty((n_tasks, 0 if plain else n_classes, BLOCK_ROWS), np.float32)
        rows = np.empty((n_tasks, 5, BLOCK_ROWS), np.float32)
        distances = np.empty((n_tasks, BLOCK_ROWS), np.float64)
        classes = np.empty((n_tasks, 2, BLOCK_ROWS), np.int32)
        taken = np.empty((n_tasks, BLOCK_ROWS), np.int32)
        partials = aligned(most * padded * n_features).reshape((most, padded * n_features))
        bias_partials = np.empty((most, n_classes), np.float32)
        sums_of, batch_sums = np.empty((most, 4)), np.empty(4)
        w, v = aligned(size), v_weight.reshape(v_weight.size)
        copy(weight.reshape(size), w)
        matrix = w.reshape((n_classes, n_features))
        no_losses, updating = grad_bias[:0], grad_weight.size == 0
        for begin in range(0, n_rows, batch_size):
            end = min(begin + batch_size, n_rows)
            n_chunks, chunk_rows = chunks_of(end - begin)
            for task in loop(n_tasks):
                room = Room(
                    blocks[task], zs[task], coefficients[task], rows[task], distances[task],
                    classes[task],
                )  # fmt: skip
                own = range(n_chunks * task // n_tasks, n_chunks * (task + 1) // n_tasks)
                for c in own:
                    fill(partials[c], ZERO)
                    fill(bias_partials[c], ZERO)
                    fill(sums_of[c], 0.0)
                    stop = min(begin + (c + 1) * chunk_rows, end)
                    for r in range(begin + c * chunk_rows, stop, BLOCK_ROWS):
                        last = min(r + BLOCK_ROWS, stop)
                        if direct:
                            block, i = source, r
                        else:
                            block, i = Rows(room.block, in_order), 0
                            gather(source, r, last, 0, room.block)
                        j = i + last - r
                        ahead = last
                        if last == min(begin + own.stop * chunk_rows, end):
                            ahead = begin + batch_size + own.start * chunk_rows
                        start_at(bias, divide_up(j - i, 4) * 4, room.z)
                        add_products(block, i, j, scale, matrix, 0, room.z)
                        losses(terms, order, r, last, n_classes, room, no_losses, sums_of[c])
                        residuals(last - r, room, plain, scale, bias_partials[c], taken[task])
                        grad = partials[c].reshape((padded, n_features))
                        add_gradient(block, i, j, taken[task], room.z, grad, source, ahead)
                        if grad_input.size > 0:
                            input_gradient(room.z, taken[task], matrix, grad_input[r:last])
            fill(batch_sums, 0.0)
            add_sums(sums_of, n_chunks, batch_sums)
            for task in loop(n_tasks):
                i, j = size * task // n_tasks, size * (task + 1) // n_tasks
                reduce(partials, n_chunks, i, j)
                if updating:
                    g = partials[0][i:j]
                    update(w[i:j], g, v[i:j], batch_sums[2], sgd.weight_decay, sgd, first)
            reduce(bias_partials, n_chunks, 0, n_classes)
            if updating:
                g = bias_partials[0]
                update(bias, g, v_bias, batch_sums[2], sgd.bias_weight_decay, sgd, first)
            first = False
            add(batch_sums, sums[:4])
            sums[4] += 1.0
        if updating:
            copy(w, weight.reshape(size))
        else:
            copy(partials[0], grad_weight.reshape(size))
            copy(bias_partials[0], grad_bias)

    return train


def train_by_tiles(loop: Loop) -> Callable[..., None]:
    """The residuals of a span, chunk by chunk; then the gradient, TILE_FEATURES at a time over
    all rows of the span, for which they are gathered again."""

    def train(
        x, target, probabilities, class_weight, sample_weight, label_smoothing, plain, order,
        scale, batch_size, weight, bias, v_weight, v_bias, sgd, first, grad_weight, grad_bias,
        grad_input, sums, n_tasks,
    ):  # fmt: skip
        terms = Terms(target, probabilities, class_weight, sample_weight, label_smoothing, plain)
        source, in_order = Rows(x, order), order[:0]
        n_rows = order.shape[0] if order.shape[0] > 0 else x.shape[0]
        n_classes, n_features = weight.shape
        padded = divide_up(n_classes, CLASSES) * CLASSES
        n_tiles = divide_up(n_features, TILE_FEATURES)
        width = min(n_features, BLOCK_FEATURES)
        blocks = np.empty((n_tasks, BLOCK_ROWS, width), np.float32)
        tile_blocks = np.zeros((n_tasks, BLOCK_ROWS, TILE_FEATURES), np.float32)
        most = most_chunks(min(batch_size, SPAN_ROWS))
        zs = np.empty((most, padded, BLOCK_ROWS), np.float32)
        coefficients = np.empty((n_tasks, 0 if plain else n_classes, BLOCK_ROWS), np.float32)
        rows = np.empty((n_tasks, 5, BLOCK_ROWS), np.float32)
        distances = np.empty((n_tasks, BLOCK_ROWS), np.float64)
        classes = np.empty((n_tasks, 2, BLOCK_ROWS), np.int32)
        taken = np.empty((most, BLOCK_ROWS), np.int32)
        grads = np.empty((n_tiles, padded, TILE_FEATURES), np.float32)
        bias_partials = np.empty((most, n_classes), np.float32)
        bias_sum = np.empty(n_classes, np.float32)
        sums_of, batch_sums = np.empty((most, 4)), np.empty(4)
        no_losses, updating = grad_bias[:0], grad_weight.size == 0
        for begin in range(0, n_rows, batch_size):
            end = min(begin + batch_size, n_rows)
            fill(batch_sums, 0.0)
            for span in range(begin, end, SPAN_ROWS):
                stop = min(span + SPAN_ROWS, end)
                n_chunks, chunk_rows = chunks_of(stop - span)
                for task in loop(n_tasks):
                    for c in range(n_chunks * task // n_tasks, n_chunks * (task + 1) // n_tasks):
                        room = Room(
                            blocks[task], zs[c], coefficients[task], rows[task], distances[task],
                            classes[task],
                        )  # fmt: skip
                        r = span + c * chunk_rows
                        last = min(r + chunk_rows, stop)
                        fill(bias_partials[c], ZERO)
                        fill(sums_of[c], 0.0)
                        logits(source, r, last, scale, weight, bias, room)
                        losses(terms, order, r, last, n_classes, room, no_losses, sums_of[c])
                        residuals(last - r, room, plain, scale, bias_partials[c], taken[c])
                        if grad_input.size > 0:
                            input_gradient(room.z, taken[c], weight, grad_input[r:last])
                add_sums(sums_of, n_chunks, batch_sums)
                for task in loop(n_tasks):
                    for tile in range(n_tiles * task // n_tasks, n_tiles * (task + 1) // n_tasks):
                        i = tile * TILE_FEATURES
                        if span == begin:
                            fill(grads[tile].reshape(padded * TILE_FEATURES), ZERO)
                        for c in range(n_chunks):
                            r = span + c * chunk_rows
                            last = min(r + chunk_rows, stop)
                            gather(source, r, last, i, tile_blocks[task])
                            block = Rows(tile_blocks[task], in_order)
                            add_gradient(
                                block, 0, last - r, taken[c], zs[c], grads[tile], source, n_rows
                            )
                        for k in range(n_classes if stop == end else 0):
                            w = weight[k][i : i + TILE_FEATURES]
                            g = grads[tile, k][: w.shape[0]]
                            if updating:
                                v = v_weight[k][i : i + TILE_FEATURES] if v_weight.size else v_bias
                                update(w, g, v, batch_sums[2], sgd.weight_decay, sgd, first)
                            else:
                                copy(g, grad_weight[k][i : i + TILE_FEATURES])
                reduce(bias_partials, n_chunks, 0, n_classes)
                if span == begin:
                    copy(bias_partials[0], bias_sum)
                else:
                    add(bias_partials[0], bias_sum)
            if updating:
                update(bias, bias_sum, v_bias, batch_sums[2], sgd.bias_weight_decay, sgd, first)
            first = False
            add(batch_sums, sums[:4])
            sums[4] += 1.0
        if not updating:
            copy(bias_sum, grad_bias)

    return train


def score(loop: Loop) -> Callable[..., Array]:
    """Losses of all rows, or where there is room for them their logits. The order is empty: the
    kernels are compiled for the type that it has elsewhere."""

    def score(
        x, target, probabilities, class_weight, sample_weight, label_smoothing, plain, order,
        scale, weight, bias, logits_out, losses_out, n_tasks,
    ):  # fmt: skip
        terms = Terms(target, probabilities, class_weight, sample_weight, label_smoothing, plain)
        n_rows, n_features = x.shape
        n_classes = weight.shape[0]
        padded = divide_up(n_classes, CLASSES) * CLASSES
        source = Rows(x, order)
        width = min(n_features, BLOCK_FEATURES)
        blocks = np.empty((n_tasks, BLOCK_ROWS, width), np.float32)
        zs = np.empty((n_tasks, padded, BLOCK_ROWS), np.float32)
        coefficients = np.empty((n_tasks, 0 if plain else n_classes, BLOCK_ROWS), np.float32)
        rows = np.empty((n_tasks, 5, BLOCK_ROWS), np.float32)
        distances = np.empty((n_tasks, BLOCK_ROWS), np.float64)
        classes = np.empty((n_tasks, 2, BLOCK_ROWS), np.int32)
        sums_of, sums = np.zeros((MAX_CHUNKS, 4)), np.zeros(4)
        n_chunks, chunk_rows = chunks_of(n_rows)
        for task in loop(n_tasks):
            room = Room(
                blocks[task], zs[task], coefficients[task], rows[task], distances[task],
                classes[task],
            )  # fmt: skip
            for c in range(n_chunks * task // n_tasks, n_chunks * (task + 1) // n_tasks):
                stop = min((c + 1) * chunk_rows, n_rows)
                for r in range(c * chunk_rows, stop, BLOCK_ROWS):
                    last = min(r + BLOCK_ROWS, stop)
                    logits(source, r, last, scale, weight, bias, room)
                    if logits_out.size > 0:
                        for i in range(last - r):
                            for k in range(n_classes):
                                logits_out[r + i, k] = room.z[k, i]
                    else:
                        losses(terms, order, r, last, n_classes, room, losses_out, sums_of[c])
        add_sums(sums_of, n_chunks, sums)
        return sums

    return score


def softmax(loop: Loop) -> Callable[..., None]:
    """Softmax of x (B, K), or its logarithm."""

    def softmax(x, log, out, n_tasks):
        n_rows, n_classes = x.shape
        zs = np.empty((n_tasks, n_classes, BLOCK_ROWS), np.float32)
        rows = np.empty((n_tasks, 5, BLOCK_ROWS), np.float32)
        best = np.empty((n_tasks, BLOCK_ROWS), np.int32)
        n_chunks, chunk_rows = chunks_of(n_rows)
        for task in loop(n_tasks):
            for c in range(n_chunks * task // n_tasks, n_chunks * (task + 1) // n_tasks):
                stop = min((c + 1) * chunk_rows, n_rows)
                for r in range(c * chunk_rows, stop, BLOCK_ROWS):
                    softmax_rows(
                        x[r : min(r + BLOCK_ROWS, stop)], log, zs[task], rows[task], best[task],
                        out[r : r + BLOCK_ROWS],
                    )  # fmt: skip

    return softmax
