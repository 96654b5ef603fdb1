"""Describes a deployment that lacks replicas, in one line. Pure."""

from collections.abc import Mapping

MOST_CHARACTERS = 200
MOST_LINES = 6
_WELL = "HEALTHY"
_FAILED = "DEPLOY_FAILED"
_GIVEN_UP = "Serve tries no more: put it right, and run `headrace up` again"
_RUNNING = "RUNNING"
_STOPPING = "STOPPING"


def missing_replicas(status: str, replica_states: Mapping[str, int], message: str) -> str | None:
    """Return what a deployment waits for, or ``None`` if all of its replicas run.

    ``replica_states`` counts the replicas in each of Serve's states; ``message`` is Serve's
    explanation, of any number of lines.
    """
    running = replica_states.get(_RUNNING, 0)
    wanted = sum(number for state, number in replica_states.items() if state != _STOPPING)
    if status == _WELL or running >= max(wanted, 1):
        return None
    why = failure_line(message) or "they are starting"
    fix = _GIVEN_UP if status == _FAILED else "`serve status` tells all"
    return f"{running} of {max(wanted, 1)} replicas run: {why} ({fix})"


def failure_line(message: str) -> str:
    """Return the most useful line of a message, if any: the last one of a traceback."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    line = lines[-1] if lines else ""
    return line if len(line) <= MOST_CHARACTERS else f"{line[: MOST_CHARACTERS - 1]}…"


def outline(message: str) -> str:
    """Return the first line of a message and its last few, without a traceback's middle."""
    lines = message.strip().splitlines()
    if len(lines) <= MOST_LINES:
        return "\n".join(lines)
    return "\n".join([lines[0], "  …", *lines[1 - MOST_LINES :]])
