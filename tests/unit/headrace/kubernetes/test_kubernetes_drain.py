"""What a pod does before it ends; Ray itself is not asked here."""

from typing import Any

import psutil
import pytest
from ray.scripts.scripts import drain_node

from headrace.kubernetes import drain


def gone() -> psutil.Process:
    """Return a process that has ended: this one's parent could still be alive, so make one."""
    process = psutil.Popen(["true"])
    process.wait()
    return process


def test_a_worker_without_a_raylet_has_drained() -> None:
    asked: list[list[str]] = []

    def ask(command: list[str]) -> int:
        asked.append(command)
        return 0

    assert drain.drain_worker(5, raylets=list, ask=ask)
    assert asked == []


def test_a_worker_is_drained_once_its_raylet_has_ended() -> None:
    asked: list[list[str]] = []

    def ask(command: list[str]) -> int:
        asked.append(command)
        return 0

    assert drain.drain_worker(135, raylets=lambda: [gone()], ask=ask)
    [command] = asked
    assert "drain-node" in command
    assert command[command.index("--deadline-remaining-seconds") + 1] == "135"


def test_a_worker_whose_request_is_refused_does_not_wait() -> None:
    assert not drain.drain_worker(600, raylets=lambda: [psutil.Process()], ask=lambda _command: 1)


def test_a_worker_that_runs_out_of_time_says_so() -> None:
    assert not drain.drain_worker(0, raylets=lambda: [psutil.Process()], ask=lambda _command: 0)


def test_ray_has_the_command_and_its_options() -> None:
    options = {option for each in drain_node.params for option in each.opts}
    given = {word for word in drain.drain_command(1) if word.startswith("--")}
    reasons: Any = next(each.type for each in drain_node.params if each.name == "reason")

    assert given <= options
    assert "DRAIN_NODE_REASON_PREEMPTION" in reasons.choices


@pytest.mark.parametrize(("is_drained", "code"), [(True, 0), (False, 1)])
def test_the_exit_code_says_whether_it_drained(
    monkeypatch: pytest.MonkeyPatch, is_drained: bool, code: int
) -> None:
    asked: list[float] = []

    def head(timeout_s: float) -> bool:
        asked.append(timeout_s)
        return is_drained

    monkeypatch.setattr(drain, "drain_head", head)

    assert drain.main(["head", "--timeout-s", "42"]) == code
    assert asked == [42.0]
