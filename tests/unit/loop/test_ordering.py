"""Order by key over the whole consumer loop: kills, joins, dying replicas, both delivery modes."""

import asyncio
import random

import orjson
import pytest

from consumer.ports import Message, TopicPartition
from tests.counting_model import CountingModel
from tests.simulated_service import ROUTE, SimulatedService, request
from tests.simulation import simulate


def publish_keyed(
    service: SimulatedService, records: int, keys: int, randomly: random.Random
) -> None:
    """Publish requests of a few keys, named by key and number within it."""
    counts = [0] * keys
    for _ in range(records):
        key = randomly.randrange(keys)
        custom_id = f"{key}/{counts[key]}"
        counts[key] += 1
        service.expected[custom_id] = TopicPartition("requests", 0)
        value = request(custom_id, randomly.choice([0, 5, 40]))
        service.broker.append([Message("requests", b"%d" % key, value, [])])


def first_numbers(service: SimulatedService) -> dict[str, list[int]]:
    """Return each key's numbers in the order in which their first results stand on the topic."""
    seen: dict[str, dict[int, None]] = {}
    for record in service.broker.records("results"):
        key, number = orjson.loads(record.value or b"")["custom_id"].split("/")
        seen.setdefault(key, {})[int(number)] = None
    return {key: list(numbers) for key, numbers in seen.items()}


@pytest.mark.parametrize("ordering", ["key", "partition"])
def test_results_of_a_key_stand_in_order_whatever_is_killed(delivery: str, ordering: str) -> None:
    route = ROUTE.model_copy(update={"ordering": ordering})

    async def main() -> None:
        randomly = random.Random(5)
        model = CountingModel()
        service = SimulatedService(partitions=3, model=model, route=route)
        publish_keyed(service, 400, 20, randomly)
        await service.join()
        await service.join()
        for _ in range(3):
            await asyncio.sleep(0.3)
            await model.kill()
            await asyncio.sleep(0.5)
            await service.crash(randomly.choice(service.members))
            await service.join()
        await service.until_done()
        service.check_commits()
        numbers = first_numbers(service)
        assert len(numbers) == 20
        assert all(each == list(range(len(each))) for each in numbers.values())
        if delivery == "exactly_once":
            assert set(service.results().values()) == {1}
        await service.close()

    simulate(main())
