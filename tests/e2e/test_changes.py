"""Settings change while records flow: what is not concerned keeps its processes, and its work."""

import asyncio
import logging
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

from headrace.kubernetes.serve_config import serve_config
from headrace.overview.client import read_overview
from headrace.overview.snapshot import ReasonCode
from headrace.service.applications import STATUS_APPLICATION, specs_of
from headrace.service.changes import Action, plan
from headrace.service.running import running_applications
from headrace.service.service import LocalService
from headrace.service.stopping import delete_applications
from headrace.status.client import read_deployments, read_statuses
from headrace.topics import create_missing_topics
from schemas.settings.console import ConsoleSettings
from schemas.settings.file import KafkaSettings, LimitSettings, RouteSettings, Settings
from schemas.settings.models import CustomModelSettings
from tests.brokers import TestBroker
from tests.e2e.running_service import PATIENCE_S, Service, make_route
from tests.e2e.serve_replicas import replicas_of

pytestmark = [pytest.mark.kafka, pytest.mark.serve]

log = logging.getLogger(__name__)

URL = "/v1/embeddings"
RECORDS = 3_000
MS = 250
"""Over ten seconds of work for one model replica, whose window is 64 records."""


def line(custom_id: str, **body: object) -> bytes:
    return orjson.dumps({"custom_id": custom_id, "method": "POST", "url": URL, "body": body})


def backlog(prefix: str) -> list[bytes | None]:
    return [line(f"{prefix}{number}", ms=MS) for number in range(RECORDS)]


class Changing:
    """A service of models that count what they compute, and its settings of the moment."""

    def __init__(self, running: LocalService, folder: Path, prefix: str) -> None:
        self.running = running
        self.folder = folder
        self.prefix = prefix

    @property
    def settings(self) -> Settings:
        return self.running.settings

    def seen(self, model: str) -> Service:
        return Service(self.settings, self.folder / model)

    def pids(self) -> dict[str, list[int]]:
        """Return the processes of every deployment."""
        specs = specs_of(self.settings)
        return {
            spec.deployment: sorted(each.process.pid for each in replicas_of(spec.deployment))
            for spec in specs
        }

    def change(self, settings: Settings) -> dict[str, Action]:
        """Apply settings; return what was done to each application that changed."""
        changes = plan(running_applications(), specs_of(settings))
        self.failures = self.running.apply(settings)
        return {each.title: each.action for each in changes if each.action is not Action.UNCHANGED}

    def with_route(self, name: str, route: RouteSettings) -> Settings:
        return self.settings.model_copy(update={"routes": {**self.settings.routes, name: route}})

    def with_model(self, name: str, model: CustomModelSettings) -> dict[str, object]:
        return {**self.settings.models, name: model}


def counting(path: Path, **changes: object) -> CustomModelSettings:
    return CustomModelSettings.model_validate(
        {
            "kind": "custom",
            "import_path": "tests.file_counting_model:FileCountingModel",
            "options": {"path": str(path)},
            "urls": (URL,),
            "num_cpus": 0.1,
            "health_check_period_s": 1.0,
            **changes,
        }
    )


@pytest.fixture(scope="module")
def changing(
    kafka_broker: TestBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Changing]:
    # Ray's workers import the counting model from here.
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    folder = tmp_path_factory.mktemp("changes")
    prefix = f"changes-{uuid.uuid4().hex[:8]}"
    settings = Settings(
        kafka=KafkaSettings(bootstrap=kafka_broker.bootstrap),
        console=ConsoleSettings(enabled=False),
        models={name: counting(folder / name) for name in ("steady", "other")},
        routes={
            "steady": make_route(prefix, "steady", "steady"),
            "other": make_route(prefix, "other", "other"),
        },
    )
    with LocalService(settings, data_dir=folder, use_ray="local", say=log.info) as running:
        yield Changing(running, folder, prefix)
    os.environ.pop("PYTHONPATH", None)


