"""The wire's published schemas: JSON Schema of each message, AsyncAPI 3.0 of a settings file."""

from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from schemas.bodies.classify import ClassifyBody, ClassifyResponse
from schemas.bodies.embeddings import EmbeddingsBody, EmbeddingsResponse
from schemas.bodies.endpoints import ENDPOINTS
from schemas.bodies.rerank import RerankBody, RerankResponse, ScoreBody, ScoreResponse
from schemas.settings.file import KafkaSettings, RouteSettings, Settings
from schemas.settings.models import ModelSettings
from schemas.wire.control import ControlRecord
from schemas.wire.deadletters import DeadLetterHeaders
from schemas.wire.header_models import RequestHeaders, ResultHeaders
from schemas.wire.requests import ReferencedRequestLine, RequestLine
from schemas.wire.results import ResultLine

Json = dict[str, Any]

JSON_SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
ASYNCAPI_VERSION = "3.0.0"
KAFKA_BINDING_VERSION = "0.5.0"

PUBLISHED: dict[str, type[BaseModel]] = {
    "request": RequestLine,
    "referenced-request": ReferencedRequestLine,
    "result": ResultLine,
    "control": ControlRecord,
    "request-headers": RequestHeaders,
    "result-headers": ResultHeaders,
    "dead-letter-headers": DeadLetterHeaders,
    "embeddings-request": EmbeddingsBody,
    "embeddings-response": EmbeddingsResponse,
    "classify-request": ClassifyBody,
    "classify-response": ClassifyResponse,
    "rerank-request": RerankBody,
    "rerank-response": RerankResponse,
    "score-request": ScoreBody,
    "score-response": ScoreResponse,
    "settings": Settings,
}
"""What is published, by the name that `headrace schema NAME` takes."""

_SECURITY_TYPES = {
    "PLAIN": "plain",
    "SCRAM-SHA-256": "scramSha256",
    "SCRAM-SHA-512": "scramSha512",
}
_WIRE_MODELS = [model for name, model in PUBLISHED.items() if name != "settings"]
_SCHEMAS = "#/components/schemas/"
_FRAME_NOTE = (
    " Before the JSON may stand a schema registry's frame: a zero byte, four of a schema's id."
)


def json_schema(name: str) -> Json:
    """Return the JSON Schema (draft 2020-12) of what is published as ``name``.

    Raises:
        KeyError: Nothing is published under that name.
    """
    schema = PUBLISHED[name].model_json_schema()
    return {"$schema": JSON_SCHEMA_DIALECT, "$id": f"urn:headrace:schema:{name}:v1", **schema}


def asyncapi_document(settings: Settings, version: str) -> Json:
    """Describe the topics of a settings file's routes, from the service's side.

    Args:
        settings: Whose routes; no secret of theirs gets into the document.
        version: The service's version.

    Returns:
        An AsyncAPI 3.0 document as plain JSON values: the service receives requests, and sends
        results and dead letters.
    """
    servers, security = _servers(settings.kafka)
    channels: Json = {}
    operations: Json = {}
    messages: Json = {}
    for name, route in settings.routes.items():
        model = settings.models[route.model]
        for part in _route_parts(name, route, model):
            channel = f"{name}-{part['channel']}"
            message = channel.removesuffix("s")
            messages[message] = part["message"]
            channels[channel] = {
                "address": part["topic"],
                "title": f"{name}: {part['channel'].replace('-', ' ')}",
                "description": part["description"],
                "servers": [{"$ref": f"#/servers/{server}"} for server in servers],
                "messages": {message: {"$ref": f"#/components/messages/{message}"}},
                "bindings": {"kafka": _topic_binding(route, part["topic"])},
            }
            operations[f"{name}-{part['operation']}"] = {
                "action": part["action"],
                "summary": part["description"],
                "channel": {"$ref": f"#/channels/{channel}"},
                "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"}],
                **part["bindings"],
            }
    components: Json = {"messages": messages, "schemas": _component_schemas()}
    if security:
        components["securitySchemes"] = security
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {
            "title": "Headrace",
            "version": version,
            "description": "Inference over Kafka topics: lines of an OpenAI Batch file in, "
            "lines of its output file out.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": servers,
        "channels": channels,
        "operations": operations,
        "components": components,
    }


def _servers(kafka: KafkaSettings) -> tuple[Json, Json]:
    """Return the document's servers and security schemes."""
    security: Json = {}
    if kafka.sasl is not None:
        security["sasl"] = {"type": _SECURITY_TYPES[kafka.sasl.mechanism]}
    if kafka.tls is not None and kafka.tls.cert_file is not None:
        security["certificate"] = {"type": "X509"}
    server: Json = {"protocol": "kafka" if kafka.tls is None else "kafka-secure"}
    if security:
        server["security"] = [{"$ref": f"#/components/securitySchemes/{name}"} for name in security]
    hosts = kafka.bootstrap.split(",")
    return {f"kafka-{number}": {"host": host, **server} for number, host in enumerate(hosts)}, (
        security
    )


