"""What a value is, and what of it the model gets."""

import random

import orjson
import pytest

from consumer.engine.intake import Intake, Refused, Request, Unreadable
from consumer.replica.build import build_engine
from schemas.wire.results import ErrorCode
from tests.engines import P0, URL, line, make_engine, next_call, record
from tests.simulated_service import ROUTE
from tests.simulation import EPOCH_MS

URLS = frozenset({"/v1/embeddings", "/v1/rerank"})
BOM = b"\xef\xbb\xbf"
FRAME = b"\0\0\0\0\x2a"


def read(value: bytes, *, takes_frame: bool = False) -> object:
    return Intake(URLS, 100_000, takes_frame=takes_frame).read(record(0, value))


def test_a_line_as_it_should_be_is_not_copied() -> None:
    request = read(line())
    assert isinstance(request, Request)
    assert request.line is None


def test_a_model_gets_the_url_as_it_knows_it_and_all_else_as_it_was() -> None:
    value = orjson.loads(line(url="https://host/v2/rerank?a=b", more=1, body={"n": [1.50, None]}))
    request = read(orjson.dumps(value))
    assert isinstance(request, Request)
    assert request.url == "/v1/rerank"
    assert orjson.loads(request.line or b"") == {**value, "url": "/v1/rerank"}


def test_an_unknown_url_is_told_what_there_is() -> None:
    refused = read(line("a", url="/v1/images"))
    assert isinstance(refused, Refused)
    error = orjson.loads(refused.body)["error"]
    assert (refused.custom_id, refused.status_code, error["param"]) == ("a", 404, "url")
    assert error["code"] == "unknown_url"
    assert "'/v1/images'" in error["message"]
    assert "/v1/embeddings, /v1/rerank" in error["message"]


def test_a_body_nested_too_deep_to_be_written_again_is_refused_by_the_url() -> None:
    nest = b"[" * 600 + b"]" * 600
    value = b'{"custom_id":"a","url":"URL","body":{"input":' + nest + b"}}"
    assert isinstance(read(value.replace(b"URL", b"/v1/embeddings")), Request)
    refused = read(value.replace(b"URL", b"/embeddings"))
    assert isinstance(refused, Refused)
    error = orjson.loads(refused.body)["error"]
    assert (refused.status_code, error["param"]) == (400, "url")
    assert "write it so" in error["message"]


@pytest.mark.parametrize(
    ("marks", "takes_frame"), [(BOM, False), (BOM, True), (FRAME, True), (FRAME + BOM, True)]
)
def test_what_may_stand_before_the_json_is_skipped(marks: bytes, takes_frame: bool) -> None:
    request = read(marks + line(), takes_frame=takes_frame)
    assert isinstance(request, Request)
    assert request.line == line()


def test_a_route_that_takes_frames_takes_values_without_one() -> None:
    request = read(line(), takes_frame=True)
    assert isinstance(request, Request)
    assert request.line is None


@pytest.mark.parametrize(
    ("value", "custom_id", "words"),
    [
        (FRAME + line("a"), "a", "set requests_format: confluent-json"),
        (FRAME + line("a", body=7), "a", "set requests_format: confluent-json"),
        (FRAME + b" {", None, "set requests_format: confluent-json"),
        (FRAME + b"\x02\x06abc", None, "Avro or Protobuf"),
        (b"\0", None, "Avro or Protobuf"),
    ],
)
def test_a_frame_that_the_route_does_not_take_is_named_in_the_dead_letter(
    value: bytes, custom_id: str | None, words: str
) -> None:
    unreadable = read(value)
    assert isinstance(unreadable, Unreadable)
    assert (unreadable.code, unreadable.custom_id) == (ErrorCode.INVALID_JSON, custom_id)
    assert words in unreadable.message


@pytest.mark.parametrize("value", [FRAME, FRAME[:3], FRAME + b"\x02\x06abc", FRAME + FRAME])
def test_a_frame_around_no_json_is_a_dead_letter(value: bytes) -> None:
    assert isinstance(read(value, takes_frame=True), Unreadable)


def test_the_routes_format_decides_about_frames() -> None:
    engine = build_engine(
        route_name="embeddings",
        route=ROUTE.model_copy(update={"requests_format": "confluent-json"}),
        urls=frozenset({URL}),
        consumer="c",
        metadata_limit_characters=4096,
        jitter=random.Random(0),
    )
    engine.assign({P0: None})
    engine.deliver([record(0, FRAME + line("a"))], 0.0, EPOCH_MS)
    _, chunk = next_call(engine, 0.0, EPOCH_MS)
    assert chunk.lines == [line("a")]


def test_the_model_gets_the_line_and_it_counts_as_held() -> None:
    engine = make_engine()
    engine.assign({P0: None})
    value = BOM + line("a")
    engine.deliver([record(0, value)], 0.0, EPOCH_MS)
    _, chunk = next_call(engine, 0.0, EPOCH_MS)
    assert chunk.lines == [line("a")]
    assert engine.held_bytes == len(value) + len(line("a"))
