"""The shipped file, and the demo's bookkeeping."""

import shlex
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import typer

from headrace.cli.main import app
from headrace.demo.records import demo_records
from headrace.demo.report import Tally, adds_up, nearest_neighbours, prompts_by_id, texts_by_id
from headrace.demo.tables import QUERY, report
from headrace.demo.trial import LINE, PROMPT, commands, settings_text
from headrace.records.reading import TopicRecord
from headrace.settings.file import parse_settings
from schemas.bodies.embeddings import parse_embeddings_body
from schemas.wire.requests import UnreadableRequestError, parse_request_line

LINES = files("headrace").joinpath("data", "demo.jsonl").read_bytes().splitlines()
CHAT_LINES = files("headrace").joinpath("data", "demo-chat.jsonl").read_bytes().splitlines()


def test_the_shipped_file_is_varied() -> None:
    codes: Counter[str] = Counter()
    names, texts = [], set()
    for line in LINES:
        try:
            request = parse_request_line(line)
            if request.custom_id.startswith("bad-"):
                codes["refused"] += 1
                continue
            body = parse_embeddings_body(request.body)
        except UnreadableRequestError as error:
            codes[error.code] += 1
            continue
        names.append(request.custom_id)
        texts.add(body.texts[0])
        codes["list"] += len(body.texts) > 1
        codes["base64"] += body.encoding_format == "base64"
        codes["dimensions"] += body.dimensions is not None

    assert len(names) == len(set(names)) == len(texts) == 204
    assert codes == {
        "list": 12,
        "base64": 24,
        "dimensions": 24,
        "invalid_json": 3,
        "invalid_request_line": 1,
        "refused": 2,
    }


def test_the_shipped_prompts_are_requests_with_names_of_their_own() -> None:
    prompts = prompts_by_id(CHAT_LINES)
    assert len(prompts) == len(CHAT_LINES)
    assert all(parse_request_line(line).url == "/v1/chat/completions" for line in CHAT_LINES)
    assert sum(name.startswith("unsafe-") for name in prompts) == 5


def test_replies_and_refusals_are_kept_for_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally(sent={"chat/0/0", "chat/0/1"})
    choices = [{"message": {"content": "Paris."}}]
    refused = {"error": {"code": "content_filter", "message": "unsafe"}}
    for place, custom_id, status, body in (
        ("chat/0/0", "chat-01", 200, {"choices": choices}),
        ("chat/0/1", "unsafe-01", 400, refused),
    ):
        response = {"status_code": status, "body": body}
        tally.add_result(
            record(place, {"custom_id": custom_id, "response": response, "error": None})
        )

    assert tally.replies == {
        "chat-01": ("answered", "Paris."),
        "unsafe-01": ("refused (400): content_filter", "unsafe"),
    }
    assert report(tally, LINES, CHAT_LINES, skipped_records=0) == 0
    assert "Paris." in capsys.readouterr().out


def test_what_no_file_can_hold_is_added() -> None:
    records = demo_records(LINES, now_ms=1_000_000)

    huge, late, tombstone = records[len(LINES) :]
    assert len(orjson.loads(huge.value or b"")["body"]["input"]) == 50_000
    assert late.headers == (("headrace-deadline", b"940000"),)
    assert tombstone.value is None


def record(place: str, value: object = None, code: str = "") -> TopicRecord:
    headers = [("headrace-source", place.encode())]
    if code:
        headers.append(("headrace-error-code", code.encode()))
    return TopicRecord("t", 0, 0, None, orjson.dumps(value), tuple(headers), 0)


def answer(custom_id: str, vector: list[float]) -> dict[str, object]:
    body = {"data": [{"embedding": vector}]}
    return {"custom_id": custom_id, "response": {"status_code": 200, "body": body}, "error": None}


def full_tally() -> Tally:
    tally = Tally(sent={"in/0/0", "in/0/1", "in/0/2"}, tombstones={"in/0/3"})
    tally.add_result(record("in/0/0", answer("a", [1.0, 0.0])))
    tally.add_result(
        record("in/0/1", {"custom_id": "b", "response": None, "error": {"code": "request_expired"}})
    )
    tally.add_dead_letter(record("in/0/2", code="invalid_json"))
    return tally


def test_everything_that_went_in_came_out() -> None:
    tally = full_tally()

    assert tally.is_complete
    assert adds_up(tally, skipped_records=1)
    assert tally.counts(skipped_records=1) == {
        "answered (200)": 1,
        "error: request_expired": 1,
        "dead letter: invalid_json": 1,
        "skipped (tombstone)": 1,
    }
    assert report(tally, LINES, CHAT_LINES, skipped_records=1) == 0


def test_what_is_missing_does_not_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    tally = full_tally()
    tally.sent.add("in/0/4")

    assert not tally.is_complete
    assert report(tally, LINES, CHAT_LINES, skipped_records=1) == 1
    assert "does not add up" in capsys.readouterr().err


def test_a_repeat_or_a_lost_tombstone_does_not_add_up() -> None:
    tally = full_tally()
    assert not adds_up(tally, skipped_records=0)
    tally.add_result(record("in/0/0", answer("a", [1.0, 0.0])))
    assert not adds_up(tally, skipped_records=1)


def test_neighbours_are_by_cosine_and_of_one_size() -> None:
    vectors = {
        "query": np.array([1, 0], np.float32),
        "same": np.array([9, 0], np.float32),
        "near": np.array([1, 1], np.float32),
        "far": np.array([-1, 0], np.float32),
        "other size": np.array([1, 0, 0], np.float32),
    }

    found = nearest_neighbours(vectors, "query", most=2)

    assert [name for name, _ in found] == ["same", "near"]
    assert found[1][1] == pytest.approx(0.7071, abs=1e-4)


def test_the_query_is_in_the_file() -> None:
    assert QUERY in texts_by_id(LINES)


def test_other_commands_find_the_demos_service_by_the_file_that_it_writes() -> None:
    shipped = parse_settings(files("headrace").joinpath("data", "demo.yaml").read_bytes(), "demo")
    running = shipped.model_copy(
        update={"kafka": shipped.kafka.model_copy(update={"bootstrap": "127.0.0.1:4711"})}
    )

    written = parse_settings(settings_text(running).encode(), "headrace.yaml")

    assert (written.kafka.broker, written.kafka.bootstrap) == ("external", "127.0.0.1:4711")
    assert (written.routes, written.models) == (running.routes, running.models)


def test_what_a_person_may_try_are_requests_and_commands_that_exist() -> None:
    for line in (LINE, PROMPT):
        assert parse_request_line(line.encode()).custom_id in ("mine", "ask")
    for lines in (commands(), commands(Path("headrace.yaml"))):
        for line in lines:
            words = shlex.split(line.split(" | ")[-1])
            if words[0] == "export":
                continue
            assert Path(words[0]).name == "headrace"
            # Its arguments are parsed, and nothing is run.
            group: Any = typer.main.get_command(app)
            group.commands[words[1]].make_context(words[1], words[2:])
