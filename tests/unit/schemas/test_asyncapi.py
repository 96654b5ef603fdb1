"""The published schemas: legal as schemas, right about the wire."""

from typing import Any

import orjson
import pytest
from jsonschema import Draft7Validator, Draft202012Validator, ValidationError

from schemas.asyncapi import PUBLISHED, asyncapi_document, json_schema
from schemas.settings.file import KafkaSettings, Settings
from schemas.wire.deadletters import DeadLetterHeaders
from schemas.wire.headers import read_deadline_ms
from schemas.wire.results import (
    ErrorCode,
    encode_error_line,
    encode_refusal_body,
    encode_response_line,
)

SETTINGS = Settings.model_validate(
    {
        "kafka": {
            "bootstrap": "kafka-1:9092,kafka-2:9092",
            "tls": {"cert_file": "c.pem", "key_file": "k.pem"},
            "sasl": {"username": "bob", "password": "hunter2"},
        },
        "models": {
            "minilm": {"kind": "embedder", "source": "wheel:x"},
            "own": {"kind": "custom", "import_path": "m:C", "urls": ["/classify"]},
        },
        "routes": {
            name: {
                "model": model,
                "requests_topic": f"{name}.in",
                "results_topic": f"{name}.out",
                "dead_letters_topic": f"{name}.dead",
                "group": f"{name}-group",
            }
            for name, model in (("embeddings", "minilm"), ("labels", "own"))
        },
    }
)
SETTINGS.routes["labels"] = SETTINGS.routes["labels"].model_copy(
    update={"reply_topics": ("bulk-*", "team-a.replies")}
)
DOCUMENT = asyncapi_document(SETTINGS, "1.2.3")
EMBEDDINGS_ANSWER = (
    b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5,1]}],'
    b'"model":"minilm","usage":{"prompt_tokens":3,"total_tokens":3}}'
)


def resolve(reference: str) -> Any:
    assert reference.startswith("#/")
    value: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        value = value[part]
    return value


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [each for child in value.values() for each in references(child)]
    if isinstance(value, list):
        return [each for child in value for each in references(child)]
    return []


def payload_validator(message: str) -> Draft7Validator:
    payload = DOCUMENT["components"]["messages"][message]["payload"]
    return Draft7Validator({**payload, "components": DOCUMENT["components"]})


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_every_json_schema_is_one(name: str) -> None:
    schema = json_schema(name)

    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"].endswith(f":{name}:v1")
    assert schema["type"] == "object"


def test_the_settings_schema_takes_a_settings_file() -> None:
    validator = Draft202012Validator(json_schema("settings"))

    validator.validate(orjson.loads(SETTINGS.model_dump_json(exclude_none=True)))
    with pytest.raises(ValidationError):
        validator.validate({"models": {}, "routes": {}, "kafak": {}})


def test_the_document_has_what_asyncapi_3_requires() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert DOCUMENT["info"]["title"]
    assert DOCUMENT["info"]["version"] == "1.2.3"
    for server in DOCUMENT["servers"].values():
        assert server["host"]
        assert server["protocol"] == "kafka-secure"
    for channel in DOCUMENT["channels"].values():
        assert channel["messages"]
        if channel["address"] is not None:  # which the request names
            assert channel["bindings"]["kafka"]["bindingVersion"]
    for operation in DOCUMENT["operations"].values():
        assert operation["action"] in {"send", "receive"}
        channel = operation["channel"]["$ref"]
        assert channel.startswith("#/channels/")
        # An operation's messages must be those of its channel, by reference to the channel.
        for message in operation["messages"]:
            assert message["$ref"].startswith(f"{channel}/messages/")
    for name, message in DOCUMENT["components"]["messages"].items():
        assert message.get("headers") or name.startswith("job")
        assert message["payload"]
        assert message["contentType"] == "application/json"


def test_a_request_names_the_topic_of_its_result_where_its_route_allows_it() -> None:
    operations = DOCUMENT["operations"]
    reply = operations["labels-receive-requests"]["reply"]
    assert reply["address"]["location"] == "$message.header#/headrace-reply-topic"
    channel = resolve(reply["channel"]["$ref"])
    assert channel["address"] is None, "AsyncAPI wants none beside an address of the reply"
    assert "bulk-*, team-a.replies" in channel["description"]
    (message,) = reply["messages"]
    assert resolve(message["$ref"])["$ref"] == "#/components/messages/labels-reply"
    assert "reply" not in operations["embeddings-receive-requests"]
    assert "embeddings-replies" not in DOCUMENT["channels"]


def test_every_reference_leads_somewhere() -> None:
    found = references(DOCUMENT)

    assert len(found) > 30
    for reference in found:
        resolve(reference)


