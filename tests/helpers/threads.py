"""A short training."""

from __future__ import annotations

import hashlib

from fastsoftmax.optim import SGDSettings, Velocity


def train(backend, problem, num_threads=3, epochs=2):
    """sha256 of all that a short training returns and updates."""
    weight, bias = problem.parameters()
    velocity = Velocity.of(weight, bias)
    sums = [
        backend.train_epoch(
            problem.x,
            problem.target,
            None,
            200,
            weight,
            bias,
            SGDSettings(lr=0.1, momentum=0.9),
            velocity,
            scale=problem.scale,
            num_threads=num_threads,
        )
        for _ in range(epochs)
    ]
    arrays = (weight, bias, velocity.weight, velocity.bias)
    return hashlib.sha256(repr(sums).encode() + b"".join(a.tobytes() for a in arrays)).digest()
