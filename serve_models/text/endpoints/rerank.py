"""``/v1/rerank`` and ``/v1/score``: bodies to texts, scores to response bodies."""

import hashlib
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import orjson

from schemas.bodies.base import BodyRefusedError, parse_body
from schemas.bodies.rerank import RERANK_URL, SCORE_URL, PairsBody, RerankBody, ScoreBody
from serve_models.text.endpoints.base import Endpoint, Served, TextRequest
from serve_models.text.endpoints.scoring import PairScorer
from serve_models.text.models.base import Rows
from serve_models.text.models.tokenizing import TokenizedText

Pairs = TypeVar("Pairs", bound=PairsBody)

MOST_REPEATED_CHARACTERS = 16 * 1024 * 1024
"""A query over thousands of documents makes gigabytes to tokenize of a record of one mebibyte."""

_LEAST_RESULT_BYTES = len('{"index":0,"relevance_score":0.0},')
_LEAST_SCORE_BYTES = len('{"index":0,"object":"score","score":0.0},')
_DOCUMENT = ',"document":{"text":}'


class PairsEndpoint(Endpoint[Pairs]):
    def __init__(
        self,
        url: str,
        query_field: str,
        body_model: type[Pairs],
        scorer: PairScorer,
        served: Served,
    ) -> None:
        super().__init__(url, "documents", served, scorer.max_tokens)
        self._query_field = query_field
        self._body_model = body_model
        self._scorer = scorer
        self.repeats_texts = scorer.repeats_query

    def parse(self, body: Any) -> Pairs:
        parsed = parse_body(self._body_model, body, self._served.accepted)
        self._served.check_model(parsed.model)
        queries, documents = len(parsed.query_texts), len(parsed.document_texts)
        self._served.check_inputs(documents, "documents")
        if queries not in {1, documents}:
            raise BodyRefusedError(
                f"queries: {queries} queries do not go with {documents} documents; give one "
                "query, or one for each document",
                param="queries",
            )
        self._check_repeated(parsed)
        return parsed

    def _check_repeated(self, body: Pairs) -> None:
        if not self._scorer.repeats_query or len(body.query_texts) > 1:
            return
        characters, documents = len(body.query_texts[0]), len(body.document_texts)
        if documents > 1 and characters * documents > MOST_REPEATED_CHARACTERS:
            raise BodyRefusedError(
                f"{self._query_field}: {characters} characters, read again with each of "
                f"{documents} documents, are over {MOST_REPEATED_CHARACTERS} characters in all; "
                "shorten the query, or split the request",
                param=self._query_field,
            )

    def characters(self, body: Any) -> int | None:
        """Count the query before each document."""
        try:
            parsed = self.parse(body)
        except BodyRefusedError:
            return None
        documents = parsed.document_texts
        repeated = len(documents) if len(parsed.query_texts) == 1 else 1
        return repeated * sum(map(len, parsed.query_texts)) + sum(map(len, documents))

    def tokenize(self, bodies: Sequence[Pairs]) -> list[list[TokenizedText]]:
        return self._scorer.tokenize(bodies)

    def truncated(self, body: Pairs, texts: Sequence[TokenizedText]) -> list[bool]:
        return self._scorer.truncated(body, texts)

    def scores(self, request: TextRequest[Pairs]) -> Rows:
        """Return each document's score, float32 [documents]."""
        return self._scorer.scores(request.body, request.complete_rows)

    def scored(self, request: TextRequest[Pairs]) -> list[tuple[np.float32, bool]]:
        truncated = self.truncated(request.body, request.texts)
        return list(zip(self.scores(request), truncated, strict=True))


class RerankEndpoint(PairsEndpoint[RerankBody]):
    def __init__(self, scorer: PairScorer, served: Served) -> None:
        super().__init__(RERANK_URL, "query", RerankBody, scorer, served)

    def least_response_bytes(self, body: RerankBody) -> int:
        documents = body.document_texts
        results = min(body.top_n or len(documents), len(documents))
        if not body.return_documents:
            return results * _LEAST_RESULT_BYTES
        repeated_bytes = sum(sorted(len(orjson.dumps(text)) for text in documents)[:results])
        return results * (_LEAST_RESULT_BYTES + len(_DOCUMENT)) + repeated_bytes

    def smaller_form(self, body: RerankBody) -> str | None:
        return "set return_documents to false" if body.return_documents else None

    def scores(self, request: TextRequest[RerankBody]) -> Rows:
        """Score an empty document no better than any other."""
        scores = super().scores(request)
        is_empty = np.array([not document for document in request.body.document_texts])
        if is_empty.all() or not is_empty.any():
            return scores
        return np.where(is_empty, np.minimum(scores, scores[~is_empty].min()), scores)

    def respond(self, request: TextRequest[RerankBody]) -> bytes:
        body = request.body
        documents = body.document_texts
        results: list[dict[str, Any]] = []
        for index, (score, truncated) in enumerate(self.scored(request)):
            result: dict[str, Any] = {"index": index, "relevance_score": score}
            if body.return_documents:
                result["document"] = {"text": documents[index]}
            if truncated:
                result["truncated"] = True
            results.append(result)
        # Stable: equal scores keep the order of the request, empty documents after the others.
        results.sort(
            key=lambda result: (result["relevance_score"], bool(documents[result["index"]])),
            reverse=True,
        )
        answer = orjson.dumps(
            {
                "model": self.name_of(body),
                "usage": request.usage,
                "results": results[: body.top_n or None],
            },
            option=orjson.OPT_SERIALIZE_NUMPY,
        )
        # Derived from the answer, so that a repeated record gets the same bytes again.
        digest = hashlib.blake2b(answer, digest_size=16).hexdigest().encode()
        return b'{"id":"rerank-%s",%s' % (digest, answer[1:])


class ScoreEndpoint(PairsEndpoint[ScoreBody]):
    def __init__(self, scorer: PairScorer, served: Served) -> None:
        super().__init__(SCORE_URL, "queries", ScoreBody, scorer, served)

    def least_response_bytes(self, body: ScoreBody) -> int:
        return len(body.document_texts) * _LEAST_SCORE_BYTES

    def smaller_form(self, body: ScoreBody) -> str | None:  # noqa: ARG002 -- whatever was asked
        return None

    def respond(self, request: TextRequest[ScoreBody]) -> bytes:
        data: list[dict[str, Any]] = []
        for index, (score, truncated) in enumerate(self.scored(request)):
            item: dict[str, Any] = {"index": index, "object": "score", "score": score}
            if truncated:
                item["truncated"] = True
            data.append(item)
        return self.encode_list(request, data)
