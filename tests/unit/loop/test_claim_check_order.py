"""Order and claim check together, in simulated time: everything ends, whatever the store does."""

from dataclasses import dataclass

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.engine.bodies.store import StoreError
from consumer.engine.calls.key_queues import Ordering
from consumer.ports import Message
from schemas.settings.file import ClaimCheckSettings, FlowSettings
from schemas.wire.references import RequestBodyReference
from tests.counting_model import CountingModel
from tests.simulated_service import ROUTE, URL, SimulatedService
from tests.simulation import simulate
from tests.stored_bodies import StoredBodies

CLAIM_CHECK = ClaimCheckSettings(
    store="memory://store",
    request_prefixes=("memory://in",),
    max_object_bytes=40_000,
    give_up_after_s=60,
)


@dataclass(frozen=True)
class Request:
    """One request of a key, with its body in the record or in the store.

    Attributes:
        key: The record's.
        size_bytes: How large the body is.
        is_stored: The body is in the store.
        says_size: The reference says how large it is.
        failures: How often the store fails on it.
        ms: How long the model takes.
    """

    key: int
    size_bytes: int
    is_stored: bool
    says_size: bool
    failures: int
    ms: int


REQUESTS = st.builds(
    Request,
    key=st.integers(0, 3),
    size_bytes=st.sampled_from([100, 4_000, 9_000, 30_000]),
    is_stored=st.sampled_from([True, True, False]),
    says_size=st.booleans(),
    failures=st.sampled_from([0, 0, 1, 3]),
    ms=st.sampled_from([0, 10, 500]),
)


class FailingStore(StoredBodies):
    """Fails as often on each body as it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: dict[str, int] = {}

    async def size_bytes(self, url: str) -> int:
        self._fail(url)
        return await super().size_bytes(url)

    async def read(self, reference: RequestBodyReference) -> bytes:
        self._fail(reference.url)
        return await super().read(reference)

    def _fail(self, url: str) -> None:
        if self.failures.get(url, 0):
            self.failures[url] -= 1
            raise StoreError("the store is away")


@pytest.mark.parametrize("ordering", ["none", "key", "partition"])
@given(requests=st.lists(REQUESTS, min_size=1, max_size=40))
@settings(max_examples=25)
def test_whatever_the_sizes_failures_and_orders_everything_ends(
    ordering: Ordering, requests: list[Request]
) -> None:
    async def main() -> None:
        store = FailingStore()
        flow = FlowSettings(max_bytes=20_000)
        route = ROUTE.model_copy(
            update={"claim_check": CLAIM_CHECK, "flow": flow, "ordering": ordering}
        )
        service = SimulatedService(partitions=2, route=route, model=CountingModel())
        service.store = store
        for number, request in enumerate(requests):
            _send(service, store, f"r{number}", request)
        member = await service.join()
        await service.until_done()
        assert service.results() == dict.fromkeys(service.expected, 1)
        assert service.broker.records("dead-letters") == []
        await service.close()
        assert member.engine.held_records == member.engine.held_bytes == 0
        service.check_commits()

    simulate(main())


def _send(service: SimulatedService, store: FailingStore, custom_id: str, request: Request) -> None:
    body = orjson.dumps({"ms": request.ms, "padding": "x" * request.size_bytes})
    line: dict[str, object] = {"custom_id": custom_id, "url": URL}
    if request.is_stored:
        url = f"memory://in/{custom_id}.json"
        store.bodies[url] = body
        store.failures[url] = request.failures
        size = {"size_bytes": len(body)} if request.says_size else {}
        line["body_ref"] = {"url": url} | size
    else:
        line["body"] = orjson.loads(body)
    service.expected[custom_id] = service.broker.partitions("requests")[0]
    key = b"%d" % request.key
    service.broker.append([Message("requests", key, orjson.dumps(line), [])])
