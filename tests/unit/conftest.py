"""What all unit tests share."""

from collections.abc import Iterator

import pytest

from headrace_client.logs.learned import LEARNED


@pytest.fixture(autouse=True)
def no_learned_secrets() -> Iterator[None]:
    """Leave no secret of one test to the lines of the next."""
    LEARNED.clear()
    yield
    LEARNED.clear()
