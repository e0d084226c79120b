"""The arithmetic of a step, in Python that Numba compiles: what csrc/kernels/ does in C.

The letters of every shape: N rows of data, D features, K classes. A block is at most BLOCK_ROWS
rows, n of them.

Design
 a) A block is gathered, as float32, into a buffer that an L2 can hold. No other kernel knows the
    type of the rows. Where rows are float32 already, the driver by rows reads them where they
    lie: a kernel takes `Rows`, which are gathered ones or the caller's.
 b) The logits of a block are (K, BLOCK_ROWS). Rows are in the lanes of a vector, and the softmax
    needs no operation across lanes.
 c) Classes are taken CLASSES at a time, so that a number that is loaded serves several products.
    Where K is no multiple of that, the last class stands in for those that lack. What comes of it
    lies in rows from K on, and nobody reads it.
 d) A driver (../drivers) is compiled over prange and over range. Both call the same kernels, and
    these are never inlined: LLVM would choose vectors and fused multiply-adds for each copy anew,
    and the copies would differ in their last bits.
 e) Drivers call the kernels one after the other. A kernel that is called by a kernel is compiled
    once more, which takes its time.
 f) Of fast-math there is only `reassoc`, where a sum may be reordered to be a vector, and
    `contract`, which fuses a product and a sum. NaN and infinity stay what they are.
 g) The next rows are fetched while the gradient of a block is computed. They go to L2; to L1 they
    gain nothing. The last line of a row is fetched too, as rows do not begin with a line. During
    the logits nothing is fetched, as that takes longer.
 h) Measured slower, or no faster, therefore not done: blocks of 16 or 32 rows; fetching 2 rows
    ahead of the one that is gathered; vectors of 512 bits where LLVM takes 256, which gain for
    uint8 rows and lose more for float32 rows; a part of the features at a time in the gradient, so
    that they stay in L1.
"""
