"""Outcomes as they stand on their topics, made from prefixes or by the plain way."""

from hypothesis import given
from hypothesis import strategies as st

from consumer.engine.offsets.ledger import PartitionLedger
from consumer.engine.outcomes.messages import OutcomeMessages
from consumer.engine.work import PartitionAssignment, WorkItem
from consumer.ports import Message, TopicPartition
from schemas.wire import headers
from schemas.wire.results import encode_response_line, result_id
from tests.engines import record

MESSAGES = OutcomeMessages(
    route="r",
    model="m",
    results_topic="results",
    dead_letters_topic="dead-letters",
    max_result_bytes=10_000,
    fail_with_result=True,
)
TIMES = st.floats(0, 1e6)


@given(
    topic=st.text(min_size=1, max_size=8),
    offset=st.integers(0, 1 << 62),
    custom_id=st.text(max_size=8),
    attempts=st.integers(0, 200),
    times=st.lists(TIMES, min_size=3, max_size=3).map(sorted),
    repeats=st.integers(1, 3),
)
def test_a_result_is_the_same_to_the_byte_as_one_made_of_whole_pieces(
    topic: str, offset: int, custom_id: str, attempts: int, times: list[float], repeats: int
) -> None:
    partition = TopicPartition(topic, 3)
    read = record(offset, partition=partition, key=b"k", headers=[("traceparent", b"00")])
    assignment = PartitionAssignment(partition, PartitionLedger(None, 4096), None)
    received_at_s, dispatched_at_s, now_s = times
    item = WorkItem(assignment, read, custom_id, None, received_at_s, 0)
    item.attempts, item.dispatched_at_s = attempts, dispatched_at_s
    queued_ms = ((dispatched_at_s or now_s) - received_at_s) * 1000
    model_ms = (now_s - (dispatched_at_s or now_s)) * 1000
    expected = Message(
        "results",
        b"k",
        encode_response_line(result_id(topic, 3, offset), custom_id, 200, b"{}"),
        [
            ("traceparent", b"00"),
            (headers.SOURCE, headers.encode_source(topic, 3, offset)),
            (headers.ATTEMPTS, str(attempts).encode()),
            (headers.MODEL, b"m"),
            (headers.TIMINGS, f"queued_ms={queued_ms:.1f},model_ms={model_ms:.1f}".encode()),
        ],
        item,
    )
    for _ in range(repeats):
        assert MESSAGES.response(item, custom_id, 200, b"{}", now_s) == [expected]
