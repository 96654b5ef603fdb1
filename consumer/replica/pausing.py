"""A pause as the status board tells it to a consumer, and as a consumer tells it to a person."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from consumer.engine.pausing import Pause


def pause_in(answer: Any, known: Pause | None) -> Pause | None:
    """Return the pause that the board's answer to a report names.

    A board that does not know, or of an earlier release, leaves all as it is.
    """
    if not isinstance(answer, dict) or "pause" not in answer:
        return known
    return msgspec.convert(answer["pause"], Pause | None)


def pause_line(pause: Pause, route: str, epoch_ms: int) -> str:
    """Return a line for ``waits``: since when, why, and how to go on."""
    minutes = pause.lasts_s(epoch_ms) / 60
    return (
        f"paused by hand: {pause_reason(pause)} ({minutes:.0f} min so far); "
        f"`headrace route resume {route}` ends it"
    )


def pause_reason(pause: Pause) -> str:
    since = datetime.fromtimestamp(pause.since_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"since {since}, {pause.reason}" if pause.reason else f"since {since}"
