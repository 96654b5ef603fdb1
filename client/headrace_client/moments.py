"""Moments as people write them: ``5m`` and ``2h`` from now or ago, or ISO 8601. Pure."""

import re
from datetime import UTC, datetime

UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)\s*(ms|s|m|min|h|d)")
_FORMS = "write 30s, 5m, 2h or 3d, or a time: 2030-01-31T18:00 (of this machine), or with +00:00"


def moment_after(text: str, now_ms: int) -> int:
    """Return the moment that ``text`` names in milliseconds since 1970; durations are from now on.

    Raises ``ValueError``, which says what to write; of a moment that is over too.
    """
    duration_ms = _duration_ms(text)
    moment_ms = _moment_ms(text) if duration_ms is None else now_ms + duration_ms
    if moment_ms <= now_ms:
        raise ValueError(f"{text} is past: it is {_shown(now_ms)} now")
    return moment_ms


def moment_before(text: str, now_ms: int) -> int:
    """Return the moment that ``text`` names in milliseconds since 1970; durations are ago.

    Raises ``ValueError``, which says what to write.
    """
    duration_ms = _duration_ms(text)
    return _moment_ms(text) if duration_ms is None else max(0, now_ms - duration_ms)


def _duration_ms(text: str) -> int | None:
    match = _DURATION.fullmatch(text.strip())
    return None if match is None else round(float(match[1]) * UNITS_MS[match[2]])


def _moment_ms(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text.strip())
        return max(0, round(moment.timestamp() * 1000))
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"'{text}' is no time: {_FORMS}") from None


def _shown(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="seconds")