def test_every_schema_is_one_of_asyncapis_dialect() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)
    for message in DOCUMENT["components"]["messages"].values():
        Draft7Validator.check_schema(message["payload"])


def test_each_route_receives_requests_and_sends_the_rest() -> None:
    actions = {
        (resolve(operation["channel"]["$ref"])["address"], operation["action"])
        for operation in DOCUMENT["operations"].values()
    }

    assert actions == {
        (f"{name}.{topic}", action)
        for name in ("embeddings", "labels")
        for topic, action in (("in", "receive"), ("out", "send"), ("dead", "send"))
    } | {(None, "send")}
    group = DOCUMENT["operations"]["labels-receive-requests"]["bindings"]["kafka"]["groupId"]
    assert group["enum"] == ["labels-group"]


def test_the_document_tells_how_to_log_in_but_no_secret() -> None:
    schemes = DOCUMENT["components"]["securitySchemes"]

    assert {scheme["type"] for scheme in schemes.values()} == {"scramSha512", "X509"}
    assert {server["host"] for server in DOCUMENT["servers"].values()} == {
        "kafka-1:9092",
        "kafka-2:9092",
    }
    assert b"hunter2" not in orjson.dumps(DOCUMENT)
    assert b"bob" not in orjson.dumps(DOCUMENT)


def test_a_plaintext_cluster_has_no_security() -> None:
    plain = SETTINGS.model_copy(
        update={"kafka": SETTINGS.kafka.model_copy(update={"tls": None, "sasl": None})}
    )

    document = asyncapi_document(plain, "1")

    assert "securitySchemes" not in document["components"]
    assert all("security" not in server for server in document["servers"].values())


def test_two_clusters_and_tokens() -> None:
    oauth = {"token_url": "https://id.example/t", "client_id": "bob", "client_secret": "hunter2"}
    sasl = {"mechanism": "OAUTHBEARER", "oauth": {**oauth, "scope": "kafka"}}
    other = KafkaSettings.model_validate({"bootstrap": "other:9092", "sasl": sasl})

    document = asyncapi_document(SETTINGS.model_copy(update={"results_kafka": other}), "1")

    assert document["servers"]["results-kafka-0"]["host"] == "other:9092"
    [found] = document["channels"]["embeddings-results"]["servers"]
    assert found == {"$ref": "#/servers/results-kafka-0"}
    assert len(document["channels"]["embeddings-requests"]["servers"]) == 2
    scheme = document["components"]["securitySchemes"]["results-kafka-sasl"]
    assert scheme["flows"]["clientCredentials"]["tokenUrl"] == "https://id.example/t"
    assert b"hunter2" not in orjson.dumps(document)


def test_the_payload_of_requests_is_the_wire() -> None:
    validator = payload_validator("embeddings-request")

    validator.validate(
        {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"input": "x"}}
    )
    for wrong in (
        {"method": "POST", "url": "/v1/embeddings", "body": {"input": "x"}},
        {"custom_id": "a", "url": "/v1/completions", "body": {"input": "x"}},
        {"custom_id": "a", "url": "/v1/embeddings", "body": {"input": 3}},
    ):
        assert not validator.is_valid(wrong)
    assert payload_validator("labels-request").is_valid(
        {"custom_id": "a", "url": "/classify", "body": {}}
    )


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(encode_response_line("i", "c", 200, EMBEDDINGS_ANSWER), id="200"),
        pytest.param(
            encode_response_line("i", "c", 400, encode_refusal_body("no", "invalid_value")),
            id="400",
        ),
        pytest.param(encode_error_line("i", "c", ErrorCode.REQUEST_EXPIRED, "late"), id="expired"),
    ],
)
def test_the_payload_of_results_is_the_wire(line: bytes) -> None:
    payload_validator("embeddings-result").validate(orjson.loads(line))


def test_a_200_without_embeddings_is_no_result() -> None:
    line = orjson.loads(encode_response_line("i", "c", 200, b"{}"))

    assert not payload_validator("embeddings-result").is_valid(line)
    assert payload_validator("labels-result").is_valid(line)


def test_dead_letter_headers_are_read_by_their_names() -> None:
    record_headers = [
        ("own", b"\xff"),
        ("headrace-source", b"spoofed"),
        ("headrace-deadline", b"tomorrow"),
        ("headrace-source", b"in/0/7"),
        ("headrace-route", b"r"),
        ("headrace-error-code", b"invalid_json"),
        ("headrace-error-message", b"it is no JSON"),
        ("headrace-attempts", b"0"),
        ("headrace-failed-at", b"1700000000000"),
    ]

    letter = DeadLetterHeaders.read(record_headers)

    assert letter.source == "in/0/7"
    assert letter.error_code is ErrorCode.INVALID_JSON
    assert letter.omitted_value_bytes is None


