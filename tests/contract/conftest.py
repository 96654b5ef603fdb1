"""The same tests in both worlds: the broker in memory and a real one."""

from collections.abc import AsyncIterator

import pytest

from tests.contract.publisher import Publisher, make_publisher
from tests.contract.worlds import KafkaWorld, MemoryWorld, World


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """The broker in memory, then a real one."""
    made: World
    if request.param == "memory":
        made = MemoryWorld()
    else:
        made = KafkaWorld(request.getfixturevalue("kafka_broker"))
    yield made
    await made.close()


@pytest.fixture(params=["at_least_once", "exactly_once"])
async def publisher(request: pytest.FixtureRequest, world: World) -> Publisher:
    """One of each delivery, started."""
    made = await make_publisher(world, request.param)
    await made.start()
    return made
