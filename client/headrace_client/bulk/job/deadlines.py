"""Deadlines as people write them: a duration from now, or a date."""

import re
from datetime import UTC, datetime

from headrace_client.errors import ClientError

_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d)")


class DeadlineError(ClientError):
    """A deadline cannot be read, or lies in the past."""


def deadline_ms(text: str, now_ms: int) -> int:
    """Return a deadline in milliseconds since 1970; raises ``DeadlineError``.

    Args:
        text: ``90s``, ``45m``, ``2h``, ``1d``, or a date and time as of ISO 8601, which is UTC
            where it names no zone.
        now_ms: Now, in milliseconds since 1970.
    """
    if match := _DURATION.fullmatch(text.strip()):
        return now_ms + round(float(match[1]) * _SECONDS[match[2]] * 1_000)
    try:
        date = datetime.fromisoformat(text.strip())
    except ValueError:
        raise DeadlineError(
            f"--deadline: '{text}' is no duration (45m, 2h, 1d) and no date "
            "(2026-12-01T08:00+01:00)"
        ) from None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    found_ms = round(date.timestamp() * 1_000)
    if found_ms <= now_ms:
        raise DeadlineError(f"--deadline: {text} is past; name a later date, or a duration (2h)")
    return found_ms
