"""``/v1/rerank`` and ``/v1/score`` from request line to response body, over fake models."""

from typing import Any

import numpy as np
import pytest

from handoff.chunk import STATUS_FAILED, STATUS_OK
from schemas.bodies.rerank import RerankResponse, ScoreResponse
from serve_models.text.endpoints import rerank as scoring_requests
from tests.unit.serve_models.fakes import FakeModel, FakePairModel, fake_vector, request_line
from tests.unit.serve_models.text_engines import answers_of, running


def rerank(query: object, documents: object, **body: object) -> bytes:
    return request_line("/v1/rerank", {"query": query, "documents": documents, **body})


def score(**body: object) -> bytes:
    return request_line("/v1/score", body)


def sigmoid(logit: float) -> float:
    return 1 / (1 + float(np.exp(-logit)))


def cosine(query: str, document: str) -> float:
    first, second = fake_vector(query), fake_vector(document)
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


async def answers_of_pairs(
    *lines: bytes,
    kind: str = "reranker",
    model: FakeModel | FakePairModel | None = None,
    **changes: object,
) -> list[tuple[int, Any]]:
    async with running(kind, model or FakePairModel(), **changes) as engine:
        return await answers_of(engine, lines)


async def test_rerank_gives_the_best_first_with_their_positions_and_texts() -> None:
    documents = ["calm", {"text": "loud!!!", "id": 7}, "a cat!"]
    ((status, body),) = await answers_of_pairs(rerank("cat", documents))
    assert status == STATUS_OK
    RerankResponse.model_validate(body)
    assert [result["index"] for result in body["results"]] == [1, 2, 0]
    assert [result["document"]["text"] for result in body["results"]] == [
        "loud!!!",
        "a cat!",
        "calm",
    ]
    np.testing.assert_allclose(
        [result["relevance_score"] for result in body["results"]],
        [sigmoid(2), sigmoid(1), sigmoid(-1)],
        rtol=1e-6,
    )
    assert body["usage"]["total_tokens"] == (3 + 4) + (3 + 7) + (3 + 6)


async def test_the_same_answer_has_the_same_id() -> None:
    first, again, other = await answers_of_pairs(
        rerank("q", ["a", "b!"]), rerank("q", ["a", "b!"]), rerank("q", ["a", "c!"])
    )
    assert first == again
    assert first[1]["id"].startswith("rerank-")
    assert other[1]["id"] != first[1]["id"]


async def test_rerank_of_equals_keeps_their_order() -> None:
    ((_, body),) = await answers_of_pairs(rerank("q", ["a!", "b!", "c!"]))
    assert [result["index"] for result in body["results"]] == [0, 1, 2]


async def test_an_empty_document_ranks_last_where_the_model_takes_it() -> None:
    refused, ranked, every = await answers_of_pairs(
        rerank("", ["a"]),
        rerank("q", ["", "calm", "loud!", {"text": ""}]),
        rerank("q", ["", ""]),
        accept_empty_texts=True,
    )
    assert refused[0] == 400
    assert [result["index"] for result in ranked[1]["results"]] == [2, 1, 0, 3]
    assert [result["index"] for result in every[1]["results"]] == [0, 1]


async def test_an_empty_document_ranks_last_whatever_the_model_makes_of_it() -> None:
    documents = ["", *(f"document {number}" for number in range(50)), ""]
    (ranked,) = await answers_of_pairs(
        rerank("q", documents), kind="embedder", model=FakeModel(), accept_empty_texts=True
    )
    results = ranked[1]["results"]
    assert [result["index"] for result in results[-2:]] == [0, 51]
    own = cosine("query: q", "")
    others = min(result["relevance_score"] for result in results[:-2])
    for result in results[-2:]:
        assert result["relevance_score"] == pytest.approx(min(own, others), abs=1e-6)


