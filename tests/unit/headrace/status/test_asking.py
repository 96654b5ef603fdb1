"""A question to Ray that may never be answered."""

import threading

import pytest

from headrace.errors import ServiceError
from headrace.status.asking import Asking


async def test_answers_and_errors_come_through() -> None:
    answers = iter([1, 2])

    def ask() -> int:
        try:
            return next(answers)
        except StopIteration:
            raise ServiceError("nobody is there") from None

    asking = Asking(ask)

    assert [await asking.answer(), await asking.answer()] == [1, 2]
    with pytest.raises(ServiceError, match="nobody is there"):
        await asking.answer()
    assert not asking.is_silent


async def test_silence_is_an_error_and_costs_its_patience_once() -> None:
    asked, may_answer = [], threading.Event()

    def ask() -> int:
        asked.append(threading.current_thread())
        may_answer.wait()
        return 7

    asking = Asking(ask, patience_s=0.01)

    for _ in range(3):
        with pytest.raises(ServiceError, match="Ray does not answer"):
            await asking.answer()
    assert asking.is_silent
    [thread] = asked
    assert thread.daemon, "the process may end before it answers"
    may_answer.set()
    thread.join(30)
    assert await asking.answer() == 7
    assert not asking.is_silent
