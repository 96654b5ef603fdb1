"""What `headrace up` says of deployments that do not run yet."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.service.waiting.lines import Room, needs_of, waiting_line
from headrace.service.waiting.telling import WaitTeller

NAME = "headrace-model-chat"
GPU = {"ray_actor_options": {"num_cpus": 1.0, "num_gpus": 1.0}}
FOUR_GPUS = {"placement_group_bundles": [{"CPU": 1, "GPU": 1}, {"GPU": 1}, {"GPU": 1}, {"GPU": 1}]}
PLACED = {"state": "STARTING", "node_id": "n"}
UNPLACED = {"state": "STARTING", "node_id": None}
RUNNING = {"state": "RUNNING", "node_id": "n"}
STOPPING = {"state": "STOPPING", "node_id": "n"}


def application(
    *replicas: dict[str, Any], target: int = 1, message: str = "", config: Any = GPU
) -> dict[str, Any]:
    deployment = {
        "replicas": list(replicas),
        "target_num_replicas": target,
        "message": message,
        "deployment_config": config,
    }
    return {"status": "DEPLOYING", "deployments": {"model-chat": deployment}}


@pytest.mark.parametrize(
    ("details", "room", "line"),
    [
        (
            application(UNPLACED),
            Room({"CPU": 4.0}, {"CPU": 4.0}),
            "0 of 1 replicas run; 1 waits for 1 GPU each (0 of 0 free)",
        ),
        (
            application(RUNNING, UNPLACED, UNPLACED, target=3),
            Room({"CPU": 2.0, "GPU": 1.0}, {"CPU": 0.0, "GPU": 0.0}, [{"CPU": 1.0, "GPU": 1.0}]),
            "1 of 3 replicas run; 2 wait for 1 CPU each (0 of 2 free) and 1 GPU each (0 of 1 free)",
        ),
        (
            application(UNPLACED, config=FOUR_GPUS),
            Room({"CPU": 8.0, "GPU": 4.0}, {"CPU": 8.0, "GPU": 4.0}, [{"CPU": 1.0, "GPU": 4.0}]),
            "0 of 1 replicas run; 1 waits for a node with 1 CPU and 4 GPUs",
        ),
        (
            # Its own reservation leaves nothing free, and it waits for nothing.
            application(UNPLACED),
            Room({"CPU": 1.0, "GPU": 1.0}, {"CPU": 0.0, "GPU": 0.0}, []),
            "0 of 1 replicas run; 1 starting",
        ),
        (
            application(PLACED, STOPPING),
            Room({}, {}),
            "0 of 1 replicas run; 1 starting",
        ),
        (
            application(PLACED, message="A replica failed to start.\nOSError: no weights"),
            Room({}, {}),
            "0 of 1 replicas run; 1 starting (OSError: no weights)",
        ),
        (application(target=2), Room({}, {}), "0 of 2 replicas run; Serve has not started"),
    ],
)
def test_a_deployment_says_what_it_waits_for(
    details: dict[str, Any], room: Room, line: str
) -> None:
    said = waiting_line(NAME, details, room)
    assert said is not None
    assert said.startswith(f"model chat: {line}")


def test_what_runs_waits_for_nothing() -> None:
    assert waiting_line(NAME, {"status": "RUNNING", "deployments": {}}, Room({}, {})) is None
    said = waiting_line(NAME, {"status": "DEPLOYING", "deployments": {}}, Room({}, {}))
    assert said == "model chat: Serve is about to deploy it"


def test_needs_are_those_of_all_bundles() -> None:
    options = {"num_cpus": 2.0, "num_gpus": 0.0, "resources": {"slow": 0.5}}
    assert needs_of({"deployment_config": {"ray_actor_options": options}}) == {
        "CPU": 2.0,
        "slow": 0.5,
    }
    assert needs_of({"deployment_config": FOUR_GPUS}) == {"CPU": 1.0, "GPU": 4.0}
    assert needs_of({}) == {}


def test_a_wait_is_told_again_at_growing_intervals_and_each_change_at_once() -> None:
    teller = WaitTeller(100.0)
    told = {}
    for second in range(200):
        waiting = {NAME: "waits for a GPU" if second < 57 else "is starting"}
        if lines := teller.lines(waiting, 100.0 + second):
            told[second] = lines
    assert list(told) == [10, 30, 57, 97, 157]
    assert told[30] == ["30 s: waits for a GPU"]
    assert told[57] == ["57 s: is starting"]


def test_a_start_that_is_quick_is_not_remarked_on() -> None:
    teller = WaitTeller(0.0)
    assert not any(teller.lines({NAME: "x"}, second) for second in range(10))
    assert not teller.lines({}, 50.0)


@given(st.lists(st.tuples(st.floats(0.1, 5), st.sampled_from("abc")), max_size=300))
def test_however_often_lines_change_they_do_not_flood(steps: list[tuple[float, str]]) -> None:
    teller, now_s, told_at = WaitTeller(0.0), 0.0, [-10.0]
    for seconds, line in steps:
        now_s += seconds
        if teller.lines({NAME: line}, now_s):
            assert now_s - told_at[-1] >= 2.0
            told_at.append(now_s)
