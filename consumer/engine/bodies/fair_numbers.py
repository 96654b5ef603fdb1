"""Numbers what arrives so that, in the order of the numbers, jobs take turns by their weights.

Self-clocked fair queueing (Golestani, "A Self-Clocked Fair Queueing Scheme for Broadband
Applications", INFOCOM 1994), which fits where everything that waits stands in one list.
"""

from collections.abc import Mapping

_LEAST_PRUNED = 1024


class FairNumbers:
    """Numbers that grow within a job; of one job alone they are in order of arrival."""

    def __init__(self) -> None:
        self._clock = 0.0
        self._latest: dict[bytes, float] = {}
        self._prune_at = _LEAST_PRUNED

    def number(self, job: bytes, weight: int) -> float:
        number = max(self._clock, self._latest.get(job, 0.0)) + 1 / weight
        self._latest[job] = number
        if len(self._latest) > self._prune_at:
            self._prune()
        return number

    def started(self, number: float) -> None:
        """Note that what has this number is no longer waiting."""
        self._clock = max(self._clock, number)

    def restart(self, latest: Mapping[bytes, float]) -> None:
        """Number on from the latest number of each job that waits: others were given up.

        What was given up had no turn, so that it must cost its job none.
        """
        self._latest = dict(latest)

    def _prune(self) -> None:
        # A job that is not ahead of the clock begins at the clock, known or not.
        self._latest = {job: at for job, at in self._latest.items() if at > self._clock}
        self._prune_at = max(_LEAST_PRUNED, 2 * len(self._latest))
