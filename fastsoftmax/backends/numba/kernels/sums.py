"""What is added up over chunks of rows, always in the same order."""

from __future__ import annotations

from ....arrays import Array
from .jit import kernel, never_inlined

# The place of each in an array of sums, and how many there are: those of problem.Sums
LOSS, CORRECT, TOTAL_WEIGHT, COUNTED, ENTROPY = range(5)
N_SUMS = 5


@kernel
def add(a: Array, to: Array) -> None:
    for i in range(to.shape[0]):
        to[i] += a[i]


@kernel
def add_sums(chunk_sums: Array, n: int, to: Array) -> None:
    """to (N_SUMS,) += chunk_sums[0] + chunk_sums[1] + ..., of n chunks, in that order."""
    for i in range(to.shape[0]):
        total = chunk_sums[0, i]
        for c in range(1, n):
            total += chunk_sums[c, i]
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
