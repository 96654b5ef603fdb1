"""What was measured, and which bars it meets. Pure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Measured:
    """One comparison.

    Attributes:
        name: What was run.
        unit: Of both sides.
        service: Through Kafka and Serve.
        baseline: The other side's; ``None`` if it is not installed.
        baseline_is: What that is.
        least_ratio: The bar; ``None`` for none.
        least_service: The least of ``service`` itself; ``None`` for none.
        busy: The GPU's share of the time at work, from 0 to 1; ``None`` if it is not known.
        least_busy: The bar of that.
    """

    name: str
    unit: str
    service: float
    baseline: float | None
    baseline_is: str
    least_ratio: float | None = None
    least_service: float | None = None
    busy: float | None = None
    least_busy: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.service / self.baseline if self.baseline else None

    @property
    def missed(self) -> list[str]:
        """The bars that it misses, as people read them."""
        bars = (
            ("ratio", self.ratio, self.least_ratio),
            (self.unit, self.service, self.least_service),
            ("GPU busy", self.busy, self.least_busy),
        )
        return [
            f"{self.name} / {self.baseline_is}: {what} {value:,.2f}, at least {least:,.2f}"
            for what, value, least in bars
            if value is not None and least is not None and value < least
        ]

    def describe(self) -> str:
        """Return the line of a table."""
        baseline = "not installed" if self.baseline is None else f"{self.baseline:,.0f}"
        ratio = "" if self.ratio is None else f" = {self.ratio:.2f}"
        bar = "" if self.least_ratio is None else f" (at least {self.least_ratio:g})"
        busy = "" if self.busy is None else f", GPU busy {self.busy:.0%}"
        return (
            f"{self.name}: {self.service:,.0f} {self.unit}; {self.baseline_is}: {baseline}"
            f"{ratio}{bar}{busy}"
        )


def to_document(
    measured: Sequence[Measured], environment: dict[str, Any], *, is_judged: bool
) -> dict[str, Any]:
    """Return the results file as plain JSON values; without a GPU no bar is judged."""
    missed = [miss for one in measured for miss in one.missed] if is_judged else []
    return {
        "measured": [{**asdict(one), "ratio": one.ratio} for one in measured],
        "is_judged": is_judged,
        "missed": missed,
        "environment": environment,
    }
