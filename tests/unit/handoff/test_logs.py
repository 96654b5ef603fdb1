"""Logging through Serve's handlers, with stand-ins for what Serve sets up."""

import json
import logging
import logging.handlers
from collections.abc import AsyncIterator, Iterator
from io import StringIO
from pathlib import Path

import pytest

import handoff.logs as serve_logs
from handoff.chunk import Chunk, Outcomes
from handoff.logs import log_change, log_through_serve, look_after_logs
from handoff.tracing.headers import read_headers
from headrace_client.kafka.security.token_endpoint import check_token
from headrace_client.logs.forms import OWN_LOGGERS
from headrace_client.security import Sasl
from schemas.settings.models import CustomModelSettings
from schemas.settings.tracing import TracingSettings
from serve_models.custom.building import build_custom_model


class JSONFormatter(logging.Formatter):
    """Stands for Ray's class of this name, by which Serve's choice shows."""

    def format(self, record: logging.LogRecord) -> str:
        event = getattr(record, "event", None)
        added = getattr(record, "deployment", None)
        line = {"message": record.getMessage(), "event": event, "deployment": added}
        # Ray's writes what a call gave in extra, and exceptions as long as they are there.
        if record.exc_info:
            line["exc_text"] = self.formatException(record.exc_info)
        if hasattr(record, "traceback"):
            line["traceback"] = record.traceback
        return json.dumps(line)


class AddsDeployment(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.deployment = "model-a"
        return True


class TakesValue:
    """A custom model with an option."""

    def __init__(self, value: str) -> None:
        self.value = value

    async def infer(self, chunk: Chunk) -> AsyncIterator[Outcomes]:
        yield Outcomes("", len(chunk.lines))


class FakeServe:
    """Serve's logger with its two handlers: one to a file, one to stderr."""

    def __init__(self) -> None:
        self.file, self.stderr = StringIO(), StringIO()

    def configure(self, *, is_json: bool, level: str = "INFO") -> None:
        target = logging.StreamHandler(self.file)
        target.setFormatter(JSONFormatter() if is_json else logging.Formatter("%(message)s"))
        file = logging.handlers.MemoryHandler(capacity=1, target=target)
        if is_json:
            file.addFilter(AddsDeployment())
        stream = logging.StreamHandler(self.stderr)
        stream.setFormatter(logging.Formatter("text: %(message)s"))
        logger = logging.getLogger("ray.serve")
        logger.handlers = [stream, file]
        logger.setLevel(level)
        logger.propagate = False


@pytest.fixture
def fake_serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServe]:
    logger, root = logging.getLogger("ray.serve"), logging.getLogger()
    before = (logger.handlers, logger.level, logger.propagate, list(root.handlers))
    levels = {name: logging.getLogger(name).level for name in OWN_LOGGERS}
    monkeypatch.setattr(serve_logs, "_handler", None)
    yield FakeServe()
    logger.handlers, logger.propagate = before[0], before[2]
    logger.setLevel(before[1])
    root.handlers = before[3]
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_our_lines_go_where_serves_lines_go(fake_serve: FakeServe) -> None:
    fake_serve.configure(is_json=True)
    log_through_serve(["hunter2"])
    log = logging.getLogger("consumer.some.module")
    log.info("moved by hunter2", extra={"event": "commit_refused"})

    expected = {
        "message": "moved by **********",
        "event": "commit_refused",
        "deployment": "model-a",
    }
    assert json.loads(fake_serve.file.getvalue()) == expected
    assert json.loads(fake_serve.stderr.getvalue()) == expected


def test_serves_own_lines_lose_their_secrets(fake_serve: FakeServe) -> None:
    fake_serve.configure(is_json=False)
    log_through_serve(["hunter2"])
    logging.getLogger("ray.serve").warning("the password is %s", "hunter2")

    assert fake_serve.file.getvalue() == "the password is **********\n"
    assert fake_serve.stderr.getvalue() == "text: the password is **********\n"


@pytest.mark.parametrize("is_json", [True, False])
def test_exceptions_in_serves_own_lines_lose_their_messages(
    fake_serve: FakeServe, *, is_json: bool
) -> None:
    fake_serve.configure(is_json=is_json)
    log_through_serve(["hunter2"])
    error = RuntimeError("no hunter2 in 'a text of a user'")
    try:
        raise error from KeyError("a text of a user")
    except RuntimeError:
        logging.getLogger("ray.serve").exception("Request failed.", stack_info=True)

    for written in (fake_serve.file.getvalue(), fake_serve.stderr.getvalue()):
        assert "builtins.RuntimeError" in written
        assert "builtins.KeyError" in written
        assert "test_logs.py" in written
        assert "a text of a user" not in written
        assert "hunter2" not in written


