"""Which of an engine's observations go into histograms. Pure."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

MOST_REQUESTS_PER_S = 200
"""An observation takes Ray 2 to 5 µs of the event loop that all records of a replica share, and a
finished request has a dozen."""


class Thinning:
    """Thins out what an engine reports of each step; counters still count everything.

    All sequences of a step wait the same time for their next token, so one of them stands for all.
    Of requests, those of a second that come first are observed.
    """

    def __init__(self, most_requests_per_s: int = MOST_REQUESTS_PER_S) -> None:
        self._most = most_requests_per_s
        self._second = 0
        self._observed = 0

    def thin(self, step: Any) -> Counter[Any]:
        """Leave out observations of a step, in place.

        Args:
            step: vLLM's ``IterationStats``.

        Returns:
            How many finished requests were left out, by their reason to finish.
        """
        second = int(step.iteration_timestamp)
        if second != self._second:
            self._second, self._observed = second, 0
        room = max(0, self._most - self._observed)
        finished = step.finished_requests
        step.finished_requests = finished[:room]
        self._observed += len(step.finished_requests)
        step.time_to_first_tokens_iter = step.time_to_first_tokens_iter[:room]
        step.max_num_generation_tokens_iter = step.max_num_generation_tokens_iter[:room]
        step.n_params_iter = step.n_params_iter[:room]
        step.inter_token_latencies_iter = _one(step.inter_token_latencies_iter)
        return Counter(each.finish_reason for each in finished[room:])


def _one(latencies_s: Sequence[float]) -> list[float]:
    return [max(latencies_s)] if latencies_s else []
