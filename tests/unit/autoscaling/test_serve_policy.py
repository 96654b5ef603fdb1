"""The policy as Serve's controller calls it; no Ray, no Kafka."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar

import orjson
import pytest
from pydantic import SecretStr
from ray import cloudpickle
from ray.serve._private.autoscaling_state import (
    DeploymentAutoscalingState,
    _resolve_policy_callable,
)
from ray.serve._private.common import DeploymentID
from ray.serve.autoscaling_policy import _apply_autoscaling_config
from ray.serve.config import AutoscalingConfig

from consumer.autoscaling import assigned_policy, serve_policy
from consumer.autoscaling.assigned_policy import LOOK_EVERY_S, AssignedScalingPolicy
from consumer.autoscaling.decision import Clamp
from consumer.autoscaling.lag import Backlog
from consumer.autoscaling.lag_reader import GroupLagSource, Reading
from consumer.autoscaling.serve_policy import ServeScalingPolicy
from consumer.autoscaling.task import ScalingTask
from headrace.service.applications import specs_of
from headrace.settings.file import parse_settings
from schemas.settings.autoscaling import AutoscalingSettings
from schemas.settings.file import KafkaSettings, SaslSettings

SOURCES = (GroupLagSource("group", "topic", from_latest=False),)
KAFKA = KafkaSettings(sasl=SaslSettings(username="me", password=SecretStr("hush")))
SCALING = AutoscalingSettings(
    min_replicas=0, max_replicas=8, expected_records_per_s=10.0, expected_cold_start_s=5.0
)


TASK = ScalingTask(settings=SCALING, kafka=KAFKA, sources=SOURCES, is_consumer=False)


class FakeReader:
    """Has the reading that it was given."""

    def __init__(self) -> None:
        self.reading = Reading()
        self.reported: list[bytes] = []

    def latest(self) -> Reading:
        return self.reading

    def report(self, decision: bytes) -> None:
        self.reported.append(decision)

    def read(self, *records: int, is_complete: bool = True) -> None:
        backlogs = tuple(
            Backlog(records=each, arrived_records=each, partitions=4) for each in records
        )
        self.reading = Reading(self.reading.number + 1, is_complete, backlogs)


class StillClock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def epoch_ms(self) -> int:
        return 0


def made(
    reader: Any, *, is_consumer: bool = False, clock: StillClock | None = None
) -> ServeScalingPolicy:
    return ServeScalingPolicy(
        "model-m",
        replace(TASK, is_consumer=is_consumer),
        clock=clock or StillClock(),
        make_reader=lambda _policy: reader,
    )


def context(target: int, running: int = 0, ongoing: float = 0.0) -> Any:
    return SimpleNamespace(
        target_num_replicas=target,
        current_num_replicas=running,
        total_num_requests=ongoing,
        policy_state={},
        config=AutoscalingConfig(
            min_replicas=0,
            max_replicas=8,
            upscale_delay_s=0.0,
            downscale_delay_s=0.0,
            downscale_to_zero_delay_s=0.0,
        ),
    )


def test_it_holds_until_there_is_a_reading_and_between_readings() -> None:
    reader = FakeReader()
    policy = made(reader)

    assert policy(context(3)) == (3, {})
    reader.read(1)
    assert policy(context(0)) == (1, {})
    assert policy(context(5)) == (5, {})


def test_the_backlogs_of_all_routes_count() -> None:
    reader = FakeReader()
    reader.read(10_000, 10_000)

    assert made(reader)(context(1)) == (8, {})


def test_consumers_stop_at_the_partitions() -> None:
    reader = FakeReader()
    reader.read(100_000)

    assert made(reader, is_consumer=True)(context(1)) == (4, {})


def test_a_reading_that_failed_holds() -> None:
    reader = FakeReader()
    reader.read(100_000, is_complete=False)

    assert made(reader)(context(2)) == (2, {})
    assert b'"clamp":"held"' in reader.reported[0]


class FakeGauge:
    """Keeps what each gauge was set to, by name and clamp."""

    values: ClassVar[dict[tuple[str, str], float]] = {}

    def __init__(self, name: str, _text: str, _tags: tuple[str, ...]) -> None:
        self._name = name.removeprefix("headrace_autoscaling_")

    def set_default_tags(self, tags: dict[str, str]) -> None:
        assert tags == {"deployment": "model-m"}

    def set(self, value: float, tags: dict[str, str] | None = None) -> None:
        self.values[self._name, (tags or {}).get("clamp", "")] = value


def test_a_decision_stands_in_metrics_with_what_clamped_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_policy, "Gauge", FakeGauge)
    reader = FakeReader()
    policy = made(reader)
    reader.read(100_000)
    policy(context(1, running=2, ongoing=3.0))
    values = FakeGauge.values

    assert values["target", ""] == 8
    assert values["ongoing_calls", ""] == 3.0
    assert values["remaining_s", ""] == 5_000.0
    assert {clamp: value for (name, clamp), value in values.items() if name == "clamped"} == {
        each.value: float(each is Clamp.MAX_REPLICAS) for each in Clamp
    }

    reader.read(100_000, is_complete=False)
    policy(context(8))
    assert values["remaining_s", ""] == -1.0, "nothing runs: it is not known"
    assert (values["held", ""], values["clamped", "held"]) == (1.0, 1.0)
    assert values["clamped", "max_replicas"] == 0.0


def test_a_fault_of_ours_holds_the_target() -> None:
    class Broken:
        def latest(self) -> Reading:
            raise RuntimeError("a bug")

    assert made(Broken())(context(6)) == (6, {})


def test_serve_applies_what_is_wanted_at_once() -> None:
    reader = FakeReader()
    wrapped = _apply_autoscaling_config(made(reader))
    reader.read(2_000)

    target, _ = wrapped(context(1, running=1))

    # 200 replica-seconds within 5 s + 85 % of the other 55: 4.2, and a twentieth is not worth one.
    assert target == 4


def test_a_start_that_serve_made_by_itself_is_learned_from() -> None:
    reader, clock = FakeReader(), StillClock()
    wrapped = _apply_autoscaling_config(made(reader, clock=clock))
    reader.read(0)
    wrapped(context(0))
    clock.now_s = 100.0
    wrapped(context(0))
    # A call waits: Serve asks nobody until a replica runs.
    clock.now_s = 100.1
    reader.read(1)
    assert wrapped(context(0, ongoing=1.0))[0] == 1
    clock.now_s = 125.0
    wrapped(context(1, running=1, ongoing=1.0))

    reader.read(1)
    wrapped(context(1, running=1, ongoing=1.0))
    assert orjson.loads(reader.reported[-1])["cold_start_s"] == 25.0


def test_a_start_that_was_asked_for_counts_from_then() -> None:
    reader, clock = FakeReader(), StillClock()
    policy = made(reader, clock=clock)
    reader.read(0)
    policy(context(0))
    clock.now_s = 10.0
    reader.read(1)
    assert policy(context(0)) == (1, {})
    clock.now_s = 12.0
    policy(context(1))
    clock.now_s = 40.0
    policy(context(1, running=1))

    reader.read(1)
    policy(context(1, running=1))
    assert orjson.loads(reader.reported[-1])["cold_start_s"] == 30.0


class Assignment:
    """Has a task for the policy that asks."""

    def __init__(self) -> None:
        self.task: ScalingTask | None = None

    def __call__(self, deployment: str) -> ScalingTask | None:
        assert deployment == "model-m"
        return self.task


def test_an_assigned_policy_holds_until_it_has_a_task_and_takes_a_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[AutoscalingSettings] = []

    def start(_deployment: str, task: ScalingTask) -> Any:
        started.append(task.settings)
        return lambda _context: (task.settings.max_replicas, {})

    monkeypatch.setattr(assigned_policy, "ServeScalingPolicy", start)
    assignment, clock = Assignment(), StillClock()
    policy = AssignedScalingPolicy("model-m", clock=clock, ask=assignment)
    assert policy(context(3)) == (3, {})

    assignment.task = TASK
    assert policy(context(3)) == (3, {}), "it looks every few seconds"
    clock.now_s += LOOK_EVERY_S
    assert policy(context(3)) == (8, {})
    clock.now_s += LOOK_EVERY_S
    assert policy(context(3)) == (8, {})
    assert len(started) == 1, "the same task goes on with what was learned"

    assignment.task = replace(TASK, settings=SCALING.model_copy(update={"max_replicas": 2}))
    clock.now_s += LOOK_EVERY_S
    assert policy(context(3)) == (2, {})


def test_a_store_that_fails_leaves_the_task_as_it_is() -> None:
    def fail(_deployment: str) -> ScalingTask | None:
        raise RuntimeError("no store")

    assert AssignedScalingPolicy("model-m", clock=StillClock(), ask=fail)(context(5)) == (5, {})


def test_serve_makes_the_policy_of_its_name_and_pickles_its_configuration() -> None:
    config = scaling_config()

    again = cloudpickle.loads(cloudpickle.dumps(config))  # type: ignore[no-untyped-call]

    policy = _resolve_policy_callable(again.policy)
    # Serve pickles the class by value, so it is another one.
    assert type(policy).__name__ == "AssignedScalingPolicy"


def scaling_config(scaling: str = "{min_replicas: 0, max_replicas: 8}", replicas: str = "") -> Any:
    text = f"""\