def test_fields_of_serves_own_lines_lose_their_secrets(fake_serve: FakeServe) -> None:
    fake_serve.configure(is_json=True)
    log_through_serve(["hunter2"])
    fields = {"event": {"path": "/x?token=abcdef", "user": ["hunter2"]}}
    logging.getLogger("ray.serve").info("asked", extra=fields)

    expected = {"path": "/x?token=**********", "user": ["**********"]}
    assert json.loads(fake_serve.file.getvalue())["event"] == expected


def test_serves_own_lines_are_cut_and_harmless(fake_serve: FakeServe) -> None:
    fake_serve.configure(is_json=False)
    log_through_serve()
    logging.getLogger("ray.serve").warning("long\n%s", "x" * 100_000)
    logging.getLogger("ray.serve").warning("arguments %s %s", *range(1))

    first, second = fake_serve.file.getvalue().splitlines()
    assert first.startswith("long | xxx")
    assert len(first) < 3_000
    assert second == "arguments %s %s (its arguments do not fit)"


def test_a_change_of_form_and_level_is_followed(fake_serve: FakeServe) -> None:
    fake_serve.configure(is_json=False)
    log_through_serve()
    log = logging.getLogger("serve_models.some.module")
    log.debug("no one asked")
    fake_serve.configure(is_json=True, level="DEBUG")
    look_after_logs()
    log.debug("asked")

    assert "no one asked" not in fake_serve.file.getvalue()
    assert json.loads(fake_serve.file.getvalue())["message"] == "asked"
    assert json.loads(fake_serve.stderr.getvalue())["message"] == "asked"


def test_what_others_say_below_a_warning_stays_out(fake_serve: FakeServe) -> None:
    fake_serve.configure(is_json=False, level="DEBUG")
    log_through_serve()
    logging.getLogger("some_library").info("chatter")
    logging.getLogger("some_library").warning("trouble")

    assert fake_serve.file.getvalue() == "trouble\n"


def test_a_second_call_replaces_the_first(fake_serve: FakeServe) -> None:
    fake_serve.configure(is_json=False)
    log_through_serve()
    log_through_serve()
    logging.getLogger("handoff.x").warning("once")

    assert fake_serve.file.getvalue() == "once\n"


def test_a_secret_that_is_read_later_stays_out_too(
    fake_serve: FakeServe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_NAME", "of-a-variable")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20of-headers,x-id=one")
    fake_serve.configure(is_json=False)
    log_through_serve()
    file = tmp_path / "password"
    file.write_text("of-a-file\n")
    sasl = Sasl(mechanism="PLAIN", username="anna", password_file=str(file))
    assert sasl.read_password() == "of-a-file"
    assert Sasl(username="anna", password="${SOME_NAME}").read_password() == "of-a-variable"
    check_token("of.a.token", 1.0)
    headers = tmp_path / "headers"
    headers.write_text("authorization=Basic of-a-collector\n")
    read_headers(TracingSettings(enabled=True, headers_file=headers))
    settings = CustomModelSettings(
        kind="custom",
        urls=("/v1/embeddings",),
        import_path=f"{__name__}:TakesValue",
        options={"value": "${SOME_OPTION}"},
    )
    monkeypatch.setenv("SOME_OPTION", "of-an-option")
    build_custom_model(settings)

    said = "anna: of-a-file of-a-variable of.a.token of-a-collector of-headers of-an-option"
    logging.getLogger("ray.serve").warning(said)
    logging.getLogger("consumer.x").warning(said)
    line = f"anna:{' **********' * 6}\n"
    assert fake_serve.file.getvalue() == 2 * line


def test_a_process_without_serve_is_left_alone(fake_serve: FakeServe) -> None:
    logging.getLogger("ray.serve").handlers = []
    before = list(logging.getLogger().handlers)
    log_through_serve()
    look_after_logs()

    assert logging.getLogger().handlers == before


@pytest.mark.parametrize(
    ("before", "after", "keys"),
    [
        ({}, {"a": 1}, "a"),
        (
            {"flow": {"max_records": 1, "x": 2}},
            {"flow": {"max_records": 3, "x": 2}},
            "flow.max_records",
        ),
        ({"a": 1, "b": 2}, {"a": 2}, "a, b"),
    ],
)
def test_changed_settings_are_named(
    before: dict[str, object],
    after: dict[str, object],
    keys: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO"):
        log_change(logging.getLogger("handoff.x"), before, after, route="r")

    [record] = caplog.records
    assert record.getMessage() == f"goes on with other settings: {keys}"
    assert record.route == "r"  # type: ignore[attr-defined]


def test_settings_that_stay_are_not_told_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        log_change(logging.getLogger("handoff.x"), {"a": {"b": 1}}, {"a": {"b": 1}})

    assert caplog.records == []
