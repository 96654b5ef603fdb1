"""The document of a route with a control topic and an object store."""

from typing import Any

import orjson
import pytest
from jsonschema import Draft7Validator, ValidationError

from schemas.asyncapi import asyncapi_document
from schemas.settings.file import Settings
from schemas.wire.references import BodyReference
from schemas.wire.results import encode_stored_line

SETTINGS = Settings.model_validate(
    {
        "models": {"m": {"kind": "embedder", "source": "wheel:x"}},
        "routes": {
            "r": {
                "model": "m",
                "requests_topic": "in",
                "results_topic": "out",
                "dead_letters_topic": "dead",
                "group": "g",
                "control_topic": "control",
                "claim_check": {"store": "s3://b/out", "request_prefixes": ["s3://b/in"]},
            }
        },
    }
)
DOCUMENT = asyncapi_document(SETTINGS, "1.2.3")
SHA256 = "0" * 64


def validator(message: str) -> Draft7Validator:
    schema: dict[str, Any] = {
        "components": DOCUMENT["components"],
        **DOCUMENT["components"]["messages"][message]["payload"],
    }
    return Draft7Validator(schema)


def test_a_request_has_a_body_or_a_reference() -> None:
    requests = validator("r-request")
    reference = {"url": "s3://b/in/a.json", "size_bytes": 3, "sha256": SHA256}
    line = {"custom_id": "a", "url": "/v1/embeddings"}
    requests.validate({**line, "body": {"input": "x"}})
    requests.validate({**line, "body_ref": reference})
    requests.validate({**line, "body_ref": {"url": "s3://b/in/a.json"}})
    bodies: tuple[dict[str, Any], ...] = (
        {},
        {"body_ref": {}},
        {"body_ref": {**reference, "size_bytes": 0}},
    )
    for illegal in bodies:
        with pytest.raises(ValidationError):
            requests.validate({**line, **illegal})
    with pytest.raises(ValidationError):
        requests.validate({**line, "url": "/v1/other", "body_ref": reference})


def test_a_stored_result_is_the_wire() -> None:
    reference = BodyReference(url="s3://b/out/r/in-0-1-00.json", size_bytes=3, sha256=SHA256)
    line = orjson.loads(encode_stored_line("in-0-1", "a", 200, reference))
    results = validator("r-result")
    results.validate(line)
    line["response"]["body"] = {}
    with pytest.raises(ValidationError):
        results.validate(line)


def test_the_control_topic_is_described() -> None:
    channel = DOCUMENT["channels"]["r-controls"]
    assert channel["address"] == "control"
    assert channel["bindings"]["kafka"]["partitions"] == 1
    assert DOCUMENT["operations"]["r-receive-controls"]["action"] == "receive"
    controls = validator("r-control")
    controls.validate({"action": "cancel", "route": "r", "job": "nightly"})
    with pytest.raises(ValidationError):
        controls.validate({"action": "cancel", "route": "r"})
    with pytest.raises(ValidationError):
        controls.validate({"action": "cancel", "route": "r", "job": "a", "custom_id": "b"})


def test_a_route_without_them_takes_no_references() -> None:
    plain = SETTINGS.model_copy(
        update={
            "routes": {
                "r": SETTINGS.routes["r"].model_copy(
                    update={"claim_check": None, "control_topic": None}
                )
            }
        }
    )
    document = asyncapi_document(plain, "1.2.3")
    assert "r-controls" not in document["channels"]
    payload = document["components"]["messages"]["r-request"]["payload"]
    assert "anyOf" not in payload
