"""What is in flight in a pipeline: records, and the calls of steps."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from handoff.cancelling import CallCancellation
from handoff.windows import CallInFlight
from serve_models.chunks.call import Call
from serve_models.pipeline.graph import RecordRun


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
            step_call.on_unwanted(step_call)
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
        number: Names it to the model's replicas.
        model: The name of the model.
        unanswered: Its unanswered requests by their position in its chunk.
        in_flight: The same, as the queue of the model counts them.
        on_unwanted: Called when a record of it has ended without its answer.
        sent_at_s: Monotonic seconds when it began.
        elsewhere: How many of its outcomes are still to come in the streams of other calls.
        closing: Closes it, if its replica does not let go of it.
    """

    number: int
    model: str
    unanswered: dict[int, Request]
    in_flight: CallInFlight
    on_unwanted: "Callable[[StepCall], None]"
    sent_at_s: float = 0.0
    has_answers: bool = False
    elsewhere: int = 0
    has_all: asyncio.Event = field(default_factory=asyncio.Event)
    cancellation: CallCancellation = field(default_factory=CallCancellation)
    task: asyncio.Task[None] | None = None
    closing: asyncio.TimerHandle | None = None

    def __post_init__(self) -> None:
        for request in self.unanswered.values():
            request.record.step_calls.append(self)

    @property
    def is_wanted(self) -> bool:
        return any(not request.record.run.is_over for request in self.unanswered.values())

    def unwanted(self) -> list[int]:
        return [index for index, each in self.unanswered.items() if each.record.run.is_over]

    def answer(self, index: int) -> Request | None:
        """Remove and return the request that has an outcome; ``None`` if it had one before."""
        request = self.unanswered.pop(index, None)
        if request is not None and not request.record.run.is_over:
            request.record.step_calls.remove(self)
        if not self.unanswered:
            self.has_all.set()
        return request

    def close(self) -> None:
        if self.task is not None:
            self.task.cancel()
