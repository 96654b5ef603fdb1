"""What a pod does before it ends; Ray itself is not asked here."""

from collections.abc import Callable
from typing import Any

import psutil
import pytest
import ray
from ray._common.constants import HEAD_NODE_RESOURCE_NAME
from ray.scripts.scripts import drain_node

from headrace.kubernetes import drain
from tests.unit.serve_models.fakes import FakeClock


def gone() -> psutil.Process:
    """Return a process that has ended: this one's parent could still be alive, so make one."""
    process = psutil.Popen(["true"])
    process.wait()
    return process


def advancing(clock: FakeClock) -> Callable[[float], None]:
    """Return a pause that passes on a clock, at once."""

    def pause(seconds: float) -> None:
        clock.now_s += seconds

    return pause


def noting(done: list[str], role: str) -> Callable[[float], bool]:
    def drained(_timeout_s: float) -> bool:
        done.append(role)
        return True

    return drained


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


def test_a_head_that_is_outlived_stays_while_workers_drain() -> None:
    clock = FakeClock()
    left = iter([2, 1, 0])

    assert drain.wait_for_workers(
        60, workers=lambda: next(left), clock=clock, pause=advancing(clock)
    )
    assert 0 < clock.monotonic() < 60


def test_a_head_that_is_moved_alone_stays_to_the_end_of_its_time() -> None:
    clock = FakeClock()

    assert not drain.wait_for_workers(60, workers=lambda: 2, clock=clock, pause=advancing(clock))
    assert clock.monotonic() == pytest.approx(60, abs=1)


def test_workers_are_the_living_nodes_that_are_no_head(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        {"Alive": True, "Resources": {"memory": 1.0, HEAD_NODE_RESOURCE_NAME: 1.0}},
        {"Alive": True, "Resources": {"CPU": 2.0}},
        {"Alive": False, "Resources": {"CPU": 2.0}},
    ]
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "nodes", lambda: nodes)

    assert drain.count_workers() == 1


def test_a_head_whose_ray_is_gone_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_options: object) -> None:
        raise ConnectionError("no Ray runs here")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)

    assert drain.count_workers() == 0


def test_each_role_does_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    for role, name in (
        ("head", "drain_head"),
        ("outlived-head", "wait_for_workers"),
        ("worker", "drain_worker"),
    ):
        monkeypatch.setattr(drain, name, noting(done, role))
        assert drain.main([role, "--timeout-s", "1"]) == 0

    assert done == ["head", "outlived-head", "worker"]


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
