"""A clock for pytest-benchmark that moves only by the times replayed into it.

Given as the `timer` of a bench, it makes the table and the JSON show what the child processes
measured. A real clock would show how long the parent waited for them.
"""

now = 0.0


def clock() -> float:
    return now


def advance(seconds: float) -> None:
    global now
    now += seconds
