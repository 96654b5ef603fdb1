"""What a pipeline has under way: calls that came in, their records, calls that went out."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from handoff.windows import CallInFlight
from serve_models.pipeline.graph import RecordRun
from serve_models.serving.call import Call


class StepLostError(RuntimeError):
    """A step's call ended without an outcome for its records, which can be tried again."""


@dataclass(slots=True, eq=False)
class Record:
    """A record under way.

    Attributes:
        call: The call that it came in.
        index: Its position there.
        run: Its way through the graph.
        timer: Ends it at its deadline.
        step_calls: The calls in which requests of it wait for an answer, and how many.
    """

    call: Call
    index: int
    run: RecordRun
    timer: asyncio.TimerHandle | None = None
    step_calls: Counter["StepCall"] = field(default_factory=Counter)

    def end(self) -> None:
        """Take note that it has its outcome, or that nobody wants one any more.

        Closes the calls that carry nothing but what nobody wants.
        """
        self.run.end()
        if self.timer is not None:
            self.timer.cancel()
        for step_call in self.step_calls:
            step_call.close_if_unwanted()
        self.step_calls.clear()


@dataclass(slots=True, eq=False)
class Request:
    """One record's request to one step's model."""

    record: Record
    step: str
    line: bytes


@dataclass(slots=True, eq=False)
class StepCall:
    """A handle call under way.

    Attributes:
        unanswered: Its requests by their position in its chunk, until they are answered.
        in_flight: The same as the queue of its model counts them.
        has_answers: Some of them are.
        task: Runs it.
    """

    unanswered: dict[int, Request]
    in_flight: CallInFlight
    has_answers: bool = False
    task: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        for request in self.unanswered.values():
            request.record.step_calls[self] += 1

    def answer(self, index: int) -> Request | None:
        """Take out the request that has an outcome; ``None`` where it had one before."""
        request = self.unanswered.pop(index, None)
        if request is not None:
            step_calls = request.record.step_calls
            step_calls[self] -= 1
            if step_calls[self] <= 0:
                del step_calls[self]
        return request

    def close_if_unwanted(self) -> None:
        """Cancel it where it carries nothing but requests of records that are over."""
        is_wanted = any(not request.record.run.is_over for request in self.unanswered.values())
        if self.task is not None and self.unanswered and not is_wanted:
            self.task.cancel()
