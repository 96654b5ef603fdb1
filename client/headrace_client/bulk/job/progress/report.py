"""What a running job says of itself, once a second: for a bar, a line or a program."""

from dataclasses import asdict, dataclass
from typing import Any

_MINUTE_S = 60
_HOUR_S = 3_600
_DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How far a job is.

    Attributes:
        job: The job's id.
        state: Of the core: ``running``, ``draining``, ``done`` and so on.
        rows_done: Rows whose outcome has arrived, failed ones included.
        rows_written: Of them, those that are durably written.
        rows_failed: Of them, those without a result.
        rows_read: Rows read from the input so far.
        rows_total: Rows of the input; ``None`` where that is not known before the end.
        share_read: How much of the input has been read, 0 to 1; ``None`` where it is not known.
        rows_per_s: Lately.
        tokens: As the results' ``usage`` counts them; rows of earlier runs are not in it.
        tokens_per_s: Lately; 0 where results have no usage.
        eta_s: Seconds to the end at the rate of lately; ``None`` where it cannot be told.
        in_flight_requests: Published, and not answered.
        elapsed_s: Since this run began.
        cpu_s: CPU time that this process has used in it.
        waits: What the job waits for, for a person; ``None`` while it goes on.
    """

    job: str
    state: str
    rows_done: int = 0
    rows_written: int = 0
    rows_failed: int = 0
    rows_read: int = 0
    rows_total: int | None = None
    share_read: float | None = None
    rows_per_s: float = 0.0
    tokens: int = 0
    tokens_per_s: float = 0.0
    eta_s: float | None = None
    in_flight_requests: int = 0
    elapsed_s: float = 0.0
    cpu_s: float = 0.0
    waits: str | None = None


def as_json(report: Report) -> dict[str, Any]:
    values = asdict(report)
    for name in ("share_read", "rows_per_s", "tokens_per_s", "eta_s", "elapsed_s", "cpu_s"):
        if values[name] is not None:
            values[name] = round(values[name], 3)
    return values


def as_line(report: Report) -> str:
    """Return one line of text, for a log."""
    of = "" if report.rows_total is None else f" of {report.rows_total:,}"
    parts = [f"{report.rows_done:,}{of} rows", f"{report.rows_per_s:,.0f} rows/s"]
    if report.tokens_per_s:
        parts.append(f"{report.tokens_per_s:,.0f} tokens/s")
    if report.rows_failed:
        parts.append(f"{report.rows_failed:,} failed")
    if report.eta_s is not None:
        parts.append(f"{duration(report.eta_s)} left")
    if report.waits:
        parts.append(report.waits)
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a duration for people: ``8 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    whole = round(seconds)
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S} s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S} min"
    return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S} h"
