"""The log of a replica on a real, local Ray Serve: JSON in files and on stderr, changed live."""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
import ray
from ray import serve

from handoff.chunk import Chunk
from handoff.clock import SystemClock
from headrace.service.app import bound
from headrace.service.applications import logging_options, model_application_name
from schemas.settings.live import plain
from schemas.settings.logs import LoggingSettings
from schemas.settings.models import CustomModelSettings

pytestmark = pytest.mark.serve

SECRET = "hf_this-token-is-the-models-0123456789"
JSON = LoggingSettings(format="json", level="debug")


def deploy(logs: LoggingSettings) -> Any:
    model = CustomModelSettings(
        kind="custom",
        import_path="tests.talkative_model:TalkativeModel",
        urls=("/v1/mine",),
        num_cpus=0.1,
    )
    options: Mapping[str, Any] = {
        "name": "model-talks",
        "health_check_period_s": 1.0,
        "ray_actor_options": {"num_cpus": 0.1, "runtime_env": {"env_vars": {"MY_TOKEN": SECRET}}},
        **logging_options(logs),
    }
    built = {"model": "talks", "settings": plain(model)}
    application = bound(model_application_name("talks"), built, None, options, "1")
    running = serve.run(application, name="talks", route_prefix=None)
    return running.options(stream=True, method_name="infer")


@pytest.fixture(scope="module")
def handle(local_serve: None) -> Iterator[Any]:
    yield deploy(JSON)
    serve.delete("talks")


def ask(handle: Any, text: str) -> int:
    line = orjson.dumps({"custom_id": "c", "url": "/v1/mine", "body": {"say": text}})
    (outcomes,) = handle.remote(Chunk("driver", [line]))
    pid: int = orjson.loads(outcomes.bodies[0])["pid"]
    return pid


def logs_folder() -> Path:
    node: Any = ray._private.worker._global_node
    return Path(node.get_logs_dir_path())


def lines_with(text: str, files: str) -> list[str]:
    """Return the lines of the node's log files that have a text; waits for the first."""
    clock = SystemClock()
    end_s = clock.monotonic() + 20
    while clock.monotonic() < end_s:
        found = [
            line
            for file in sorted(logs_folder().glob(files))
            for line in file.read_text(errors="replace").splitlines()
            if text in line
        ]
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"no line of {files} has {text!r}")


@pytest.mark.parametrize("files", ["serve/replica_talks_*.log", "worker-*.err"])
def test_lines_are_json_in_files_and_on_stderr(handle: Any, files: str) -> None:
    ask(handle, f"json of {files}")
    own = [json.loads(line) for line in lines_with(f"own: json of {files}", files)]
    serves = [json.loads(line) for line in lines_with(f"serve: json of {files}", files)]

    for line in (*own, *serves):
        assert line["levelname"] == "WARNING"
        assert line["deployment"] == "model-talks" or "model-talks" in line["deployment"]
        assert line["application"] == "talks"
    assert own[0]["logger"] == "tests.talkative_model"


def test_events_have_their_fields(handle: Any) -> None:
    [text] = lines_with("model_loaded", "serve/replica_talks_*.log")
    line = json.loads(text)

    assert line["event"] == "model_loaded"
    assert line["import_path"] == "tests.talkative_model:TalkativeModel"
    assert line["logger"] == "serve_models.replicas.custom"


def test_secrets_of_the_environment_are_nowhere(handle: Any) -> None:
    ask(handle, f"the end of {SECRET} and of https://anna:pw-of-anna@host/x")
    lines_with("serve: the end of", "serve/replica_talks_*.log")
    lines_with("own: the end of", "worker-*.err")

    for files in ("serve/*.log", "worker-*.err", "worker-*.out"):
        for file in logs_folder().glob(files):
            text = file.read_text(errors="replace")
            assert SECRET not in text, file
            assert "pw-of-anna" not in text, file


def test_a_flood_is_limited(handle: Any) -> None:
    for _ in range(60):
        ask(handle, "flood")

    assert len(lines_with("own: flood", "serve/replica_talks_*.log")) < 30


def test_the_form_changes_while_the_replica_runs(handle: Any) -> None:
    pid = ask(handle, "before the change")
    changed = deploy(LoggingSettings(level="warning"))
    assert ask(changed, "after the change") == pid

    line = lines_with("serve: after the change", "serve/replica_talks_*.log")[-1]
    assert line.startswith("WARNING ")
    with pytest.raises(json.JSONDecodeError):
        json.loads(line)
