"""How a kernel is compiled, and two instructions that Python has no words for."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numba import config, njit
from numba.extending import intrinsic

from ....arrays import Array

CACHE_LINE = 64  # bytes
CLASSES = 5  # taken at a time
VECTOR = 16  # numbers: the longest vector of any CPU
ZERO, ONE = np.float32(0), np.float32(1)

# Only drivers call it: an entry for Python or C would take long to compile
kernel = partial(njit, no_cpython_wrapper=True, no_cfunc_wrapper=True)

SUM = {"reassoc", "contract"}
FUSE = {"contract"}

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
        """Asks for the cache line of a[i], of a contiguous array (n,), and does not wait."""
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
def fill(a: Array, value: Any) -> None:
    for i in range(a.shape[0]):
        a[i] = value


@kernel
def copy(a: Array, to: Array) -> None:
    for i in range(to.shape[0]):
        to[i] = a[i]


@kernel
def aligned(size: int) -> Array:
    """An array (size,) that begins with a cache line.

    A vector of 512 bits that lies in two lines costs twice. Numba's own arrays begin at multiples
    of 32 bytes, NumPy's at multiples of 16.
    """
    a = np.empty(size + CACHE_LINE // 4, np.float32)
    skipped = -a.ctypes.data % CACHE_LINE // 4
    return a[skipped : skipped + size]
