"""A sampled record's spans tell its whole way; others leave nothing."""

import random

import pytest

from consumer.engine.engine import Engine
from consumer.engine.tracing.record_trace import MOST_CALLS
from consumer.engine.tracing.traces import Traces
from handoff.chunk import STATUS_FAILED, STATUS_UNAVAILABLE, Chunk
from handoff.tracing.sampling import Sampler, Sampling
from handoff.tracing.spans import Ids
from schemas.wire.trace_context import parse_trace_context, read_trace_context
from tests.engines import (
    P0,
    TOO_LARGE,
    Published,
    answer,
    make_engine,
    next_call,
    publish_all,
    record,
    rejections_of,
)
from tests.simulation import EPOCH_MS
from tests.tracing import KeptSpans

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = [("traceparent", f"00-{TRACE}-{SPAN}-01".encode()), ("tracestate", b"vendor=1")]
NOT_SAMPLED = [("traceparent", f"00-{TRACE}-{SPAN}-00".encode())]
PRODUCER = parse_trace_context(SAMPLED[0][1])


def traced_engine(ratio: float = 0.0, **options: object) -> tuple[Engine, KeptSpans]:
    kept, source = KeptSpans(), random.Random(1)
    traces = Traces(
        model="minilm",
        group="g",
        sampler=Sampler(Sampling(ratio), 1_000_000, source),
        ids=Ids(source),
        sink=kept,
    )
    engine = make_engine(traces=traces, **options)  # type: ignore[arg-type]
    engine.assign({P0: None})
    return engine, kept


def publish(engine: Engine, now_s: float) -> list[Published]:
    items = engine.take_publications(100, 1 << 30)
    published = [Published(item, item.messages) for item in items]
    engine.note_published(items, now_s, EPOCH_MS)
    engine.acknowledged(items)
    return published


def test_a_sampled_record_has_spans_and_its_result_continues_them() -> None:
    engine, kept = traced_engine()
    engine.deliver([record(5, headers=[*SAMPLED, ("headrace-job", b"nightly")])], 1.0, EPOCH_MS)
    call, chunk = next_call(engine, 2.0, EPOCH_MS)
    answer(call, chunk, engine, now_s=3.0)
    ((_, messages),) = publish(engine, 4.0)

    assert kept.names() == ["call minilm", "process requests", "send results"]
    process, called = kept.named("process requests"), kept.named("call minilm")
    sent = kept.named("send results")
    assert PRODUCER is not None
    assert process.parent is not None
    assert process.parent[:2] == PRODUCER[:2]
    assert process.context.trace_id == PRODUCER.trace_id
    assert called.parent == sent.parent == process.context
    assert chunk.traces == {0: called.context}
    times = [(each.start_s, each.end_s) for each in (process, called, sent)]
    assert times == [(1.0, 4.0), (2.0, 3.0), (3.0, 4.0)]
    assert process.kind == "consumer"
    assert process.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": "requests",
        "messaging.destination.partition.id": "0",
        "messaging.consumer.group.name": "g",
        "messaging.kafka.offset": 5,
        "headrace.custom_id": "0-5",
        "headrace.job": "nightly",
        "headrace.outcome": "answered",
        "headrace.status_code": 200,
    }
    result = read_trace_context(messages[0].headers)
    assert result is not None
    assert result[:2] == process.context[:2]
    assert result.is_sampled
    assert result.state() == "vendor=1"
    assert [name for name, _ in messages[0].headers].count("traceparent") == 1


@pytest.mark.parametrize("headers", [[], NOT_SAMPLED, [("traceparent", b"nonsense")]])
def test_another_record_has_no_span_and_its_headers_are_echoed(
    headers: list[tuple[str, bytes]],
) -> None:
    engine, kept = traced_engine()
    engine.deliver([record(0, headers=headers)], 0.0, EPOCH_MS)
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    answer(call, chunk, engine)
    ((_, messages),) = publish(engine, 1.0)

    assert kept.spans == []
    assert chunk.traces is None
    own = [each for each in messages[0].headers if not each[0].startswith("headrace-")]
    assert own == headers


def test_a_trace_may_begin_here() -> None:
    engine, kept = traced_engine(ratio=1.0)
    engine.deliver([record(0)], 0.0, EPOCH_MS)
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    answer(call, chunk, engine)
    ((_, messages),) = publish(engine, 1.0)

    process = kept.named("process requests")
    assert process.parent is None
    result = read_trace_context(messages[0].headers)
    assert result is not None
    assert result[:2] == process.context[:2]


def test_each_attempt_has_a_span_and_a_dead_letter_keeps_its_own_headers() -> None:
    engine, kept = traced_engine(max_attempts=2)
    engine.deliver([record(0, headers=SAMPLED)], 0.0, EPOCH_MS)
    now_s = 0.0
    for _ in range(2):
        call, chunk = next_call(engine, now_s, EPOCH_MS)
        answer(call, chunk, engine, status=STATUS_FAILED, now_s=now_s + 1.0)
        now_s += 10.0
        engine.advance(now_s, EPOCH_MS)
    ((_, (letter, _result)),) = publish(engine, now_s)

    calls = [each for each in kept.spans if each.name == "call minilm"]
    assert [each.attributes.get("headrace.attempt", 1) for each in calls] == [1, 2]
    assert all(each.error and each.attributes["error.type"] == "500" for each in calls)
    process = kept.named("process requests")
    assert process.error is not None
    assert process.attributes["error.type"] == "model_failed"
    assert process.attributes["headrace.outcome"] == "model_failed"
    assert kept.named("send dead-letters").parent == process.context
    # So that a replay goes on with the producer's trace.
    assert letter.headers[:2] == SAMPLED


