"""What an alert is, and the PromQL that alerts are made of. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from schemas.metrics import metric

RUNBOOKS = "docs/runbooks.md"

Severity = Literal["critical", "warning"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long an alert's windows are: as they stand, or all shorter by the same factor.

    A rehearsal on a real Prometheus divides them; nothing else of an alert changes.
    """

    divisor: float = 1.0

    def of(self, minutes: float) -> str:
        """Return a duration as PromQL and Prometheus' files have it."""
        milliseconds = round(minutes * 60_000 / self.divisor)
        for unit, length in (("h", 3_600_000), ("m", 60_000), ("s", 1_000)):
            if milliseconds and milliseconds % length == 0:
                return f"{milliseconds // length}{unit}"
        return f"{milliseconds}ms" if milliseconds else "0s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert; it fires when ``expr`` has held for ``minutes``.

    Attributes:
        labels: What it is about, besides its severity: a route or a model.
        summary: One line, for a pager.
    """

    name: str
    expr: str
    minutes: float
    severity: Severity
    labels: Mapping[str, str] = field(default_factory=dict)
    summary: str

    def rule(self, pace: Pace) -> dict[str, Any]:
        """Return it as a rule of Prometheus."""
        subject = next(iter(self.labels.values()), None)
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": pace.of(self.minutes),
            "labels": {"severity": self.severity, **self.labels},
            "annotations": {
                "summary": self.summary if subject is None else f"{subject}: {self.summary}",
                "runbook": f"{RUNBOOKS}#{self.name.lower()}",
            },
        }


@dataclass(frozen=True, slots=True)
class Series:
    """The series of one route, or of whatever else ``label`` names."""

    label: str
    value: str
    pace: Pace

    def of(self, name: str, **more: str) -> str:
        labels = {self.label: self.value, **more}
        chosen = ",".join(f'{key}="{value}"' for key, value in labels.items())
        return f"{metric(name).exported}{{{chosen}}}"

    def sum(self, gauge: str) -> str:
        return f"sum({self.of(gauge)})"

    def rate(self, counter: str, minutes: float = 10) -> str:
        return f"sum(rate({self.of(counter)}[{self.pace.of(minutes)}]))"

    def rate_or_none(self, counter: str, minutes: float = 10) -> str:
        """Return a rate to compare with: 0 of a counter that has not counted, as it is missing."""
        return f"({self.rate(counter, minutes)} or vector(0))"

    def quantile(self, share: float, histogram: str, minutes: float = 10) -> str:
        rate = f"rate({self.of(histogram)}[{self.pace.of(minutes)}])"
        return f"histogram_quantile({share:g}, sum by (le) ({rate}))"

    def counted(self, counter: str, minutes: float) -> str:
        """Return what holds if a counter has grown within the time, be it for the first time.

        A counter is missing until it first counts, and ``increase`` sees no first value: a series
        that was not there before has grown within the time. Before is a while: a gap in what was
        scraped makes no series a new one.
        """
        series, window = self.of(counter), self.pace.of(minutes)
        before = f"last_over_time({series}[{self.pace.of(6 * minutes)}] offset {window})"
        return f"sum(increase({series}[{window}])) > 0 or sum({series} unless {before}) > 0"
