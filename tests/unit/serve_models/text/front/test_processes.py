"""Front processes give the answers of the replica's own threads, and their loss is told."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.settings.models import EmbedderSettings
from serve_models.chunks.chunk_server import ReplicaLostError
from serve_models.chunks.failures import Refusal
from serve_models.text.endpoints.base import Endpoints
from serve_models.text.front.messages import Do, Order, encode_lines
from serve_models.text.front.processes import FrontProcesses
from serve_models.text.front.spec import FrontSpec
from serve_models.text.front.worker import FrontDesk
from serve_models.text.kinds import endpoints_of
from serve_models.text.models.embedding import EmbeddingModel
from tests.unit.serve_models.fakes import line, request_line

SETTINGS = EmbedderSettings(
    kind="embedder",
    source="path:/nowhere",
    dtype="float32",
    prompts={"query": "query: ", "document": "passage: "},
    accept_token_ids=True,
)
LOADED = """
import sys, serve_models.text.front.worker
print(sorted({"torch", "transformers", "sentence_transformers", "ray", "vllm"} & set(sys.modules)))
"""
LINES = [
    line("one text"),
    line(["two", "texts, of which one is longer"], encoding_format="base64"),
    line(["asked " * 30], prompt_name="query", dimensions=8),
    line([101, 7592, 102], output_dtype="int8"),
    line(""),
    b"no JSON",
    line("far too long " * 400, truncation=False),
    line("far too long " * 400),
    request_line("/v1/rerank", {"query": "a b", "documents": ["c", "a b c"]}),
    request_line("/v1/score", {"queries": ["a"], "documents": ["a", "b"]}),
]


@pytest.fixture(scope="module")
def model(minilm_path: Path) -> EmbeddingModel:
    return EmbeddingModel(minilm_path, SETTINGS, "cpu")


@pytest.fixture(scope="module")
def spec(model: EmbeddingModel) -> FrontSpec:
    described = model.front_spec("thin", SETTINGS)
    assert described is not None
    return described


@pytest.fixture(scope="module")
def own(model: EmbeddingModel) -> Endpoints:
    return endpoints_of(model, "thin", SETTINGS)


@pytest.fixture(scope="module")
def front(spec: FrontSpec, own: Endpoints) -> Iterator[FrontProcesses]:
    made = FrontProcesses(spec, 2, own)
    yield made
    made.close()


def answers(reader: Any, model: EmbeddingModel, lines: list[bytes]) -> list[bytes | Refusal]:
    """Take lines through a reader and the model."""
    prepared = reader.prepare(lines, 0)
    complete = []
    for request in prepared:
        if isinstance(request, Refusal):
            continue
        for position, text in enumerate(request.texts):
            if request.place(position, model.run([text])[0]):
                complete.append(request)
    bodies = iter(reader.respond(complete))
    return [each if isinstance(each, Refusal) else next(bodies) for each in prepared]


def test_another_process_answers_as_the_replicas_own_threads(
    front: FrontProcesses, own: Endpoints, model: EmbeddingModel
) -> None:
    assert answers(front, model, LINES) == answers(own, model, LINES)


def test_work_is_shared_and_each_request_is_answered_where_it_was_read(
    front: FrontProcesses, model: EmbeddingModel
) -> None:
    prepared = [front.prepare([line(f"text {n}")])[0] for n in range(4)]
    requests: list[Any] = [each for each in prepared if not isinstance(each, Refusal)]
    for request in requests:
        request.place(0, model.run(request.texts)[0])
    bodies = front.respond(list(reversed(requests)))
    alone = [answers(front, model, [line(f"text {n}")])[0] for n in range(4)]
    assert bodies == list(reversed(alone))


def test_a_request_that_nobody_waits_for_is_forgotten(spec: FrontSpec) -> None:
    desk = FrontDesk()
    desk.answer([memoryview(Order(Do.USE).encode()), memoryview(spec.to_json())])
    fields = encode_lines(Order(Do.PREPARE), [line("one"), line(""), line("two")])
    desk.answer([memoryview(field) for field in fields])
    assert desk.held_requests == 2
    fields = encode_lines(Order(Do.PREPARE, [0, 1]), [line("three")])
    desk.answer([memoryview(field) for field in fields])
    assert desk.held_requests == 1


def test_dropping_a_request_tells_its_process(front: FrontProcesses) -> None:
    request: Any = front.prepare([line("dropped")])[0]
    desk = request.desk
    before = len(desk.dropped)
    del request
    assert len(desk.dropped) == before + 1


def test_other_settings_apply_to_lines_that_come_later(
    spec: FrontSpec, own: Endpoints, model: EmbeddingModel
) -> None:
    changed = SETTINGS.model_copy(update={"max_inputs_per_request": 1})
    newer = model.front_spec("thin", changed)
    assert newer is not None
    front = FrontProcesses(spec, 1, own)
    try:
        earlier: Any = front.prepare([line(["one", "two"])])[0]
        front.use(newer, endpoints_of(model, "thin", changed))
        (refused,) = front.prepare([line(["one", "two"])])
        assert isinstance(refused, Refusal)
        assert refused.status == 400
        for position, text in enumerate(earlier.texts):
            earlier.place(position, model.run([text])[0])
        (body,) = front.respond([earlier])
        assert isinstance(body, bytes)
    finally:
        front.close()


def test_a_process_that_is_killed_is_a_lost_replica(spec: FrontSpec, own: Endpoints) -> None:
    front = FrontProcesses(spec, 1, own)
    try:
        request: Any = front.prepare([line("one")])[0]
        os.kill(request.desk.pid, signal.SIGKILL)
        request.place(0, np.zeros(384, np.float32))
        with pytest.raises(ReplicaLostError, match="front process"):
            front.respond([request])
        with pytest.raises(ReplicaLostError):
            front.prepare([line("two")])
    finally:
        front.close()


def test_a_front_process_loads_neither_torch_nor_the_libraries_of_models() -> None:
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            LOADED,
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert loaded.stdout.strip() == "[]"