@pytest.mark.parametrize("kind", ["reranker", "embedder"])
async def test_an_empty_document_is_scored_as_any_other(kind: str) -> None:
    model = FakePairModel() if kind == "reranker" else FakeModel()
    empty, refused = await answers_of_pairs(
        score(text_1="q", text_2=["", "a!!"]),
        score(text_1=["", "q"], text_2=["", "a"]),
        kind=kind,
        model=model,
        accept_empty_texts=True,
    )
    expected = sigmoid(-1) if kind == "reranker" else cosine("query: q", "")
    assert empty[1]["data"][0]["score"] == pytest.approx(expected, abs=1e-6)
    assert (refused[0], refused[1]["error"]["param"]) == (400, "text_1")


async def test_rerank_returns_as_much_as_is_asked_for() -> None:
    some, every, bare, single = await answers_of_pairs(
        rerank("q", ["a", "b!", "c!!"], top_n=2),
        rerank("q", ["a", "b!", "c!!"], top_n=0),
        rerank("q", ["a"], return_documents=False),
        rerank({"text": "q"}, "a" * 40),
    )
    assert [result["index"] for result in some[1]["results"]] == [2, 1]
    assert len(every[1]["results"]) == 3
    assert "document" not in bare[1]["results"][0]
    assert single[1]["results"][0]["truncated"] is True


@pytest.mark.parametrize(
    "body",
    [
        {"text_1": "cat", "text_2": ["a cat", "a dog!!!"]},
        {"queries": "cat", "documents": ["a cat", "a dog!!!"]},
        {"queries": ["cat"], "items": ["a cat", "a dog!!!"]},
        {"data_1": {"text": "cat"}, "data_2": [{"text": "a cat"}, "a dog!!!"]},
        {"text_1": ["cat", "cow"], "text_2": ["a cat", "a dog!!!"]},
    ],
)
async def test_score_takes_every_name_of_its_fields(body: dict[str, object]) -> None:
    ((status, answer),) = await answers_of_pairs(score(**body))
    assert status == STATUS_OK
    ScoreResponse.model_validate(answer)
    assert [item["index"] for item in answer["data"]] == [0, 1]
    np.testing.assert_allclose(
        [item["score"] for item in answer["data"]], [sigmoid(0), sigmoid(2)], rtol=1e-6
    )


async def test_without_the_activation_scores_are_logits() -> None:
    ((_, answer),) = await answers_of_pairs(score(text_1="q", text_2="a!!!", use_activation=False))
    assert answer["data"][0]["score"] == 2.0


@pytest.mark.parametrize(
    ("line", "status", "param"),
    [
        (rerank("", ["a"]), 400, "query"),
        (rerank(["q"], ["a"]), 400, "query"),
        (rerank("q", []), 400, "documents"),
        (rerank("q", ["a", {"content": []}]), 400, "documents"),
        (rerank("q", ["a", ""]), 400, "documents"),
        (rerank("q", ["a"] * 6), 400, "documents"),
        (rerank("q", ["a", "b" * 40], truncation=False), 400, "documents"),
        (rerank("q", ["a"], top_n=-1), 400, "top_n"),
        (rerank("q", ["a"], return_documents="yes"), 400, "return_documents"),
        (rerank("q", ["a"], model="other"), 404, "model"),
        (request_line("/v1/rerank", {"documents": ["a"]}), 400, "query"),
        (score(text_1="q"), 400, "documents"),
        (score(text_2="a"), 400, "queries"),
        (score(queries=["q"] * 3, documents=["a"] * 2), 400, "queries"),
        (score(queries=[3], documents=["a"]), 400, "queries"),
        (request_line("/v1/score", "text"), 400, None),
    ],
)
@pytest.mark.parametrize("kind", ["reranker", "embedder"])
async def test_a_wrong_body_is_refused_by_field_and_costs_no_other_record(
    kind: str, line: bytes, status: int, param: str | None
) -> None:
    model = FakePairModel() if kind == "reranker" else FakeModel()
    good, refused = await answers_of_pairs(
        rerank("q", ["a"]), line, kind=kind, model=model, max_inputs_per_request=5
    )
    assert good[0] == STATUS_OK
    assert refused[0] == status
    assert refused[1]["error"]["param"] == param
    if param is not None:
        assert refused[1]["error"]["message"].startswith(f"{param}: ")


