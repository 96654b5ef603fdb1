from hypothesis import given
from hypothesis import strategies as st

from handoff.chunk import Chunk
from serve_models.batching.window import BatchWindow


def learned(
    pool_texts: int = 2048,
    texts_per_record: int = 1,
    tokens_per_text: int = 50,
    tokens_per_s: int = 50_000,
    parallel_batches: int = 1,
) -> BatchWindow:
    window = BatchWindow(pool_texts, parallel_batches=parallel_batches)
    for _ in range(20):
        window.records_arrived(64, 64 * texts_per_record, 64 * texts_per_record * tokens_per_text)
        window.batch_finished(1_000, 1_000 / tokens_per_s)
    return window


def test_a_new_replica_asks_for_a_few_batches() -> None:
    window = BatchWindow(2048)
    assert 64 <= window.total_records <= 512


def test_a_fast_replica_wants_its_pool_full_and_two_batches_running() -> None:
    # 1,000 texts/s could take 15,000 in 15 s; the pool is smaller
    assert learned().total_records == 2048 + 2 * 20


def test_a_slow_replica_hoards_no_more_than_fifteen_seconds_of_work() -> None:
    assert learned(tokens_per_s=5_000).total_records == 15 * 100 + 2 * 20


def test_the_slowest_replica_still_has_two_batches_waiting() -> None:
    assert learned(tokens_per_s=50).total_records == 2 * 20 + 2 * 20


def test_a_replica_that_runs_several_batches_at_a_time_is_that_much_faster() -> None:
    window = learned(tokens_per_s=5_000, parallel_batches=2)
    assert window.total_records == min(2048, 15 * 200) + 3 * 20
    window = learned(tokens_per_s=50, parallel_batches=4)
    assert window.total_records == 15 * 4 + 20 + 5 * 20


def test_records_of_many_texts_count_as_many() -> None:
    assert learned(texts_per_record=16).total_records == (2048 + 40) / 16


def test_consumers_share_the_window_until_they_are_gone() -> None:
    window = learned()
    window.call_started(Chunk("a", [b""]), 0.0)
    assert window.window_records("a", 5.0) == 2088
    chunk = Chunk("b", [b""])
    window.call_started(chunk, 5.0)
    assert window.window_records("a", 6.0) == window.window_records("b", 6.0) == 1044
    window.records_ended(chunk.consumer, len(chunk.lines), 6.0)
    assert window.window_records("a", 40.0) == 2088


def test_a_batch_of_long_texts_does_not_make_the_replica_look_slow() -> None:
    window = learned()
    before = window.total_records
    window.batch_finished(1_000, 0.02)  # two texts of 500 tokens, as fast by tokens as the rest
    assert window.total_records == before


@given(
    st.integers(1, 5000),
    st.lists(
        st.tuples(st.integers(0, 300), st.integers(1, 50), st.integers(1, 500), st.floats(0, 60)),
        max_size=20,
    ),
)
def test_it_is_always_at_least_one_record(
    pool_texts: int, history: list[tuple[int, int, int, float]]
) -> None:
    window = BatchWindow(pool_texts)
    for records, texts, tokens, seconds in history:
        chunk = Chunk(f"c{records % 3}", [b""] * records)
        window.call_started(chunk, seconds)
        window.records_arrived(records, records * texts, records * texts * tokens)
        window.batch_finished(tokens, seconds)
        assert window.window_records(chunk.consumer, seconds) >= 1
        window.records_ended(chunk.consumer, len(chunk.lines), seconds)