def assert_once(service: Service, route: str, prefix: str) -> None:
    """Each record has one result, which is no error, and was computed once."""
    answers = asyncio.run(service.answers(route, prefix, RECORDS))
    assert len(answers) == RECORDS
    assert set(answers.values()) == {1}
    started = {each: n for each, n in service.started().items() if each.startswith(prefix)}
    assert set(started.values()) == {1}
    results = [orjson.loads(each.value) for each in asyncio.run(service.read_all(route))]
    failed = [each for each in results if each["error"] and each["custom_id"].startswith(prefix)]
    assert not failed


def test_a_limit_of_one_route_changes_without_a_restart(changing: Changing) -> None:
    service = changing.seen("steady")
    asyncio.run(service.publish("steady", backlog("limit")))
    service.wait_until_started("limit", 100)
    before = changing.pids()
    route = service.route("steady")
    small = route.model_copy(update={"limits": LimitSettings(max_request_bytes=2_000)})

    done = changing.change(changing.with_route("steady", small))

    assert done == {"route steady": Action.LIVE}
    assert changing.pids() == before
    log.info("limit: %s", (before))
    assert_once(service, "steady", "limit")
    asyncio.run(service.publish("steady", [line("long", ms=1, text="x" * 3_000)]))
    [letter] = asyncio.run(service.read(route.dead_letters_topic, lambda read: len(read) >= 1))
    assert dict(letter.headers)["headrace-error-code"] == b"request_too_large"
    changing.change(changing.with_route("steady", route))
    assert changing.pids() == before


def test_the_replicas_of_one_model_change_alone(changing: Changing) -> None:
    service = changing.seen("other")
    asyncio.run(service.publish("other", backlog("replicas")))
    service.wait_until_started("replicas", 100)
    before = changing.pids()
    models = changing.with_model("other", counting(changing.folder / "other", replicas=2))

    done = changing.change(changing.settings.model_copy(update={"models": models}))

    after = changing.pids()
    log.info("replicas: %s", (before, after))
    assert done == {"model other": Action.LIVE}
    assert len(after["model-other"]) == 2
    assert set(before["model-other"]) < set(after["model-other"])
    assert {**after, "model-other": []} == {**before, "model-other": []}
    assert_once(service, "other", "replicas")


def test_a_model_is_added_and_removed_alone(changing: Changing) -> None:
    service = changing.seen("steady")
    asyncio.run(service.publish("steady", backlog("added")))
    service.wait_until_started("added", 100)
    before, settings = changing.pids(), changing.settings
    models = changing.with_model("new", counting(changing.folder / "new"))
    routes = {**settings.routes, "new": make_route(changing.prefix, "new", "new")}

    done = changing.change(settings.model_copy(update={"models": models, "routes": routes}))

    during = changing.pids()
    log.info("added: %s", (before, during))
    assert done == {"model new": Action.ADD, "route new": Action.ADD}
    assert {name: pids for name, pids in during.items() if name in before} == before
    new = changing.seen("new")
    asyncio.run(new.publish("new", backlog("first")))
    new.wait_until_started("first", 100)

    # In the midst of its work: it drains.
    done = changing.change(settings)

    assert done == {"route new": Action.REMOVE, "model new": Action.REMOVE}
    assert changing.pids() == before
    assert set(running_applications()) == {spec.name for spec in specs_of(settings)}
    assert_once(service, "steady", "added")
    # What was not begun is there for the next who reads it.
    changing.change(settings.model_copy(update={"models": models, "routes": routes}))
    assert_once(new, "new", "first")
    changing.change(settings)


