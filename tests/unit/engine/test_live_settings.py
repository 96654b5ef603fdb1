"""An engine goes on with other settings."""

from consumer.replica.build import live_engine_settings
from schemas.settings.file import FlowSettings, LimitSettings, RetrySettings, RouteSettings
from tests.engines import P0, answer, line, make_engine, next_call, record
from tests.simulated_service import ROUTE
from tests.simulation import EPOCH_MS


def live(**changes: object) -> RouteSettings:
    return ROUTE.model_copy(update=changes)


def test_a_limit_counts_from_the_next_record_on() -> None:
    engine = make_engine()
    engine.assign({P0: None})
    small = live(limits=LimitSettings(max_request_bytes=64))
    engine.deliver([record(0, line("a", x="y" * 200))], 0.0, EPOCH_MS)

    engine.reconfigure(live_engine_settings(small))
    engine.deliver([record(1, line("b", x="y" * 200))], 0.0, EPOCH_MS)

    _, chunk = next_call(engine, 0.0, EPOCH_MS)
    assert len(chunk.lines) == 1
    assert engine.counters.dead_letter_records == 1


def test_a_chunk_has_as_many_records_as_it_may_have_now() -> None:
    engine = make_engine()
    engine.assign({P0: None})
    engine.deliver([record(number) for number in range(8)], 0.0, EPOCH_MS)

    engine.reconfigure(live_engine_settings(live(flow=FlowSettings(chunk_records=2))))

    _, chunk = next_call(engine, 0.0, EPOCH_MS)
    assert len(chunk.lines) == 2


def test_fewer_records_are_admitted_and_more_again() -> None:
    engine = make_engine()
    engine.assign({P0: None})
    engine.deliver([record(number) for number in range(8)], 0.0, EPOCH_MS)

    engine.reconfigure(live_engine_settings(live(flow=FlowSettings(max_records=8))))
    assert engine.allowance().records == 0

    engine.reconfigure(live_engine_settings(live(flow=FlowSettings(max_records=100))))
    assert engine.allowance().records > 0


def test_a_failure_that_is_retried_no_more_ends_the_record() -> None:
    engine = make_engine()
    engine.assign({P0: None})
    engine.deliver([record(0)], 0.0, EPOCH_MS)
    call, _ = next_call(engine, 0.0, EPOCH_MS)

    route = live(retry=RetrySettings(on=frozenset({"model_error"})))
    engine.reconfigure(live_engine_settings(route))
    engine.end_call(call, "the replica was lost", 1.0, EPOCH_MS)

    [publication] = engine.take_publications(9, 1 << 20)
    assert {message.topic for message in publication.messages} == {"dead-letters", "results"}


def test_a_topic_that_is_allowed_no_more_is_refused_from_the_next_record_on() -> None:
    engine = make_engine(reply_topics=("bulk-*",))
    engine.assign({P0: None})
    to_bulk = [("headrace-reply-topic", b"bulk-1")]
    engine.deliver([record(0, headers=to_bulk)], 0.0, EPOCH_MS)
    engine.backlog.looked_up(engine.look_ups.take_due(), set(), 0.0, EPOCH_MS)

    engine.reconfigure(live_engine_settings(live(reply_topics=("jobs-*",))))
    engine.deliver([record(1, headers=to_bulk)], 0.0, EPOCH_MS)
    answer(*next_call(engine, 0.0, EPOCH_MS), engine)

    publications = engine.take_publications(9, 1 << 20)
    topics = {each.record.offset: each.messages[0].topic for each in publications}
    assert topics == {0: "bulk-1", 1: "results"}
