"""Every test of the consumer loop runs under both delivery guarantees."""

from collections.abc import Iterator

import pytest

from tests.simulated_service import SimulatedService


@pytest.fixture(params=["at_least_once", "exactly_once"], autouse=True)
def delivery(request: pytest.FixtureRequest) -> Iterator[str]:
    earlier = SimulatedService.delivery
    SimulatedService.delivery = request.param
    yield request.param
    SimulatedService.delivery = earlier
