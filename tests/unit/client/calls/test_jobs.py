"""A job's lines have one outcome each, whatever comes in which order."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from headrace_client import ClientError, DeliveryError, Result, SettingsError
from headrace_client.calls import jobs
from headrace_client.calls.caller import Caller
from headrace_client.calls.jobs import SubmittedJob
from headrace_client.calls.options import ClientOptions
from headrace_client.wire.names import Place
from headrace_client.wire.results import parse_result
from schemas.wire.results import encode_response_line


class Publisher:
    """Gives each record a place when the test says so."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, asyncio.Future[Place]]] = []

    def publish(self, value: bytes, *, headers: Any) -> "asyncio.Future[Place]":
        future: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self.sent.append((value, future))
        return future

    def acknowledge(self, index: int) -> None:
        self.sent[index][1].set_result(Place("rq", 0, index))


class OfflineCaller(Caller):
    def __init__(self, **options: Any) -> None:
        super().__init__(
            ClientOptions.of({"requests_topic": "rq", "results_topic": "rs"} | options)
        )
        self.publisher = Publisher()
        self.controls: list[Any] = []

    async def open(self, route: Any) -> Any:
        return self.publisher

    async def explain(self, route: Any, call: Any = None) -> str:
        return "nobody reads rq"

    async def publish_control(self, route: Any, control: Any) -> None:
        self.controls.append(control)


@pytest.fixture
async def caller() -> Any:
    found = OfflineCaller(max_in_flight_requests=3)
    yield found
    await found.close()


async def submit(caller: OfflineCaller, lines: list[Any], **more: Any) -> SubmittedJob:
    route = caller.find_route(None, None, None)
    job = SubmittedJob(caller, "j", route, lines, more.get("deadline"))
    await job.start()
    await settle()
    return job


async def settle() -> None:
    for _turn in range(20):
        await asyncio.sleep(0)


def line(custom_id: str) -> dict[str, Any]:
    return {"custom_id": custom_id, "url": "/u", "body": {}}


def answered(custom_id: str, offset: int) -> Result:
    return parse_result(encode_response_line(f"rq-0-{offset}", custom_id, 200, b"{}"))


async def test_a_result_before_its_acknowledgement_counts_once_its_place_is_known(
    caller: OfflineCaller,
) -> None:
    job = await submit(caller, [line("a")])
    job.take(answered("a", 7))
    job.take(answered("a", 0))
    job.take(answered("a", 0))
    assert job.progress().answered_requests == 0

    caller.publisher.acknowledge(0)
    await settle()

    assert [each.id for each in await job.next_results()] == ["rq-0-0"]
    assert await job.next_results() == []
    assert job.progress().is_done


async def test_a_line_in_flight_is_not_sent_a_second_time_under_the_same_id(
    caller: OfflineCaller,
) -> None:
    job = await submit(caller, [line("a"), line("a")])
    caller.publisher.acknowledge(0)
    await settle()
    job.take(answered("a", 0))

    results = await job.next_results()
    assert [(each.custom_id, each.error_code) for each in results] == [
        ("a", "not_sent"),
        ("a", None),
    ]
    assert "line 2: custom_id a is in flight already" in results[0].error_message


async def test_the_window_opens_when_results_are_read(caller: OfflineCaller) -> None:
    job = await submit(caller, [line(str(number)) for number in range(6)])
    assert len(caller.publisher.sent) == 3
    for number in range(3):
        caller.publisher.acknowledge(number)
    await settle()
    for number in range(3):
        job.take(answered(str(number), number))
    await settle()
    assert len(caller.publisher.sent) == 3

    assert len(await job.next_results()) == 3
    await settle()
    assert len(caller.publisher.sent) == 6


async def test_a_record_that_the_topic_refuses_is_a_failed_line(caller: OfflineCaller) -> None:
    job = await submit(caller, [line("a")])
    caller.publisher.sent[0][1].set_exception(DeliveryError("over max.message.bytes"))
    await settle()

    (result,) = await job.next_results()
    assert (result.error_code, result.error_message) == ("not_sent", "over max.message.bytes")
    assert job.progress().failed_requests == 1


async def test_a_failed_cluster_ends_the_results(caller: OfflineCaller) -> None:
    job = await submit(caller, [line("a")])
    job.fail(ClientError("no rights"))

    with pytest.raises(ClientError, match="no rights"):
        await job.next_results()


async def test_cancelled_the_line_that_waited_has_an_outcome_too(caller: OfflineCaller) -> None:
    job = await submit(caller, [line(str(number)) for number in range(9)])
    await job.cancel()

    assert [each.custom_id for each in await job.next_results()] == ["3"]
    assert len(caller.controls) == 1
    assert job.progress().in_flight_requests == 3


async def test_long_after_the_deadline_what_is_in_flight_has_expired(
    caller: OfflineCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_AFTER_DEADLINE_S", 0.0)
    job = await submit(caller, [line("a")], deadline=timedelta(milliseconds=1))

    (result,) = await job.next_results()
    assert result.error_code == "request_expired"
    assert "nobody reads rq" in result.error_message


@pytest.mark.parametrize("name", ["", "x" * 513])
async def test_a_wrong_name_is_told(caller: OfflineCaller, name: str) -> None:
    with pytest.raises(SettingsError, match="job: a name has 1 to 512"):
        SubmittedJob(caller, name, caller.find_route(None, None, None), [], None)


async def test_a_name_is_used_once_at_a_time(caller: OfflineCaller) -> None:
    await submit(caller, [line("a")])

    with pytest.raises(ClientError, match="runs in this client already"):
        await submit(caller, [line("b")])
