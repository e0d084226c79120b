"""A problem, and the number of threads as it was."""

import pytest

from fastsoftmax import set_num_threads
from helpers import make_problem


@pytest.fixture
def problem():
    return make_problem(700, 50, 10)


@pytest.fixture
def default_num_threads():
    set_num_threads(None)
    yield
    set_num_threads(None)
