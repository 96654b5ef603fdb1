from collections.abc import Sequence

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from headrace_client.bulk.output.formats.row_groups import RowGroups

SCHEMA = pa.schema([("text", pa.string())])


def chunks_of(
    sizes: Sequence[int], cuts: Sequence[int], group_bytes: int, chunk_bytes: int
) -> list[list[list[str]]]:
    """The groups of rows of these sizes, chunk by chunk, where batches end at ``cuts``."""
    groups = RowGroups(SCHEMA, group_bytes=group_bytes, group_rows=7, chunk_bytes=chunk_bytes)
    ends = sorted({each for each in cuts if each < len(sizes)} | {len(sizes)})
    found = []
    start = 0
    for end in ends:
        texts = ["x" * size for size in sizes[start:end]]
        found += list(groups.add(pa.RecordBatch.from_pydict({"text": texts}, SCHEMA)))
        start = end
    rest = groups.rest()
    found += [] if rest is None else [rest]
    return [[chunk.to_pylist() for chunk in table["text"].chunks] for table in found]


@given(
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=40),
    cuts=st.lists(st.integers(1, 40)),
    group_bytes=st.sampled_from([30, 100, 1000]),
    chunk_bytes=st.sampled_from([10, 30]),
)
def test_groups_and_chunks_end_at_rows_and_not_where_batches_do(
    sizes: list[int], cuts: list[int], group_bytes: int, chunk_bytes: int
) -> None:
    groups = chunks_of(sizes, cuts, group_bytes, chunk_bytes)

    assert groups == chunks_of(sizes, [], group_bytes, chunk_bytes)
    texts = [text for group in groups for chunk in group for text in chunk]
    assert [len(each) for each in texts] == sizes
    for group in groups:
        rows = [4 + len(text) for chunk in group for text in chunk]
        assert len(rows) == 1 or sum(rows) <= group_bytes
        assert len(rows) <= 7
        for chunk in group:
            assert len(chunk) == 1 or sum(4 + len(text) for text in chunk) <= chunk_bytes