def test_a_model_that_cannot_start_leaves_the_others_serving(changing: Changing) -> None:
    before, settings = changing.pids(), changing.settings
    broken = counting(
        changing.folder / "broken", import_path="tests.e2e.broken_model:BrokenModel", options={}
    )
    route = make_route(changing.prefix, "broken", "broken")
    routes = {**settings.routes, "broken": route}
    with_broken = settings.model_copy(
        update={"models": changing.with_model("broken", broken), "routes": routes}
    )
    service = changing.seen("steady")
    asyncio.run(service.publish("steady", backlog("beside")))

    changing.change(with_broken)

    assert set(changing.failures) == {"headrace-model-broken"}
    assert "there are no weights here" in changing.failures["headrace-model-broken"]
    assert {name: pids for name, pids in changing.pids().items() if name in before} == before
    log.info("broken: %s", (before, changing.pids()))
    asyncio.run(changing.seen("broken").publish("broken", backlog("waiting")))
    assert_once(service, "steady", "beside")
    assert "there are no weights here" in read_deployments()["model-broken"]
    deadline_s = time.monotonic() + PATIENCE_S
    while not any(each.startswith("model broken: ") for each in read_statuses()["broken"].waits):
        assert time.monotonic() < deadline_s
        time.sleep(0.5)
    assert read_statuses()["broken"].dead_letter_records == 0
    standing = read_overview().route("broken")
    assert standing is not None
    assert standing.is_standing_still
    assert standing.reasons[0].code is ReasonCode.NO_MODEL_REPLICA
    assert "there are no weights here" in standing.reasons[0].text

    mended = changing.with_model("broken", counting(changing.folder / "broken"))
    done = changing.change(with_broken.model_copy(update={"models": mended}))

    assert done == {"model broken": Action.RESTART}
    assert not changing.failures
    fixed = changing.seen("broken")
    assert_once(fixed, "broken", "waiting")
    results = asyncio.run(fixed.read_all("broken"))
    assert {dict(each.headers)["headrace-attempts"] for each in results} == {b"1"}
    assert {name: pids for name, pids in changing.pids().items() if name in before} == before


def test_a_config_file_changes_an_application_in_place(changing: Changing) -> None:
    models = {"declared": counting(changing.folder / "declared")}
    route = make_route(changing.prefix, "declared", "declared")
    settings = changing.settings.model_copy(
        update={"models": models, "routes": {"declared": route}}
    )
    create_missing_topics(settings)
    changing.running.settings = settings
    service = changing.seen("declared")
    try:
        declare(settings)
        asyncio.run(service.publish("declared", backlog("declared")))
        service.wait_until_started("declared", 100)
        before = changing.pids()

        limits = LimitSettings(max_request_bytes=2_000)
        two = {"declared": counting(changing.folder / "declared", replicas=2)}
        routes = {"declared": route.model_copy(update={"limits": limits})}
        changed = settings.model_copy(update={"models": two, "routes": routes})
        changes = plan(running_applications(), specs_of(changed))
        declare(changed)

        after = changing.pids()
        log.info("declared: %s", (before, after))
        actions = {each.title: each.action for each in changes}
        assert actions["model declared"] == actions["route declared"] == Action.LIVE
        assert after["consumer-declared"] == before["consumer-declared"]
        assert set(before["model-declared"]) < set(after["model-declared"])
        assert_once(service, "declared", "declared")
        asyncio.run(service.publish("declared", [line("long", ms=1, text="x" * 3_000)]))
        letters = route.dead_letters_topic
        [letter] = asyncio.run(service.read(letters, lambda read: len(read) >= 1))
        assert dict(letter.headers)["headrace-error-code"] == b"request_too_large"
    finally:
        names = [each.name for each in specs_of(settings)[1:]]
        assert delete_applications(120.0, names)


def declare(settings: Settings) -> None:
    """Hand Serve the rendered config of a model and a route, as KubeRay does, and wait."""
    config = serve_config(settings)
    config["applications"] = [
        each for each in config["applications"] if each["name"] != STATUS_APPLICATION
    ]
    client: Any = _get_global_client()
    client.deploy_apps(ServeDeploySchema.model_validate(config))
    deadline_s = time.monotonic() + PATIENCE_S
    names = [each["name"] for each in config["applications"]]
    while any(serve.status().applications[name].status != "RUNNING" for name in names):
        assert time.monotonic() < deadline_s, serve.status()
        time.sleep(0.2)
