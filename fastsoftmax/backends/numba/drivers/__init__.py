"""What Numba compiles for Python to call: whole passes over rows, in parallel.

Each file has a function of `loop`, which is numba.prange or range and returns the driver: Numba
wants a parallel loop to stand in the function that it compiles.
"""
