"""How many of a chunk's records are tokenized in one go."""

import pytest

from handoff.chunk import Chunk
from schemas.settings.models import RerankerSettings
from serve_models.batching.preparation import MOST_RECORDS, prepare_slice
from serve_models.text.endpoints.base import Endpoints
from serve_models.text.kinds import endpoints_of
from tests.unit.serve_models.fakes import FakeModel, FakePairModel, line, request_line, settings


@pytest.fixture
def embedder() -> Endpoints:
    return endpoints_of(FakeModel(), "minilm", settings())


@pytest.fixture
def reranker() -> Endpoints:
    configured = RerankerSettings.model_validate({"kind": "reranker", "source": "path:/nowhere"})
    return endpoints_of(FakePairModel(), "mine", configured)


def sizes_of(endpoints: Endpoints, lines: list[bytes]) -> list[int]:
    chunk, start, sizes = Chunk("c", lines), 0, []
    while start < len(lines):
        prepared = prepare_slice(endpoints, chunk, start, lambda deadline_ms: False)
        assert prepared.indexes == list(range(start, prepared.stop))
        assert len(prepared.prepared) == len(prepared.indexes)
        sizes.append(prepared.stop - start)
        start = prepared.stop
    return sizes


def test_short_records_go_by_number(embedder: Endpoints) -> None:
    assert sizes_of(embedder, [line("short")] * 150) == [MOST_RECORDS, MOST_RECORDS, 22]


def test_long_records_go_by_characters_and_one_too_long_by_itself(embedder: Endpoints) -> None:
    assert sizes_of(embedder, [line("x" * 400_000)] * 5) == [2, 2, 1]
    lines = [line("short"), line("x" * 3_000_000), line("short"), line("short")]
    assert sizes_of(embedder, lines) == [1, 1, 2]


def test_a_query_counts_with_each_of_its_documents(reranker: Endpoints) -> None:
    body = {"query": "q" * 1_000, "documents": ["d"] * 500}
    lines = [request_line("/v1/rerank", body)] * 5
    assert max(map(len, lines)) < 5_000
    assert sizes_of(reranker, lines) == [2, 2, 1]


def test_what_is_refused_counts_by_its_length(reranker: Endpoints) -> None:
    lines = [b"no JSON", request_line("/v1/rerank", {"query": 1}), request_line("/v1/no", {})]
    assert sizes_of(reranker, lines) == [3]


def test_an_expired_record_is_not_prepared(embedder: Endpoints) -> None:
    chunk = Chunk("c", [line("a"), line("b"), line("c")], [1, 3, None])
    prepared = prepare_slice(embedder, chunk, 0, lambda deadline_ms: deadline_ms == 1)
    assert (prepared.expired, prepared.indexes, prepared.stop) == ([0], [1, 2], 3)
