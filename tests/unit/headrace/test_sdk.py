"""What users import and copy: the SDK and the page about custom models."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from handoff.chunk import STATUS_EXPIRED, STATUS_OK, Chunk
from schemas.settings.models import CustomModelSettings
from serve_models.chunks.chunk_server import Host
from serve_models.custom import building
from serve_models.custom.building import build_custom_model, serve_custom_model
from tests.unit.serve_models.fakes import FakeClock

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/custom-models.md").read_text(encoding="utf-8")
BATCHED, STREAMING = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


async def answers_of(
    code: str,
    class_name: str,
    bodies: Sequence[object],
    monkeypatch: pytest.MonkeyPatch,
    options: Mapping[str, object] = {},
    deadlines_ms: Sequence[int | None] = (),
) -> dict[int, tuple[int, Any]]:
    module = type(sys)("page")
    exec(compile(code, "docs/custom-models.md", "exec"), vars(module))
    monkeypatch.setattr(building, "import_module", lambda name: module)
    settings = CustomModelSettings(
        kind="custom", import_path=f"page:{class_name}", urls=("/v1/words",), options=dict(options)
    )
    server = serve_custom_model(build_custom_model(settings), Host("replica-1", FakeClock()))
    lines = [orjson.dumps({"custom_id": "c", "url": "/v1/words", "body": each}) for each in bodies]
    answers: dict[int, tuple[int, Any]] = {}
    async with asyncio.timeout(120):
        async for outcomes in server.infer(Chunk("c", lines, list(deadlines_ms))):
            for index, status, body in zip(
                outcomes.indexes, outcomes.statuses, outcomes.bodies, strict=True
            ):
                answers[index] = status, orjson.loads(body or b"null")
        await server.stop()
    return answers


BODIES = [{"text": "to be or not to be"}, {"text": 5}, {"text": "be"}]
REFUSAL = {
    "message": "text: must be a string",
    "type": "invalid_request_error",
    "param": "text",
    "code": "invalid_value",
}


async def test_the_pages_batched_model_runs_and_has_fifteen_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = await answers_of(BATCHED, "WordStats", BODIES, monkeypatch, {"unit": "tokens"})
    assert answers == {
        0: (STATUS_OK, {"tokens": 6}),
        1: (400, {"error": REFUSAL}),
        2: (STATUS_OK, {"tokens": 1}),
    }
    assert len([line for line in BATCHED.splitlines() if line]) <= 15


async def test_the_pages_streaming_model_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = await answers_of(
        STREAMING, "WordCount", [*BODIES, {}], monkeypatch, deadlines_ms=[None, None, None, 1]
    )
    assert answers == {
        0: (STATUS_OK, {"words": 6}),
        1: (400, {"error": REFUSAL}),
        2: (STATUS_OK, {"words": 1}),
        3: (STATUS_EXPIRED, None),
    }


def test_the_page_imports_the_sdk_alone() -> None:
    modules = re.findall(r"^(?:from|import) ([\w.]+)", BATCHED + STREAMING, re.MULTILINE)
    assert set(modules) == {"asyncio", "collections.abc", "headrace.sdk", "orjson", "time"}
    assert not re.search(r"(schemas|handoff|consumer|serve_models)[./]\w", PAGE)


def run(code: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run code as users start the command: in a folder of theirs, with ``PYTHONPATH=.``."""
    return subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f".{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_sdk_loads_neither_ray_nor_torch_nor_vllm(tmp_path: Path) -> None:
    code = "import sys, headrace.sdk; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(run(code, tmp_path).stdout.split())
    assert "headrace" in loaded
    assert loaded.isdisjoint({"aiokafka", "numpy", "ray", "torch", "transformers", "vllm"})


@pytest.mark.parametrize("name", ["schemas", "handoff", "consumer", "serve_models"])
@pytest.mark.parametrize("is_package", [True, False])
def test_the_command_says_that_a_package_hides_ours(
    name: str, is_package: bool, tmp_path: Path
) -> None:
    file = tmp_path / name / "__init__.py" if is_package else tmp_path / f"{name}.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text("raise SystemExit('the user code ran')\n" if name != "handoff" else "")
    # The installed command begins with the same import.
    ended = run("from headrace.cli import main", tmp_path)
    assert ended.returncode == 1
    (told,) = ended.stderr.splitlines()
    assert told.startswith("headrace: ")
    assert f"'{name}'" in told
    assert "rename it, or keep your models in a folder without it" in told
    assert name == "handoff" or str(file) in told


@pytest.mark.parametrize(
    "module", ["serve_models.replicas.custom", "consumer.ports", "headrace.sdk"]
)
def test_replicas_and_the_sdk_say_that_a_package_hides_ours(module: str, tmp_path: Path) -> None:
    (tmp_path / "schemas.py").write_text("")
    ended = run(f"import {module}", tmp_path)
    assert ended.returncode == 1
    assert "HiddenPackageError: " in ended.stderr
    assert f"{tmp_path / 'schemas.py'} hides Headrace's package 'schemas'" in ended.stderr


def test_a_folder_without_code_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "request.json").write_text("{}")
    assert run("import headrace.sdk", tmp_path).returncode == 0
