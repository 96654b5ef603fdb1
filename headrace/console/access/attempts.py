"""Counts failed attempts with a token, so that guessing shows. Pure: time is an argument."""

from collections import OrderedDict

MOST_FAILURES = 10
PER_S = 60.0
MOST_CLIENTS = 1_024


class Attempts:
    """The latest failures of each client; of so many clients, those that failed last."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def wait_s(self, client: str, now_s: float) -> float:
        """Return for how long a client's wrong tokens are too many; 0 if they are not."""
        recent = self._recent(client, now_s)
        return recent[0] + PER_S - now_s if len(recent) >= MOST_FAILURES else 0.0

    def fail(self, client: str, now_s: float) -> None:
        self._failures[client] = [*self._recent(client, now_s), now_s][-MOST_FAILURES:]
        self._failures.move_to_end(client)
        if len(self._failures) > MOST_CLIENTS:
            self._failures.popitem(last=False)

    def _recent(self, client: str, now_s: float) -> list[float]:
        return [each for each in self._failures.get(client, ()) if each > now_s - PER_S]
