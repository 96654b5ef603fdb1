"""A replica that fails on everything, on a real, local Ray Serve, ends before it answers."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import orjson
import pytest
from ray import serve
from ray.exceptions import RayActorError, RayTaskError

from handoff.chunk import STATUS_OK, Chunk
from headrace.service.app import bound
from headrace.service.applications import model_application_name
from schemas.settings.live import plain
from schemas.settings.models import CustomModelSettings, ModelSettings

pytestmark = pytest.mark.serve


@pytest.fixture(params=["SickeningModel", "SickeningBatches"])
def handle(request: pytest.FixtureRequest, local_serve: None) -> Iterator[Any]:
    models: dict[str, ModelSettings] = {
        "mine": CustomModelSettings(
            kind="custom",
            import_path=f"tests.sickening_model:{request.param}",
            urls=("/v1/mine",),
            num_cpus=0.1,
            # Serve alone would replace the replica after three of these.
            health_check_period_s=5.0,
        )
    }
    built = {"model": "mine", "settings": plain(models["mine"])}
    application = bound(
        model_application_name("mine"),
        built,
        None,
        {"name": "model-mine", "health_check_period_s": 5.0},
    )
    running = serve.run(application, name="sick", route_prefix=None)
    yield running.options(stream=True, method_name="infer")
    serve.delete("sick")


def ask(handle: Any, **body: object) -> list[tuple[int, int]]:
    """Return status and process id of each outcome of a chunk of one record."""
    line = orjson.dumps({"custom_id": "c", "url": "/v1/mine", "body": body})
    return [
        (status, orjson.loads(answer)["pid"])
        for outcomes in handle.remote(Chunk("driver", [line]))
        for status, answer in zip(outcomes.statuses, outcomes.bodies, strict=True)
    ]


def test_a_sick_replica_leaves_and_answers_nobody_before(handle: Any) -> None:
    ((status, pid),) = ask(handle)
    assert status == STATUS_OK
    with pytest.raises((RayActorError, RayTaskError)):
        ask(handle, **{"break": True})
    # Lost with the replica or answered by the next one, but never by this one.
    for _ in range(20):
        with suppress(RayActorError, RayTaskError):
            ((status, next_pid),) = ask(handle)
            break
    else:
        pytest.fail("nobody took the sick replica's place")
    assert status == STATUS_OK
    assert next_pid != pid
