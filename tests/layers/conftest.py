"""One Python process that only imports kerasqnn, for all tests of saved models."""

import pytest

from kerasqnn.testing import FreshProcess


@pytest.fixture(scope="session")
def fresh_process():
    """The process; started once, ended with the tests."""
    with FreshProcess() as process:
        yield process
