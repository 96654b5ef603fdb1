"""A record answers the call that waits for it, once, and nobody else's."""

import asyncio

import pytest

from headrace_client import ClosedError, DeliveryError, Result
from headrace_client.calls.pending import Call, Pending
from headrace_client.wire.names import Place
from schemas.wire.results import encode_response_line


def waiting(pending: Pending) -> tuple[str, "asyncio.Future[Result]"]:
    answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    custom_id = pending.next_custom_id()
    pending.add(custom_id, Call("rq", answer))
    return custom_id, answer


def line(custom_id: str, offset: int = 0) -> bytes:
    return encode_response_line(f"rq-0-{offset}", custom_id, 200, b"{}")


async def test_a_record_answers_its_call_once() -> None:
    pending = Pending("c-1-")
    first, answer = waiting(pending)
    _second, other = waiting(pending)

    pending.offer(line(first), ())
    pending.offer(line(first), ())

    assert (await answer).custom_id == first
    assert not other.done()
    assert pending.answered_requests == 1
    assert pending.open_requests == 1


async def test_records_of_others_are_passed_over() -> None:
    pending = Pending("c-1-")
    custom_id, answer = waiting(pending)

    pending.offer(line("c-2-1"), ())
    pending.offer(None, ())
    pending.offer(b'"c-1-1" is no result line', ())
    pending.offer(line(custom_id + "9"), ())

    assert not answer.done()


async def test_a_delivery_error_is_raised_by_the_call() -> None:
    pending = Pending("c-1-")
    answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    call = Call("rq", answer)
    pending.add("c-1-1", call)
    refused: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
    refused.set_exception(DeliveryError("too large"))

    call.delivered(refused)

    with pytest.raises(DeliveryError, match="too large"):
        await answer


async def test_places_tell_what_is_acknowledged() -> None:
    pending = Pending("c-1-")
    call = Call("rq", asyncio.get_running_loop().create_future())
    pending.add("c-1-other", call)
    waiting(pending)
    acknowledged: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
    acknowledged.set_result(Place("rq", 1, 7))

    call.delivered(acknowledged)

    assert pending.places("rq") == ([Place("rq", 1, 7)], 1)
    assert pending.places("other") == ([], 0)


async def test_all_calls_fail_together() -> None:
    pending = Pending("c-1-")
    answers = [waiting(pending)[1] for _ in range(3)]

    pending.fail_all(ClosedError("closed"))

    for answer in answers:
        with pytest.raises(ClosedError):
            await answer
    assert pending.open_requests == 0
