"""What is noted of a record that is sampled. Others have none of it."""

from dataclasses import dataclass, field

from handoff.tracing.spans import SpanContext

MOST_CALLS = 32
"""A model without room is asked again and again; the first call and the latest ones are kept."""


@dataclass(slots=True)
class CallTrace:
    """One handle call for a record; times are monotonic seconds.

    Attributes:
        context: The call's span, under which the model replica's spans stand.
        number: Which attempt it is, those of earlier owners included if they failed.
        status: The outcome's, once there is one.
        error: Why it had none.
    """

    context: SpanContext
    number: int
    sent_at_s: float
    ended_at_s: float | None = None
    status: int = 0
    replica: str = ""
    error: str | None = None


@dataclass(slots=True)
class RecordTrace:
    """A record's own span, its calls, and what it ended in.

    Attributes:
        context: What the record's result carries.
        parent: The producer's span.
        status_code: Of the response; 0 where there is none.
        error_code: Why there is none.
        error: The same for people.
    """

    context: SpanContext
    parent: SpanContext | None
    job: str = ""
    calls: list[CallTrace] = field(default_factory=list)
    status_code: int = 0
    error_code: str = ""
    error: str | None = None

    def sent(self, call: CallTrace) -> None:
        if len(self.calls) >= MOST_CALLS:
            del self.calls[1]
        self.calls.append(call)

    def answered(self, status: int, replica: str, now_s: float) -> None:
        """Note the outcome of the call that is open; a late one has none."""
        call = self.calls[-1] if self.calls else None
        if call is not None and call.ended_at_s is None:
            call.ended_at_s, call.status, call.replica = now_s, status, replica

    def call_failed(self, reason: str, now_s: float) -> None:
        if self.calls:
            call = self.calls[-1]
            call.error = reason
            call.ended_at_s = call.ended_at_s or now_s

    def respond(self, status_code: int) -> None:
        self.status_code = status_code

    def fail(self, error_code: str, error: str) -> None:
        self.error_code, self.error = error_code, error
