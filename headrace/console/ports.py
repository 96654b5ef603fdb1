"""What the console needs of the service and of Kafka."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from headrace.overview.snapshot import Overview, PartitionOverview
from headrace_client.registry.announcements import Action
from headrace_client.wire.names import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterRow:
    """A dead letter without its value; ``failed_at_ms`` is epoch milliseconds.

    Attributes:
        place: ``TOPIC/PARTITION/OFFSET`` of the dead letter; ``source`` that of its request.
        custom_id: The request's, or else its key.
        value_bytes: The size of the request's value.
    """

    place: str
    source: str
    route: str
    custom_id: str | None
    error_code: str
    error_message: str
    attempts: int
    failed_at_ms: int
    replays: int
    value_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterPage:
    """The newest dead letters that are not handled.

    Attributes:
        rows: The newest first.
        by_reason: Of what was read, ``[ROUTE, ERROR_CODE, RECORDS]``, the most first.
        read_records: How many dead letters were read; of older ones nothing is known here.
        unhandled_offsets: Offsets with a dead letter that is not handled, at most.
        unread_topics: Topics that could not be read, with the reason.
    """

    rows: Sequence[LetterRow] = ()
    by_reason: Sequence[tuple[str, str, int]] = ()
    read_records: int = 0
    unhandled_offsets: int = 0
    unread_topics: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """Which dead letters are replayed: these places, or those of a route that failed so."""

    places: frozenset[Place] = frozenset()
    route: str | None = None
    error_code: str | None = None
    failed_before_ms: int | None = None
    limit_records: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    replayed_records: int = 0
    left_records: int = 0
    problems: Sequence[str] = field(default=())


class Service(Protocol):
    """The service as Ray has it; each method raises ``ServiceError`` without an answer."""

    async def overview(self) -> Overview: ...

    async def partitions(self, route: str) -> list[PartitionOverview]: ...

    async def settings(self) -> dict[str, Any]:
        """Return what runs, as sections of the settings file; secrets are masked."""
        ...

    async def exposition(self) -> tuple[bytes, str]:
        """Return this node's metrics in Prometheus' format, and its content type."""
        ...


class Letters(Protocol):
    """Dead letters; raises ``SourceError`` and ``UserError``, with what to do."""

    async def page(self, route: str | None, error_code: str | None) -> LetterPage:
        """Return the newest; many who ask in one moment cost as much as one."""
        ...

    async def replay(self, chosen: LetterFilter) -> Replayed: ...


class Jobs(Protocol):
    """Runners of jobs; raises ``ClientError``, with what to do."""

    async def tell(self, job: str, action: Action, by: str) -> list[str]:
        """Tell a job's runner; return what follows, a line each."""
        ...