kafka: {{sasl: {{username: me, password: hush}}}}
models:
  m: {{kind: custom, import_path: "a:B", urls: [/v1/x], autoscaling: {scaling}{replicas}}}
routes:
  r: {{model: m, requests_topic: i, results_topic: o, dead_letters_topic: d, group: g}}
"""
    _, model, *_ = specs_of(parse_settings(text.encode()))
    return AutoscalingConfig(**model.options["autoscaling_config"])


@pytest.mark.parametrize(("replicas", "first", "after"), [("", 2, 7), (", replicas: 3", 3, 3)])
def test_a_change_of_settings_keeps_what_runs_unless_a_start_was_chosen(
    replicas: str, first: int, after: int
) -> None:
    config = scaling_config("{min_replicas: 2, max_replicas: 8}", replicas)
    info: Any = SimpleNamespace(
        deployment_config=SimpleNamespace(autoscaling_config=config, gang_scheduling_config=None),
        target_capacity=None,
        target_capacity_direction=None,
        config_changed=lambda _other: True,
    )
    state = DeploymentAutoscalingState(DeploymentID("model-m"))

    assert state.register(info, 0) == first
    assert state.register(info, 7) == after


def test_the_password_stands_in_nothing_that_serve_logs() -> None:
    config = scaling_config(replicas=", replicas: 20")

    assert config.initial_replicas == 8
    assert config.upscale_delay_s == config.downscale_delay_s == 0.0
    assert "hush" not in repr(config)
    assert config.policy.policy_kwargs == {"deployment": "model-m"}


def test_a_route_in_order_is_not_scaled_past_what_can_run_at_once() -> None:
    reader = FakeReader()
    policy = ServeScalingPolicy(
        "model-m",
        replace(TASK, sources=(GroupLagSource("g", "t", from_latest=False, ordering="partition"),)),
        clock=StillClock(),
        make_reader=lambda _policy: reader,  # type: ignore[arg-type, return-value] # as above
    )
    backlog = Backlog(records=20_000, arrived_records=20_000, partitions=8, active_partitions=1)
    reader.reading = Reading(1, is_complete=True, backlogs=(backlog,))

    assert policy(context(1, running=1))[0] == 1
    assert b"clamped by parallelism" in reader.reported[-1]
