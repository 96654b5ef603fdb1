"""The wire's published schemas: JSON Schema of each message, AsyncAPI 3.0 of a settings file."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from schemas.bodies.classify import ClassifyBody, ClassifyResponse
from schemas.bodies.embeddings import EmbeddingsBody, EmbeddingsResponse
from schemas.bodies.endpoints import ENDPOINTS
from schemas.bodies.rerank import RerankBody, RerankResponse, ScoreBody, ScoreResponse
from schemas.settings.file import KafkaSettings, RouteSettings, SaslSettings, Settings
from schemas.settings.models import ModelSettings
from schemas.wire.control import ControlRecord
from schemas.wire.deadletters import DeadLetterHeaders
from schemas.wire.header_models import RequestHeaders, ResultHeaders
from schemas.wire.headers import REPLY_TOPIC
from schemas.wire.jobs import JobCommand, JobRecord
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
    "job": JobRecord,
    "job-command": JobCommand,
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
_PRODUCERS_KEY = "The producer's key, untouched; a result has its request's."
_FRAME_NOTE = (
    " Before the JSON may stand a schema registry's frame: a zero byte, four of a schema's id."
)


def json_schema(name: str) -> Json:
    """Return the JSON Schema (draft 2020-12) of what is published as ``name``."""
    schema = PUBLISHED[name].model_json_schema()
    return {"$schema": JSON_SCHEMA_DIALECT, "$id": f"urn:headrace:schema:{name}:v1", **schema}


@dataclass(frozen=True, slots=True)
class _Channel:
    """A topic of a route: what the service receives or sends there."""

    name: str
    action: Literal["receive", "send"]
    topic: str | None
    description: str
    message: Json
    operation: Json = field(default_factory=dict)


def asyncapi_document(settings: Settings, version: str) -> Json:
    """Describe the routes' topics as AsyncAPI 3.0, from the service's side, without secrets."""
    servers, security = _servers(settings.kafka, "kafka")
    outgoing = servers
    if settings.results_kafka is not None:
        outgoing, more_security = _servers(settings.results_kafka, "results-kafka")
        security |= more_security
    channels: Json = {}
    operations: Json = {}
    messages: Json = {}
    for route_name, route in settings.routes.items():
        for each in _channels(route_name, route, settings.models[route.model]):
            channel = f"{route_name}-{each.name}"
            message = _message_name(channel)
            messages[message] = each.message
            channels[channel] = {
                "address": each.topic,
                "title": f"{route_name}: {each.name.replace('-', ' ')}",
                "description": each.description,
                "servers": [
                    {"$ref": f"#/servers/{server}"}
                    for server in (servers if each.action == "receive" else outgoing)
                ],
                "messages": {message: {"$ref": f"#/components/messages/{message}"}},
            }
            if each.topic is not None:
                channels[channel]["bindings"] = {"kafka": _topic_binding(route, each.topic)}
            operations[f"{route_name}-{each.action}-{each.name}"] = {
                "action": each.action,
                "summary": each.description,
                "channel": {"$ref": f"#/channels/{channel}"},
                "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"}],
                **each.operation,
            }
    messages |= _job_messages()
    channels["jobs"] = _jobs_channel(settings.jobs.topic, servers)
    _, wire = models_json_schema(
        [(model, "validation") for model in _WIRE_MODELS], ref_template=_SCHEMAS + "{model}"
    )
    components: Json = {"messages": messages, "schemas": wire["$defs"]}
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
        "servers": {**servers, **outgoing},
        "channels": channels,
        "operations": operations,
        "components": components,
    }


def _job_messages() -> Json:
    return {
        "job": _message("Job", _ref(JobRecord), "The job's name."),
        "job-command": _message(
            "Command to a job's runner", _ref(JobCommand), "The job's name and /command."
        ),
    }


def _jobs_channel(topic: str, servers: Json) -> Json:
    """Describe the registry, which is between clients: the service has no operation on it."""
    return {
        "address": topic,
        "title": "jobs",
        "description": "How jobs stand, by their runners, and what the runners are told; compacted."
        " A record without a value forgets its key.",
        "servers": [{"$ref": f"#/servers/{server}"} for server in servers],
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _job_messages()},
        "bindings": {
            "kafka": {
                "topic": topic,
                "partitions": 1,
                "topicConfiguration": {"cleanup.policy": ["compact"]},
                "bindingVersion": KAFKA_BINDING_VERSION,
            }
        },
    }


def _servers(kafka: KafkaSettings, name: str) -> tuple[Json, Json]:
    prefix = "" if name == "kafka" else f"{name}-"
    security: Json = {}
    if kafka.sasl is not None:
        security[f"{prefix}sasl"] = _sasl(kafka.sasl)
    if kafka.tls is not None and kafka.tls.cert_file is not None:
        security[f"{prefix}certificate"] = {"type": "X509"}
    server: Json = {"protocol": "kafka" if kafka.tls is None else "kafka-secure"}
    if security:
        server["security"] = [{"$ref": f"#/components/securitySchemes/{each}"} for each in security]
    hosts = enumerate(kafka.bootstrap.split(","))
    return {f"{name}-{number}": {"host": host, **server} for number, host in hosts}, security


def _sasl(sasl: SaslSettings) -> Json:
    if sasl.oauth is None:
        return {"type": _SECURITY_TYPES[sasl.mechanism]}
    if sasl.oauth.token_url is None:
        return {"type": "http", "scheme": "bearer"}
    scopes = dict.fromkeys((sasl.oauth.scope or "").split(), "")
    flow = {"tokenUrl": sasl.oauth.token_url, "availableScopes": scopes}
    return {"type": "oauth2", "flows": {"clientCredentials": flow}}


def _channels(name: str, route: RouteSettings, model: ModelSettings) -> Iterator[_Channel]:
    group = {"groupId": {"type": "string", "enum": [route.group]}}
    is_framed = route.requests_format == "confluent-json"
    yield _Channel(
        "requests",
        "receive",
        route.requests_topic,
        f"Requests for the model {route.model}.{_FRAME_NOTE if is_framed else ''}",
        _line_message("Request", RequestHeaders, _request_payload(model, route)),
        {
            "bindings": {"kafka": {**group, "bindingVersion": KAFKA_BINDING_VERSION}},
            **_reply(name, route),
        },
    )
    yield _Channel(
        "results",
        "send",
        route.results_topic,
        "One result for each request that could be read; a redelivered request gives a result of "
        "the same id again.",
        _line_message("Result", ResultHeaders, _result_payload(model)),
    )
    if route.reply_topics:
        yield _Channel(
            "replies",
            "send",
            None,
            f"The results of requests that name a topic for them, in {REPLY_TOPIC}. Allowed are "
            f"{', '.join(route.reply_topics)}.",
            _line_message("Reply", ResultHeaders, _result_payload(model)),
        )
    value = {"description": "The request's value, untouched; null where it was too large."}
    yield _Channel(
        "dead-letters",
        "send",
        route.dead_letters_topic,
        f"Records that the route {name} gave up on, as they were published.",
        _message("Dead letter", value, _PRODUCERS_KEY, headers=_ref(DeadLetterHeaders)),
    )
    if route.control_topic is not None:
        key = "What is to be cancelled: the last of a key is enough."
        yield _Channel(
            "controls",
            "receive",
            route.control_topic,
            f"What is to be cancelled of the route {name}; every consumer replica reads all of "
            "it, in no group.",
            _message("Control record", _ref(ControlRecord), key),
        )


def _message_name(channel: str) -> str:
    return f"{channel.removesuffix('ies')}y" if channel.endswith("ies") else channel[:-1]


def _reply(name: str, route: RouteSettings) -> Json:
    """Say that a request names the topic of its result, where the route allows that."""
    if not route.reply_topics:
        return {}
    channel = f"#/channels/{name}-replies"
    address = {
        "description": "Without the header, the results topic.",
        "location": f"$message.header#/{REPLY_TOPIC}",
    }
    messages = [{"$ref": f"{channel}/messages/{_message_name(f'{name}-replies')}"}]
    return {"reply": {"address": address, "channel": {"$ref": channel}, "messages": messages}}


def _line_message(title: str, headers: type[BaseModel], payload: Json) -> Json:
    correlation = {"location": "$message.payload#/custom_id"}
    return _message(
        title, payload, _PRODUCERS_KEY, headers=_ref(headers), correlationId=correlation
    )


def _message(title: str, payload: Json, key: str, **others: Json) -> Json:
    return {
        "title": title,
        "contentType": "application/json",
        "payload": payload,
        "bindings": {
            "kafka": {
                "key": {"description": key, "type": ["string", "null"]},
                "bindingVersion": KAFKA_BINDING_VERSION,
            }
        },
        **others,
    }


def _request_payload(model: ModelSettings, route: RouteSettings) -> Json:
    urls = sorted(model.endpoints)
    of_urls: Json = _object(url={"enum": urls})
    bodies = []
    if _answers_as_published(model):
        bodies = [_object(url={"const": url}, body=_body_schema(url, "request")) for url in urls]
    if len(bodies) == 1:
        line = {"allOf": [_ref(RequestLine), bodies[0]]}
    else:
        line = {"allOf": [_ref(RequestLine), {**of_urls, "anyOf": bodies} if bodies else of_urls]}
    if route.claim_check is None or not route.claim_check.request_prefixes:
        return line
    return {"anyOf": [line, {"allOf": [_ref(ReferencedRequestLine), of_urls]}]}


def _result_payload(model: ModelSettings) -> Json:
    """Describe a result line: the body of a 200 may be that of any of the model's urls."""
    if not _answers_as_published(model):
        return _ref(ResultLine)
    answers = [
        _object(status_code={"const": 200}, body=_body_schema(url, "response"))
        for url in sorted(model.endpoints)
    ]
    refused = _object(
        status_code={"type": "integer", "minimum": 400, "maximum": 499},
        body={"type": "object", "required": ["error"]},
    )
    response = {"anyOf": [{"type": "null"}, *answers, refused]}
    return {"allOf": [_ref(ResultLine), _object(response=response)]}


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


def _object(**properties: Json) -> Json:
    return {"type": "object", "properties": properties}


def _topic_binding(route: RouteSettings, topic: str) -> Json:
    return {
        "topic": topic,
        "partitions": 1 if topic == route.control_topic else route.topics.partitions,
        "replicas": route.topics.replication_factor,
        "bindingVersion": KAFKA_BINDING_VERSION,
    }
