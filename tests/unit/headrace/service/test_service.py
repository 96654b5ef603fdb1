"""What a local service decides before it starts anything."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from headrace.errors import ServiceError
from headrace.service import service as service_module
from headrace.service.changes import RunningApplication
from headrace.service.deployment_lines import outline
from headrace.service.local_ray import niceness_variables
from headrace.service.service import (
    LocalService,
    describe_cluster,
    has_broker_here,
    local_address,
    logical_cpus,
    with_bootstrap,
)
from headrace.settings.file import parse_settings
from schemas.settings.file import Settings

TEXT = """\
kafka:
  broker: embedded
  bootstrap: BOOTSTRAP
models:
  m: {kind: embedder, source: "wheel:x", replicas: 3, num_cpus: 1.5}
routes:
  r:
    model: m
    requests_topic: in
    results_topic: out
    dead_letters_topic: dead
    group: g
    consumers: 3
    consumer_num_cpus: 0.25
"""


def settings_with(bootstrap: str) -> Settings:
    return parse_settings(TEXT.replace("BOOTSTRAP", bootstrap).encode())


def test_all_replicas_fit_and_one_cpu_is_spare() -> None:
    # 3 x 1.5 for the model, 3 x 0.25 for the consumers: 5.25, rounded up.
    assert logical_cpus(settings_with("127.0.0.1:1")) == 7


def test_a_cluster_that_is_too_small_is_told_about() -> None:
    assert "wait for room" in describe_cluster(4.0, 7)
    assert "wait for room" not in describe_cluster(7.0, 7)


def test_a_local_broker_listens_where_the_settings_say() -> None:
    assert local_address(settings_with("127.0.0.1:9092")) == ("127.0.0.1", 9092)
    assert local_address(settings_with("localhost:0")) == ("127.0.0.1", 0)


@pytest.mark.parametrize(
    ("broker", "bootstrap", "is_here"),
    [
        ("embedded", "127.0.0.1:1", True),
        ("external", "kafka-1:9092,kafka-2:9092", False),
        ("external", "kafka-1:9092,localhost:9092", True),
        ("external", "[::1]:9092", True),
    ],
)
def test_replicas_give_way_to_a_broker_on_their_machine(
    broker: str, bootstrap: str, is_here: bool
) -> None:
    text = TEXT.replace("embedded", broker).replace("BOOTSTRAP", f'"{bootstrap}"')
    assert has_broker_here(parse_settings(text.encode())) is is_here
    niceness = niceness_variables({}, beside_broker=is_here)
    assert niceness == ({} if is_here else {"RAY_worker_niceness": "0"})
    assert not niceness_variables({"RAY_worker_niceness": "5"}, beside_broker=is_here)


@pytest.mark.parametrize("bootstrap", ["kafka:9092", "127.0.0.1:1,127.0.0.1:2"])
def test_a_local_broker_is_only_on_this_machine(bootstrap: str) -> None:
    with pytest.raises(ServiceError, match=r"kafka\.bootstrap"):
        local_address(settings_with(bootstrap))


def test_the_bootstrap_is_replaced_and_nothing_else() -> None:
    before = settings_with("127.0.0.1:0")

    after = with_bootstrap(before, "127.0.0.1:4242")

    assert after.kafka.bootstrap == "127.0.0.1:4242"
    assert after.routes == before.routes
    assert before.kafka.bootstrap == "127.0.0.1:0"


@pytest.mark.parametrize(
    ("bootstrap", "used"),
    [("localhost:4242", "localhost:4242"), ("127.0.0.1:0", "127.0.0.1:4242")],
)
def test_the_bootstrap_stays_as_it_is_written_unless_its_port_is_chosen_here(
    bootstrap: str, used: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = SimpleNamespace(bootstrap="127.0.0.1:4242", description="a broker")
    monkeypatch.setattr(service_module, "answers_metadata", lambda *_: False)
    monkeypatch.setattr(service_module, "start_broker", lambda *_, **__: nullcontext(broker))
    service = LocalService(settings_with(bootstrap), data_dir=tmp_path)

    service._start_broker()

    assert service.settings.kafka.bootstrap == used


def test_what_runs_of_other_settings_has_its_own_time_to_stop(tmp_path: Path) -> None:
    service = LocalService(settings_with("127.0.0.1:1"), data_dir=tmp_path)
    options = {"graceful_shutdown_timeout_s": 900.0}
    slow = RunningApplication(built={}, live={}, options=options)

    assert service._stop_timeout_s({}) < 900.0
    assert service._stop_timeout_s({"headrace-route-slow": slow}) == 930.0


def test_a_traceback_is_shortened_to_what_helps() -> None:
    message = "\n".join(f"line {number}" for number in range(50))

    assert outline("one\ntwo\n") == "one\ntwo"
    assert outline(message).splitlines()[:2] == ["line 0", "  …"]
    assert outline(message).endswith("line 49")
    assert len(outline(message).splitlines()) == 7


@pytest.mark.parametrize("has_left", [False, True])
def test_nothing_is_stopped_on_a_ray_that_does_not_answer(has_left: bool, tmp_path: Path) -> None:
    service = LocalService(settings_with("127.0.0.1:9092"), data_dir=tmp_path)
    stopped = []
    service._on_ray(lambda: stopped.append("ray"))
    if has_left:
        service.leave_ray()

    service.stop()

    assert stopped == ([] if has_left else ["ray"])
