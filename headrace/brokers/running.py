"""A local broker that runs, and its guarantees."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self


class BrokerStartError(Exception):
    """A local broker did not start; the message says why and shows the end of its log."""


@dataclass(frozen=True, kw_only=True)
class RunningBroker:
    """A broker that this process started; leaving it as a context manager stops it.

    Attributes:
        durable: Whether acknowledged records survive a crash of the broker.
        process_id: The broker's process on this machine; ``None`` where it has none.
        stop: Shuts down in order, within some ten seconds; stopping twice does nothing.
        kill: Ends it at once, as a power cut would.
    """

    kind: str
    bootstrap: str
    durable: bool
    description: str
    log_file: Path
    process_id: int | None
    stop: Callable[[], None] = field(repr=False)
    kill: Callable[[], None] = field(repr=False)
    is_alive: Callable[[], bool] = field(repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.stop()
