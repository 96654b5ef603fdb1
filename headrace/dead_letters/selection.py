"""Selects the dead letters of a command. Pure."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from headrace.dead_letters.letter import DeadLetter
from headrace_client.wire.names import Place

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h|d|w)")


def parse_duration_ms(text: str) -> float:
    """Read ``90s``, ``12h`` or ``1d12h`` as milliseconds; else ``ValueError`` shows the form."""
    end, total_ms = 0, 0.0
    for part in _PART.finditer(text):
        if part.start() != end:
            break
        end = part.end()
        total_ms += float(part[1]) * _UNITS_MS[part[2]]
    if not end or end != len(text):
        raise ValueError(f"'{text}' is no duration: write 90s, 15m, 12h, 7d or 1d12h")
    return total_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Filters on dead letters; what is unset lets everything through.

    ``places`` are those of the dead letters. ``custom_id`` may be a pattern with ``*``, ``?`` and
    ``[...]``; the end of the time, in epoch milliseconds, is not included.
    """

    error_codes: frozenset[str] = frozenset()
    failed_before_ms: int | None = None
    failed_after_ms: int | None = None
    custom_id: str | None = None
    route: str | None = None
    places: frozenset[Place] | None = None

    @property
    def is_everything(self) -> bool:
        return self == Selection()

    def takes(self, letter: DeadLetter, route: str) -> bool:
        """Whether a dead letter is selected; ``route`` is the present name of its route."""
        return (
            (not self.error_codes or letter.error_code in self.error_codes)
            and (self.route is None or route == self.route)
            and (self.failed_before_ms is None or letter.failed_at_ms < self.failed_before_ms)
            and (self.failed_after_ms is None or letter.failed_at_ms >= self.failed_after_ms)
            and (self.places is None or letter.record.place in self.places)
            and (self.custom_id is None or self._is_named(letter, self.custom_id))
        )

    @staticmethod
    def _is_named(letter: DeadLetter, wanted: str) -> bool:
        custom_id = letter.custom_id()
        # An id may have brackets itself, so an exact match comes first.
        return custom_id is not None and (custom_id == wanted or fnmatchcase(custom_id, wanted))
