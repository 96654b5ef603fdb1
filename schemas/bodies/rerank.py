"""``POST /v1/rerank`` and ``POST /v1/score``: bodies as Jina's and vLLM's APIs have them.

Documents and queries are texts, or objects with ``text``. Of vLLM's ``id`` and ``created`` there is
the ``id`` of a rerank, without which its types refuse the body.
"""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from schemas.bodies.base import (
    INTEGRAL,
    NOTHING_MORE,
    Accepted,
    Answer,
    TextBody,
    Truncated,
    Usage,
)

RERANK_URL = "/v1/rerank"
SCORE_URL = "/v1/score"


class TextObject(BaseModel):
    """A text as an object. Other fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    text: str


def _problem_with(value: Any, accepted: Accepted) -> str | None:
    text = value.get("text") if isinstance(value, dict) else value
    if not isinstance(text, str):
        return "must be a string or an object with text"
    return None if text or accepted.empty_texts else "must not be an empty text"


def _check_text(value: Any, accepted: Accepted = NOTHING_MORE) -> Any:
    if problem := _problem_with(value, accepted):
        raise PydanticCustomError("bad_text", "{problem}", {"problem": problem})
    return value


def _check_texts(value: Any, accepted: Accepted = NOTHING_MORE) -> Any:
    if not isinstance(value, list):
        return _check_text(value, accepted)
    if not value:
        raise PydanticCustomError("no_texts", "must hold at least one text")
    for position, item in enumerate(value):
        if problem := _problem_with(item, accepted):
            raise PydanticCustomError(
                "bad_text",
                "[{position}] {problem}",
                {"position": position, "problem": problem},
            )
    return value


def _check_documents(value: Any, info: ValidationInfo) -> Any:
    return _check_texts(value, info.context or NOTHING_MORE)


OneOrMore = str | TextObject | list[str | TextObject]
Query = Annotated[str | TextObject, BeforeValidator(_check_text)]
Queries = Annotated[OneOrMore, BeforeValidator(_check_texts)]
Documents = Annotated[OneOrMore, BeforeValidator(_check_documents)]


def _texts(value: OneOrMore) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [item if isinstance(item, str) else item.text for item in items]


class PairsBody(TextBody):
    """What rerank and score have in common: pairs of a query and a document."""

    use_activation: bool | None = Field(
        default=None,
        description="False: a cross-encoder's raw outputs (logits) instead of its scores.",
    )

    @property
    def query_texts(self) -> list[str]:
        """One query for all documents, or as many as documents."""
        raise NotImplementedError

    @property
    def document_texts(self) -> list[str]:
        raise NotImplementedError


class RerankBody(PairsBody):
    """A query and the documents to order by it. Fields that are not named here are ignored."""

    query: Query
    documents: Documents = Field(
        description="One text or a list of them; none may be empty, unless the model's setting "
        "accept_empty_texts is true."
    )
    top_n: Annotated[int, Field(ge=0), INTEGRAL] | None = Field(
        default=None, description="Return the best so many; all where unset or 0."
    )
    return_documents: bool = Field(
        default=True, description="Whether results repeat the documents' texts."
    )

    @property
    def query_texts(self) -> list[str]:
        return _texts(self.query)

    @property
    def document_texts(self) -> list[str]:
        return _texts(self.documents)


class ScoreBody(PairsBody):
    """Pairs to score: one query with each document, or as many queries as documents.

    Each field goes by any of vLLM's names. Fields of other names are ignored.
    """

    queries: Queries = Field(
        validation_alias=AliasChoices("queries", "text_1", "data_1"),
        description="One text, or as many as documents. Also called text_1 or data_1.",
    )
    documents: Documents = Field(
        validation_alias=AliasChoices("documents", "text_2", "items", "data_2"),
        description="One text or a list of them. Also called text_2, items or data_2.",
    )

    @property
    def query_texts(self) -> list[str]:
        return _texts(self.queries)

    @property
    def document_texts(self) -> list[str]:
        return _texts(self.documents)


class RerankResult(Answer):
    """One document and how relevant it is."""

    index: int = Field(ge=0, description="The document's position in documents.")
    relevance_score: float
    document: TextObject | None = Field(
        default=None, description="Absent where return_documents is false."
    )
    truncated: Truncated = None


class RerankResponse(Answer):
    """The response body of a 200, the most relevant document first."""

    id: str | None = Field(
        default=None,
        description="A digest of the answer, absent from results of versions before it; the result "
        "line's id distinguishes requests.",
    )
    model: str
    usage: Usage
    results: list[RerankResult] = Field(min_length=1)


class Score(Answer):
    """One pair's score."""

    index: int = Field(ge=0, description="The pair's position: that of its document.")
    object: Literal["score"]
    score: float
    truncated: Truncated = None


class ScoreResponse(Answer):
    """The response body of a 200."""

    object: Literal["list"]
    data: list[Score] = Field(min_length=1)
    model: str
    usage: Usage