@pytest.mark.parametrize(
    ("kind", "documents", "status"),
    [("reranker", 2, STATUS_OK), ("reranker", 3, 400), ("embedder", 3, STATUS_OK)],
)
async def test_a_query_that_its_documents_repeat_too_often_is_refused(
    monkeypatch: pytest.MonkeyPatch, kind: str, documents: int, status: int
) -> None:
    monkeypatch.setattr(scoring_requests, "MOST_REPEATED_CHARACTERS", 20)
    query = "q" * 10
    answers = await answers_of_pairs(
        rerank(query, ["a"] * documents),
        score(text_1=query, text_2=["a"] * documents),
        score(text_1=[query] * documents, text_2=["a"] * documents),
        rerank("q" * 30, ["a"]),
        kind=kind,
        model=FakePairModel() if kind == "reranker" else FakeModel(),
    )
    assert [answer[0] for answer in answers] == [status, status, STATUS_OK, STATUS_OK]
    if status != STATUS_OK:
        for (_, body), field in zip(answers, ("query", "queries"), strict=False):
            assert body["error"]["param"] == field
            assert body["error"]["message"].startswith(f"{field}: 10 characters, read again with")


async def test_an_unknown_models_name_is_not_echoed_whole() -> None:
    ((status, body),) = await answers_of_pairs(rerank("q", ["a"], model="m" * 5_000))
    assert status == 404
    assert f"not '{'m' * 100}'" in body["error"]["message"]


async def test_a_poison_document_fails_its_record_alone() -> None:
    lines = [rerank("q", [f"a{n}", f"b{n}!"]) for n in range(20)]
    lines[7] = rerank("q", ["good", "poison", "good too"])
    answers = await answers_of_pairs(*lines, token_budget_tokens=4096)
    assert [n for n, (status, _) in enumerate(answers) if status != STATUS_OK] == [7]
    assert answers[7][0] == STATUS_FAILED


async def test_an_embedder_reranks_by_the_cosine_of_its_vectors() -> None:
    # The fake has a prompt for queries and none for documents.
    documents = ["one", "two", "three"]
    ranked, scored, paired, embedded = await answers_of_pairs(
        rerank("q", documents),
        score(text_1="q", text_2=documents),
        score(text_1=["p", "q", "r"], text_2=documents),
        request_line("/v1/embeddings", {"input": "one"}),
        kind="embedder",
        model=FakeModel(),
    )
    expected = [cosine("query: q", document) for document in documents]
    np.testing.assert_allclose([item["score"] for item in scored[1]["data"]], expected, atol=1e-6)
    assert [result["index"] for result in ranked[1]["results"]] == list(np.argsort(expected)[::-1])
    np.testing.assert_allclose(
        [item["score"] for item in paired[1]["data"]],
        [cosine(f"query: {query}", text) for query, text in zip("pqr", documents, strict=True)],
        atol=1e-6,
    )
    assert ranked[1]["usage"]["total_tokens"] == len("query: q") + 3 + 3 + 5
    assert embedded[0] == STATUS_OK


async def test_an_embedder_reranks_by_what_its_vectors_are_compared_by() -> None:
    model = FakeModel()
    model.similarity = "dot"
    (scored,) = await answers_of_pairs(
        score(text_1="q", text_2=["one", "two"]), kind="embedder", model=model
    )
    expected = [float(fake_vector("query: q") @ fake_vector(text)) for text in ("one", "two")]
    np.testing.assert_allclose([item["score"] for item in scored[1]["data"]], expected, rtol=1e-5)


async def test_a_long_query_counts_as_cut_for_each_of_its_documents() -> None:
    ((_, body),) = await answers_of_pairs(
        score(text_1="q" * 40, text_2=["a", "b"]), kind="embedder", model=FakeModel()
    )
    assert [item.get("truncated") for item in body["data"]] == [True, True]
