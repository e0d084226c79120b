"""One race for each job, shared by the tests of the session.

pytest-benchmark runs one test to its end before the next, so tests that timed their contenders
themselves would not alternate. Here the first test of a task times all contenders that the session
selected, by turns; then each test replays its own times into pytest-benchmark.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benches.harness import replay
from benches.harness.alternate import ROUNDS, WARMUP, Child, Race
from benches.harness.jobs import SMOKE, Job
from benches.harness.spec import Spec

Bench = Callable[[Job, str, Spec], None]


@pytest.fixture(scope="session")
def timed(
    request: pytest.FixtureRequest,
) -> Iterator[Callable[[Job, str, Spec], tuple[Child, list[float]]]]:
    """The child of a contender, and the seconds of its rounds: none if it is not ready."""
    smoke = request.config.getoption("benchmark_disable")
    rounds = 1 if smoke else max(ROUNDS, request.config.getoption("benchmark_min_rounds"))
    calls = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    specs = {call["contender"].name: call["contender"] for call in calls if "contender" in call}

    with ExitStack() as stack:

        @cache
        def race(job: Job) -> Race:
            started = stack.enter_context(Race(specs.values()))
            started.load(SMOKE if smoke else job)
            return started

        @cache
        def seconds(job: Job, task: str) -> dict[str, list[float]]:
            return race(job).seconds(task, rounds, warmup=0 if smoke else WARMUP)

        yield lambda job, task, contender: (
            race(job).children[contender.name],
            seconds(job, task).get(contender.name, []),
        )


@pytest.fixture
def bench(
    benchmark: BenchmarkFixture,
    timed: Callable[[Job, str, Spec], tuple[Child, list[float]]],
) -> Bench:
    """Reports the times of one contender; skips or fails where it could not be timed."""

    def report(job: Job, task: str, contender: Spec) -> None:
        child, seconds = timed(job, task, contender)
        if child.skip:
            pytest.skip(child.skip)
        if child.error:
            pytest.fail(child.error, pytrace=False)
        benchmark.extra_info.update(child.about)
        left = iter(seconds)
        benchmark.pedantic(lambda: replay.advance(next(left)), rounds=len(seconds))

    return report
