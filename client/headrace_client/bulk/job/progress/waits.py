"""What a job waits for, in words: decided from facts, without a clock."""

from dataclasses import dataclass

from headrace_client.bulk.job.progress.report import duration

QUIET_S = 3.0
"""A job that got a result less than this long ago waits for nothing worth telling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a job that may be waiting.

    Attributes:
        in_flight_requests: Published, and not answered.
        oldest_in_flight_s: How long the oldest of them has been out.
        since_result_s: Since the last result, or since the job began to wait for one.
        broker_silent_s: For how long the broker has not answered; ``None`` while it answers.
        broker: The broker's address.
        requests_topic: Where requests go.
        has_consumers: Whether a group reads that topic; ``None`` where that is not known.
        is_paused: By a command.
        is_reading: Nothing can be sent before more of the input has been read.
    """

    in_flight_requests: int = 0
    oldest_in_flight_s: float = 0.0
    since_result_s: float = 0.0
    broker_silent_s: float | None = None
    broker: str = ""
    requests_topic: str = ""
    has_consumers: bool | None = None
    is_paused: bool = False
    is_reading: bool = False


def waits_for(facts: Facts) -> str | None:
    """Return what the job waits for, the cause before its effects; ``None`` while it goes on."""
    if facts.broker_silent_s is not None:
        return (
            f"the broker at {facts.broker} does not answer since "
            f"{duration(facts.broker_silent_s)}; the job goes on when it does"
        )
    if facts.is_paused and not facts.in_flight_requests:
        return "paused; `headrace jobs resume` lets it go on"
    if facts.in_flight_requests and facts.has_consumers is False:
        return nobody_consumes(facts.requests_topic)
    if facts.since_result_s < QUIET_S:
        return None
    if facts.in_flight_requests:
        requests = "request" if facts.in_flight_requests == 1 else "requests"
        return (
            f"waiting for results of {facts.in_flight_requests:,} {requests}, "
            f"oldest {duration(facts.oldest_in_flight_s)}"
        )
    return "reading the input" if facts.is_reading else None


def nobody_consumes(requests_topic: str) -> str:
    return f"nobody consumes {requests_topic}: is the service up? (`headrace up`)"
