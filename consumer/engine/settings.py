"""A route's numbers, as its engine needs them."""

from dataclasses import dataclass

from consumer.engine.calls.key_queues import Ordering
from consumer.engine.calls.rate_limit import NO_LIMITS, RateLimits
from consumer.engine.failures.retry import RetryPolicy


@dataclass(kw_only=True, slots=True)
class EngineSettings:
    """Portions, order and the room for progress.

    Attributes:
        max_body_bytes: The most bytes of a response body, on the topic or in an object store; 0 is
            no limit.
        metadata_limit_characters: The brokers' ``offset.metadata.max.bytes``.
        attempt_timeout_s: How long a call may be silent; ``None`` to learn it from the work.
        may_repeat: Whether outcomes may be published again if progress cannot be read.
    """

    most_chunk_records: int
    metadata_limit_characters: int
    max_body_bytes: int = 0
    ordering: Ordering = "none"
    attempt_timeout_s: float | None = None
    may_repeat: bool = True
    rate_limits: RateLimits = NO_LIMITS


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveSettings:
    """What changes while the engine runs; ``over_bytes`` is the claim check's."""

    max_records: int
    max_bytes: int
    most_chunk_records: int
    max_request_bytes: int
    max_result_bytes: int
    max_body_bytes: int
    over_bytes: int
    fail_with_result: bool
    retry: RetryPolicy
    reply_topics: tuple[str, ...] = ()
    rate_limits: RateLimits = NO_LIMITS
