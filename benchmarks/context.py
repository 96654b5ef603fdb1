"""What a benchmark gets to work with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import Series, interleave

if TYPE_CHECKING:
    from benchmarks.stage import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One run's choices and its stage.

    Attributes:
        stage: Broker, Ray and deployments.
        rounds: How often to measure each side.
        is_quick: Tiny sizes: tries the benchmark, measures nothing.
        cpus: CPUs that this process may use.
        scratch: A folder for files of this run.
        say: Takes one line of progress.
    """

    stage: "Stage"
    rounds: int
    is_quick: bool
    cpus: int
    scratch: Path
    say: Callable[[str], None]

    def size(self, full: int, quick: int) -> int:
        """Return ``full``, or ``quick`` in a smoke test."""
        return quick if self.is_quick else full

    def interleave(self, subject: Callable[[], float], baseline: Callable[[], float]) -> Series:
        """Measure both sides in this run's number of rounds."""
        return interleave(self.rounds, subject, baseline, self.say)
