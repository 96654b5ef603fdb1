"""What is in flight in a pipeline: records, and the calls of steps."""

import asyncio
from dataclasses import dataclass, field

from handoff.windows import CallInFlight
from serve_models.chunks.call import Call
from serve_models.pipeline.graph import RecordRun


class StepLostError(RuntimeError):
    """A step's call ended without an outcome for its records, which can be retried."""


@dataclass(slots=True, eq=False)
class Record:
    """A record in flight: its ``index`` is its position in ``call``.

    ``timer`` ends it at its deadline; ``step_calls`` has the call of each unanswered request.
    """

    call: Call
    index: int
    run: RecordRun
    timer: asyncio.TimerHandle | None = None
    step_calls: list["StepCall"] = field(default_factory=list)

    def end(self) -> None:
        self.run.end()
        if self.timer is not None:
            self.timer.cancel()
        for step_call in self.step_calls:
            step_call.close_if_unwanted()
        self.step_calls.clear()


@dataclass(slots=True, eq=False)
class Request:
    record: Record
    step: str
    line: bytes


@dataclass(slots=True, eq=False)
class StepCall:
    """A call of a step's model.

    Attributes:
        unanswered: Its unanswered requests by their position in its chunk.
        in_flight: The same, as the queue of the model counts them.
    """

    unanswered: dict[int, Request]
    in_flight: CallInFlight
    has_answers: bool = False
    task: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        for request in self.unanswered.values():
            request.record.step_calls.append(self)

    def answer(self, index: int) -> Request | None:
        """Remove and return the request that has an outcome; ``None`` if it had one before."""
        request = self.unanswered.pop(index, None)
        if request is not None and not request.record.run.is_over:
            request.record.step_calls.remove(self)
        return request

    def close_if_unwanted(self) -> None:
        is_wanted = any(not request.record.run.is_over for request in self.unanswered.values())
        if self.task is not None and self.unanswered and not is_wanted:
            self.task.cancel()
