"""What a job may have in flight and in memory, and how items become requests."""

from dataclasses import dataclass, field

_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """What is in flight at most, and what waits to be written.

    Args:
        requests: Requests sent and not answered.
        items: Items of these requests.
        bytes: Bytes of these items, as the shell counts them.
        span_items: How far above the lowest item that was not taken for writing a job reads and
            sends. It bounds the rows that are held. No more than ``items`` are read ahead of what
            was sent.
        span_bytes: Bytes of items that were read and not taken for writing, beyond which no more
            are read, save for the rest of a request that is sent again and that all others wait
            for.
        result_bytes: Bytes of answers that wait for their turn, and of those that are on their way
            as large as answers have been so far, beyond which nothing new is sent.
    """

    requests: int = 256
    items: int = 32_768
    bytes: int = 64 * _MIB
    span_items: int = 131_072
    span_bytes: int = 256 * _MIB
    result_bytes: int = 256 * _MIB

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1, is {getattr(self, name)}")
        if self.span_items < self.items:
            raise ValueError(
                f"span_items: {self.span_items} is less than the {self.items} items that may be in "
                "flight; make it at least as many"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class JobSettings:
    """The settings of a job.

    Args:
        ordered: Items are written in their order; else as they are answered.
        request_items: Items of a request at most.
        request_bytes: Bytes of a request's items at most; a larger item goes alone.
        attempts: How often an item is tried whose failure is retryable, each time the job runs.
        most_failed_items: The job fails when more items than these have failed.
        linger_s: How long items that do not fill a request wait for more.
        deadline: When the job expires, on the clock that ``now`` is read from.
        rate_window_s: The time over which rates are measured.
    """

    ordered: bool = True
    request_items: int = 64
    request_bytes: int = 256 * 1024
    attempts: int = 1
    most_failed_items: int | None = None
    linger_s: float = 0.05
    deadline: float | None = None
    rate_window_s: float = 30.0
    window: Window = field(default_factory=Window)

    def __post_init__(self) -> None:
        for name in ("request_items", "request_bytes", "attempts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1, is {getattr(self, name)}")
        if self.request_items > self.window.items:
            raise ValueError(
                f"request_items: {self.request_items} is more than the {self.window.items} items "
                "that may be in flight"
            )