def test_a_refused_record_has_a_span_without_a_call() -> None:
    engine, kept = traced_engine()
    engine.deliver([record(0, b'{"custom_id": "a", "url": 1}', headers=SAMPLED)], 0.0, EPOCH_MS)
    publish(engine, 1.0)

    process = kept.named("process requests")
    assert process.attributes["headrace.outcome"] == "refused"
    assert process.attributes["headrace.status_code"] == 400
    assert process.error is None


def test_a_record_of_a_lost_partition_says_so() -> None:
    engine, kept = traced_engine()
    engine.deliver([record(0, headers=SAMPLED), record(1, headers=SAMPLED)], 0.0, EPOCH_MS)
    call, chunk = next_call(engine, 0.5, EPOCH_MS)
    engine.suspend()
    engine.assign({})
    answer(call, chunk, engine, now_s=2.0)

    outcomes = [
        each.attributes["headrace.outcome"] for each in kept.spans if each.kind == "consumer"
    ]
    assert outcomes == ["dropped", "dropped"]
    assert not [each for each in kept.spans if each.kind == "producer"]


def test_a_record_that_is_asked_for_ever_keeps_its_first_and_latest_calls() -> None:
    engine, kept = traced_engine()
    engine.deliver([record(0, headers=SAMPLED)], 0.0, EPOCH_MS)
    now_s = 0.0
    for status in [STATUS_UNAVAILABLE] * 2 * MOST_CALLS + [200]:
        call, chunk = next_call(engine, now_s, EPOCH_MS)
        answer(call, chunk, engine, status=status, now_s=now_s + 1.0)
        now_s += 100.0
        engine.advance(now_s, EPOCH_MS)
    publish(engine, now_s)

    calls = [each for each in kept.spans if each.name == "call minilm"]
    assert len(calls) == MOST_CALLS
    assert [calls[0].start_s, calls[-1].start_s] == [0.0, 2 * MOST_CALLS * 100.0]


def test_a_lost_call_ends_its_span() -> None:
    engine, kept = traced_engine()
    engine.deliver([record(0, headers=SAMPLED)], 0.0, EPOCH_MS)
    call, _ = next_call(engine, 0.5, EPOCH_MS)
    engine.end_call(call, "the model replica failed: OSError", 1.5, EPOCH_MS)
    engine.advance(10.0, EPOCH_MS)
    call, chunk = next_call(engine, 10.0, EPOCH_MS)
    answer(call, chunk, engine, now_s=11.0)
    publish(engine, 12.0)

    first, second = (each for each in kept.spans if each.name == "call minilm")
    assert (first.start_s, first.end_s, first.error) == (
        0.5,
        1.5,
        "the model replica failed: OSError",
    )
    assert second.error is None
    assert kept.named("process requests").error is None


def test_a_substitute_result_carries_the_context_too() -> None:
    engine, kept = traced_engine()
    engine.deliver([record(0, headers=SAMPLED)], 0.0, EPOCH_MS)
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    answer(call, chunk, engine)
    (item,) = engine.take_publications(10, 1 << 30)
    engine.rejected(item, rejections_of(item, TOO_LARGE), 2.0, EPOCH_MS)
    ((_, (small,)),) = publish(engine, 3.0)

    context = read_trace_context(small.headers)
    assert context is not None
    assert context[:2] == kept.named("process requests").context[:2]


def test_an_untraced_engine_sends_no_contexts() -> None:
    engine = make_engine()
    engine.assign({P0: None})
    engine.deliver([record(0, headers=SAMPLED)], 0.0, EPOCH_MS)
    call, chunk = next_call(engine, 0.0, EPOCH_MS)
    answer(call, chunk, engine)
    ((_, messages),) = publish_all(engine)

    assert chunk.traces is None
    assert Chunk("c", []).traces is None
    assert messages[0].headers[:2] == SAMPLED


def test_defects_of_traces_are_counted_and_cost_no_record(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a defect")

    engine, kept = traced_engine()
    monkeypatch.setattr(kept, "take", fail)
    for offset in (5, 6):
        engine.deliver([record(offset, headers=SAMPLED)], 1.0, EPOCH_MS)
        call, chunk = next_call(engine, 2.0, EPOCH_MS)
        answer(call, chunk, engine, now_s=3.0)
        assert len(publish(engine, 4.0)) == 1
    monkeypatch.setattr(Sampler, "begin", fail)
    engine.deliver([record(7, headers=SAMPLED)], 1.0, EPOCH_MS)
    call, chunk = next_call(engine, 2.0, EPOCH_MS)
    answer(call, chunk, engine, now_s=3.0)
    assert len(publish(engine, 4.0)) == 1

    assert engine._traces is not None
    assert engine._traces.defects == 3
    assert [each.levelname for each in caplog.records] == ["WARNING"]