def _route_parts(name: str, route: RouteSettings, model: ModelSettings) -> list[Json]:
    """Return what one route receives and sends, in the terms of the document."""
    group = {"groupId": {"type": "string", "enum": [route.group]}}
    parts = [
        {
            "channel": "requests",
            "operation": "receive-requests",
            "action": "receive",
            "topic": route.requests_topic,
            "description": f"Requests for the model {route.model}."
            + _FRAME_NOTE * (route.requests_format == "confluent-json"),
            "message": _message(
                "Request", RequestHeaders, _request_payload(model, _takes_references(route))
            ),
            "bindings": {"bindings": {"kafka": {**group, "bindingVersion": KAFKA_BINDING_VERSION}}},
        },
        {
            "channel": "results",
            "operation": "send-results",
            "action": "send",
            "topic": route.results_topic,
            "description": "One result for each request that could be read; a redelivered request "
            "gives a result of the same id again.",
            "message": _message("Result", ResultHeaders, _result_payload(model)),
            "bindings": {},
        },
        {
            "channel": "dead-letters",
            "operation": "send-dead-letters",
            "action": "send",
            "topic": route.dead_letters_topic,
            "description": f"Records that the route {name} gave up on, as they were published.",
            "message": _message(
                "Dead letter",
                DeadLetterHeaders,
                {"description": "The request's value, untouched; null where it was too large."},
            ),
            "bindings": {},
        },
    ]
    if route.control_topic is not None:
        parts.append(
            {
                "channel": "controls",
                "operation": "receive-controls",
                "action": "receive",
                "topic": route.control_topic,
                "description": f"What is to be cancelled of the route {name}; every consumer "
                "replica reads all of it, in no group.",
                "message": _control_message(),
                "bindings": {},
            }
        )
    return parts


def _takes_references(route: RouteSettings) -> bool:
    return route.claim_check is not None and bool(route.claim_check.request_prefixes)


def _control_message() -> Json:
    return {
        "title": "Control record",
        "contentType": "application/json",
        "payload": {"$ref": _SCHEMAS + ControlRecord.__name__},
        "bindings": {
            "kafka": {
                "key": {
                    "description": "What is to be cancelled: the last of a key is enough.",
                    "type": ["string", "null"],
                },
                "bindingVersion": KAFKA_BINDING_VERSION,
            }
        },
    }


def _message(title: str, headers: type[BaseModel], payload: Json) -> Json:
    message: Json = {
        "title": title,
        "contentType": "application/json",
        "headers": {"$ref": _SCHEMAS + headers.__name__},
        "payload": payload,
        "bindings": {
            "kafka": {
                "key": {
                    "description": "The producer's key, untouched; a result has its request's.",
                    "type": ["string", "null"],
                },
                "bindingVersion": KAFKA_BINDING_VERSION,
            }
        },
    }
    if title != "Dead letter":
        message["correlationId"] = {"location": "$message.payload#/custom_id"}
    return message


def _request_payload(model: ModelSettings, takes_references: bool) -> Json:
    """Describe a request line: its url, and for each url its body."""
    urls = sorted(model.endpoints)
    own: Json = {"type": "object", "properties": {"url": {"enum": urls}}}
    bodies = [_request_of(url) for url in urls] if _answers_as_published(model) else []
    if len(bodies) == 1:
        own = bodies[0]
    elif bodies:
        own = {**own, "anyOf": bodies}
    line: Json = {"$ref": _SCHEMAS + RequestLine.__name__}
    if not takes_references:
        return {"allOf": [line, own]}
    referenced = {
        "allOf": [
            {"$ref": _SCHEMAS + ReferencedRequestLine.__name__},
            {"type": "object", "properties": {"url": {"enum": urls}}},
        ]
    }
    return {"anyOf": [{"allOf": [line, own]}, referenced]}


def _request_of(url: str) -> Json:
    return {
        "type": "object",
        "properties": {"url": {"const": url}, "body": _body_schema(url, "request")},
    }


def _result_payload(model: ModelSettings) -> Json:
    """Describe a result line: the body of a 200 may be that of any of the model's urls."""
    line = {"$ref": _SCHEMAS + "ResultLine"}
    if not _answers_as_published(model):
        return line
    refused = {
        "status_code": {"type": "integer", "minimum": 400, "maximum": 499},
        "body": {"type": "object", "required": ["error"]},
    }
    answers = [
        {"status_code": {"const": 200}, "body": _body_schema(url, "response")}
        for url in sorted(model.endpoints)
    ]
    response = {
        "anyOf": [
            {"type": "null"},
            *({"type": "object", "properties": answer} for answer in (*answers, refused)),
        ]
    }
    return {"allOf": [line, {"type": "object", "properties": {"response": response}}]}


def _answers_as_published(model: ModelSettings) -> bool:
    """Whether its urls mean what they mean elsewhere: custom classes and pipelines are free."""
    return model.kind not in {"custom", "pipeline"}


def _body_schema(url: str, direction: Literal["request", "response"]) -> Json:
    endpoint = ENDPOINTS[url]
    model = endpoint.request if direction == "request" else endpoint.response
    if model is not None:
        return _ref(model)
    return {
        "type": "object",
        "description": f"The {direction} body of {url} as OpenAI's API has it.",
        "externalDocs": {"url": endpoint.documentation},
    }


def _ref(model: type[BaseModel]) -> Json:
    return {"$ref": _SCHEMAS + model.__name__}


def _topic_binding(route: RouteSettings, topic: str) -> Json:
    return {
        "topic": topic,
        "partitions": 1 if topic == route.control_topic else route.topics.partitions,
        "replicas": route.topics.replication_factor,
        "bindingVersion": KAFKA_BINDING_VERSION,
    }


def _component_schemas() -> Json:
    """Return the wire's models as one set of definitions that refer to each other."""
    _, together = models_json_schema(
        [(model, "validation") for model in _WIRE_MODELS], ref_template=_SCHEMAS + "{model}"
    )
    definitions: Json = together["$defs"]
    return definitions