@pytest.mark.parametrize(
    ("value", "is_deadline"),
    [
        (b"0", True),
        (b"999999999999999", True),
        (b"1000000000000000", False),
        (b"", False),
        (b"-1", False),
        (b"1e3", False),
        ("\u0661".encode(), False),
    ],
)
def test_the_schema_of_a_deadline_is_what_the_engine_reads(value: bytes, is_deadline: bool) -> None:
    validator = Draft202012Validator(json_schema("request-headers"))

    assert validator.is_valid({"headrace-deadline": value.decode()}) is is_deadline
    assert (read_deadline_ms([("headrace-deadline", value)]) is not None) is is_deadline


def test_other_headers_are_no_dead_letters() -> None:
    with pytest.raises(ValueError, match="headrace-error-code"):
        DeadLetterHeaders.read([("headrace-source", b"in/0/7")])


EVERY_KIND = Settings.model_validate(
    {
        "models": {
            "embed": {"kind": "embedder", "source": "wheel:x"},
            "guard": {"kind": "classifier", "source": "wheel:x"},
            "rank": {"kind": "reranker", "source": "wheel:x"},
            "chat": {"kind": "generator", "source": "wheel:x"},
            "own": {"kind": "custom", "import_path": "m:C", "urls": ["/own"]},
            "guarded": {
                "kind": "pipeline",
                "urls": ["/v1/chat/completions"],
                "steps": {"generate": {"model": "chat"}},
                "answer": "generate",
            },
        },
        "routes": {
            model: {
                "model": model,
                "requests_topic": f"{model}.in",
                "results_topic": f"{model}.out",
                "dead_letters_topic": f"{model}.dead",
                "group": model,
            }
            for model in ("embed", "guard", "rank", "chat", "own", "guarded")
        },
    }
)
PAIRS = {"query": "q", "documents": ["a"]}


@pytest.mark.parametrize(
    ("route", "url", "body", "is_legal"),
    [
        ("embed", "/v1/embeddings", {"input": "a"}, True),
        ("embed", "/v1/rerank", PAIRS, True),
        ("embed", "/v1/rerank", {"input": "a"}, False),
        ("embed", "/classify", {"input": "a"}, False),
        ("guard", "/classify", {"input": "a"}, True),
        ("guard", "/classify", {}, False),
        ("rank", "/v1/rerank", PAIRS, True),
        ("rank", "/v1/score", {"text_1": "q", "text_2": "a"}, True),
        ("rank", "/v1/score", PAIRS, False),
        ("rank", "/v1/embeddings", {"input": "a"}, False),
        ("chat", "/v1/chat/completions", {"messages": []}, True),
        ("chat", "/v1/completions", {"prompt": "a"}, True),
        ("chat", "/classify", {"input": "a"}, False),
        ("own", "/own", {"anything": 1}, True),
        ("own", "/v1/chat/completions", {}, False),
        ("guarded", "/v1/chat/completions", {"messages": []}, True),
        ("guarded", "/v1/completions", {}, False),
    ],
)
def test_every_kind_of_model_has_the_requests_of_its_urls(
    route: str, url: str, body: Any, is_legal: bool
) -> None:
    document = asyncapi_document(EVERY_KIND, "1")
    payload = document["components"]["messages"][f"{route}-request"]["payload"]
    validator = Draft7Validator({**payload, "components": document["components"]})

    assert validator.is_valid({"custom_id": "a", "url": url, "body": body}) is is_legal


@pytest.mark.parametrize("route", ["embed", "guard", "rank"])
def test_results_of_a_model_are_those_of_its_urls(route: str) -> None:
    answers = {
        "embed": EMBEDDINGS_ANSWER,
        "guard": b'{"object":"list","data":[{"index":0,"label":"safe","probs":[0.75,0.25],'
        b'"num_classes":2,"probabilities":{"safe":0.75,"unsafe":0.25}}],"model":"guard",'
        b'"usage":{"prompt_tokens":3,"total_tokens":3}}',
        "rank": b'{"id":"rerank-1","model":"rank","results":[{"index":0,"relevance_score":0.5,'
        b'"document":{"text":"a"}}],"usage":{"prompt_tokens":3,"total_tokens":3}}',
    }
    document = asyncapi_document(EVERY_KIND, "1")
    payload = document["components"]["messages"][f"{route}-result"]["payload"]
    validator = Draft7Validator({**payload, "components": document["components"]})

    for name, answer in answers.items():
        line = orjson.loads(encode_response_line("i", "c", 200, answer))
        assert validator.is_valid(line) is (name == route or (route, name) == ("embed", "rank"))
